"""What a report says, apart from how it looks: numbers as text, and tables of them."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parlando.evaluation.measure import Figure, Quantity, Row
from parlando.evaluation.records import Report
from parlando.reporting import pictures

VARIED = ("attributes", "levels", "noise_db", "prompt_seconds", "steps", "system", "variant")
"""Labels whose values are varied on purpose, besides the conditions that a protocol names: an
average over them means nothing."""
ARROWS = {"lower": "↓", "higher": "↑", None: ""}
MISSING = "–"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One field of a table."""

    text: str
    """What it says."""
    detail: str = ""
    """Said smaller: an interval, a judge."""
    strong: bool = False
    """The best of its row."""
    kind: str = ""
    """``good`` or ``bad``: coloured on the page."""
    picture: str = ""
    """SVG: drawn on the page; columns that hold nothing else are left out in Markdown."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under columns; the first column names the row."""

    caption: str
    """What it shows."""
    columns: tuple[str, ...]
    """Their heads."""
    rows: tuple[tuple[Cell, ...], ...]
    """As many cells each as there are columns."""


def shown(value: float, quantity: Quantity) -> float:
    """Give a value in the unit that is shown: shares become percent."""
    return 100.0 * value if quantity.unit == "%" else value


def numbers(values: Sequence[float], quantity: Quantity) -> list[str]:
    """Write values of one quantity with the same decimals, about three digits of the largest."""
    scaled = [shown(value, quantity) for value in values]
    largest = max((abs(value) for value in scaled), default=0.0)
    decimals = next((d for limit, d in ((100, 0), (10, 1), (1, 2)) if largest >= limit), 3)
    if quantity.unit == "%":
        decimals = min(decimals + 1, 2)
    # Adding zero turns what rounds to -0 into 0.
    rounded = [round(value, decimals) + 0.0 for value in scaled]
    return [f"{value:.{decimals}f}".replace("-", "−") for value in rounded]


def signed(values: Sequence[float], quantity: Quantity) -> list[str]:
    """Write differences of one quantity: like :func:`numbers`, with the sign of what is gained."""
    return [
        f"+{text}" if value > 0.0 and float(text) else text
        for value, text in zip(values, numbers(values, quantity), strict=True)
    ]


def number(value: float | None, quantity: Quantity) -> str:
    """Write one value, or a dash where there is none."""
    return MISSING if value is None else numbers([value], quantity)[0]


def aligned(values: Sequence[float | None], quantity: Quantity) -> list[str]:
    """Write values of one quantity that stand in one line, a dash where there is none."""
    texts = iter(numbers([value for value in values if value is not None], quantity))
    return [MISSING if value is None else next(texts) for value in values]


def with_interval(
    value: float, low: float | None, high: float | None, quantity: Quantity
) -> tuple[str, str]:
    """Write a value and its interval with the same decimals."""
    if low is None or high is None:
        return number(value, quantity), ""
    text, *ends = numbers([value, low, high], quantity)
    return text, f"[{ends[0]}, {ends[1]}]"


def head(quantity: Quantity) -> str:
    """Name a quantity with its unit and an arrow to where it is better."""
    unit = f" ({quantity.unit})" if quantity.unit else ""
    return f"{quantity.title}{unit} {ARROWS[quantity.better]}".strip()


def ratio(row: Row, key: str) -> float | None:
    """Give the value of one utterance, or None where it was not measured."""
    top, bottom = row.values.get(key, (0.0, 0.0))
    return top / bottom if bottom > 0 else None


def main_quantities(report: Report) -> list[Quantity]:
    """List the quantities of a report, without those that only are the levels of others.

    What tells of people or of a judge, such as a detector's false alarms, is named even where it
    stands beside another quantity as the level of people.
    """
    found = report.quantities()
    levels = {key for each in found.values() for key in (each.human, each.control)}
    return [each for key, each in found.items() if key not in levels or not each.compared]


def per_utterance(report: Report) -> list[Quantity]:
    """List the main quantities that single utterances have, those with a better end first."""
    keys = {key for row in report.rows for key in row.values}
    found = [quantity for quantity in main_quantities(report) if quantity.key in keys]
    return sorted(found, key=lambda quantity: quantity.better is None)


def worst_first(report: Report, quantity: Quantity) -> list[Row]:
    """Sort rows: those without sound, then the worst, then those that were not measured."""

    def place(row: Row) -> tuple[int, float]:
        value = ratio(row, quantity.key)
        if "output" in row.failures:
            return 0, 0.0
        if value is None:
            return 2, 0.0
        return 1, value if quantity.better == "higher" else -value

    return sorted(report.rows, key=place)


def worst_ids(report: Report, quantity: Quantity) -> list[str]:
    """Sort the ids of trials like :func:`worst_first`."""
    return [row.trial.id for row in worst_first(report, quantity)]


def varied(report: Report) -> list[str]:
    """List the labels whose values were varied on purpose, in the order of the report."""
    named = {str(each["label"]) for each in report.protocol.get("conditions", ())}
    found = conditions(report)
    return [
        name for name, values in found.items() if name in named.union(VARIED) and len(values) > 1
    ]


def crossed(report: Report) -> list[dict[str, str]]:
    """List the combinations of varied conditions that have figures, in the order of their values.

    Returns:
        nothing where fewer than two conditions were varied.
    """
    names = varied(report)
    values = [conditions(report)[name] for name in names]
    known = {frozenset(figure.condition.items()) for figure in report.figures}
    combinations = [dict(zip(names, chosen, strict=True)) for chosen in itertools.product(*values)]
    return [each for each in combinations if len(names) > 1 and frozenset(each.items()) in known]


def told(report: Report) -> list[str]:
    """Name the label whose table is the headline, if one label alone was varied."""
    return [] if crossed(report) else varied(report)[:1]


def headline(report: Report) -> Table:
    """Tabulate every figure over all samples, between people and chance.

    Where a protocol varies conditions on purpose it tabulates the figures by them: no number
    stands for all.
    """
    if crossed(report):
        return crossed_table(report)
    for name in told(report):
        return condition_table(report, name, conditions(report)[name])
    rows = []
    for quantity in main_quantities(report):
        figure = report.figure(quantity.key)
        if figure is None:
            continue
        value, low, high, human, control = aligned(
            (figure.value, figure.low, figure.high, figure.human, figure.control), quantity
        )
        interval = "" if figure.low is None or figure.high is None else f"[{low}, {high}]"
        bar = pictures.range_bar(
            figure.value, figure.low, figure.high, figure.human, figure.control, quantity.better
        )
        rows.append(
            (
                Cell(text=head(quantity), detail=quantity.judge),
                Cell(text=value, detail=interval, strong=True),
                Cell(text="", picture=bar),
                Cell(text=human),
                Cell(text=control),
                Cell(text=str(figure.count)),
            )
        )
    columns = (
        "Quantity",
        "Value [95 % interval]",
        "Chance to people",
        "People",
        "Chance",
        "Samples",
    )
    return Table(caption="All samples", columns=columns, rows=tuple(rows))


def conditions(report: Report) -> dict[str, list[str]]:
    """Collect the values of each label that has figures, numbers in their order."""
    found: dict[str, list[str]] = {}
    for figure in report.figures:
        if len(figure.condition) == 1:
            ((name, value),) = figure.condition.items()
            values = found.setdefault(name, [])
            if value not in values:
                values.append(value)
    return {name: _ordered(values) for name, values in found.items()}


def condition_table(report: Report, name: str, values: Sequence[str]) -> Table:
    """Tabulate quantities by the values of one label; the best of each line is strong.

    Where the label was varied on purpose, what people and chance reach over all samples stands
    beside: it does not depend on the condition, and the headline does not tell it.
    """
    names = varied(report)
    levels = name in names
    rows = []
    for quantity in main_quantities(report):
        figures = [report.figure(quantity.key, {name: value}) for value in values]
        having = [figure for figure in figures if figure is not None]
        if not having:
            continue
        best = _best(having, quantity)
        cells = [Cell(text=head(quantity), detail=quantity.judge if name in told(report) else "")]
        cells += [_figure_cell(figure, strong=figure is best) for figure in figures]
        if levels:
            overall = report.figure(quantity.key)
            ends = (overall.human, overall.control) if overall else (None, None)
            cells += [Cell(text=text) for text in aligned(ends, quantity)]
        rows.append(tuple(cells))
    columns = ("Quantity", *values, *(("People", "Chance") if levels else ()))
    caption = f"By {words(name)}"
    if levels and crossed(report):
        over = " and ".join(words(other) for other in names if other != name)
        caption += f", averaged over {over}"
    return Table(caption=caption, columns=columns, rows=tuple(rows))


def crossed_table(report: Report) -> Table:
    """Tabulate quantities by all combinations of the varied conditions, a block of lines each.

    The condition with the most values gives the columns, the others the lines of a block; the best
    of a block is strong.
    """
    combinations, values = crossed(report), conditions(report)
    names = varied(report)
    across = max(names, key=lambda name: len(values[name]))
    down = [name for name in names if name != across]
    lines = list(dict.fromkeys(tuple(each[name] for name in down) for each in combinations))
    rows: list[tuple[Cell, ...]] = []
    for quantity in main_quantities(report):
        block = [
            [
                report.figure(quantity.key, {**dict(zip(down, line, strict=True)), across: value})
                for value in values[across]
            ]
            for line in lines
        ]
        having = [figure for figures in block for figure in figures if figure is not None]
        best = _best(having, quantity) if having else None
        overall = report.figure(quantity.key)
        ends = (overall.human, overall.control) if overall else (None, None)
        levels = [Cell(text=text) for text in aligned(ends, quantity)]
        rows += [
            (
                Cell(text=head(quantity), detail="" if place else quantity.judge),
                Cell(text=", ".join(line)),
                *(_figure_cell(figure, strong=figure is best) for figure in figures),
                *levels,
            )
            for place, (line, figures) in enumerate(zip(lines, block, strict=True))
            if any(figures)
        ]
    columns = (
        "Quantity",
        ", ".join(map(words, down)).capitalize(),
        *(f"{words(across)} {value}" for value in values[across]),
        "People",
        "Chance",
    )
    caption = f"By {', '.join(map(words, down))} and {words(across)}"
    return Table(caption=caption, columns=columns, rows=tuple(rows))


def numeric(values: Iterable[str]) -> bool:
    """Tell whether all values of a label are numbers, so that figures can be plotted."""
    return all(_number(value) is not None for value in values)


def words(name: str) -> str:
    """Turn a name of code into words."""
    return name.replace("_", " ")


def about(report: Report) -> list[tuple[str, str]]:
    """Give what a reader of a number has to know: a name and a text each."""
    protocol = report.protocol
    lines = [("Judged", f"{report.name} ({report.kind}), Parlando {report.version}")]
    title, name = protocol.get("title", ""), protocol.get("name", "")
    lines.append(("Protocol", f"{title} ({name})" if title and title != name else name))
    lines += [
        (words(key).capitalize(), str(protocol[key]))
        for key in ("source", "description")
        if protocol.get(key)
    ]
    lines += [("Differs", str(each)) for each in protocol.get("differences", ())]
    lines.append(("Seed", f"{report.seed}, of trials, sampling and intervals"))
    lines += [(f"Judge: {name}", judge) for name, judge in report.judges.items()]
    lines.append(("Made", report.created))
    if report.cost:
        spent = ", ".join(f"{words(name)} {spent:.0f} s" for name, spent in report.cost.items())
        lines.append(("Processor time", spent))
    if report.command:
        lines.append(("Command", report.command))
    return lines


def protocol_fields(protocol: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Write out every field of a protocol that says something."""
    return [
        (words(name).capitalize(), _value_text(value))
        for name, value in protocol.items()
        if value not in (None, "", (), [], {})
    ]


def _value_text(value: Any) -> str:
    if isinstance(value, Mapping):
        filled = {key: each for key, each in value.items() if each not in (None, "", (), [], {})}
        return "; ".join(f"{words(key)}: {_value_text(each)}" for key, each in filled.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_value_text(each) for each in value)
    return str(value)


def _ordered(values: list[str]) -> list[str]:
    return sorted(values, key=float) if numeric(values) else values


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _figure_cell(figure: Figure | None, *, strong: bool) -> Cell:
    if figure is None:
        return Cell(text=MISSING)
    text, interval = with_interval(figure.value, figure.low, figure.high, figure.quantity)
    return Cell(text=text, detail=interval, strong=strong)


def _best(figures: Sequence[Figure], quantity: Quantity) -> Figure | None:
    if quantity.better is None or len({figure.value for figure in figures}) < 2:
        return None
    choose = min if quantity.better == "lower" else max
    return choose(figures, key=lambda figure: figure.value)
