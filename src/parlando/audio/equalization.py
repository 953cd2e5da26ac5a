"""Give speech the spectrum of other speech: on average, or each kind of sound by itself.

How loud the bands of a voice are on average tells much of who speaks, and in which room; a fixed
filter changes it and nothing else. How they differ from vowels to hisses tells more, and takes a
filter that changes with what is said.
"""

from dataclasses import dataclass

import numpy as np
import torch

from parlando.audio.spectrogram import hertz_to_mel, mel_filterbank

BANDS = 32
"""Mel bands in which spectra are compared: wide enough that no harmonic of a pitch is matched."""
LIMIT_DB = 15.0
"""No band is raised or lowered by more, on average."""
KINDS = 8
"""Kinds of sound that :func:`match_timbre` tells apart."""
KIND_LIMIT_DB = 10.0
"""No band of a kind is raised or lowered by more."""

_WINDOW_SECONDS = 0.032
_MOST_FRAMES = 6000  # Of a longer recording so many are looked at, evenly spread.
_ACTIVE = 1e-4  # Frames that are 40 dB below the loudest hold no speech.
_EMPTY_DB = 70.0  # A band so far below the loudest holds nothing, as above a telephone's reach.
_FLOOR = 1e-12
_SILENCE = 1e-30
_BLOCK = 1 << 16

_ROUNDS = 8  # Of finding the kinds.
_SHARPNESS_DB2 = 15.0  # Mean squared difference of bands that makes a kind e times less likely.
_DOUBT_FRAMES = 20.0  # A kind that is heard in so many goes half the way from the average.
_FADE = np.hanning(7)[1:-1] / np.hanning(7).sum()  # Over so many frames a filter becomes another.


def match_spectrum(samples: np.ndarray, like: np.ndarray, rate_hz: int) -> np.ndarray:
    """Filter speech so that its bands are as loud, on average, as those of other speech.

    The filter is of linear phase, so nothing is delayed; its gain is 0 dB at the median band. Bands
    in which either holds nothing get the gain of the nearest that do.

    Args:
        samples: ``(S,)`` to be filtered.
        like: ``(S',)`` speech to be like.
        rate_hz: sampling rate of both.

    Returns:
        ``(S,)`` float32. Where either is silent, or they have no band in common, the samples stay
        as they are.
    """
    if not (np.any(samples) and np.any(like)):
        return np.asarray(samples, dtype=np.float32)
    window = 2 * round(_WINDOW_SECONDS * rate_hz / 2)
    own, other = (_band_levels_db(sound, rate_hz, window) for sound in (samples, like))
    held = _held(own, other)
    if not held.any():
        return np.asarray(samples, dtype=np.float32)
    gains_db = (other - own)[held]
    gains_db = np.clip(gains_db - np.median(gains_db), -LIMIT_DB, LIMIT_DB)
    gains = 10.0 ** (_over_bins(gains_db, held, rate_hz, window) / 20.0)
    return _filtered(samples, np.fft.fftshift(np.fft.irfft(gains)) * _hann(window))


def match_timbre(samples: np.ndarray, like: np.ndarray, rate_hz: int) -> np.ndarray:
    """Filter speech so that each kind of sound has the spectrum that it has in other speech.

    The frames of both are sorted into :data:`KINDS` kinds by the shapes of their spectra, each
    relative to the average of its own side, so that the vowels of one stand beside the vowels of
    the other whatever is said. Each kind gets a filter as in :func:`match_spectrum`, nearer to that
    of all sounds the less of it is heard; from frame to frame they fade into each other.

    Source: a filter in place of a vocoder after Kobayashi et al. 2014 (statistical voice conversion
    with direct waveform modification), whose mixture is trained on the same sentences of both
    speakers; here the kinds are found without.

    Args:
        samples: ``(S,)`` to be filtered.
        like: ``(S',)`` speech to be like, some seconds of it.
        rate_hz: sampling rate of both.

    Returns:
        ``(S,)`` float32, not delayed. Where either is silent, or they have no band in common, the
        samples stay as they are.
    """
    samples = np.asarray(samples, dtype=np.float32)
    if not (np.any(samples) and np.any(like)):
        return samples
    window = 2 * round(_WINDOW_SECONDS * rate_hz / 2)
    own, other = (_Analysis.of(sound, rate_hz, window) for sound in (samples, like))
    held = _held(own.average_db, other.average_db)
    if not held.any():
        return samples
    overall_db = (other.average_db - own.average_db)[held]
    further_db = np.zeros((len(own.spectra), int(held.sum())))
    further_db[own.active] = _by_kind(own.powers[:, held], other.powers[:, held], overall_db)
    for band in further_db.T:
        band[:] = np.convolve(band, _FADE, "same")
    gains_db = overall_db - np.median(overall_db) + further_db
    to_bins = np.stack([_over_bins(row, held, rate_hz, window) for row in np.eye(int(held.sum()))])
    gains_db = np.clip(gains_db, -KIND_LIMIT_DB, KIND_LIMIT_DB) @ to_bins
    gains = (10.0 ** (gains_db / 20.0)).astype(np.float32)
    return _overlapped(own.spectra * gains, window)[: len(samples)]


@dataclass(frozen=True)
class _Analysis:
    """Frames of speech, a quarter of a window apart."""

    spectra: np.ndarray
    """``(T, window / 2 + 1)`` complex; the first frame ends where the speech begins."""
    active: np.ndarray
    """``(T,)`` bool: which hold speech."""
    powers: np.ndarray
    """``(A, BANDS)`` of those that do."""
    average_db: np.ndarray
    """``(BANDS,)``: their mean power."""

    @classmethod
    def of(cls, samples: np.ndarray, rate_hz: int, window: int) -> "_Analysis":
        padded = np.pad(np.asarray(samples, dtype=np.float32), (window, 2 * window))
        frames = np.lib.stride_tricks.sliding_window_view(padded, window)[:: window // 4]
        spectra = np.fft.rfft(frames * _hann(window))
        power = np.abs(spectra) ** 2
        energy = power.sum(1)
        # Where a recording is cut off in a sound, that spreads over all bands.
        ends = np.arange(len(frames)) * (window // 4)
        whole = (ends >= window) & (ends <= len(samples))
        active = (energy >= _ACTIVE * energy.max()) & (whole | ~whole.any())
        powers = power[active] @ mel_filterbank(rate_hz, window, BANDS).numpy().T
        return cls(spectra, active, powers, _decibel(powers.mean(0)))


def _by_kind(own: np.ndarray, other: np.ndarray, overall_db: np.ndarray) -> np.ndarray:
    """Tell by how much more than on average the frames ``(A, H)`` are to be raised, in dB."""
    levels_db = [_decibel(powers) for powers in (own, other)]
    shapes = [levels - levels.mean(0) for levels in levels_db]
    centres = _centres(np.concatenate(shapes))
    of_own, of_other = (_shares(each, centres) for each in shapes)
    gains_db = np.zeros((len(centres), len(overall_db)))
    for kind in range(len(centres)):
        mine, theirs = of_own[:, kind], of_other[:, kind]
        heard = min(mine.sum(), theirs.sum())
        if heard > 0.0:
            # Means of levels: a frame between two kinds would rule a mean of powers.
            wanted_db = theirs @ levels_db[1] / theirs.sum() - mine @ levels_db[0] / mine.sum()
            gains_db[kind] = heard / (heard + _DOUBT_FRAMES) * (wanted_db - overall_db)
    return of_own @ gains_db


def _centres(shapes: np.ndarray) -> np.ndarray:
    """Find ``(KINDS, H)`` typical shapes among ``(A, H)``, fewer where there are fewer."""
    kinds = min(KINDS, len(shapes))
    # Begin with equal parts along the direction in which they differ most.
    along = shapes @ np.linalg.eigh(np.cov(shapes.T).reshape(shapes.shape[1], -1))[1][:, -1]
    part = np.argsort(np.argsort(along)) * kinds // len(along)
    centres = np.stack([shapes[part == kind].mean(0) for kind in range(kinds)])
    for _ in range(_ROUNDS):
        shares = _shares(shapes, centres)
        centres = shares.T @ shapes / np.maximum(shares.sum(0), _FLOOR)[:, None]
    return centres


def _shares(shapes: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Tell how likely ``(A, H)`` shapes are of each kind: ``(A, K)``, 1 in all."""
    # Squared distances, less what is the same for all kinds.
    distances = (np.square(centres).sum(1) - 2.0 * shapes @ centres.T) / shapes.shape[1]
    likely = np.exp((distances.min(1, keepdims=True) - distances) / _SHARPNESS_DB2)
    return likely / likely.sum(1, keepdims=True)


def _overlapped(spectra: np.ndarray, window: int) -> np.ndarray:
    """Join frames ``(T, window / 2 + 1)`` to samples; the first begins a window before 0."""
    # Four windows, each weighed twice, overlap everywhere: together they weigh 1.5.
    frames = np.fft.irfft(spectra) * _hann(window) / 1.5
    parts = frames.reshape(len(frames), 4, window // 4)
    made = np.zeros((len(frames) + 3, window // 4), dtype=np.float32)
    for place in range(4):
        made[place : place + len(frames)] += parts[:, place]
    return made.reshape(-1)[window:]


def _hann(window: int) -> np.ndarray:
    return np.hanning(window + 1)[:-1].astype(np.float32)


def _held(own_db: np.ndarray, other_db: np.ndarray) -> np.ndarray:
    """Tell in which bands ``(BANDS,)`` both hold something."""
    empty = np.minimum(own_db - own_db.max(), other_db - other_db.max()) < -_EMPTY_DB
    # Their neighbours hold less than they would, too.
    return ~np.convolve(empty, [True] * 3, "same").astype(bool)


def _over_bins(gains_db: np.ndarray, held: np.ndarray, rate_hz: int, window: int) -> np.ndarray:
    """Spread gains of the held bands over the bins of a spectrum."""
    highest = float(hertz_to_mel(torch.tensor(rate_hz / 2)))
    centres = np.linspace(0.0, highest, BANDS + 2)[1:-1][held]
    bins = hertz_to_mel(torch.linspace(0.0, rate_hz / 2, window // 2 + 1)).numpy()
    return np.interp(bins, centres, gains_db)


def _decibel(powers: np.ndarray) -> np.ndarray:
    """Levels of powers ``(…, H)``, with a floor so far below the loudest."""
    return 10.0 * np.log10(np.maximum(powers, max(_FLOOR * powers.max(), _SILENCE)))


def _filtered(samples: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """Convolve ``(S,)`` with an even number of taps about their middle, block by block."""
    taps, half = taps.astype(np.float32), len(taps) // 2
    padded = np.pad(np.asarray(samples, dtype=np.float32), half)
    made = np.empty(len(samples), dtype=np.float32)
    for start in range(0, len(made), _BLOCK):
        stop = min(start + _BLOCK, len(made))
        made[start:stop] = np.convolve(padded[start : stop + 2 * half], taps, "valid")[1:]
    return made


def _band_levels_db(samples: np.ndarray, rate_hz: int, window: int) -> np.ndarray:
    """Return the mean power ``(BANDS,)`` over the frames that hold speech, and some everywhere."""
    padded = np.pad(np.asarray(samples, dtype=np.float32), (0, max(0, window - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[:: window // 4]
    if len(frames) > _MOST_FRAMES:
        frames = frames[np.linspace(0, len(frames) - 1, _MOST_FRAMES).round().astype(int)]
    power = np.abs(np.fft.rfft(frames * _hann(window))) ** 2
    energy = power.sum(1)
    mean = power[energy >= _ACTIVE * energy.max()].mean(0)
    bands = mel_filterbank(rate_hz, window, BANDS).numpy() @ mean
    return _decibel(bands)
