"""Two or more reports side by side: paired differences, their intervals, and what they prove."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from parlando.audio.waveform import load
from parlando.contracts import ConfigError
from parlando.evaluation.intervals import Interval, ratio_interval
from parlando.evaluation.measure import Quantity, Row, Trial, by_sentence, ratio_of
from parlando.evaluation.records import Report, audio_path

LEVEL = 0.05
"""A difference is significant where its p, after Holm's correction, is below this."""
RESAMPLES = 4000
"""Bootstrap draws: the smallest p is 2 / 4001, so that some fifty tests leave room for Holm."""

_CHUNK = 500
_ROUNDING = 1e-3


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far a report's figure lies from that of the first report, over the same utterances."""

    value: float
    """This report's figure minus the first one's."""
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end."""
    p: float
    """Two-sided, of the hypothesis that there is no difference."""
    p_holm: float = 1.0
    """The same after Holm's correction for all differences of the comparison."""

    @property
    def significant(self) -> bool:
        """Whether chance is refused as the explanation."""
        return self.p_holm < LEVEL


@dataclass(frozen=True, kw_only=True)
class Line:
    """One quantity in all reports."""

    quantity: Quantity
    """What is compared."""
    figures: tuple[Interval, ...]
    """Of each report, over the utterances that all of them measured."""
    differences: tuple[Difference, ...]
    """Of each report but the first, to the first."""
    human: float | None = None
    """What people reach over these utterances, where the first report says so."""

    def verdict(self, index: int) -> str:
        """Say in a word what the difference of ``reports[index + 1]`` shows."""
        difference = self.differences[index]
        if not difference.significant:
            return "not shown"
        if self.quantity.better is None:
            return "higher" if difference.value > 0 else "lower"
        gain = difference.value > 0
        return "better" if gain == (self.quantity.better == "higher") else "worse"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Reports on the same trials, side by side."""

    names: tuple[str, ...]
    """What each report is called; no two alike."""
    reports: tuple[Report, ...]
    """The first is what the others are compared with."""
    trials: tuple[str, ...]
    """Ids of the trials that all reports share, in order."""
    lines: tuple[Line, ...]
    """One for each quantity that all reports measured with the same judge."""
    remarks: tuple[str, ...]
    """What is not compared, and why."""
    seed: int
    """Of the bootstrap."""

    @property
    def tests(self) -> int:
        """Over how many differences Holm's correction goes."""
        return sum(len(line.differences) for line in self.lines)


def compare(reports: Sequence[Report], *, seed: int = 0) -> Comparison:
    """Compare reports with the first of them, by a paired bootstrap over common utterances.

    Source: Bisani and Ney, "Bootstrap estimates for confidence intervals in ASR performance
    evaluation", 2004, section 4: utterances are drawn once for both systems, so that a hard
    utterance is hard for both. Holm, 1979, keeps the chance of any false alarm among all
    differences below ``LEVEL``.

    Choice: reports are only ever compared over trials that ask for the same thing. Trials that one
    report lacks are left out and counted in a remark; unpaired figures would differ by the choice
    of sentences alone.

    Args:
        reports: two or more.
        seed: of the bootstrap; the order of reports does not change the draws.

    Raises:
        ConfigError: there are fewer than two reports, their kinds differ, or they share no trial.
    """
    if len(reports) < 2:
        raise ConfigError(f"got {len(reports)} report; a comparison needs two or more")
    kinds = sorted({report.kind for report in reports})
    if len(kinds) > 1:
        raise ConfigError(f"got reports on {' and '.join(kinds)}; compare reports of one kind")
    names = _names(reports)
    rows, remarks = _common_rows(reports, names)
    if not rows:
        raise ConfigError(
            f"{names[0]} and {names[1]} share no trial; run the same protocol with the same data "
            "and seed for every report"
        )
    measured = [{key for row in report.rows for key in row.values} for report in reports]
    lines = []
    # Titles by what is to be said of them: one remark for all that fared alike.
    told: dict[str, list[str]] = {}
    for quantity in _quantities(reports):
        having = [quantity.key in keys for keys in measured]
        if not quantity.compared:
            # Each test takes from all others' chance to be significant: these prove nothing.
            told.setdefault("not compared, not of the outputs themselves", []).append(
                quantity.title
            )
            continue
        reason = _refusal(quantity, reports, names, having)
        if reason or not any(having):
            why = reason or "figures of the whole list, which utterances cannot be paired for"
            told.setdefault(f"not compared, {why}", []).append(quantity.title)
            continue
        whole, left_out = _measured(quantity.key, rows)
        if left_out:
            why = f"{left_out} of {len(rows)} common trials left out, not measured in every report"
            told.setdefault(why, []).append(quantity.title)
        line = _line(quantity, whole, seed)
        lines += [] if line is None else [line]
    remarks += [f"{why}: {'; '.join(titles)}" for why, titles in told.items()]
    return Comparison(
        names=names,
        reports=tuple(reports),
        trials=tuple(rows),
        lines=_corrected(lines),
        remarks=tuple(remarks),
        seed=seed,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values so that the chance of any false alarm among them stays below the level.

    Source: Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    adjusted = [1.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def paired_difference(
    pairs: np.ndarray, *, seed: int = 0, resamples: int = RESAMPLES
) -> Difference:
    """Compute the difference of two ratios of sums, its interval and its p.

    Args:
        pairs: ``(n, 2, 2)``: utterance, system (first, second), numerator and denominator.
        seed: of the draws.
        resamples: bootstrap draws.

    Returns:
        the second ratio minus the first, with the percentile interval.
    """
    count = len(pairs)
    generator = np.random.default_rng(seed)
    drawn = []
    for start in range(0, resamples, _CHUNK):
        draws = generator.integers(0, count, size=(min(_CHUNK, resamples - start), count))
        sums = pairs[draws].sum(1)
        # A draw of weightless utterances only has no ratio; it is possible for tiny corpora.
        sums = sums[(sums[:, :, 1] > 0).all(1)]
        ratios = sums[:, :, 0] / sums[:, :, 1]
        drawn.append(ratios[:, 1] - ratios[:, 0])
    differences = np.concatenate(drawn)
    totals = pairs.sum(0)
    ratios = totals[:, 0] / totals[:, 1]
    below = 1 + np.count_nonzero(differences <= 0)
    above = 1 + np.count_nonzero(differences >= 0)
    # Of a few utterances the bootstrap is too sure: no exact test of the m pairs that differ
    # could go below 2^(1 - m).
    unlike = np.count_nonzero((pairs[:, 0] != pairs[:, 1]).any(1))
    floor = min(1.0, 2.0 ** (1 - unlike))
    low, high = np.percentile(differences, [2.5, 97.5])
    return Difference(
        value=float(ratios[1] - ratios[0]),
        low=float(low),
        high=float(high),
        p=float(max(floor, min(1.0, 2 * min(below, above) / (len(differences) + 1)))),
    )


def _line(quantity: Quantity, groups: Sequence[Sequence[Row]], seed: int) -> Line | None:
    """Compare a quantity over rows that all reports have; None where nothing has any weight."""
    values = [[row.values[quantity.key] for row in group] for group in groups]
    if not groups or not (np.asarray(values)[:, :, 1].sum(0) > 0).all():
        return None
    # One sentence under several conditions is one draw, as in the figures of a report.
    pairs = by_sentence([group[0].trial for group in groups], values)
    human = ratio_of([group[0] for group in groups], quantity.human)
    systems = range(pairs.shape[1])
    return Line(
        quantity=quantity,
        figures=tuple(
            replace(
                ratio_interval(pairs[:, index, 0].tolist(), pairs[:, index, 1].tolist(), seed=seed),
                count=len(groups),
            )
            for index in systems
        ),
        differences=tuple(
            paired_difference(pairs[:, [0, index]], seed=seed) for index in systems[1:]
        ),
        human=None if human is None else human.value,
    )


def _corrected(lines: Sequence[Line]) -> tuple[Line, ...]:
    adjusted = iter(holm([each.p for line in lines for each in line.differences]))
    return tuple(
        replace(
            line,
            differences=tuple(replace(each, p_holm=next(adjusted)) for each in line.differences),
        )
        for line in lines
    )


def _names(reports: Sequence[Report]) -> tuple[str, ...]:
    """Name reports by system, then by version, then by their place, until no two are alike."""
    for names in (
        [report.name for report in reports],
        [f"{report.name} {report.version}".strip() for report in reports],
    ):
        if len(set(names)) == len(names):
            return tuple(names)
    return tuple(f"{report.name} ({place})" for place, report in enumerate(reports, 1))


def _asked(trial: Trial) -> tuple[object, ...]:
    """What a trial asks for, apart from where the files lie on this machine."""
    prompt, reference = (
        tuple((part.path.name, part.start_seconds, part.seconds) for part in parts)
        for parts in (trial.prompt, (trial.reference,) if trial.reference else ())
    )
    return trial.text, prompt, trial.continues, trial.noise_db, reference


def _same_reference(reports: Sequence[Report], trial: Trial) -> bool:
    """Tell whether a trial has one recording in all reports that hold its sound.

    Recordings without a text have nothing else to be told by: folders like to call them all 001.
    """
    paths = [audio_path(report.folder, trial.id, "reference") for report in reports]
    there = [path for path in paths if path.is_file()]
    if trial.text is not None or len(there) < 2:
        return True
    first, *others = (load(path).samples for path in there)
    # The same recording may be rounded otherwise where another machine converted its rate.
    return all(
        len(other) == len(first) and np.allclose(other, first, atol=_ROUNDING) for other in others
    )


def _common_rows(
    reports: Sequence[Report], names: Sequence[str]
) -> tuple[dict[str, tuple[Row, ...]], list[str]]:
    """Pair the rows of trials that ask for the same thing in all reports."""
    found = [{row.trial.id: row for row in report.rows} for report in reports]
    everywhere = sorted(set(found[0]).intersection(*found[1:]))
    rows, unlike = {}, 0
    for name in everywhere:
        group = tuple(rows_of[name] for rows_of in found)
        alike = len({_asked(row.trial) for row in group}) == 1
        if alike and _same_reference(reports, group[0].trial):
            rows[name] = group
        else:
            unlike += 1
    remarks = []
    if unlike:
        remarks.append(
            f"trials with the same id but another text, prompt or recording, left out: {unlike}"
        )
    for name, rows_of in zip(names, found, strict=True):
        if len(rows_of) > len(everywhere):
            remarks.append(
                f"{len(rows_of) - len(everywhere)} of the {len(rows_of)} trials of {name} are not "
                "in every report: they are left out"
            )
    for name, report in zip(names, reports, strict=True):
        failed = sum(1 for row in report.rows if row.trial.id in rows and row.failures)
        if failed:
            remarks.append(
                f"{failed} of the {len(rows)} common trials failed wholly or in part in {name}"
            )
    return rows, remarks


def _quantities(reports: Sequence[Report]) -> list[Quantity]:
    """List quantities of samples in the order of the reports; human and chance levels follow."""
    found: dict[str, Quantity] = {}
    levels: set[str | None] = set()
    for report in reports:
        for figure in report.figures:
            found.setdefault(figure.quantity.key, figure.quantity)
            levels |= {figure.quantity.human, figure.quantity.control}
    return [quantity for key, quantity in found.items() if key not in levels]


def _refusal(
    quantity: Quantity, reports: Sequence[Report], names: Sequence[str], having: Sequence[bool]
) -> str:
    """Say why a quantity cannot stand in one column, or nothing where it can."""
    described: dict[tuple[str, str], list[str]] = {}
    for name, report in zip(names, reports, strict=True):
        for other in {figure.quantity for figure in report.figures}:
            if other.key == quantity.key:
                described.setdefault((other.judge, other.unit), []).append(name)
    if len(described) > 1:
        judges = "; ".join(
            f"{', '.join(who)}: {judge or 'no judge named'}{f' in {unit}' if unit else ''}"
            for (judge, unit), who in described.items()
        )
        return f"two models in one column ({judges})"
    if any(having) and not all(having):
        who = ", ".join(name for name, has in zip(names, having, strict=True) if has)
        return f"only measured in {who}"
    return ""


def _measured(key: str, rows: Mapping[str, Sequence[Row]]) -> tuple[list[Sequence[Row]], int]:
    """Give the rows of the trials that every report measured, and how many some could not."""
    whole = [group for group in rows.values() if all(key in row.values for row in group)]
    some = sum(any(key in row.values for row in group) for group in rows.values())
    return whole, some - len(whole)
