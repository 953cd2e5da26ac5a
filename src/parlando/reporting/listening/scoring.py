"""From raters' results to scores: who is left out, what each system got, and how sure that is."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from parlando.contracts import ConfigError
from parlando.evaluation.measure import Quantity
from parlando.evaluation.papers import PaperFigure, beside
from parlando.reporting.listening.crossed import Mean, crossed_mean, krippendorff_alpha
from parlando.reporting.listening.design import ANCHOR, CLEAN, REFERENCE, Check, Kind
from parlando.reporting.listening.results import Answer, Key, Result

ALLOWED_FAILURES = 0.15
"""Share of checks that a rater may fail: ITU-R BS.1534-3, section 4.1.2."""
REFERENCE_MINIMUM = 80.0
"""What the hidden reference must get. The recommendation says 90, for experienced assessors."""
ALL = "all"


@dataclass(frozen=True, kw_only=True)
class Score:
    """What a system got from a group of raters."""

    system: str
    """Name; of MUSHRA also ``reference`` and ``anchor``."""
    raters: str
    """``all``, ``native`` or ``other``."""
    mean: Mean
    """Mean rating; of CMOS against the first system."""
    difference: Mean | None
    """Paired difference to the first system; None of the first, and of CMOS, where the mean is
    one."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a listening test found."""

    test: str
    """Name of the test."""
    kind: Kind
    """Way of rating."""
    baseline: str
    """The first system."""
    given: Mapping[str, int]
    """Number of raters by language, and ``all``."""
    excluded: Mapping[str, str]
    """Why, by rater."""
    incomplete: int
    """Raters among those counted who did not rate every screen."""
    alpha: float | None
    """Krippendorff's alpha of those counted; None where it is not defined."""
    rows: tuple[Score, ...]
    """Every system by every group of raters."""
    papers: tuple[PaperFigure, ...] = ()
    """What papers print for the same protocol and way of rating."""

    def to_json(self) -> dict[str, Any]:
        """Give everything in JSON's types."""
        return asdict(self)


Rating = tuple[str, str, float]
"""Utterance, system, score."""


def score(
    results: Sequence[Result],
    key: Key,
    *,
    allowed_failures: float = ALLOWED_FAILURES,
    resamples: int = 2000,
    seed: int = 0,
) -> Scores:
    """Exclude inattentive raters and average what the others said.

    Args:
        results: one of each rater, from :func:`~.results.read_results`.
        key: of their test.
        allowed_failures: share of attention checks that a rater may fail.
        resamples: bootstrap draws of each interval.
        seed: of the draws.

    Raises:
        ConfigError: no rater is left, those left rated nothing, or the key names a table of a
            paper that this version does not have.
    """
    reasons = {
        result.rater: _reason_to_exclude(result, key, allowed_failures) for result in results
    }
    valid = [result for result in results if not reasons[result.rater]]
    if not valid:
        example = next(iter(reasons.values()))
        raise ConfigError(
            f"no valid rater: all {len(results)} failed the attention checks (the first: "
            f"{example}); ask others, or raise --allowed-failures"
        )
    ratings = {result.rater: _ratings(result, key) for result in valid}
    systems = list(dict.fromkeys(system for _, system, _ in _joined(ratings.values())))
    if not systems:
        raise ConfigError("the raters rated attention checks only; ask them to finish the test")
    order = [*key.systems, REFERENCE, ANCHOR]
    systems.sort(key=order.index)
    groups = [ALL, *sorted({result.language for result in valid})]
    rows = []
    for group in groups if len(groups) > 2 else groups[:1]:
        members = [one.rater for one in valid if group in (ALL, one.language)]
        grid = _Grid([ratings[member] for member in members])
        for system in systems:
            row = _score(grid, system, group, key, resamples, seed)
            rows += [] if row is None else [row]
    given = {group: sum(one.language == group for one in results) for group in groups[1:]}
    return Scores(
        test=key.test,
        kind=key.kind,
        baseline=key.systems[0],
        given={ALL: len(results), **given},
        excluded={rater: reason for rater, reason in reasons.items() if reason},
        incomplete=sum(len(one.answers) < len(key.screens) for one in valid),
        alpha=krippendorff_alpha(_Grid(list(ratings.values())).whole()),
        rows=tuple(rows),
        papers=_beside(key, len(valid)),
    )


def _beside(key: Key, raters: int) -> tuple[PaperFigure, ...]:
    """Take what papers print; which of their sentences were heard is known of none."""
    quantity = Quantity(key=key.kind, title=key.kind.upper(), judge=f"{raters} raters")
    return tuple(beside(key.papers, [quantity], same_data=False))


class _Grid:
    """Ratings of some raters as arrays, NaN where there is none."""

    def __init__(self, ratings: Sequence[Sequence[Rating]]) -> None:
        self.items = sorted({item for item, _, _ in _joined(ratings)})
        self.systems = sorted({system for _, system, _ in _joined(ratings)})
        shape = (len(self.systems), len(ratings), len(self.items))
        self.scores = np.full(shape, np.nan)
        for rater, given in enumerate(ratings):
            for item, system, value in given:
                place = self.systems.index(system), rater, self.items.index(item)
                self.scores[place] = value

    def of(self, system: str) -> np.ndarray:
        """Give the ratings of a system: ``(R, I)``."""
        if system not in self.systems:
            return np.full(self.scores.shape[1:], np.nan)
        return self.scores[self.systems.index(system)]

    def whole(self) -> np.ndarray:
        """Give all ratings: ``(R, systems * I)``."""
        return self.scores.transpose(1, 0, 2).reshape(self.scores.shape[1], -1)


def _score(
    grid: _Grid, system: str, group: str, key: Key, resamples: int, seed: int
) -> Score | None:
    scores = grid.of(system)
    if not np.isfinite(scores).any():
        return None
    paired = scores - grid.of(key.systems[0])
    compared = key.kind != "cmos" and system != key.systems[0] and np.isfinite(paired).any()
    return Score(
        system=system,
        raters=group,
        mean=crossed_mean(scores, resamples=resamples, seed=seed),
        difference=crossed_mean(paired, resamples=resamples, seed=seed) if compared else None,
    )


def _joined(ratings: Iterable[Sequence[Rating]]) -> Iterable[Rating]:
    return (one for given in ratings for one in given)


def _ratings(result: Result, key: Key) -> list[Rating]:
    """Name the systems of a rater's answers; checks are no ratings."""
    ratings = []
    for answer in result.answers:
        screen = key.screens[answer.screen]
        labels = [screen.stimuli[name] for name in answer.stimuli]
        if screen.check is not None:
            continue
        if key.kind == "cmos":
            other = next(label for label in labels if label != key.systems[0])
            sign = 1.0 if labels[1] == other else -1.0
            ratings.append((screen.item, other, sign * answer.scores[0]))
        else:
            pairs = zip(labels, answer.scores, strict=True)
            ratings += [(screen.item, label, value) for label, value in pairs]
    return ratings


def _reason_to_exclude(result: Result, key: Key, allowed: float) -> str:
    """Say which checks a rater failed, where they are too many; empty for a valid rater."""
    passed = []
    for answer in result.answers:
        screen = key.screens[answer.screen]
        labels = [screen.stimuli[name] for name in answer.stimuli]
        if key.kind == "mushra":
            passed.append(answer.scores[labels.index(REFERENCE)] >= REFERENCE_MINIMUM)
        elif screen.check is not None:
            passed.append(_PASSED[screen.check.rule](screen.check, labels, answer))
    if not passed:
        return "reached no attention check"
    failed = passed.count(False)
    return f"failed {failed} of {len(passed)} checks" if failed > allowed * len(passed) else ""


def _prefers_clean(check: Check, labels: Sequence[str], answer: Answer) -> bool:
    return answer.scores[0] * (1 if labels[1] == CLEAN else -1) > 0


_PASSED: dict[str, Callable[[Check, Sequence[str], Answer], bool]] = {
    "same": lambda check, labels, answer: answer.scores[0] == 0,
    "worse": _prefers_clean,
    "count": lambda check, labels, answer: answer.scores[0] == check.count,
}
