"""What can be said of contours and of values by phone: moments, correlation, contrast.

Moments are those of the population, kurtosis is the excess over the normal distribution. What is
not defined (the skewness of a constant, the pitch of a whisper) is None, absent or not a number.
"""

from collections.abc import Sequence

import numpy as np

from parlando.evaluation.alignment import HOP_SAMPLES, TimedPhones
from parlando.text.vocabulary import PRIMARY, VOWELS

MOMENTS = ("mean", "std", "skewness", "kurtosis")
"""Names of the four moments, in the order of NaturalSpeech 2's tables."""

_ENERGY_WINDOW = 2 * HOP_SAMPLES
_SILENCE_POWER = 1e-10
_FEWEST_POINTS = 3


def moments(values: np.ndarray, least_spread: float = 0.0) -> dict[str, float]:
    """Compute mean, standard deviation, skewness and excess kurtosis of the finite values.

    Args:
        values: of any shape.
        least_spread: standard deviation up to which values pass for one constant.

    Returns:
        nothing without values; neither skewness nor kurtosis for a constant.
    """
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return {}
    mean, std = float(finite.mean()), float(finite.std())
    found = {"mean": mean, "std": std}
    if not _is_constant(finite, least_spread):
        standard = (finite - mean) / std
        found["skewness"] = float(np.mean(standard**3))
        found["kurtosis"] = float(np.mean(standard**4)) - 3.0
    return found


def moment_differences(
    first: np.ndarray, second: np.ndarray, least_spread: float = 0.0
) -> dict[str, float]:
    """Compute the absolute difference of each moment that both have; see :func:`moments`."""
    mine, theirs = moments(first, least_spread), moments(second, least_spread)
    return {name: abs(mine[name] - theirs[name]) for name in mine if name in theirs}


def phone_values(
    values: np.ndarray, valid: np.ndarray, phones: TimedPhones, least_share: float = 0.0
) -> np.ndarray:
    """Average frames over each phone.

    Args:
        values: ``(T,)``.
        valid: ``(T,)`` bool, the frames that count.
        phones: N phones; frames past the last value do not count.
        least_share: share of a phone's frames that must count for it to have a value.

    Returns:
        ``(N,)``, not a number where no frame of a phone counts, or too few.
    """
    means = np.full(len(phones.symbols), np.nan)
    for place, (start, stop) in enumerate(frame_spans(phones)):
        counting = valid[start:stop]
        if counting.any() and counting.mean() >= least_share:
            means[place] = values[start:stop][counting].mean()
    return means


def correlation(first: np.ndarray, second: np.ndarray, least_spread: float = 0.0) -> float | None:
    """Compute Pearson's correlation over the places where both are finite.

    Args:
        first: ``(N,)``.
        second: ``(N,)``.
        least_spread: standard deviation up to which a side passes for constant: the noise of an
            estimator correlates with nothing.

    Returns:
        None for fewer than three places (two always correlate) or where one side is constant.
    """
    both = np.isfinite(first) & np.isfinite(second)
    a, b = np.asarray(first[both], dtype=np.float64), np.asarray(second[both], dtype=np.float64)
    if len(a) < _FEWEST_POINTS or _is_constant(a, least_spread) or _is_constant(b, least_spread):
        return None
    return float(np.clip(np.mean((a - a.mean()) * (b - b.mean())) / (a.std() * b.std()), -1, 1))


def root_mean_square_error(first: np.ndarray, second: np.ndarray) -> float | None:
    """Compute the RMSE over the places where both are finite; None where there is no such place."""
    both = np.isfinite(first) & np.isfinite(second)
    return float(np.sqrt(np.mean((first[both] - second[both]) ** 2))) if both.any() else None


def frame_energy_db(samples: np.ndarray) -> np.ndarray:
    """Measure the level of each frame: ``(S,)`` to ``(S // hop,)``, in dB of full scale.

    The window is 25 ms, centred on the frame, so that it always holds a period of a low voice.
    """
    count = len(samples) // HOP_SAMPLES
    margin = (_ENERGY_WINDOW - HOP_SAMPLES) // 2
    power = np.concatenate([[0.0], np.cumsum(np.pad(np.square(samples, dtype=np.float64), margin))])
    starts = np.arange(count) * HOP_SAMPLES
    mean = (power[starts + _ENERGY_WINDOW] - power[starts]) / _ENERGY_WINDOW
    levels: np.ndarray = 10.0 * np.log10(np.maximum(mean, _SILENCE_POWER))
    return levels


def warped_frames(first: TimedPhones, second: TimedPhones) -> tuple[np.ndarray, np.ndarray]:
    """Pair the frames of two readings of one text, linearly inside each phone.

    Phone boundaries and not a time warp of spectra: that one may bend time inside a phone until
    the spectra of two voices agree, and so hides just the differences of contour and voicing that
    are to be measured.

    Args:
        first: N phones, whose frames are looked up.
        second: the same N phones, whose frames each come once; pauses and phones that one side
            lacks are left out.

    Returns:
        frames of the first and of the second, each ``(K,)``.
    """
    mine, theirs = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for (a, b), (c, d) in zip(frame_spans(first), frame_spans(second), strict=True):
        if b > a and d > c:
            theirs.append(np.arange(c, d))
            mine.append(a + ((2 * np.arange(d - c) + 1) * (b - a)) // (2 * (d - c)))
    return np.concatenate(mine), np.concatenate(theirs)


def stress_contrast(values: np.ndarray, symbols: Sequence[str]) -> float | None:
    """Compute the mean over vowels of primary stress, less that over vowels without stress.

    Args:
        values: ``(N,)``, one for each phone.
        symbols: N phones; secondary stress counts on neither side.

    Returns:
        None where one of the two kinds has no finite value.
    """
    finite = np.isfinite(values)
    stressed = finite & np.array([symbol.startswith(PRIMARY) for symbol in symbols], dtype=bool)
    plain = finite & np.array([symbol in VOWELS for symbol in symbols], dtype=bool)
    if not stressed.any() or not plain.any():
        return None
    return float(values[stressed].mean() - values[plain].mean())


def frame_spans(phones: TimedPhones) -> list[tuple[int, int]]:
    """Round phones to whole frames: first and one past the last of each."""
    starts, stops = np.rint(phones.starts).astype(int), np.rint(phones.stops).astype(int)
    return list(zip(starts.tolist(), stops.tolist(), strict=True))


def _is_constant(values: np.ndarray, least_spread: float) -> bool:
    # Equal numbers may differ in the last bit from their own mean.
    rounding = 1e-12 * float(np.abs(values).max())
    return bool(values.std() <= max(least_spread, rounding))
