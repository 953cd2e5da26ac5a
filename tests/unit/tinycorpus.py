"""A corpus of sines with texts, as JSONL and prepared, for tests of data."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from speechlike import padded, speechlike

from parlando.data.annotate import AlignmentLimits, prepare_alignment, prepare_codes
from parlando.data.corpora import Recording, read_jsonl
from parlando.data.prepare import AudioOptions, prepare_audio
from parlando.data.store import PreparedCorpus

TEXTS = ("The quick brown fox jumps.", "A lazy dog sleeps here", "Seven ships sail away, slowly.")
LEVELS = 4


def write_corpus(folder: Path, count: int = 12, seed: int = 0) -> Path:
    """Write ``count`` utterances of 1.5 to 3 s: speakers a, b, c in turn, c without text."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(count):
        speech = speechlike(float(rng.uniform(1.3, 2.8)), pitch_hz=100.0 + 40.0 * (number % 3))
        soundfile.write(folder / f"{number}.wav", padded(speech, 0.4, 0.6), 16_000)
        rows.append(
            {
                "id": f"u{number}",
                "audio": f"{number}.wav",
                "source": "one" if number % 3 < 2 else "two",
                "speaker": "abc"[number % 3],
                "sex": ("female", "male", None)[number % 3],
                "native_english": True,
                "text": None if number % 3 == 2 else TEXTS[number // 3 % len(TEXTS)],
                "duration_seconds": 1.0 + len(speech) / 16_000,
                "split": "valid" if number in (3, 4, 5) else "train",
                "licence": "CC0-1.0",
            }
        )
    path = folder / "corpus.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def recordings(folder: Path, count: int = 12) -> list[Recording]:
    """Write the corpus and read its list."""
    return read_jsonl(write_corpus(folder, count))


def even_alignment(waveform: torch.Tensor, symbols: Sequence[str]) -> tuple[list[int], float]:
    """Give every symbol the same number of frames, the first ones more."""
    frames, count = len(waveform) // 200, len(symbols)
    return [frames // count + (place < frames % count) for place in range(count)], -1.5


def counting_codes(waveform: torch.Tensor) -> torch.Tensor:
    """Number the frames, differently on each level: ``(1, Q, T)``."""
    frames = torch.arange(waveform.shape[1] // 200)
    return torch.stack([(frames * (level + 1)) % 1000 for level in range(LEVELS)])[None]


def prepare(folder: Path, count: int = 12, shard_utterances: int = 5) -> PreparedCorpus:
    """Prepare the corpus with all stages."""
    out = folder / "prepared"
    options = AudioOptions(shard_utterances=shard_utterances)
    prepare_audio(recordings(folder / "corpus", count), out, options, processes=1)
    prepare_alignment(out, even_alignment, "even", AlignmentLimits())
    prepare_codes(out, counting_codes, "counting")
    return PreparedCorpus(out)
