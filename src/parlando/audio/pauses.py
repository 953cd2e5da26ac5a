"""How loud pauses are beside the speech."""

import numpy as np

from parlando.audio.waveform import ACTIVITY_SECONDS, voice_activity

_MARGIN_FRAMES = 5  # At both ends a pause stays as it is, for sounds that begin or end softly.
_FADE = np.hanning(9)[1:-1] / np.hanning(9).sum()


def quiet_pauses(samples: np.ndarray, like: np.ndarray, rate_hz: int) -> np.ndarray:
    """Lower pauses until they are as far below the speech as in another sound of the same timing.

    Pauses are where :func:`~parlando.audio.waveform.voice_activity` finds no speech in the other
    sound: 0.2 s or more, and both ends. They get one gain, which never raises them, and fades in
    and out within them.

    Args:
        samples: ``(S,)``, whose pauses may be too loud.
        like: ``(S,)``, which says where pauses are and how quiet.
        rate_hz: sampling rate of both.

    Returns:
        ``(S,)`` float32; as it is where there are no pauses or nothing else.
    """
    active = voice_activity(like, rate_hz)
    frame = round(ACTIVITY_SECONDS * rate_hz)
    speaks = np.repeat(active, frame)[: len(like)]
    if speaks.all() or not speaks.any():
        return samples.astype(np.float32)
    excess_db = _depth_db(like, speaks) - _depth_db(samples, speaks)
    if not excess_db > 0.0:
        return samples.astype(np.float32)
    near = np.convolve(active, np.ones(2 * _MARGIN_FRAMES + 1), "same") > 0.5
    reach = len(_FADE) // 2
    padded = np.pad(np.where(near, 0.0, -excess_db), reach, mode="edge")
    gain_db = np.convolve(padded, _FADE, "valid")
    centres = (np.arange(len(gain_db)) + 0.5) * frame
    by_sample = np.interp(np.arange(len(samples)), centres, gain_db)
    return (samples * 10.0 ** (by_sample / 20.0)).astype(np.float32)


def _depth_db(samples: np.ndarray, speaks: np.ndarray) -> float:
    """Measure by how much the pauses of ``(S,)`` are quieter than its speech."""
    power = np.square(samples, dtype=np.float64)
    return float(10.0 * np.log10((power[speaks].mean() + 1e-12) / (power[~speaks].mean() + 1e-12)))
