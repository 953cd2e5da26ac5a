"""Reports on disk: a folder with ``report.json`` and the sounds that were judged.

Layout of the folder::

    report.json                    everything that was measured, and of what
    audio/ID.output.wav            what was judged; also ID.reference.wav and ID.prompt.wav, where
                                   the trial has them: 16 kHz, exactly what the measures heard
    index.html, report.md          pages that ``parlando.reporting`` draws from these
    rows/, cost/                   judgements and costs, kept for a run that goes on; not read here
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from parlando.contracts import ConfigError
from parlando.evaluation.measure import Figure, Quantity, Row
from parlando.recipes import from_mapping, to_mapping

REPORT_NAME = "report.json"
SCHEMA_VERSION = 1

Part = Literal["output", "reference", "prompt"]


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was measured of a system, a codec or a folder of recordings."""

    kind: Literal["speech", "codec", "conversion"]
    """What was judged."""
    name: str
    """The system, the codec or the folder of recordings."""
    version: str
    """Version of Parlando."""
    protocol: Mapping[str, Any]
    """The whole protocol; at least ``name`` and ``title``."""
    seed: int
    """Of the choice of trials, of sampling and of the bootstrap."""
    created: str
    """When the report was written, ISO 8601 with the time zone."""
    command: str = ""
    """The command that makes it again."""
    judges: Mapping[str, str] = field(default_factory=dict)
    """What the numbers of each measure depend on, by the name of the measure."""
    remarks: tuple[str, ...] = ()
    """What a reader has to know: what was left out and why, where the protocol is another."""
    rows: tuple[Row, ...]
    """Every trial, in the order of the list; those that failed too."""
    figures: tuple[Figure, ...]
    """Every number, with its interval."""
    papers: tuple[Mapping[str, Any], ...] = ()
    """What papers print for the same protocol."""
    cost: Mapping[str, float] = field(default_factory=dict)
    """Processor seconds that the evaluation itself took, models loaded included: ``output`` to make
    what is judged, and each measure by its name."""
    folder: Path
    """Where the report lies; not written in it, so that folders can be moved."""

    @property
    def failed(self) -> tuple[Row, ...]:
        """The rows in which anything went wrong."""
        return tuple(row for row in self.rows if row.failures)

    def figure(self, key: str, condition: Mapping[str, str] | None = None) -> Figure | None:
        """Find a figure by the key of its quantity; by default that over all samples."""
        wanted = dict(condition or {})
        found = (f for f in self.figures if f.quantity.key == key and dict(f.condition) == wanted)
        return next(found, None)

    def quantities(self) -> dict[str, Quantity]:
        """Return the quantities that have figures, by key, in their order."""
        return {figure.quantity.key: figure.quantity for figure in self.figures}


def audio_path(folder: Path, trial_id: str, part: Part = "output") -> Path:
    """Name the sound file of one part of a trial."""
    return folder / "audio" / f"{trial_id}.{part}.wav"


def write_report(report: Report) -> Path:
    """Write ``report.json``, whole or not at all, and return its path.

    Raises:
        ConfigError: the folder cannot be written to.
    """
    from parlando.data.store import replace_file

    content = {"schema_version": SCHEMA_VERSION, **to_mapping(report)}
    del content["folder"]
    text = json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    path = report.folder / REPORT_NAME
    replace_file(path, lambda partial: _write_text(partial, text))
    return path


def read_report(folder: str | Path) -> Report:
    """Read the report in a folder, strictly.

    Raises:
        ConfigError: there is none, or it is damaged or of another schema version.
    """
    folder = Path(folder)
    path = folder / REPORT_NAME
    if not path.is_file():
        raise ConfigError(f"{folder}: no {REPORT_NAME} here; make one with 'parlando evaluate'")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content.pop("schema_version", None)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ConfigError(f"{path}: is damaged ({error}); run its command again") from error
    if version != SCHEMA_VERSION:
        raise ConfigError(
            f"{path}: written with schema {version}, this version reads {SCHEMA_VERSION}; "
            "run its command again"
        )
    return from_mapping(Report, {**content, "folder": folder}, str(path))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
