"""How far a recording is from another of the same text: cepstra, spectra, and what ears make of it.

Papers print "MCD" without saying which: order, window, alignment and silence all move it by a
decibel or more. What is measured here is written beside every figure; set no other beside it.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np

from parlando.audio import waveform
from parlando.contracts import AudioError
from parlando.evaluation.measure import RATE_HZ, Figure, Judgement, Quantity, Row, Sample
from parlando.evaluation.pretrained import require
from parlando.evaluation.reconstruction import short_time_intelligibility, wideband_pesq
from parlando.evaluation.sounds import check_audible

ORDER = 24
"""Mel-cepstral coefficients that are compared: c1 to c24; c0, the level, is left out."""
ALL_PASS = 0.42
"""Warping of the frequency axis that comes near the mel scale at 16 kHz."""
FRAME_SECONDS = 0.005
"""Step of the analysis."""
FLOOR_DB = 80.0
"""Envelopes are raised to this far below the loudest bin of their recording, which is about the
threshold of hearing when speech is played at the level of a conversation. What lies deeper, such as
the zeros of digital silence, would outweigh the speech."""
RESOLUTIONS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))
"""Transform, hop and Hann window of the STFT distance, in samples."""
LONGEST_SECONDS = 30.0
"""Longest sound that is warped in time or given to PESQ: the former's memory grows with the square,
the latter holds no more than fifty stretches of speech."""

_NEPER_DB = 10.0 * math.sqrt(2.0) / math.log(10.0)
_SHORTEST_SECONDS = 0.1
_MAGNITUDE_FLOOR = 1e-4
_HOP_SAMPLES = 200

_MCD_JUDGE = (
    f"WORLD (DIO, CheapTrick), mel-cepstra c1-c{ORDER}, all-pass {ALL_PASS}, "
    f"{FRAME_SECONDS * 1000:g} ms, floor -{FLOOR_DB:g} dB, 10/ln10*sqrt(2*sum)"
)


def mel_cepstra(samples: np.ndarray) -> np.ndarray:
    """Describe the spectral envelope of speech by mel-cepstra.

    The logarithm of the WORLD envelope's amplitude is ``sum_m c_m cos(m w)`` over the warped
    frequency ``w``; the coefficients are its cosine integrals, truncated at the order.

    Source: Tokuda et al., "Mel-generalized cepstral analysis", 1994, for the warping; Morise et
    al., 2016 (WORLD), for an envelope that is free of harmonics.

    Args:
        samples: ``(S,)`` at 16 kHz, at least 0.1 s.

    Returns:
        ``(T, 25)`` nepers, c0 first, ``T = 1 + floor(S / 80)``.

    Raises:
        AudioError: the sound is silent, not finite or too short.
    """
    check_audible(samples, "the sound to analyse")
    if len(samples) < _SHORTEST_SECONDS * RATE_HZ:
        raise AudioError(
            f"got {len(samples) / RATE_HZ:.3f} s of sound; mel-cepstra need at least "
            f"{_SHORTEST_SECONDS:g} s"
        )
    with warnings.catch_warnings():
        # Its __init__ asks pkg_resources for its own version, which warns on every start.
        warnings.simplefilter("ignore")
        pyworld = require("pyworld", "evaluate")
    sound = np.ascontiguousarray(samples, dtype=np.float64)
    # WORLD adds noise of fixed power: at one level for all, it changes nothing with the gain.
    sound = sound / np.abs(sound).max()
    coarse, times = pyworld.dio(sound, RATE_HZ, frame_period=1000.0 * FRAME_SECONDS)
    hertz = pyworld.stonemask(sound, coarse, times, RATE_HZ)
    power = pyworld.cheaptrick(sound, hertz, times, RATE_HZ)
    floor = power.max() * 10.0 ** (-FLOOR_DB / 10.0)
    logarithm = 0.5 * np.log(np.maximum(power, floor))
    return np.asarray(logarithm @ _warped_cosines(power.shape[1]))


@cache
def _warped_cosines(bins: int) -> np.ndarray:
    """Build the matrix ``(bins, 25)`` from a log spectrum on ``0..pi`` to its mel-cepstrum."""
    points = 4 * bins
    warped = (np.arange(points) + 0.5) * np.pi / points
    # The all-pass of the opposite sign is the inverse of the warping.
    straight = warped - 2.0 * np.arctan2(ALL_PASS * np.sin(warped), 1.0 + ALL_PASS * np.cos(warped))
    place = straight / np.pi * (bins - 1)
    below = np.minimum(place.astype(int), bins - 2)
    share = place - below
    interpolation = np.zeros((points, bins))
    interpolation[np.arange(points), below] = 1.0 - share
    interpolation[np.arange(points), below + 1] = share
    cosines = np.cos(np.outer(np.arange(ORDER + 1), warped)) * 2.0 / points
    cosines[0] /= 2.0
    return np.asarray((cosines @ interpolation).T)


def cepstral_distortion(first: np.ndarray, second: np.ndarray) -> float:
    """Compare mel-cepstra frame by frame: the mean distance over all frames, in dB.

    Source: Kubichek, 1993: ``10 / ln 10 * sqrt(2 * sum_{m=1}^{24} (c_m - c'_m)^2)``, which is the
    root mean square difference of the two log envelopes over the warped axis, levels apart.

    Args:
        first: ``(T, 25)``, c0 first.
        second: ``(T, 25)``.
    """
    return float(_NEPER_DB * np.linalg.norm(first[:, 1:] - second[:, 1:], axis=1).mean())


def warped_cepstral_distortion(first: np.ndarray, second: np.ndarray) -> float:
    """Compare mel-cepstra along the alignment in time that brings them nearest.

    The path may step by one frame in either sequence or in both, at equal cost; the result is the
    mean distance over the steps of the path, in dB.

    Args:
        first: ``(T, 25)``, c0 first.
        second: ``(U, 25)``.
    """
    librosa = require("librosa", "evaluate")
    total, path = librosa.sequence.dtw(first[:, 1:].T, second[:, 1:].T, metric="euclidean")
    return float(_NEPER_DB * total[-1, -1] / len(path))


def spectral_distance(reference: np.ndarray, output: np.ndarray) -> float:
    """Compare magnitude spectra at three resolutions; level and noise count, phase does not.

    The mean over resolutions of the spectral convergence ``|| |X| - |Y| ||_F / || |X| ||_F`` plus
    the mean of ``|ln |X| - ln |Y||``, magnitudes floored at 1e-4.

    Source: Yamamoto et al., "Parallel WaveGAN", 2020, equations 4 to 6, with its three resolutions
    in samples (there at 24 kHz).

    Args:
        reference: ``(S,)``, ``X``.
        output: ``(S,)``, ``Y``.

    Raises:
        AudioError: the lengths differ or a sound is silent.
    """
    librosa = require("librosa", "evaluate")
    if reference.shape != output.shape:
        raise AudioError(f"got shapes {reference.shape} and {output.shape}; cut both to one length")
    check_audible(reference, "the reference")
    total = 0.0
    for transform, hop, window in RESOLUTIONS:
        expected, got = (
            np.maximum(
                np.abs(librosa.stft(sound, n_fft=transform, hop_length=hop, win_length=window)),
                _MAGNITUDE_FLOOR,
            )
            for sound in (reference, output)
        )
        total += float(np.linalg.norm(expected - got) / np.linalg.norm(expected))
        total += float(np.abs(np.log(expected / got)).mean())
    return total / len(RESOLUTIONS)


def spoken_cepstra(samples: np.ndarray, what: str) -> np.ndarray:
    """Compute the mel-cepstra of speech without the silence around it.

    How long someone waits before speaking is no distance, and time warping cannot undo it.

    Args:
        samples: ``(S,)`` at 16 kHz.
        what: what they are, for the message of the error.

    Raises:
        AudioError: there is no speech in the sound.
    """
    check_audible(samples, what)
    spoken = waveform.trim_silence(samples, RATE_HZ)
    if not len(spoken):
        raise AudioError(f"{what} holds no speech in {len(samples) / RATE_HZ:.2f} s of sound")
    return mel_cepstra(spoken)


class Distance:
    """Distances between an output and the human recording of the same text.

    What needs both in step (MCD without warping, spectra, PESQ, STOI) is measured of resyntheses
    only: trials without a prompt, or outputs with codes. Their lengths may differ by one hop; then
    the longer one loses its tail, and beyond that nothing is cut to fit. What is left out of such a
    row, or for want of speech, or beyond 30 s, is told in its notes.
    """

    name = "distance"
    quantities = (
        Quantity(
            key="mcd",
            title="Mel-cepstral distortion, in step",
            unit="dB",
            better="lower",
            judge=_MCD_JUDGE,
            source="Kubichek 1993; NaturalSpeech 3, table 13",
        ),
        Quantity(
            key="mcd_dtw",
            title="Mel-cepstral distortion, time-warped",
            unit="dB",
            better="lower",
            judge=f"{_MCD_JUDGE}, DTW (steps of equal cost, mean over the path), ends trimmed",
            source="Kubichek 1993; NaturalSpeech 3, table 2",
        ),
        Quantity(
            key="mr_stft",
            title="Multi-resolution STFT distance",
            better="lower",
            judge="spectral convergence + log magnitude, FFT/hop/window "
            + ", ".join("/".join(map(str, sizes)) for sizes in RESOLUTIONS),
            source="Yamamoto et al. 2020; NaturalSpeech 3, table 13",
        ),
        Quantity(
            key="pesq",
            title="PESQ, wideband (at most 4.64)",
            better="higher",
            judge="ITU-T P.862.2 (package pesq)",
            source="NaturalSpeech 3, table 13",
        ),
        Quantity(
            key="stoi",
            title="STOI",
            better="higher",
            judge="Taal et al. 2011 (package pystoi), not extended",
            source="NaturalSpeech 3, table 13",
        ),
    )

    def check(self) -> None:
        """Refuse to start without the packages that judge.

        Raises:
            ConfigError: one of them is not installed.
        """
        for module in ("librosa", "pesq", "pystoi"):
            require(module, "evaluate")

    def judge(self, sample: Sample) -> Judgement:
        """Measure what the lengths allow; nothing where there is no reference.

        Raises:
            AudioError: output or reference is silent.
        """
        if sample.reference is None:
            return Judgement()
        output, reference = sample.output, sample.reference
        check_audible(output, "the output")
        check_audible(reference, "the reference")
        brief = max(len(output), len(reference)) <= LONGEST_SECONDS * RATE_HZ
        scores: dict[str, Callable[[], float]] = {}
        left_out: dict[str, str] = {}
        if brief:
            scores["mcd_dtw"] = partial(_warped, output, reference)
        else:
            left_out["mcd_dtw"] = f"longer than {LONGEST_SECONDS:g} s"
        if _resynthesis(sample):
            surplus = len(output) - len(reference)
            if abs(surplus) <= _hop_samples(sample):
                length = min(len(output), len(reference))
                in_step = _scores_in_step(reference[:length], output[:length])
                if not brief:
                    left_out["pesq"] = left_out["mcd_dtw"]
                    del in_step["pesq"]
                scores |= in_step
            else:
                why = f"{surplus:+d} samples against the reference: not in step"
                left_out |= dict.fromkeys(("mcd", "mr_stft", "stoi", "pesq"), why)
        values = {}
        for key, score in scores.items():
            try:
                values[key] = (score(), 1.0)
            except AudioError as error:  # too little speech for this one; the others stand
                left_out[key] = str(error)
        return Judgement(values=values, notes={"left_out": left_out} if left_out else {})

    def conclude(self, rows: Sequence[Row]) -> list[Figure]:
        """Give none: every distance is a mean over samples."""
        return []


def _warped(output: np.ndarray, reference: np.ndarray) -> float:
    return warped_cepstral_distortion(
        spoken_cepstra(output, "the output"), spoken_cepstra(reference, "the reference")
    )


def _scores_in_step(reference: np.ndarray, output: np.ndarray) -> dict[str, Callable[[], float]]:
    return {
        "mcd": lambda: cepstral_distortion(mel_cepstra(output), mel_cepstra(reference)),
        "mr_stft": lambda: spectral_distance(reference, output),
        "stoi": lambda: short_time_intelligibility(reference, output, RATE_HZ),
        "pesq": lambda: wideband_pesq(reference, output, RATE_HZ),
    }


def _resynthesis(sample: Sample) -> bool:
    """Tell a codec's output from speech, which may be as long as the human's by chance."""
    return "codes" in sample.details or not sample.trial.prompt


def _hop_samples(sample: Sample) -> int:
    hop_samples = sample.details.get("hop_samples", _HOP_SAMPLES)
    return round(hop_samples * RATE_HZ / sample.details.get("rate_hz", RATE_HZ))
