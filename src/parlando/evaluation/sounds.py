"""Sound as evaluation reads it: 16 kHz, pieces joined, noise added."""

from collections.abc import Sequence

import numpy as np

from parlando.audio import waveform
from parlando.contracts import AudioError
from parlando.evaluation.measure import RATE_HZ, Recording

GAP_SECONDS = 0.15
"""Silence between joined pieces."""


def read_recording(recording: Recording) -> np.ndarray:
    """Read a piece of a sound file: ``(S,)`` float32 at 16 kHz.

    Raises:
        AudioError: the file cannot be read, or ends before the piece begins.
    """
    samples = waveform.load(recording.path, RATE_HZ).samples
    first = round(recording.start_seconds * RATE_HZ)
    count = None if recording.seconds is None else round(recording.seconds * RATE_HZ)
    piece = samples[first : None if count is None else first + count]
    if not len(piece):
        raise AudioError(
            f"{recording.path}: lasts {len(samples) / RATE_HZ:.2f} s, the piece begins at "
            f"{recording.start_seconds:.2f} s"
        )
    return piece


def read_joined(recordings: Sequence[Recording]) -> np.ndarray:
    """Read pieces, trim the silence around each, and join them with short gaps: ``(S,)``.

    Pieces that are ``exact`` are not trimmed.

    Raises:
        AudioError: a piece cannot be read, or there is none.
    """
    if not recordings:
        raise AudioError("there is no recording to join")
    gap = np.zeros(round(GAP_SECONDS * RATE_HZ), dtype=np.float32)
    parts: list[np.ndarray] = []
    for recording in recordings:
        piece = read_recording(recording)
        parts += [gap, piece if recording.exact else waveform.trim_silence(piece, RATE_HZ)]
    return np.concatenate(parts[1:])


def add_noise(samples: np.ndarray, snr_db: float, seed: int) -> np.ndarray:
    """Add noise with the long-term spectrum of the speech itself, at a ratio to its active level.

    Noise of the speech's own spectrum masks every band alike; white noise would leave the low
    ones untouched.

    Args:
        samples: ``(S,)`` float.
        snr_db: level of the active speech over that of the noise.
        seed: of the noise.
    """
    spectrum = np.abs(np.fft.rfft(samples))
    phases = np.random.default_rng(seed).uniform(0.0, 2.0 * np.pi, len(spectrum))
    noise = np.fft.irfft(spectrum * np.exp(1j * phases), len(samples))
    level = 10.0 ** ((waveform.active_level_db(samples, RATE_HZ) - snr_db) / 20.0)
    noise *= level / max(float(np.sqrt(np.mean(noise**2))), 1e-9)
    return (samples + noise).astype(np.float32)


def check_audible(samples: np.ndarray, what: str) -> None:
    """Refuse sound that has nothing to judge in it.

    Args:
        samples: ``(S,)`` float in [-1, 1].
        what: what they are, for the message: ``the output``.

    Raises:
        AudioError: the samples are none, not mono, not finite, or nowhere above -80 dB.
    """
    if samples.ndim != 1 or not samples.size or not np.isfinite(samples).all():
        raise AudioError(f"{what} has shape {samples.shape}; judges need (S,), S > 0, finite")
    peak = float(np.abs(samples).max())
    if peak < 1e-4:
        raise AudioError(
            f"{what} is silent (peak {peak:.1e} in {len(samples) / RATE_HZ:.2f} s); judges need "
            "speech: listen to it first"
        )
