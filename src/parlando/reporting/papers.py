"""What papers print, beside what was measured here, and whether the two may be compared."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from parlando.evaluation.records import Report
from parlando.reporting import document
from parlando.reporting.document import MISSING, Cell, Table


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """One table of a paper."""

    table: Table
    """Systems by quantities, ours in the last row."""
    notes: tuple[str, ...]
    """In words, what may be compared and what differs."""


def paper_tables(report: Report) -> list[PaperTable]:
    """Set the papers' figures beside those of a report, one table for each of theirs."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for entry in report.papers:
        groups.setdefault(_caption(entry), []).append(entry)
    return [_paper_table(report, caption, entries) for caption, entries in groups.items()]


def _caption(entry: Mapping[str, Any]) -> str:
    return ", ".join(str(entry[key]) for key in ("paper", "table", "title") if entry.get(key))


def _paper_table(report: Report, caption: str, entries: list[Mapping[str, Any]]) -> PaperTable:
    keys = list(dict.fromkeys(str(entry["quantity"]) for entry in entries))
    systems = list(dict.fromkeys(str(entry["system"]) for entry in entries))
    found = {(str(each["system"]), str(each["quantity"])): each for each in entries}
    known = report.quantities()
    rows = [
        (
            Cell(text=system),
            *(Cell(text=_printed(found.get((system, key)))) for key in keys),
        )
        for system in systems
    ]
    ours = [Cell(text=f"{report.name} (measured here)")]
    for key in keys:
        figure = report.figure(key)
        if figure is None:
            ours.append(Cell(text=MISSING))
        else:
            value, interval = document.with_interval(
                figure.value, figure.low, figure.high, figure.quantity
            )
            ours.append(Cell(text=value, detail=interval, strong=True))
    heads = [document.head(known[key]) if key in known else document.words(key) for key in keys]
    return PaperTable(
        table=Table(caption=caption, columns=("System", *heads), rows=(*rows, tuple(ours))),
        notes=tuple(dict.fromkeys(_note(entry, known) for entry in entries)),
    )


def _printed(entry: Mapping[str, Any] | None) -> str:
    return MISSING if entry is None else f"{entry['value']:g}"


def _note(entry: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    title = known[entry["quantity"]].title if entry["quantity"] in known else entry["quantity"]
    if entry.get("comparable"):
        return f"{title}: may be compared, the protocol is the same."
    return f"{title}: not to be compared. {entry.get('difference', '')}".strip()
