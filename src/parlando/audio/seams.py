"""Make pieces of speech that can follow one another: one level, no clicks, no clipping."""

import numpy as np

from parlando.audio.waveform import LOUDNESS_DB, active_level_db

LEVEL_TOLERANCE_DB = 0.5
"""Two neighbours, each this near to the common level, differ by 1 dB at most."""

_GAIN_LIMIT_DB = 20.0  # A piece that is all but silent is not speech to be raised.
_FADE_SECONDS = 0.005
_KNEE, _CEILING = 0.9, 0.99


def prepare_piece(samples: np.ndarray, rate_hz: int, level_db: float = LOUDNESS_DB) -> np.ndarray:
    """Bring a piece of speech near a common level, bend its peaks below 0.99 and fade its ends.

    The level is a constant, so that no piece needs to know another and the first can be heard
    before the second is made.

    Args:
        samples: ``(S,)``.
        rate_hz: sampling rate.
        level_db: RMS level over the frames that hold speech, in dB full scale.

    Returns:
        ``(S,)`` float32 in [-0.99, 0.99], zero at both ends; silence stays what it is.
    """
    distance = level_db - active_level_db(samples, rate_hz)
    gain_db = distance - np.clip(distance, -LEVEL_TOLERANCE_DB, LEVEL_TOLERANCE_DB)
    gain = 10.0 ** (min(gain_db, _GAIN_LIMIT_DB) / 20.0) if np.isfinite(gain_db) else 1.0
    piece = limit_peaks(np.asarray(samples, dtype=np.float32) * np.float32(gain))
    return fade(piece, rate_hz)


def fade(samples: np.ndarray, rate_hz: int, *, start: bool = True, end: bool = True) -> np.ndarray:
    """Let sound ``(S,)`` begin or end, or both, within five milliseconds of silence."""
    piece = np.array(samples, dtype=np.float32)
    count = min(round(_FADE_SECONDS * rate_hz), len(piece) // 2)
    slope = (0.5 - 0.5 * np.cos(np.pi * np.arange(count) / max(count, 1))).astype(np.float32)
    if start:
        piece[:count] *= slope
    if end:
        piece[len(piece) - count :] *= slope[::-1]
    return piece


def limit_peaks(samples: np.ndarray) -> np.ndarray:
    """Bend what lies above 0.9 to at most 0.99; scaling the whole would be a step in level."""
    room = _CEILING - _KNEE
    over = np.abs(samples) - _KNEE
    bent = np.copysign(_KNEE + room * np.tanh(np.maximum(over, 0.0) / room), samples)
    return np.where(over > 0.0, bent, samples).astype(np.float32)
