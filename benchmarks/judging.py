"""The judges of the quality benchmark, and what all of its parts do with them."""

import hashlib
import json
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.material import RATE_HZ, whole_frames
from parlando.evaluation.intervals import Interval
from parlando.evaluation.recognizers import PocketsphinxRecognizer, Recognizer
from parlando.evaluation.slips import Scorer, ctc_scorer
from parlando.evaluation.speaker_encoders import ResemblyzerEncoder, SpeakerEncoder
from parlando.text.vocabulary import PHONE_CLASSES, is_phone

Row = dict[str, Any]
_Item = TypeVar("_Item")


@dataclass(frozen=True, kw_only=True)
class Judges:
    """Who judges; none of them has a part in training or in choosing samples."""

    words: Recognizer
    voices: SpeakerEncoder
    phones: Callable[[np.ndarray], list[str]]
    """``(S,)`` samples at 16 kHz to base phones."""
    evidence: Callable[[np.ndarray], Scorer]
    """``(S,)`` samples at 16 kHz to a scorer of phone sequences."""
    phones_name: str


def make_judges(aligner: Any, aligner_name: str) -> Judges:
    """Assemble the judges that the results name; ``aligner`` is a loaded phone recogniser."""
    import torch

    def frames(samples: np.ndarray) -> torch.Tensor:
        cut = whole_frames(np.ascontiguousarray(samples, dtype=np.float32), aligner.hop_samples)
        return torch.from_numpy(cut)

    def phones(samples: np.ndarray) -> list[str]:
        return [phone for phone in aligner.recognize(frames(samples)) if is_phone(phone)]

    @torch.inference_mode()
    def evidence(samples: np.ndarray) -> Scorer:
        mel = aligner.features(frames(samples)[None])
        encoded = aligner.encode(mel, torch.ones(mel.shape[:2], dtype=torch.bool))
        return ctc_scorer(aligner.phone_log_probabilities(encoded)[0].numpy(), PHONE_CLASSES)

    return Judges(
        words=PocketsphinxRecognizer(),
        voices=ResemblyzerEncoder(),
        phones=phones,
        evidence=evidence,
        phones_name=aligner_name,
    )


_worker: Recognizer | None = None


def _start_worker(recognizer: Recognizer) -> None:
    global _worker
    _worker = recognizer


def _transcribe(samples: np.ndarray) -> str:
    assert _worker is not None
    return _worker.transcribe(samples, RATE_HZ)


def transcribe_all(
    recognizer: Recognizer,
    sounds: Sequence[np.ndarray],
    *,
    processes: int = 1,
    memory: Path | None = None,
    title: str = "words",
) -> list[str]:
    """Transcribe sounds, each once: what is known from an earlier run is not heard again.

    Args:
        recognizer: judge of words; with several processes each has a copy.
        sounds: ``(S,)`` samples at 16 kHz.
        processes: how many work side by side.
        memory: JSON of earlier transcripts by content, read and extended.
        title: what the progress bar says.
    """
    known: dict[str, str] = {}
    if memory is not None and memory.exists():
        known = json.loads(memory.read_text(encoding="utf-8"))
    keys = [_fingerprint(recognizer.name, samples) for samples in sounds]
    new = {key: samples for key, samples in zip(keys, sounds, strict=True) if key not in known}
    known.update(zip(new, _each(recognizer, list(new.values()), processes, title), strict=True))
    if memory is not None and new:
        write_json(memory, known)
    return [known[key] for key in keys]


def _each(
    recognizer: Recognizer, sounds: Sequence[np.ndarray], processes: int, title: str
) -> Iterator[str]:
    if processes <= 1 or len(sounds) < 2:
        for samples in progress(sounds, title):
            yield recognizer.transcribe(samples, RATE_HZ)
        return
    # A forked copy of a process that has run torch may hang; a fresh one does not.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _start_worker, (recognizer,)) as pool:
        yield from progress(pool.map(_transcribe, sounds), title, total=len(sounds))


def _fingerprint(name: str, samples: np.ndarray) -> str:
    pcm = np.round(np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2")
    return hashlib.sha256(name.encode() + pcm.tobytes()).hexdigest()[:24]


def progress(items: Iterable[_Item], title: str, total: int | None = None) -> Iterator[_Item]:
    """Yield the items under a progress bar."""
    if total is None and isinstance(items, Sequence):
        total = len(items)
    columns = (TextColumn("{task.description:>18}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn()) as bar:
        yield from bar.track(items, total=total, description=title)


def figures(interval: Interval) -> dict[str, float]:
    """Round an interval for a report."""
    return {name: round(value, 4) for name, value in asdict(interval).items()}


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON beside its target, then rename: an interrupted run leaves the old file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write one JSON object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
