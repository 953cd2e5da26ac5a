"""What evaluation passes around: trials, samples, quantities, figures.

A *trial* is one thing to do: speak this text in that voice, or code this recording. A *sample* is
what came of it, with the recordings it is judged against. A *measure* judges a sample by itself and
gives, for each of its *quantities*, a numerator and a denominator; every figure of a report is a
sum of numerators over a sum of denominators. So word errors are pooled over words, similarities are
averaged over utterances, and one paired bootstrap compares any two reports.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from parlando.evaluation.intervals import Interval, ratio_interval

RATE_HZ = 16_000
"""Rate at which everything is judged."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A piece of human speech on disk."""

    path: Path
    """Sound file."""
    start_seconds: float = 0.0
    """Where the piece begins."""
    seconds: float | None = None
    """How long it is; None: to the end."""
    exact: bool = False
    """Whether it is taken to the sample; otherwise silence around it goes when it is joined."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One thing to do and to judge. It holds no audio, so that a list of trials is a text."""

    id: str
    """Unique in the list, fit for a file name."""
    speaker: str = ""
    """Whose voice is asked for."""
    group: str = ""
    """Speakers are told apart within groups, usually the sex; empty where unknown."""
    text: str | None = None
    """What to say, as people write it."""
    control_text: str | None = None
    """Another trial's text: scored against it, an output shows the level of chance."""
    prompt: tuple[Recording, ...] = ()
    """The voice to speak in: pieces, joined; none for a system's own voice or for a codec."""
    prompt_text: str | None = None
    """What the prompt says."""
    continues: bool = False
    """Whether the text goes on in the sentence that the prompt begins."""
    reference: Recording | None = None
    """A human recording of the text, or what a codec is given."""
    reference_speaker: str = ""
    """Who speaks in the reference; where it is ``speaker``, prosody can be compared with it."""
    noise_db: float | None = None
    """Signal-to-noise ratio at which noise is added to the prompt; None adds none."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Conditions, such as ``prompt_seconds: 3``: figures are given for each value of each."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of ``speak`` for this trial."""
    seed: int = 0
    """Of sampling, and of the noise."""

    @property
    def sentence(self) -> tuple[Any, ...]:
        """What trials share that differ in their condition only: one draw of the bootstrap."""
        if self.text is None and self.reference is None:
            return (self.id,)
        return self.text, self.reference, self.seed


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """What came of a trial: sounds are ``(S,)`` float32 at 16 kHz."""

    trial: Trial
    """What was asked for."""
    output: np.ndarray
    """What is judged."""
    reference: np.ndarray | None = None
    """The human recording of the same text, or the codec's input."""
    prompt: np.ndarray | None = None
    """The prompt as it was given (noise included)."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What the system told, in JSON's types: ``symbols``, ``durations_frames``, ``hop_samples``,
    ``rate_hz``, ``wall_seconds``, ``notes`` (see ``Speech.notes``); of a codec ``codes`` (Q lists),
    ``codebook_size``, ``level_names``."""


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """The speakers among whom a voice is identified."""

    speech: Mapping[str, tuple[Recording, ...]] = field(default_factory=dict)
    """Speech of each that is in no prompt, pieces to be joined."""
    groups: Mapping[str, str] = field(default_factory=dict)
    """Group of each, usually the sex."""


Better = Literal["lower", "higher"]


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """Something that is measured in every sample where it can be."""

    key: str
    """Short name, unique in a report: ``wer``."""
    title: str
    """Name in tables: ``Word error rate``."""
    unit: str = ""
    """Unit: ``%``, ``dB``, ``cents``, ``Hz``; values of unit ``%`` are shares, shown times 100."""
    better: Better | None = None
    """Which way is better; None where neither is."""
    judge: str = ""
    """Model, normaliser or standard that the number depends on: never two in one column."""
    human: str | None = None
    """Key of the quantity that says what people reach: floor of an error, ceiling of likeness."""
    control: str | None = None
    """Key of the quantity that says what chance reaches."""
    compared: bool = True
    """Whether systems are compared by it; not where it tells of people, of a judge, or of how an
    output was made."""
    source: str = ""
    """Paper and section."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What a measure says of one sample."""

    values: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Numerator and denominator of quantities, by key; a quantity that cannot be measured in this
    sample is left out, and the report says how many samples each figure rests on."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What a reader of the row wants to see, in JSON's types: transcripts, the nearest speaker."""


class Measure(Protocol):
    """Judges samples, each by itself.

    Objects are sent to other processes: models are loaded at the first sample, not before.
    """

    @property
    def name(self) -> str:
        """Name in protocols and on the command line: ``intelligibility``."""

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """What it can measure."""

    def judge(self, sample: Sample) -> Judgement:
        """Judge one sample.

        Raises:
            ParlandoError: the sample cannot be judged; its row says why, and others go on.
        """

    def conclude(self, rows: "Sequence[Row]") -> "list[Figure]":
        """Give figures that are no sums over samples, such as a judge's own error rate.

        Args:
            rows: all rows, those that failed too; ``notes`` holds what ``judge`` left there.
        """


@dataclass(frozen=True, kw_only=True)
class Row:
    """A trial in a report."""

    trial: Trial
    """What was asked for."""
    values: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Of all measures."""
    notes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Of each measure, by its name."""
    seconds: float | None = None
    """Length of the output."""
    wall_seconds: float | None = None
    """Time that making it took."""
    failures: Mapping[str, str] = field(default_factory=dict)
    """What went wrong, by the name of the measure, or under ``output`` where there is none."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number of a report."""

    quantity: Quantity
    """What it is."""
    value: float
    """The number; a share for the unit ``%``."""
    low: float | None = None
    """Lower end of the 95 % confidence interval."""
    high: float | None = None
    """Upper end."""
    count: int
    """Samples it rests on."""
    condition: Mapping[str, str] = field(default_factory=dict)
    """Labels of the samples it rests on; empty: all."""
    human: float | None = None
    """What people reach."""
    control: float | None = None
    """What chance reaches."""


def varied_labels(trials: Sequence[Trial]) -> list[str]:
    """List the labels in which trials of one sentence differ: conditions varied on purpose."""
    found: dict[tuple[Any, ...], set[str]] = defaultdict(set)
    for trial in trials:
        for name, value in trial.labels.items():
            found[name, trial.sentence].add(value)
    varied = {name for (name, _), values in found.items() if len(values) > 1}
    return [name for name in dict.fromkeys(name for name, _ in found) if name in varied]


def figures_of(
    rows: Sequence[Row], quantities: Sequence[Quantity], *, seed: int = 0
) -> list[Figure]:
    """Compute every figure over all rows, and over the rows of each value of each label.

    Where several conditions were varied on purpose there is one for each combination, too.

    Args:
        rows: of one report.
        quantities: of its measures.
        seed: of the bootstrap.
    """
    conditions: list[dict[str, str]] = [{}]
    for name in sorted({name for row in rows for name in row.trial.labels}):
        values = dict.fromkeys(row.trial.labels[name] for row in rows if name in row.trial.labels)
        if len(values) > 1:
            conditions += [{name: value} for value in values]
    varied = varied_labels([row.trial for row in rows])
    if len(varied) > 1:
        whole = [row.trial.labels for row in rows if set(varied) <= row.trial.labels.keys()]
        combinations = dict.fromkeys(tuple(labels[name] for name in varied) for labels in whole)
        conditions += [dict(zip(varied, values, strict=True)) for values in combinations]
    figures = []
    for condition in conditions:
        chosen = [row for row in rows if condition.items() <= row.trial.labels.items()]
        for quantity in quantities:
            interval = ratio_of(chosen, quantity.key, seed=seed)
            if interval is None:
                continue
            human = ratio_of(chosen, quantity.human, seed=seed)
            control = ratio_of(chosen, quantity.control, seed=seed)
            figures.append(
                Figure(
                    quantity=quantity,
                    **asdict(interval),
                    condition=condition,
                    human=None if human is None else human.value,
                    control=None if control is None else control.value,
                )
            )
    return figures


def ratio_of(rows: Sequence[Row], key: str | None, *, seed: int = 0) -> Interval | None:
    """Pool a quantity over rows: its ratio with an interval, or None where no row has it.

    A sentence under several conditions is drawn with all of them, for they are hard together; as
    if they knew nothing of each other, the interval would be too narrow.
    """
    having = [row for row in rows if key in row.values]
    if key is None or sum(row.values[key][1] for row in having) <= 0:
        return None
    pairs = by_sentence([row.trial for row in having], [row.values[key] for row in having])
    found = ratio_interval(pairs[:, 0].tolist(), pairs[:, 1].tolist(), seed=seed)
    return replace(found, count=len(having))


def by_sentence(trials: Sequence[Trial], values: Any) -> np.ndarray:
    """Add up values ``(N, ...)`` of trials of the same sentence: ``(sentences, ...)``."""
    sums: dict[tuple[Any, ...], np.ndarray] = {}
    for trial, value in zip(trials, np.asarray(values, dtype=np.float64), strict=True):
        sums[trial.sentence] = sums.get(trial.sentence, 0.0) + value
    return np.stack(list(sums.values()))
