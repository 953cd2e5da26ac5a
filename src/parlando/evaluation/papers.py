"""What papers print, as data: to be set beside our figures, and to say where that would mislead.

Each file holds one table. A figure may be compared with ours only where texts, prompts and the
judge are the same: a word error rate by another recogniser is another quantity.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from parlando.contracts import ConfigError
from parlando.evaluation.measure import Quantity
from parlando.recipes import check_names, from_mapping

_PAPERS = Path(__file__).with_name("papers")

CODEC_TABLES = ("naturalspeech3-codecs",)
"""Tables for reports of codecs, which follow no protocol file."""

CONVERSION_TABLES = ("naturalspeech3-conversion",)
"""Tables for reports of conversions, which follow none either."""

OTHER_DATA = "not on the sentences of the paper"


@dataclass(frozen=True, kw_only=True)
class PaperQuantity:
    """How a paper measures a quantity of ours."""

    judge: str = ""
    """Model that the number depends on; empty: none."""
    match: str = ""
    """Regular expression that finds the same model in the name of our judge; empty: none is."""
    difference: str = ""
    """Why the figure is not to be compared, whatever the judge; empty: nothing is in the way."""


@dataclass(frozen=True, kw_only=True)
class PaperRow:
    """One line of a table."""

    system: str
    """What was measured, and under which condition."""
    values: Mapping[str, float]
    """Figures by the key of our quantity, in the unit in which it is shown: per cent for shares."""


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """A table of a paper."""

    paper: str
    """Paper, year and version."""
    table: str
    """Its number, or what it is of."""
    title: str = ""
    """Which part of it, where that is not clear."""
    protocol: str
    """On what it was measured."""
    quantities: Mapping[str, PaperQuantity]
    """What it measures, by the key of our quantity."""
    rows: tuple[PaperRow, ...]
    """Its lines."""

    def __post_init__(self) -> None:
        """Refuse a figure of which nothing is said."""
        for row in self.rows:
            check_names(row.values, self.quantities, f"{self.paper}, {self.table}: quantities")


@dataclass(frozen=True, kw_only=True)
class PaperFigure:
    """One number of a paper, beside ours."""

    paper: str
    table: str
    title: str
    system: str
    quantity: str
    """Key of our quantity."""
    value: float
    """In the unit in which the quantity is shown: per cent for shares."""
    protocol: str
    """On what the paper measured it."""
    judge: str
    """The paper's."""
    comparable: bool
    """Whether it may be compared with ours."""
    difference: str = field(default="")
    """Why not; empty where it may."""


def paper_names() -> list[str]:
    """List the tables."""
    return sorted(path.stem for path in _PAPERS.glob("*.toml"))


def read_table(name: str) -> PaperTable:
    """Read a table by its name.

    Raises:
        ConfigError: there is no such table, or the file is not one.
    """
    check_names([name], paper_names(), "evaluation/papers")
    path = _PAPERS / f"{name}.toml"
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path}: not valid TOML ({error})") from error
    return from_mapping(PaperTable, content, str(path))


def beside(
    tables: Iterable[str], quantities: Iterable[Quantity], *, same_data: bool
) -> list[PaperFigure]:
    """Give the figures of papers for the quantities of a report.

    Args:
        tables: names, such as the ``papers`` of a protocol.
        quantities: what the report measures; their judges decide what may be compared.
        same_data: whether the report rests on all sentences and prompts that the protocol asks for,
            see ``Selection.complete``.

    Returns:
        one figure for each number of the tables of which the report has the quantity.

    Raises:
        ConfigError: there is no such table.
    """
    ours = {quantity.key: quantity for quantity in quantities}
    return [
        _figure(table, row, ours[key], value, same_data)
        for table in map(read_table, tables)
        for row in table.rows
        for key, value in row.values.items()
        if key in ours
    ]


def _figure(
    table: PaperTable, row: PaperRow, ours: Quantity, value: float, same_data: bool
) -> PaperFigure:
    theirs = table.quantities[ours.key]
    reasons = [theirs.difference] if theirs.difference else []
    if theirs.judge and not _same_judge(theirs, ours):
        reasons.append(f"judged by {theirs.judge}, here by {ours.judge or 'none'}")
    if not same_data:
        reasons.append(OTHER_DATA)
    return PaperFigure(
        paper=table.paper,
        table=table.table,
        title=table.title,
        system=row.system,
        quantity=ours.key,
        value=value,
        protocol=table.protocol,
        judge=theirs.judge,
        comparable=not reasons,
        difference="; ".join(reasons),
    )


def _same_judge(theirs: PaperQuantity, ours: Quantity) -> bool:
    return bool(theirs.match and re.search(theirs.match, ours.judge, re.IGNORECASE))
