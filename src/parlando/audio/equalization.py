"""Give speech the average spectrum of other speech.

How loud the bands of a voice are on average tells much of who speaks, and in which room; a fixed
filter changes it and nothing else.
"""

import numpy as np
import torch

from parlando.audio.spectrogram import hertz_to_mel, mel_filterbank, stft

BANDS = 32
"""Mel bands in which spectra are compared: wide enough that no harmonic of a pitch is matched."""
LIMIT_DB = 15.0
"""No band is raised or lowered by more."""

_WINDOW_SECONDS = 0.032
_ACTIVE = 1e-4  # Frames that are 40 dB below the loudest hold no speech.
_FLOOR = 1e-12


def match_spectrum(samples: np.ndarray, like: np.ndarray, rate_hz: int) -> np.ndarray:
    """Filter speech so that its bands are as loud, on average, as those of other speech.

    The filter is of linear phase, so nothing is delayed; its gain is 0 dB at the median band.

    Args:
        samples: ``(S,)`` to be filtered.
        like: ``(S',)`` speech to be like.
        rate_hz: sampling rate of both.

    Returns:
        ``(S,)`` float32. Digital silence, on either side, leaves the samples as they are.
    """
    window = 2 * round(_WINDOW_SECONDS * rate_hz / 2)
    own, other = (_band_levels_db(sound, rate_hz, window) for sound in (samples, like))
    if own is None or other is None:
        return np.asarray(samples, dtype=np.float32)
    gains_db = other - own
    gains_db = np.clip(gains_db - np.median(gains_db), -LIMIT_DB, LIMIT_DB)
    highest = float(hertz_to_mel(torch.tensor(rate_hz / 2)))
    centres = np.linspace(0.0, highest, BANDS + 2)[1:-1]
    bins = hertz_to_mel(torch.linspace(0.0, rate_hz / 2, window // 2 + 1)).numpy()
    gains = 10.0 ** (np.interp(bins, centres, gains_db) / 20.0)
    taps = np.fft.fftshift(np.fft.irfft(gains)) * np.hanning(window + 1)[:-1]
    filtered = np.convolve(samples, taps)
    return filtered[window // 2 :][: len(samples)].astype(np.float32)


def _band_levels_db(samples: np.ndarray, rate_hz: int, window: int) -> np.ndarray | None:
    """Return the mean power ``(BANDS,)`` over the frames that hold speech; None for silence."""
    hop = window // 4
    padded = np.pad(np.asarray(samples, dtype=np.float32), (0, -len(samples) % hop))
    power = stft(torch.from_numpy(padded)[None], window, hop).abs()[0].square()
    energy = power.sum(0)
    if not bool(energy.max() > 0.0):
        return None
    mean = power[:, energy > _ACTIVE * energy.max()].mean(1)
    bank = mel_filterbank(rate_hz, window, BANDS)
    return (10.0 * (bank @ mean).clamp_min(_FLOOR).log10()).numpy()
