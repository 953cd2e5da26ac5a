"""A comparison for people and programs: page, Markdown and JSON."""

import json
from pathlib import Path
from typing import Any

from parlando.contracts import AudioError
from parlando.evaluation.measure import Row
from parlando.evaluation.records import Part, audio_path
from parlando.recipes import to_mapping
from parlando.reporting import document, wording
from parlando.reporting.compare import LEVEL, RESAMPLES, Comparison, Difference, Line
from parlando.reporting.document import Cell, Table
from parlando.reporting.markdown import escape
from parlando.reporting.markdown import table as markdown_table
from parlando.reporting.page import PAGE_NAME, audio_note, write_template, write_text
from parlando.reporting.pictures import difference_bar
from parlando.reporting.players import EMBED_MEGABYTES, PART_TITLES, Player, Sounds
from parlando.reporting.utterances import (
    Picture,
    Utterance,
    heard,
    label_texts,
    picture,
    sorted_labels,
)

MARKDOWN_NAME = "comparison.md"
JSON_NAME = "comparison.json"
PICTURES = 12
"""Utterances with spectrograms, unless told otherwise; each has one for every report."""


def write_comparison(
    comparison: Comparison,
    folder: Path,
    *,
    pictures: int = PICTURES,
    embed_megabytes: float = EMBED_MEGABYTES,
) -> Path:
    """Write ``index.html``, ``comparison.md`` and ``comparison.json`` into a folder.

    Args:
        comparison: of two or more reports.
        folder: made where it is missing.
        pictures: how many utterances, those with the largest losses, get spectrograms.
        embed_megabytes: up to here sounds are in the page; beyond, they are linked.

    Returns:
        the page.

    Raises:
        ConfigError: jinja2 is missing, or the folder cannot be written to.
    """
    text = json.dumps(comparison_mapping(comparison), ensure_ascii=False, indent=1)
    write_text(folder / JSON_NAME, text + "\n")
    write_text(folder / MARKDOWN_NAME, comparison_markdown(comparison))
    sounds = Sounds(folder, embed_megabytes)
    losses = _losses(comparison)
    utterances = [
        _utterance(comparison, place, sounds, with_pictures=rank < pictures)
        for rank, place in enumerate(losses)
    ]
    context = {
        "version": comparison.reports[0].version,
        "names": comparison.names,
        "protocol_title": comparison.reports[0].protocol.get("title", ""),
        "remarks": comparison.remarks,
        "tables": comparison_tables(comparison),
        "notes": comparison_notes(comparison),
        "about": _about(comparison),
        "audio_note": audio_note(sounds, embed_megabytes),
        "sorts": [
            {"key": f"{line.quantity.key}:{index}", "title": _sort_title(comparison, line, index)}
            for line in comparison.lines
            for index in range(len(line.differences))
        ],
        "labels": sorted_labels(utterances),
        "utterances": utterances,
        "sounds": sounds.sources(),
    }
    return write_template("comparison.html.j2", context, folder / PAGE_NAME)


def comparison_tables(comparison: Comparison) -> list[Table]:
    """Tabulate all reports side by side, and then each beside the first."""
    tables = [_pair_table(comparison, index) for index in range(len(comparison.reports) - 1)]
    return tables if len(tables) == 1 else [_overview(comparison), *tables]


def comparison_notes(comparison: Comparison) -> list[str]:
    """Say how differences were tested."""
    return [
        f"Values and differences over the utterances that all reports measured, with 95 % "
        f"intervals from a paired bootstrap of {RESAMPLES} draws (Bisani and Ney, 2004), seed "
        f"{comparison.seed}. p is two-sided, after Holm's correction for the {comparison.tests} "
        f"differences given; “not shown” means p of {LEVEL:g} or more, not that there is none. "
        "Differences of rates are percentage points.",
    ]


def comparison_markdown(comparison: Comparison) -> str:
    """Write a comparison as GitHub Markdown."""
    parts = [f"# {escape(', '.join(comparison.names))}"]
    parts += [f"> {escape(remark)}" for remark in comparison.remarks]
    for each in comparison_tables(comparison):
        parts += [f"## {escape(each.caption)}", markdown_table(each)]
    parts += [escape(note) for note in comparison_notes(comparison)]
    parts += ["## What was compared", markdown_table(_about(comparison))]
    return "\n\n".join(parts) + "\n"


def comparison_mapping(comparison: Comparison) -> dict[str, Any]:
    """Give a comparison in JSON's types."""
    return {
        "names": list(comparison.names),
        "reports": [
            {
                "name": report.name,
                "version": report.version,
                "protocol": report.protocol.get("name", ""),
                "seed": report.seed,
                "created": report.created,
                "judges": dict(report.judges),
            }
            for report in comparison.reports
        ],
        "seed": comparison.seed,
        "resamples": RESAMPLES,
        "level": LEVEL,
        "tests": comparison.tests,
        "remarks": list(comparison.remarks),
        "trials": list(comparison.trials),
        "lines": [
            {
                **to_mapping(line),
                "verdicts": [line.verdict(index) for index in range(len(line.differences))],
            }
            for line in comparison.lines
        ],
    }


def _overview(comparison: Comparison) -> Table:
    rows = []
    for line in comparison.lines:
        cells = [Cell(text=document.head(line.quantity), detail=line.quantity.judge)]
        for figure in line.figures:
            text, interval = document.with_interval(
                figure.value, figure.low, figure.high, line.quantity
            )
            cells.append(Cell(text=text, detail=interval))
        rows.append((*cells, Cell(text=str(line.figures[0].count))))
    columns = ("Quantity", *comparison.names, "Utterances")
    return Table(caption="Side by side", columns=columns, rows=tuple(rows))


def _pair_table(comparison: Comparison, index: int) -> Table:
    first, second = comparison.names[0], comparison.names[index + 1]
    rows = []
    for line in comparison.lines:
        difference, verdict = line.differences[index], line.verdict(index)
        kind = {"better": "good", "worse": "bad"}.get(verdict, "")
        colour = {"better": "gain", "worse": "loss"}.get(verdict, "unclear")
        bar = difference_bar(difference.value, difference.low, difference.high, colour)
        values = document.aligned(
            [*(line.figures[at].value for at in (0, index + 1)), line.human], line.quantity
        )
        rows.append(
            (
                Cell(text=document.head(line.quantity), detail=line.quantity.judge),
                *(Cell(text=value) for value in values),
                _difference_cell(line, difference),
                Cell(text="", picture=bar),
                Cell(text=_p_text(difference.p_holm)),
                Cell(text=verdict, strong=difference.significant, kind=kind),
                Cell(text=str(line.figures[0].count)),
            )
        )
    columns = (
        "Quantity",
        first,
        second,
        "People",
        "Difference [95 % interval]",
        "About zero",
        "p (Holm)",
        "Shown to be",
        "Utterances",
    )
    return Table(caption=f"{second} beside {first}", columns=columns, rows=tuple(rows))


def _difference_cell(line: Line, difference: Difference) -> Cell:
    values = (difference.value, difference.low, difference.high)
    value, low, high = document.signed(values, line.quantity)
    return Cell(text=value, detail=f"[{low}, {high}]", strong=difference.significant)


def _p_text(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _about(comparison: Comparison) -> Table:
    rows = tuple(
        (
            Cell(text=name),
            Cell(text=str(report.protocol.get("name", ""))),
            Cell(text=str(len(report.rows))),
            Cell(text=str(len(report.failed))),
            Cell(text=str(report.seed)),
            Cell(text=report.version),
            Cell(text=report.created),
        )
        for name, report in zip(comparison.names, comparison.reports, strict=True)
    )
    columns = ("Report", "Protocol", "Utterances", "With a failure", "Seed", "Parlando", "Made")
    return Table(caption="Reports", columns=columns, rows=rows)


def _rows(comparison: Comparison, trial_id: str) -> tuple[Row, ...]:
    return tuple(
        next(row for row in report.rows if row.trial.id == trial_id)
        for report in comparison.reports
    )


def _losses(comparison: Comparison) -> list[int]:
    """Order the common trials as the page first shows them: by the loss on the first line."""
    places = range(len(comparison.trials))
    if not comparison.lines:
        return list(places)
    line = comparison.lines[0]

    def loss(place: int) -> float:
        rows = _rows(comparison, comparison.trials[place])
        change = _change(line, rows, 0)
        return -float("inf") if change is None else _badness(line, change)

    return sorted(places, key=loss, reverse=True)


def _change(line: Line, rows: tuple[Row, ...], index: int) -> float | None:
    first = document.ratio(rows[0], line.quantity.key)
    second = document.ratio(rows[index + 1], line.quantity.key)
    return None if first is None or second is None else second - first


def _badness(line: Line, change: float) -> float:
    return -change if line.quantity.better == "higher" else change


def _sort_title(comparison: Comparison, line: Line, index: int) -> str:
    second = f" of {comparison.names[index + 1]}" if len(comparison.names) > 2 else ""
    return f"{line.quantity.title}{second}: change"


def _utterance(
    comparison: Comparison, place: int, sounds: Sounds, *, with_pictures: bool
) -> Utterance:
    trial_id = comparison.trials[place]
    rows = _rows(comparison, trial_id)
    failures = [
        (f"{name}, {part}", why)
        for name, row in zip(comparison.names, rows, strict=True)
        for part, why in row.failures.items()
    ]
    players: list[Player] = []
    drawn: list[Picture] = []
    try:
        outputs = _outputs(comparison, trial_id, sounds)
        players = [*outputs.values(), *_shared_players(comparison, trial_id, sounds)]
        if with_pictures:
            drawn = [
                picture(comparison.reports[at], rows[at], player, comparison.names[at])
                for at, player in outputs.items()
            ]
    except AudioError as error:
        failures.append(("sound", str(error)))
    transcripts = [
        heard(each, of=name)
        for name, row in zip(comparison.names, rows, strict=True)
        for each in wording.transcripts(row.notes)
        if each.whose == "output" and each.judge != "phones"
    ]
    trial = rows[0].trial
    return Utterance(
        id=trial_id,
        text=trial.text or "",
        labels=label_texts(rows[0]),
        players=tuple(players),
        table=_value_table(comparison, rows),
        facts={
            "place": place,
            "silent": any("output" in row.failures for row in rows),
            "failed": bool(failures),
            "labels": label_texts(rows[0]),
            "words": " ".join([trial_id, trial.text or "", trial.speaker]),
            "values": _sortable(comparison, rows),
        },
        failures=tuple(failures),
        heard=tuple(transcripts),
        pictures=tuple(drawn),
    )


def _sortable(comparison: Comparison, rows: tuple[Row, ...]) -> dict[str, tuple[float, str]]:
    found = {}
    for line in comparison.lines:
        for index in range(len(line.differences)):
            change = _change(line, rows, index)
            if change is not None:
                text = document.signed([change], line.quantity)[0]
                unit = {"": "", "%": " points"}.get(line.quantity.unit, f" {line.quantity.unit}")
                found[f"{line.quantity.key}:{index}"] = (_badness(line, change), text + unit)
    return found


def _outputs(comparison: Comparison, trial_id: str, sounds: Sounds) -> dict[int, Player]:
    found = {}
    for at, (name, report) in enumerate(zip(comparison.names, comparison.reports, strict=True)):
        player = sounds.add(audio_path(report.folder, trial_id), "output", name)
        if player is not None:
            found[at] = player
    return found


def _shared_players(comparison: Comparison, trial_id: str, sounds: Sounds) -> list[Player]:
    """Take the recording and the prompt from the first report that has them."""
    found = []
    parts: tuple[Part, ...] = ("reference", "prompt")
    for part in parts:
        for report in comparison.reports:
            path = audio_path(report.folder, trial_id, part)
            player = sounds.add(path, part, PART_TITLES[part])
            if player is not None:
                found.append(player)
                break
    return found


def _value_table(comparison: Comparison, rows: tuple[Row, ...]) -> Table | None:
    lines = [
        (
            Cell(text=document.head(line.quantity)),
            *(
                Cell(text=text)
                for text in document.aligned(
                    [document.ratio(row, line.quantity.key) for row in rows], line.quantity
                )
            ),
        )
        for line in comparison.lines
    ]
    columns = ("Quantity", *comparison.names)
    return Table(caption="Values", columns=columns, rows=tuple(lines)) if lines else None
