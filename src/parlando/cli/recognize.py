"""``parlando recognize``: the phones of recordings, without their text."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro

from parlando.contracts import AudioError, ConfigError
from parlando.text.vocabulary import PUNCTUATION

if TYPE_CHECKING:
    from parlando.aligner.model import Aligner

LONGEST_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """Print the phones of recordings as the phone recogniser hears them, a line for each; or
    give phones to the utterances of a corpus that lack a text, so that they can be trained on."""

    audio: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="AUDIO...")] = ()
    """Sound files of up to two minutes of one person speaking."""
    corpus: Path | None = None
    """A JSONL of utterances, in place of sound files."""
    out: Path | None = None
    """Where the corpus with phones goes; beside ``--corpus``, for paths are relative to it."""
    aligner: str = "aligner-small"
    """Name of a released aligner, or the folder of a trained one."""
    device: str = "cpu"
    """``cpu``, ``cuda``, ``cuda:1``, ``mps`` or ``auto``."""


def run(options: Options) -> None:
    """Recognise and print.

    Raises:
        ParlandoError: a recording or the aligner is not usable.
    """
    from parlando.registry import load_aligner

    if bool(options.audio) == (options.corpus is not None):
        raise AudioError("give the paths of sound files, or a --corpus")
    if (options.corpus is None) != (options.out is None):
        raise ConfigError("--corpus and --out belong together; give both or neither")
    aligner = load_aligner(options.aligner, options.device)
    if options.corpus is not None and options.out is not None:
        _transcribe(options.corpus, options.out, aligner)
    for path in options.audio:
        phones = " ".join(_recognize(path, aligner))
        print(f"{path}: {phones}" if len(options.audio) > 1 else phones)


def _recognize(path: Path, aligner: "Aligner") -> list[str]:
    import torch

    samples, start, stop = read_speech(path, aligner.rate_hz, aligner.hop_samples)
    hop = aligner.hop_samples
    speech = torch.from_numpy(samples[start * hop : stop * hop].copy())
    return aligner.recognize(speech.to(next(aligner.parameters()).device))


def _transcribe(corpus: Path, out: Path, aligner: "Aligner") -> None:
    """Copy a corpus, with the phones of training utterances that lack a text."""
    from parlando.data.corpora import read_jsonl
    from parlando.data.prepare import progress_bar
    from parlando.data.store import write_rows

    recordings = read_jsonl(corpus)
    lines = [line for line in corpus.read_text(encoding="utf-8").splitlines() if line.strip()]
    rows = [json.loads(line) for line in lines]
    with progress_bar() as bar:
        pairs = list(zip(rows, recordings, strict=True))
        for row, recording in bar.track(pairs, description="recognize"):
            if recording.split == "train" and not recording.transcribed:
                row["phones"] = " ".join(_as_symbols(_recognize(recording.audio_path, aligner)))
    write_rows(out, rows)


def _as_symbols(classes: list[str]) -> list[str]:
    """Turn the recogniser's classes into symbols of the vocabulary: silence is a pause."""
    return [PUNCTUATION[0] if name == "sil" else name for name in classes]


def read_speech(path: Path, rate_hz: int, hop_samples: int) -> tuple[np.ndarray, int, int]:
    """Read a recording and find its speech, in whole frames.

    Args:
        path: sound file.
        rate_hz: rate to convert to.
        hop_samples: samples per frame.

    Returns:
        samples ``(S,)``, padded to whole frames, the first frame of speech and one past the last.

    Raises:
        AudioError: the file is not readable, silent, or too long.
    """
    from parlando.audio.waveform import load, speech_bounds

    samples = load(path, rate_hz).samples
    if len(samples) > LONGEST_SECONDS * rate_hz:
        raise AudioError(
            f"{path}: lasts {len(samples) / rate_hz:.0f} s, at most {LONGEST_SECONDS:.0f} s can be "
            "taken at once; cut it at a pause"
        )
    samples = np.pad(samples - samples.mean(), (0, -len(samples) % hop_samples))
    first, last = speech_bounds(samples, rate_hz)
    if first == last:
        raise AudioError(f"{path}: is silent; give a recording of one person speaking")
    return samples, first // hop_samples, -(-last // hop_samples)
