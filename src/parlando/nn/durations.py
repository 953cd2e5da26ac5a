"""Real lengths to whole ones of a given sum."""

from torch import Tensor


def fit_durations(frames: Tensor, least: Tensor, total: int) -> Tensor:
    """Scale ``(N,)`` real lengths to whole ones that sum to ``total``, none below ``least``.

    Args:
        frames: ``(N,)`` lengths, some above 0.
        least: ``(N,)`` whole numbers that sum to ``total`` at the most.
        total: frames in all.

    Returns:
        ``(N,)`` int64.
    """
    frames, least = frames.double(), least.double()
    # The sum grows with the scale, but not in proportion to it: some lengths cannot shrink.
    low, high = 0.0, total / float(frames.max())
    for _ in range(60):
        middle = 0.5 * (low + high)
        fits = float((middle * frames).maximum(least).sum()) <= total
        low, high = (middle, high) if fits else (low, middle)
    scaled = (low * frames).maximum(least)
    whole = scaled.floor()
    # Largest remainders first: every length is rounded, and their sum stays exact.
    order = (scaled - whole).argsort(descending=True, stable=True)
    whole[order[: total - int(whole.sum())]] += 1.0
    return whole.long()
