"""Corpora as lists of recordings, from JSONL files and from the recipes of lhotse."""

import hashlib
import json
from collections.abc import Iterator, Mapping
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
    phones: tuple[str, ...] = ()
    """Symbols of the vocabulary that are said, where a recogniser heard them and no text is known;
    a text goes before them."""
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

    @property
    def transcribed(self) -> bool:
        """Whether it is known what is said."""
        return self.text is not None or bool(self.phones)


_FIELDS = frozenset(
    ("id", "audio", "text", "phones", "speaker", "source", "split", "sex", "duration_seconds")
)


def read_jsonl(path: str | Path) -> list[Recording]:
    """Read one JSON object per line: id, audio, speaker, and what else is known.

    Args:
        path: the file. ``audio`` is relative to its folder; ``text``, ``sex`` and
            ``duration_seconds`` may be null or absent, ``phones`` are symbols with spaces between,
            ``source`` defaults to the file's stem and ``split`` to ``train``; other fields are
            kept as extra ones.

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
                    phones=tuple(row.get("phones", "").split()),
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


RECIPES: Mapping[str, Mapping[str, Any]] = {
    "libritts": {},
    "librispeech": {"normalize_text": "lower"},
    "librilight": {},
    "vctk": {},
    "ljspeech": {},
    "mls": {},
}
"""Corpora that lhotse has a recipe for, with the arguments of the recipe."""

KINDS = ("jsonl", "lhotse", *RECIPES)


def read_corpus(kind: str, path: str | Path) -> list[Recording]:
    """Read a corpus.

    Args:
        kind: ``jsonl``; ``lhotse`` for a folder of lhotse manifests; or a name of ``RECIPES`` for
            the folder of that corpus as it is distributed.
        path: the file or folder.

    Raises:
        ConfigError: the kind is unknown, or the corpus is not there or not as expected.
    """
    if kind == "jsonl":
        return read_jsonl(path)
    if kind == "lhotse":
        return _unique(_read_manifests(Path(path)), path)
    if kind in RECIPES:
        return _unique(_run_recipe(kind, Path(path)), path)
    raise ConfigError(f"unknown corpus kind '{kind}'; use one of {', '.join(KINDS)}")


def _run_recipe(kind: str, folder: Path) -> Iterator[Recording]:
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; give that of the {kind} corpus")
    recipes = _lhotse("lhotse.recipes")
    try:
        manifests = getattr(recipes, f"prepare_{kind}")(folder, **RECIPES[kind])
    except (AssertionError, ValueError, KeyError, OSError) as error:
        raise ConfigError(f"{folder}: not a {kind} corpus ({error}); give its folder") from error
    for part, recordings, supervisions in _parts(manifests):
        yield from _from_lhotse(kind, part, recordings, supervisions)


def _read_manifests(folder: Path) -> Iterator[Recording]:
    """Read every pair ``*recordings*.jsonl.gz``, ``*supervisions*.jsonl.gz`` of a folder."""
    lhotse = _lhotse("lhotse")
    found = sorted(folder.glob("*recordings*.jsonl*"))
    if not found:
        raise ConfigError(f"{folder}: holds no *recordings*.jsonl.gz; give a folder of manifests")
    for path in found:
        other = path.with_name(path.name.replace("recordings", "supervisions"))
        if not other.exists():
            raise ConfigError(f"{path}: there is no {other.name} beside it; export both")
        source, _, part = path.name.split(".")[0].partition("recordings")
        yield from _from_lhotse(
            source.strip("_") or folder.name,
            part.strip("_"),
            lhotse.RecordingSet.from_file(path),
            lhotse.SupervisionSet.from_file(other),
        )


def _lhotse(module: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"lhotse cannot be imported ({error}); install the extra: pip install parlando[train]"
        ) from error


def _parts(manifests: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Walk the dictionaries that recipes return: by part, by language and part, or flat."""
    if "recordings" in manifests:
        yield name, manifests["recordings"], manifests["supervisions"]
        return
    for key, inner in manifests.items():
        # MLS speaks eight languages; the vocabulary here is that of English.
        if key not in _OTHER_LANGUAGES:
            yield from _parts(inner, key)


_OTHER_LANGUAGES = frozenset(
    ("dutch", "french", "german", "italian", "polish", "portuguese", "spanish")
)


def _from_lhotse(source: str, part: str, recordings: Any, supervisions: Any) -> Iterator[Recording]:
    by_id = {recording.id: recording for recording in recordings}
    for segment in supervisions:
        files = by_id[segment.recording_id].sources
        if len(files) != 1 or files[0].type != "file":
            raise ConfigError(f"{segment.recording_id}: audio is not one file; export it as files")
        text = (segment.text or "").strip()
        yield Recording(
            id=f"{source}/{segment.id}",
            audio_path=Path(files[0].source),
            text=(text.lower() if text.isupper() else text) or None,
            speaker=f"{source}/{segment.speaker or source}",
            source=source,
            split=_split(part, segment.id),
            sex={"f": "female", "m": "male"}.get((segment.gender or "?")[0].lower()),
            start_seconds=segment.start,
            duration_seconds=segment.duration,
        )


def _split(part: str, utterance: str) -> str:
    """Take the split from the part's name; where there are no parts, hold out one in fifty."""
    words = part.lower()
    if "dev" in words or "valid" in words:
        return "valid"
    if "test" in words:
        return "test"
    if part not in ("", "all"):
        return "train"
    held_out = hashlib.sha256(utterance.encode()).digest()[0] % 50 == 0
    return "valid" if held_out else "train"


def _unique(recordings: Iterator[Recording], path: str | Path) -> list[Recording]:
    result = {recording.id: recording for recording in recordings}
    if not result:
        raise ConfigError(f"{path}: holds no utterance; give the folder of a corpus")
    return list(result.values())
