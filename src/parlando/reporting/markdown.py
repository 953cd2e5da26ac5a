"""The report as GitHub Markdown: the same tables as on the page."""

import re
from collections.abc import Iterable
from pathlib import Path

from parlando.evaluation.records import Report
from parlando.reporting import document
from parlando.reporting.document import Cell, Table
from parlando.reporting.page import write_text
from parlando.reporting.papers import paper_tables

MARKDOWN_NAME = "report.md"
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")
_LISTED = 20
_TOLD = ("name", "title", "source", "description", "differences")


def write_markdown(report: Report) -> Path:
    """Write ``report.md`` into the report's folder and return its path.

    Raises:
        ConfigError: it cannot be written.
    """
    return write_text(report.folder / MARKDOWN_NAME, markdown(report))


def markdown(report: Report) -> str:
    """Write a report as Markdown."""
    title = report.protocol.get("title", report.protocol.get("name", ""))
    parts = [f"# {escape(report.name)}: {escape(str(title))}"]
    parts += [f"> {escape(remark)}" for remark in report.remarks]
    parts.append("\n".join(f"- {escape(name)}: {escape(text)}" for name, text in _about(report)))
    parts += ["## Figures", table(document.headline(report))]
    for name, values in document.conditions(report).items():
        if name in document.told(report):
            continue
        content = document.condition_table(report, name, values)
        parts += [f"## {escape(content.caption)}", table(content)]
    papers = paper_tables(report)
    if papers:
        parts.append("## Beside the papers")
    for paper in papers:
        parts += [f"### {escape(paper.table.caption)}", table(paper.table)]
        parts += [escape(note) for note in paper.notes]
    parts += _worst(report)
    parts += _failures(report)
    rules = {key: each for key, each in report.protocol.items() if key not in _TOLD}
    if fields := document.protocol_fields(rules):
        parts.append("## Rules of the protocol")
        parts.append("\n".join(f"- {escape(name)}: {escape(text)}" for name, text in fields))
    return "\n\n".join(parts) + "\n"


def table(content: Table) -> str:
    """Write a table; columns that only hold pictures are left out."""
    kept = [
        place
        for place in range(len(content.columns))
        if not content.rows or any(row[place].text for row in content.rows)
    ]
    heads = [escape(content.columns[place]) for place in kept]
    lines = [_line(heads), _line([":--", *["--:"] * (len(kept) - 1)])]
    lines += [_line([_cell(row[place]) for place in kept]) for row in content.rows]
    return "\n".join(lines)


def escape(text: str) -> str:
    """Keep signs from being read as Markdown or HTML, and a text on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _about(report: Report) -> Iterable[tuple[str, str]]:
    yield from document.about(report)
    failed = len(report.failed)
    yield (
        "Utterances",
        f"{len(report.rows)}, {failed} with a failure" if failed else str(len(report.rows)),
    )


def _worst(report: Report) -> list[str]:
    """List the worst utterances of the first quantity, so that a reader knows where to listen."""
    quantities = [each for each in document.per_utterance(report) if each.better is not None]
    if not quantities:
        return []
    quantity = quantities[0]
    rows = [
        (
            Cell(text=row.trial.id),
            Cell(text=document.number(value, quantity)),
            Cell(text=row.trial.text or ""),
        )
        for row in document.worst_first(report, quantity)
        if (value := document.ratio(row, quantity.key)) is not None
    ]
    caption = f"Worst utterances: {quantity.title}"
    columns = ("Utterance", document.head(quantity), "Text")
    return [
        f"## {escape(caption)}",
        table(Table(caption=caption, columns=columns, rows=tuple(rows[:_LISTED]))),
    ]


def _failures(report: Report) -> list[str]:
    if not report.failed:
        return []
    lines = [
        f"- {escape(row.trial.id)}, {escape(name)}: {escape(why)}"
        for row in report.failed
        for name, why in row.failures.items()
    ]
    return ["## Failures", "\n".join(lines)]


def _cell(cell: Cell) -> str:
    text = f"**{escape(cell.text)}**" if cell.strong and cell.text else escape(cell.text)
    return f"{text} {escape(cell.detail)}" if cell.detail else text


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
