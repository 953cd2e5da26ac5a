"""Give speech the average spectrum of other speech.

How loud the bands of a voice are on average tells much of who speaks, and in which room; a fixed
filter changes it and nothing else.
"""

import numpy as np
import torch

from parlando.audio.spectrogram import hertz_to_mel, mel_filterbank

BANDS = 32
"""Mel bands in which spectra are compared: wide enough that no harmonic of a pitch is matched."""
LIMIT_DB = 15.0
"""No band is raised or lowered by more."""

_WINDOW_SECONDS = 0.032
_MOST_FRAMES = 6000  # Of a longer recording so many are looked at, evenly spread.
_ACTIVE = 1e-4  # Frames that are 40 dB below the loudest hold no speech.
_EMPTY_DB = 70.0  # A band so far below the loudest holds nothing, as above a telephone's reach.
_FLOOR = 1e-12
_BLOCK = 1 << 16


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
    empty = np.minimum(own - own.max(), other - other.max()) < -_EMPTY_DB
    # Their neighbours hold less than they would, too.
    held = ~np.convolve(empty, [True] * 3, "same").astype(bool)
    if not held.any():
        return np.asarray(samples, dtype=np.float32)
    gains_db = (other - own)[held]
    gains_db = np.clip(gains_db - np.median(gains_db), -LIMIT_DB, LIMIT_DB)
    highest = float(hertz_to_mel(torch.tensor(rate_hz / 2)))
    centres = np.linspace(0.0, highest, BANDS + 2)[1:-1][held]
    bins = hertz_to_mel(torch.linspace(0.0, rate_hz / 2, window // 2 + 1)).numpy()
    gains = 10.0 ** (np.interp(bins, centres, gains_db) / 20.0)
    return _filtered(samples, np.fft.fftshift(np.fft.irfft(gains)) * np.hanning(window + 1)[:-1])


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
    power = np.abs(np.fft.rfft(frames * np.hanning(window + 1)[:-1])) ** 2
    energy = power.sum(1)
    mean = power[energy >= _ACTIVE * energy.max()].mean(0)
    bands = mel_filterbank(rate_hz, window, BANDS).numpy() @ mean
    return 10.0 * np.log10(np.maximum(bands, _FLOOR * bands.max()))
