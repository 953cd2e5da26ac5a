"""Corpora as lists of recordings, from JSONL files and from the recipes of lhotse."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parlando.contracts import ConfigError


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One utterance of a corpus, before preparation."""

    id: str
    """Name, unique in its corpus."""
    audio_path: Path
    """Sound file."""
    text: str | None = None
    """What is said, as people write it; None where there is no transcript."""
    speaker: str
    """Name of the speaker."""
    source: str
    """Name of the corpus, by which batches weigh it."""
    split: str = "train"
    """``train``, ``valid`` (other sentences of training speakers) or ``test`` (other speakers)."""
    sex: str | None = None
    """``female``, ``male`` or unknown."""
    start_seconds: float = 0.0
    """Where the utterance begins in its file."""
    duration_seconds: float | None = None
    """Length as the corpus states it; with ``start_seconds`` it is what is read."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields, kept in the manifest."""


_FIELDS = frozenset(
    ("id", "audio", "text", "speaker", "source", "split", "sex", "duration_seconds")
)


def read_jsonl(path: str | Path) -> list[Recording]:
    """Read one JSON object per line: id, audio, speaker, and what else is known.

    Args:
        path: the file. ``audio`` is relative to its folder; ``text``, ``sex`` and
            ``duration_seconds`` may be null or absent, ``source`` defaults to the file's stem and
            ``split`` to ``train``; other fields are kept as extra ones.

    Raises:
        ConfigError: the file is missing, a line is no object or lacks a field, or an id repeats.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{path}: no such corpus file; give a JSONL of utterances")
    recordings: list[Recording] = []
    seen: set[str] = set()
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                recording = Recording(
                    id=row["id"],
                    audio_path=path.parent / row["audio"],
                    text=row.get("text"),
                    speaker=row["speaker"],
                    source=row.get("source", path.stem),
                    split=row.get("split", "train"),
                    sex=row.get("sex"),
                    duration_seconds=row.get("duration_seconds"),
                    extra={key: row[key] for key in row if key not in _FIELDS},
                )
            except (ValueError, TypeError, KeyError) as error:
                raise ConfigError(
                    f"{path}:{number}: not an utterance ({error}); a line is a JSON object with "
                    "at least id, audio and speaker"
                ) from error
            if recording.id in seen:
                raise ConfigError(f"{path}:{number}: id '{recording.id}' occurs twice; rename one")
            seen.add(recording.id)
            recordings.append(recording)
    if not recordings:
        raise ConfigError(f"{path}: holds no utterance; give a JSONL of utterances")
    return recordings
