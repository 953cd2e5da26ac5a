"""``parlando prepare``: turn a corpus into training data."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from parlando.contracts import ConfigError
from parlando.data.annotate import AlignmentLimits, prepare_alignment, prepare_codes
from parlando.data.corpora import read_corpus
from parlando.data.prepare import AudioOptions, prepare_audio
from parlando.data.report import print_report, write_report
from parlando.data.store import read_info

Kind = Literal[
    "jsonl", "lhotse", "libritts", "librispeech", "librilight", "vctk", "ljspeech", "mls"
]
Stage = Literal["audio", "align", "codes"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Turn a corpus into training data. A run that was stopped goes on where it was."""

    out: Path
    """Folder of the prepared corpus."""
    corpus: tuple[Kind, Path] | None = None
    """Kind and place of the corpus; needed by the stage audio. ``jsonl`` is a file of utterances,
    ``lhotse`` a folder of manifests, the others are folders as those corpora are distributed."""
    stages: tuple[Stage, ...] = ("audio",)
    """What to do: ``audio`` (trim, phonemes, F0), ``align`` (durations), ``codes`` (codec)."""
    processes: int = 2
    """Processes of the stage audio."""
    aligner: str = "aligner-small"
    """Name or folder of the aligner."""
    codec: str = "rvq-small"
    """Name or folder of the codec."""
    device: str = "cpu"
    """Where aligner and codec run: ``cpu``, ``cuda``, ``cuda:1``, ``mps`` or ``auto``."""
    audio: Annotated[AudioOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=AudioOptions)
    """Details of the stage audio; the same ones on every run."""
    limits: AlignmentLimits = field(default_factory=AlignmentLimits)
    """Which alignments are implausible."""

    def __post_init__(self) -> None:
        if self.processes < 1:
            raise ConfigError(f"--processes is {self.processes}, expected at least 1")
        if "audio" in self.stages and self.corpus is None:
            raise ConfigError(
                "the stage audio needs --corpus KIND PATH, such as jsonl corpus.jsonl"
            )


def run(options: Options) -> None:
    """Run the stages in their order, then count and report what is there."""
    if "audio" in options.stages and options.corpus is not None:
        recordings = read_corpus(*options.corpus)
        prepare_audio(recordings, options.out, options.audio, options.processes)
    read_info(options.out)  # refuses what is not prepared, before weights are loaded
    if "align" in options.stages:
        from parlando.registry import load_aligner

        aligner = load_aligner(options.aligner, options.device)
        place = next(aligner.parameters()).device
        prepare_alignment(
            options.out,
            lambda waveform, symbols: aligner.align(waveform.to(place), symbols),
            _fingerprint(aligner),
            options.limits,
        )
    if "codes" in options.stages:
        from parlando.registry import load_any_codec

        codec = load_any_codec(options.codec, options.device)
        place = next(codec.parameters()).device
        prepare_codes(
            options.out, lambda waveform: codec.encode(waveform.to(place)), _fingerprint(codec)
        )
    print_report(write_report(options.out))
    Console().print(f"{options.out}: report.json and report.png tell more", soft_wrap=True)


def _fingerprint(model: Any) -> str:
    """Digest a model's weights, so that other weights annotate the corpus anew.

    A codec's decoder, its timbre and what tells it the timbre do not count: they may be trained on
    while the codes stay what they are.
    """
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        if name.startswith(("decoder.", "conditioning.", "timbre_extractor.")):
            continue
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
