"""Statistics of ratings where every rater hears the same sounds: rater by sound, with gaps."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A mean rating."""

    value: float
    """Mean over all ratings."""
    low: float
    """Lower end of the 95 % confidence interval."""
    high: float
    """Upper end."""
    ratings: int
    """Number of ratings."""
    raters: int
    """Number of raters who gave them."""
    items: int
    """Number of utterances they are of."""


def crossed_mean(scores: np.ndarray, *, resamples: int = 2000, seed: int = 0) -> Mean:
    """Compute the mean rating with an interval that generalises to other raters and utterances.

    Raters and utterances are drawn with replacement, each by itself, and a rating counts as often
    as its rater was drawn times its utterance. Drawing ratings alone would give intervals that are
    far too narrow, because the ratings of one rater, and those of one utterance, go together.

    Source: Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1(2), 2007, section 3;
    percentile intervals, which are slightly wide where ratings are mostly noise.

    Args:
        scores: ``(R, I)``, NaN where a rater gave none; at least one is given.
        resamples: bootstrap draws.
        seed: of the draws.

    Raises:
        ValueError: there is no rating.
    """
    given = np.isfinite(scores)
    if not given.any():
        raise ValueError("no ratings")
    # Empty rows and columns are no raters and no utterances of this mean.
    kept = np.ix_(given.any(1), given.any(0))
    given, values = given[kept], np.where(given, scores, 0.0)[kept]
    raters, items = given.shape
    generator = np.random.default_rng(seed)
    rater_draws = generator.multinomial(raters, np.full(raters, 1 / raters), size=resamples)
    item_draws = generator.multinomial(items, np.full(items, 1 / items), size=resamples)
    sums = np.einsum("br,ri,bi->b", rater_draws, values, item_draws, optimize=True)
    weights = np.einsum("br,ri,bi->b", rater_draws, given.astype(float), item_draws, optimize=True)
    means = sums[weights > 0] / weights[weights > 0]
    low, high = np.percentile(means, [2.5, 97.5])
    return Mean(
        value=float(values.sum() / given.sum()),
        low=float(low),
        high=float(high),
        ratings=int(given.sum()),
        raters=raters,
        items=items,
    )


def krippendorff_alpha(scores: np.ndarray) -> float | None:
    """Measure how far raters agree: 1 wholly, 0 as by chance, below 0 against each other.

    It allows for gaps and any number of raters, which an intraclass correlation does not.

    Source: Krippendorff, "Computing Krippendorff's alpha-reliability", 2011, with the interval
    metric: observed over expected mean squared difference of two ratings.

    Args:
        scores: ``(R, N)`` of N sounds, NaN where there is no rating.

    Returns:
        alpha; None where no sound has two ratings, or all ratings are equal.
    """
    columns = [column[np.isfinite(column)] for column in scores.T]
    units = [column for column in columns if len(column) >= 2]
    if not units:
        return None
    pooled = np.concatenate(units)
    # The mean squared difference of two of several values is twice their variance.
    expected = pooled.var(ddof=1)
    if expected == 0:
        return None
    observed = sum(len(unit) * unit.var(ddof=1) for unit in units) / len(pooled)
    return float(1.0 - observed / expected)
