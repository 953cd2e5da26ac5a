"""``parlando evaluate compare``: reports side by side, with what their differences prove."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from parlando.contracts import ConfigError
from parlando.evaluation.records import read_report

if TYPE_CHECKING:
    from parlando.reporting.compare import Line


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """Set reports side by side; the first is what the others are compared with."""

    reports: Annotated[
        tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="REPORT...")
    ] = ()
    """Folders of reports, two or more."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="DIR")] = None
    """Folder for a page with sounds side by side, comparison.md and comparison.json; without it
    the comparison is only printed."""
    pictures: Annotated[int, tyro.conf.arg(metavar="N")] = 12
    """Utterances whose spectrograms are on the page, those with the largest losses."""


def run_compare(options: CompareOptions) -> None:
    """Print the comparison, and write its page where that is asked for.

    Raises:
        ConfigError: there are fewer than two reports, or they share no utterance.
    """
    from rich.console import Console
    from rich.table import Table

    from parlando.reporting.compare import LEVEL, compare
    from parlando.reporting.comparison import write_comparison

    if len(options.reports) < 2:
        raise ConfigError("give the folders of two reports or more")
    comparison = compare([read_report(folder) for folder in options.reports])
    table = Table("measure", *comparison.names, "n")
    for line in comparison.lines:
        table.add_row(*_cells(line))
    console = Console()
    console.print(table)
    console.print(
        f"Values with 95 % intervals over common utterances; differences to "
        f"{comparison.names[0]} by a paired bootstrap, p after Holm's correction for "
        f"{comparison.tests} tests, * below {LEVEL:g}",
        markup=False,
        soft_wrap=True,
    )
    if options.out is not None:
        write_comparison(comparison, options.out, pictures=options.pictures)
    for remark in comparison.remarks:
        console.print(f"remark: {remark}", markup=False, soft_wrap=True)


def _cells(line: "Line") -> list[str]:
    scale = 100.0 if line.quantity.unit == "%" else 1.0
    unit = f" ({line.quantity.unit})" if line.quantity.unit else ""
    cells = [f"{line.quantity.title}{unit}"]
    for place, figure in enumerate(line.figures):
        cell = f"{scale * figure.value:.4g} ({scale * figure.low:.4g} to {scale * figure.high:.4g})"
        if place:
            difference = line.differences[place - 1]
            mark = "*" if difference.significant else ""
            cell += f"\n{scale * difference.value:+.4g} (p {difference.p_holm:.2g}{mark}): "
            cell += line.verdict(place - 1)
        cells.append(cell)
    return [*cells, str(line.figures[0].count)]
