"""Means and ratios over utterances, with bootstrap confidence intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A corpus figure and how far it may move with the choice of utterances."""

    value: float
    """The figure over all utterances."""
    low: float
    """2.5th percentile of the bootstrap."""
    high: float
    """97.5th percentile of the bootstrap."""
    count: int
    """Number of utterances."""


def ratio_interval(
    numerators: Sequence[float],
    denominators: Sequence[float],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Compute the sum of numerators over the sum of denominators, with a 95 % interval.

    Source: Bisani and Ney, "Bootstrap estimates for confidence intervals in ASR performance
    evaluation", 2004: whole utterances are drawn, because the errors inside one depend on each
    other.

    Args:
        numerators: one figure per utterance, such as its number of errors.
        denominators: its weight, such as the number of reference words; of positive sum.
        resamples: bootstrap draws, at least 1.
        seed: of the draws.

    Returns:
        the ratio and its percentile interval.

    Raises:
        ValueError: if the sequences are empty, differ in length, or weigh nothing.
    """
    top = np.asarray(numerators, dtype=np.float64)
    bottom = np.asarray(denominators, dtype=np.float64)
    if top.shape != bottom.shape or top.size == 0 or bottom.sum() <= 0:
        raise ValueError(f"no ratio of {top.size} numerators and {bottom.size} denominators")
    draws = np.random.default_rng(seed).integers(0, top.size, size=(resamples, top.size))
    weights = bottom[draws].sum(1)
    # A draw of weightless utterances only has no ratio; it is possible for tiny corpora.
    ratios = top[draws].sum(1)[weights > 0] / weights[weights > 0]
    low, high = np.percentile(ratios, [2.5, 97.5])
    return Interval(
        value=float(top.sum() / bottom.sum()), low=float(low), high=float(high), count=top.size
    )
