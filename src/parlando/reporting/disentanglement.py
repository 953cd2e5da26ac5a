"""The table of the disentanglement probe, for people and for programs."""

import json
from dataclasses import asdict
from pathlib import Path

from parlando.evaluation.disentanglement import Probing
from parlando.evaluation.intervals import Interval
from parlando.reporting.document import Cell, Table
from parlando.reporting.markdown import table
from parlando.reporting.page import write_text

TITLE = "What the parts of codecs tell"
PROBE_NAME = "probe"
_QUESTIONS = {"phone": "%", "pitch": "", "speaker": "%"}
_NOTES = (
    "Readers of one shape, trained alike, on utterances that they were not scored on; 95 % "
    "intervals over utterances (how much another draw of weights would move them is not in them).",
    "Phones: frames named rightly, silence left out. F0: variance of log-F0 within an utterance "
    "that is explained; below 0 is worse than its mean. Speakers: utterances named rightly.",
    "Compare parts of the same number of bits.",
)


def probe_table(probing: Probing) -> Table:
    """Lay out the findings: a row for each part, and what knowing nothing would reach."""
    rows: list[tuple[Cell, ...]] = [
        (
            Cell(text=found.subject),
            Cell(text=found.part),
            Cell(text="" if found.bits is None else f"{found.bits:g}"),
            _cell(found.phone, "%"),
            _cell(found.pitch, ""),
            _cell(found.speaker, "%"),
        )
        for found in probing.findings
    ]
    for name, values in (("majority", probing.majority), ("uniform draw", probing.uniform)):
        texts = [
            _number(values[question], unit) if question in values else ""
            for question, unit in _QUESTIONS.items()
        ]
        rows.append(tuple(Cell(text=text) for text in ("chance", name, "", *texts)))
    columns = ("Codec", "Part", "Bits a frame", "Phones, %", "F0, R²", "Speakers, %")
    return Table(caption=TITLE, columns=columns, rows=tuple(rows))


def probe_markdown(probing: Probing) -> str:
    """Write the findings as Markdown."""
    counts = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in probing.counts.items())
    options = ", ".join(f"{key} {value}" for key, value in probing.options.items())
    notes = "\n".join(f"- {note}" for note in (*_NOTES, f"{counts}; readers: {options}."))
    return "\n\n".join((f"# {TITLE}", table(probe_table(probing)), notes)) + "\n"


def write_probing(probing: Probing, folder: Path, command: str) -> None:
    """Write ``probe.json`` and ``probe.md`` into a folder.

    They are no ``report.json``: no utterance was judged, so nothing can be set beside another
    report's rows.

    Args:
        probing: what was found.
        folder: is made where it is not there.
        command: that makes it again.

    Raises:
        ConfigError: they cannot be written.
    """
    content = {"schema_version": 1, "command": command, **asdict(probing)}
    text = json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    write_text(folder / f"{PROBE_NAME}.json", text)
    write_text(folder / f"{PROBE_NAME}.md", probe_markdown(probing))


def _cell(interval: Interval | None, unit: str) -> Cell:
    if interval is None:
        return Cell(text="")
    low, high = (_number(value, unit) for value in (interval.low, interval.high))
    return Cell(text=_number(interval.value, unit), detail=f"({low} to {high})")


def _number(value: float, unit: str) -> str:
    return f"{100.0 * value:.1f}" if unit == "%" else f"{value:.2f}"
