"""Scores as a table: in Markdown, and in plain columns on a terminal."""

from collections.abc import Sequence

from parlando.evaluation.papers import PaperFigure
from parlando.reporting.listening.crossed import Mean
from parlando.reporting.listening.scoring import Scores

_TITLES = {"cmos": "CMOS", "smos": "SMOS", "mushra": "MUSHRA"}
FEW = 6
"""Below, 95 % intervals are seen to cover less: with three raters about 87 %."""
_DIGITS = {"cmos": 2, "smos": 2, "mushra": 1}


def table_of(scores: Scores) -> list[list[str]]:
    """Lay out scores as rows of cells, the first the heading."""
    title = _TITLES[scores.kind]
    against = f"CMOS against {scores.baseline}" if scores.kind == "cmos" else title
    paired = scores.kind != "cmos"
    heading = ["system", "raters", against, "95 % interval", "ratings"]
    heading += [f"difference to {scores.baseline}"] * paired
    digits, signed = _DIGITS[scores.kind], not paired
    table = [heading]
    for row in scores.rows:
        mean = row.mean
        number = f"{mean.value:+.{digits}f}" if signed else f"{mean.value:.{digits}f}"
        cells = [row.system, f"{row.raters} ({mean.raters})", number]
        cells += [_interval(mean, digits, signed=signed), str(mean.ratings)]
        if paired:
            cells.append(_difference(row.difference, digits))
        table.append(cells)
    return table


def notes_of(scores: Scores) -> list[str]:
    """Say who was counted, how far they agree, and how the intervals were made."""
    counted = scores.given["all"] - len(scores.excluded)
    notes = [f"{counted} of {scores.given['all']} raters counted"]
    if scores.excluded:
        who = "; ".join(f"{rater} {reason}" for rater, reason in scores.excluded.items())
        notes[0] += f", {len(scores.excluded)} excluded: {who}"
    if scores.incomplete:
        notes.append(f"{scores.incomplete} of those counted did not finish")
    alpha = "not defined" if scores.alpha is None else f"{scores.alpha:.2f}"
    notes.append(f"agreement of raters (Krippendorff's alpha, interval metric): {alpha}")
    notes.append("intervals: bootstrap over raters and utterances (Owen 2007); * excludes zero")
    if min(min(row.mean.raters, row.mean.items) for row in scores.rows) < FEW:
        notes.append(
            f"fewer than {FEW} raters or utterances: intervals are narrower than they should be"
        )
    return notes


def markdown_of(scores: Scores) -> str:
    """Write scores as a Markdown page."""
    heading, *rows = [[cell.replace("|", "\\|") for cell in cells] for cells in table_of(scores)]
    lines = [f"# {_TITLES[scores.kind]}, listening test {scores.test}", ""]
    lines += [_line(heading), _line(["---", "---", *["---:"] * (len(heading) - 2)])]
    lines += [*map(_line, rows), "", *(f"- {note}" for note in notes_of(scores))]
    for title, figures in _papers(scores).items():
        lines += ["", f"## {title}", "", _line(["system", _TITLES[scores.kind]])]
        lines += [_line(["---", "---:"])]
        lines += [_line([each.system, _printed(each)]) for each in figures]
        lines += ["", *(f"- {note}" for note in _paper_notes(figures))]
    return "\n".join(lines) + "\n"


def text_of(scores: Scores) -> str:
    """Write scores in columns for a terminal."""
    table = table_of(scores)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for cells in table:
        padded = [
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        lines.append("  ".join(padded).rstrip())
    lines += ["", *notes_of(scores)]
    for title, figures in _papers(scores).items():
        lines += ["", title]
        width = max(len(each.system) for each in figures)
        lines += [f"  {each.system.ljust(width)}  {_printed(each):>5}" for each in figures]
        lines += _paper_notes(figures)
    return "\n".join(lines)


def _papers(scores: Scores) -> dict[str, list[PaperFigure]]:
    """Group the papers' figures by their tables."""
    groups: dict[str, list[PaperFigure]] = {}
    for figure in scores.papers:
        groups.setdefault(f"{figure.paper}, {figure.table}", []).append(figure)
    return groups


def _printed(figure: PaperFigure) -> str:
    return f"{figure.value:{'+' if figure.quantity == 'cmos' else ''}.2f}"


def _paper_notes(figures: Sequence[PaperFigure]) -> list[str]:
    notes = [f"the paper: {figures[0].protocol}"]
    if figures[0].quantity == "cmos":
        notes.append("the paper's CMOS is against the system that has 0")
    return [*notes, f"not to be compared with ours: {figures[0].difference}"]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _interval(mean: Mean, digits: int, *, signed: bool) -> str:
    sign = "+" if signed else ""
    ends = f"{mean.low:{sign}.{digits}f} to {mean.high:{sign}.{digits}f}"
    return ends + (" *" if signed and mean.low * mean.high > 0 else "")


def _difference(mean: Mean | None, digits: int) -> str:
    if mean is None:
        return "–"
    return f"{mean.value:+.{digits}f} ({_interval(mean, digits, signed=True)})"
