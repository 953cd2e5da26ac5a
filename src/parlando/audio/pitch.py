"""Fundamental frequency, one value per codec frame."""

import functools
import warnings
from types import ModuleType

import numpy as np

LOWEST_HZ = 60.0
HIGHEST_HZ = 600.0


def f0(
    samples: np.ndarray,
    rate_hz: int,
    hop_samples: int,
    lowest_hz: float = LOWEST_HZ,
    highest_hz: float = HIGHEST_HZ,
) -> tuple[np.ndarray, np.ndarray]:
    """Estimate the fundamental frequency with exactly one value per hop.

    Source: Morise et al. 2009 (DIO) with the StoneMask refinement of WORLD, through pyworld; ten
    times quicker than Harvest, and near it on clean speech.

    Args:
        samples: ``(S,)`` in [-1, 1].
        rate_hz: sampling rate.
        hop_samples: frame step; frame ``t`` is centred on sample ``(t + 0.5) * hop_samples``.
        lowest_hz: lower end of the search.
        highest_hz: upper end of the search.

    Returns:
        ``(T,)`` float32 in hertz, zero where unvoiced, and ``(T,)`` bool, True where voiced;
        ``T = S // hop_samples``.
    """
    pyworld = _pyworld()
    count = len(samples) // hop_samples
    hertz = np.zeros(count, dtype=np.float32)
    # pyworld centres frame t on t * hop: half a hop less at the front puts it where ours is.
    shifted = np.ascontiguousarray(samples[hop_samples // 2 :], dtype=np.float64)
    if count and np.abs(shifted).max() > 0.0:
        period_ms = 1000.0 * hop_samples / rate_hz
        coarse, times = pyworld.dio(
            shifted, rate_hz, f0_floor=lowest_hz, f0_ceil=highest_hz, frame_period=period_ms
        )
        refined = pyworld.stonemask(shifted, coarse, times, rate_hz)[:count]
        valid = np.isfinite(refined) & (refined >= lowest_hz) & (refined <= highest_hz)
        hertz[: len(refined)] = np.where(valid, refined, 0.0)
    return hertz, hertz > 0.0


@functools.cache
def _pyworld() -> ModuleType:
    with warnings.catch_warnings():
        # Its __init__ asks pkg_resources for its own version, which warns on every start.
        warnings.simplefilter("ignore")
        import pyworld
    return pyworld
