"""What papers print, beside what was measured here, and whether the two may be compared."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parlando.evaluation.measure import Figure
from parlando.evaluation.records import Report
from parlando.reporting import document
from parlando.reporting.document import MISSING, Cell, Table

UNLIKE = "≠"
"""Marks a column whose figures are not to be compared with ours."""


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A table of a paper with our line in it."""

    table: Table
    """Systems by quantities, ours in the last rows."""
    notes: tuple[str, ...]
    """On what the paper measured, what may be compared, and what differs."""


def paper_tables(report: Report) -> list[Beside]:
    """Set a report's figures beside those of papers, one table for each of theirs.

    Args:
        report: its ``papers`` are ``parlando.evaluation.papers.PaperFigure`` as mappings.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for entry in report.papers:
        caption = ", ".join(str(entry[k]) for k in ("paper", "table", "title") if entry.get(k))
        groups.setdefault(caption, []).append(entry)
    return [_beside(report, caption, entries) for caption, entries in groups.items()]


def _beside(report: Report, caption: str, entries: Sequence[Mapping[str, Any]]) -> Beside:
    first_of = {str(entry["quantity"]): entry for entry in reversed(entries)}
    known = report.quantities()
    keys = [key for key in known if key in first_of]
    values = {(entry["system"], entry["quantity"]): entry["value"] for entry in entries}
    rows = [
        (
            Cell(text=system),
            *(Cell(text=_printed(values.get((system, key)))) for key in keys),
        )
        for system in dict.fromkeys(str(entry["system"]) for entry in entries)
    ]
    heads = [
        document.head(known[key]) + (f" {UNLIKE}" if not first_of[key]["comparable"] else "")
        for key in keys
    ]
    columns = ("System", *heads)
    return Beside(
        table=Table(caption=caption, columns=columns, rows=(*rows, *_ours(report, keys))),
        notes=(
            *dict.fromkeys(f"The paper: {entry['protocol']}." for entry in entries),
            *(_note(known[key].title, first_of[key]) for key in keys),
        ),
    )


def _ours(report: Report, keys: Sequence[str]) -> Iterator[tuple[Cell, ...]]:
    """Give our line over all samples, and one for each condition, of which papers have lines.

    Where several conditions were varied, each combination has a line and nothing is averaged.
    """
    conditions = document.crossed(report)
    if not conditions:
        conditions = [{}]
        for name, values in document.conditions(report).items():
            conditions += [{name: value} for value in values]
    for condition in conditions:
        figures = [report.figure(key, condition) for key in keys]
        if not any(figures):
            continue
        under = ", ".join(f"{document.words(name)} {value}" for name, value in condition.items())
        whose = under or ("all samples" if len(conditions) > 1 else "")
        name = f"{report.name}, {whose}" if whose else report.name
        yield (Cell(text=name, detail="measured here", strong=True), *map(_value, figures))


def _value(figure: Figure | None) -> Cell:
    if figure is None:
        return Cell(text=MISSING)
    value, interval = document.with_interval(figure.value, figure.low, figure.high, figure.quantity)
    return Cell(text=value, detail=interval, strong=True)


def _printed(value: float | None) -> str:
    """Write a figure as it is printed in the paper, which knows how exact it is."""
    return MISSING if value is None else f"{value:g}".replace("-", "−")


def _note(title: str, entry: Mapping[str, Any]) -> str:
    if entry["comparable"]:
        return f"{title}: may be compared; sentences, prompts and judge are the same."
    return f"{title} {UNLIKE}: not to be compared with ours: {entry['difference']}."
