"""The report as one page that needs no network: figures, plots, sounds and pictures."""

import datetime
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parlando.contracts import ConfigError
from parlando.evaluation.pretrained import require
from parlando.evaluation.records import Report
from parlando.reporting import document
from parlando.reporting.document import ratio, shown
from parlando.reporting.papers import paper_tables
from parlando.reporting.pictures import Point, histogram, line_plot
from parlando.reporting.players import EMBED_MEGABYTES, Sounds
from parlando.reporting.utterances import sorted_labels, utterance, worst_rows

PAGE_NAME = "index.html"
PICTURES = 24
"""Utterances with spectrograms, unless told otherwise: each adds some 100 kB and 0.1 s."""


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A small picture with its title."""

    title: str
    """What it shows."""
    picture: str
    """SVG."""


def write_page(
    report: Report, *, pictures: int = PICTURES, embed_megabytes: float = EMBED_MEGABYTES
) -> Path:
    """Write ``index.html`` into the report's folder.

    Args:
        report: what was measured.
        pictures: how many utterances, the worst of each quantity in turn, get spectrograms.
        embed_megabytes: up to here sounds are in the page; beyond, they are linked.

    Returns:
        the page.

    Raises:
        ConfigError: jinja2 is missing, or the page cannot be written.
    """
    sounds = Sounds(report.folder, embed_megabytes)
    quantities = document.per_utterance(report)
    chosen = worst_rows(report, pictures)
    utterances = [
        utterance(report, place, quantities, sounds, with_pictures=row.trial.id in chosen)
        for place, row in enumerate(report.rows)
    ]
    if quantities:
        order = {row: place for place, row in enumerate(document.worst_ids(report, quantities[0]))}
        utterances.sort(key=lambda each: order[each.id])
    conditions = _conditions(report)
    papers = paper_tables(report)
    distributions = _distributions(report)
    sections = {
        "figures": "Figures",
        "about": "What and how",
        **({"conditions": "By condition"} if conditions else {}),
        **({"papers": "Papers"} if papers else {}),
        **({"distributions": "Spread"} if distributions else {}),
        "utterances": "Utterances",
    }
    context = {
        "report": report,
        "version": report.version,
        "protocol_title": report.protocol.get("title", ""),
        "date": readable_date(report.created),
        "failed": len(report.failed),
        "sections": list(sections.items()),
        "headline": document.headline(report),
        "about": document.about(report),
        "protocol": document.protocol_fields(report.protocol),
        "conditions": conditions,
        "papers": papers,
        "distributions": distributions,
        "audio_note": audio_note(sounds, embed_megabytes),
        "sorts": [{"key": each.key, "title": each.title} for each in quantities],
        "labels": sorted_labels(utterances),
        "utterances": utterances,
        "sounds": sounds.sources(),
    }
    return write_template("report.html.j2", context, report.folder / PAGE_NAME)


def write_template(template: str, context: Mapping[str, Any], path: Path) -> Path:
    """Fill a template of this package in, and write it whole or not at all.

    Raises:
        ConfigError: jinja2 is missing, or the file cannot be written.
    """
    jinja2 = require("jinja2", "evaluate")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return write_text(path, environment.get_template(template).render(context))


def write_text(path: Path, text: str) -> Path:
    """Write a text file whole or not at all.

    Raises:
        ConfigError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be written ({error.strerror}); choose another folder"
        ) from error
    return path


def readable_date(created: str) -> str:
    """Write an ISO 8601 date as people do; what is none stays as it is."""
    try:
        date = datetime.datetime.fromisoformat(created)
    except ValueError:
        return created
    return f"{date.day} {date:%B %Y}"


def audio_note(sounds: Sounds, megabytes: float) -> str:
    """Say where the sounds are, if they are not in the page."""
    if sounds.embedded:
        return ""
    return (
        f"The sounds are more than {megabytes:g} MB: they are linked, not embedded. Keep the "
        "folder “audio” beside this page when you move it."
    )


def _conditions(report: Report) -> list[dict[str, Any]]:
    found = []
    told = document.told(report)
    for name, values in document.conditions(report).items():
        table = None if name in told else document.condition_table(report, name, values)
        plots = _condition_plots(report, name, values) if document.numeric(values) else []
        if table or plots:
            found.append({"title": document.words(name), "table": table, "plots": plots})
    return found


def _condition_plots(report: Report, name: str, values: list[str]) -> list[Plot]:
    plots = []
    for quantity in document.main_quantities(report):
        figures = [report.figure(quantity.key, {name: value}) for value in values]
        points = [
            Point(
                x=float(value),
                y=shown(figure.value, quantity),
                low=None if figure.low is None else shown(figure.low, quantity),
                high=None if figure.high is None else shown(figure.high, quantity),
            )
            for value, figure in zip(values, figures, strict=True)
            if figure is not None
        ]
        overall = report.figure(quantity.key)
        if len(points) < 2:
            continue
        levels = {
            key: None if level is None else shown(level, quantity)
            for key, level in (
                ("human", overall.human if overall else None),
                ("control", overall.control if overall else None),
            )
        }
        label = f"{document.head(quantity)} against {document.words(name)}"
        plots.append(Plot(title=label, picture=line_plot(points, label=label, **levels)))
    return plots


def _distributions(report: Report) -> list[Plot]:
    plots = []
    for quantity in document.per_utterance(report):
        values = [
            shown(value, quantity)
            for row in report.rows
            if (value := ratio(row, quantity.key)) is not None
        ]
        overall = report.figure(quantity.key)
        if len(values) < 3 or overall is None:
            continue
        title = document.head(quantity)
        picture = histogram(
            values, pooled=shown(overall.value, quantity), label=f"Spread of {title}"
        )
        plots.append(Plot(title=title, picture=picture))
    return plots
