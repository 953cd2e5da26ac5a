"""``parlando evaluate probe``: what the parts of codecs tell of phones, pitch and speaker."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console
from rich.table import Table

from parlando.cli.evaluate.running import this_command
from parlando.contracts import ConfigError

if TYPE_CHECKING:
    from parlando.codecs.rvq.model import RVQCodec
    from parlando.evaluation.disentanglement import Subject

_LEVELS = (1, 2, 3, 6)


@dataclass(frozen=True, kw_only=True)
class ProbeOptions:
    """Train small readers of phones, F0 and speaker on each frozen part of codecs, and score them
    on held-out utterances: residual codecs at the same bits as factorized ones."""

    codec: tuple[str, ...]
    """Codecs: names of releases or folders of trained ones, as LABEL=PLACE where names are
    alike."""
    data: Annotated[Path, tyro.conf.arg(metavar="PREPARED")]
    """Prepared corpus with alignment, whose split ``valid`` is held out."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="DIR")]
    """Folder for probe.md and probe.json."""
    steps: int = 600
    """Steps that each reader is trained for."""
    utterances: int = 1500
    """At most so many utterances to train readers on."""
    seed: int = 0
    """Of the readers' weights and batches."""
    device: str = "cpu"
    """Where codecs run: ``cpu``, ``cuda``, ``cuda:1``, ``mps`` or ``auto``."""


def run_probe(options: ProbeOptions) -> int:
    """Probe, print the table and write it.

    Raises:
        ParlandoError: a codec or the corpus is not usable, or the folder cannot be written.
    """
    from parlando.data.store import PreparedCorpus
    from parlando.evaluation.disentanglement import choose_material, probe, spectrogram
    from parlando.evaluation.disentanglement_readers import ReaderOptions
    from parlando.reporting.disentanglement import probe_table, write_probing

    corpus = PreparedCorpus(options.data)
    readers = ReaderOptions(steps=options.steps, seed=options.seed)
    material = choose_material(corpus, longest_training=options.utterances)
    subjects = [
        *_subjects(options, corpus.rate_hz, corpus.hop_samples),
        spectrogram(corpus.rate_hz, corpus.hop_samples),
    ]
    with Console(stderr=True).status("") as status:
        probing = probe(subjects, corpus, material, readers, progress=status.update)
    write_probing(probing, options.out, this_command())
    content = probe_table(probing)
    shown = Table(*content.columns, title=content.caption)
    for row in content.rows:
        shown.add_row(*(f"{cell.text} {cell.detail}".strip() for cell in row))
    console = Console()
    console.print(shown)
    console.print(f"{options.out}: probe.md, probe.json", markup=False, highlight=False)
    return 0


def _subjects(options: ProbeOptions, rate_hz: int, hop_samples: int) -> "list[Subject]":
    """Load the codecs; residual ones are read at the bits that factorized ones have."""
    from parlando.codecs.facodec.model import FACodec
    from parlando.evaluation.disentanglement import factorized, levels_of_bits, residual
    from parlando.registry import load_any_codec

    loaded: dict[str, FACodec | RVQCodec] = {}
    for word in options.codec:
        label, separator, place = word.partition("=")
        if not separator:
            label, place = Path(word).name, word
        if label in loaded:
            raise ConfigError(f"two codecs are called '{label}'; name them LABEL=PLACE")
        codec = load_any_codec(place, options.device)
        if (codec.rate_hz, codec.hop_samples) != (rate_hz, hop_samples):
            raise ConfigError(
                f"{place}: has frames of {codec.hop_samples} samples at {codec.rate_hz} Hz, the "
                f"corpus of {hop_samples} at {rate_hz}; give codecs of one frame rate"
            )
        loaded[label] = codec
    parted = {
        label: factorized(label, codec)
        for label, codec in loaded.items()
        if isinstance(codec, FACodec)
    }
    bits = [part.bits for each in parted.values() for part in each.parts if part.bits is not None]
    subjects = []
    for label, codec in loaded.items():
        if isinstance(codec, FACodec):
            subjects.append(parted[label])
            continue
        available, size = codec.quantizer.codebooks.shape[:2]
        levels = levels_of_bits(bits, size, available) or sorted(
            {min(count, available) for count in _LEVELS}
        )
        subjects.append(residual(label, codec, size, levels))
    return subjects
