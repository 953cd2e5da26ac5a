"""Protocols: what is spoken with which prompts, how often, and what is measured of it.

A protocol is one small TOML file. It names the paper whose habit it copies, says in words how texts
and prompts are chosen, and what differs from the paper; a report prints all of it beside its
numbers, because the same measure under another prompt rule is another number.
"""

import itertools
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from parlando.contracts import ConfigError, SpeakOptions
from parlando.recipes import check_names, from_mapping

_PROTOCOLS = Path(__file__).with_name("protocols")
_TEXTS = Path(__file__).with_name("texts")

MEASURES = (
    "intelligibility",
    "phones",
    "robustness",
    "voice",
    "prosody",
    "singing",
    "distance",
    "codec",
    "conversion",
    "emotion",
    "naturalness",
    "generation",
    "cost",
)
"""Names of all measures."""

_OWN_LABELS = (
    "attributes", "levels", "noise_db", "prompt_seconds", "steps", "system", "text", "variant",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DataRule:
    """Which recordings of a corpus are spoken again."""

    layout: Literal["corpus", "generated", "ravdess"] = "corpus"
    """``corpus``: what :func:`parlando.data.corpora.read_corpus` reads; ``generated``: espeak-ng
    speaks it on the spot, so that no corpus is needed; ``ravdess``: the folder of RAVDESS as it is
    distributed."""
    splits: tuple[str, ...] = ("test",)
    """Splits whose sentences are spoken; none: all."""
    sources: tuple[str, ...] = ()
    """Corpora that the protocol is of; others make the report say so."""
    part: str = ""
    """Folder of the corpus that is wanted, such as ``test-clean``; where no path names it, all is
    taken and the report says so."""
    native_only: bool = False
    """Leave out who is marked as no native speaker (``native_english: false``)."""
    minimum_seconds: float = 0.0
    """Shortest recording whose text is spoken."""
    maximum_seconds: float | None = None
    """Longest recording whose text is spoken."""
    speakers: int | None = None
    """Speakers that the paper has; no more are taken, and the report says if there are fewer."""
    sentences_per_speaker: int | None = None
    """Sentences of each, chosen at random; None: all."""


@dataclass(frozen=True, kw_only=True)
class PromptRule:
    """Which recording a voice is taken from."""

    rule: Literal["other-utterance", "prefix", "enrolment"]
    """``other-utterance``: other utterances of who says the sentence in the corpus, never one that
    says the sentence; ``prefix``: the beginning of the very utterance, which is to be continued;
    ``enrolment``: a joined prompt of each test speaker, given to the sentences in turn, whoever
    says them in the corpus."""
    seconds: tuple[float, ...] = ()
    """Length of the prompt; several are so many conditions, each prompt the beginning of the next.
    None: whole utterances, and for ``enrolment`` 3 to 6 s."""
    splits: tuple[str, ...] = ("test",)
    """Splits whose speakers give prompts under ``enrolment``."""


@dataclass(frozen=True, kw_only=True)
class TextList:
    """A list of sentences that come with Parlando."""

    name: str
    """File without its ending, also the label ``text`` of its trials."""
    noise_db: tuple[float, ...] = ()
    """Signal-to-noise ratios of the prompt, each a condition beside the clean one."""
    joined: bool = False
    """Whether the whole list is one text, spoken at once."""

    def read(self) -> list[str]:
        """Read one sentence a line, or all as one.

        Raises:
            ConfigError: there is no such list.
        """
        path = _TEXTS / f"{self.name}.txt"
        check_names([self.name], (found.stem for found in _TEXTS.glob("*.txt")), "evaluation/texts")
        lines = path.read_text(encoding="utf-8").splitlines()
        sentences = [line.strip() for line in lines if line.strip()]
        return [" ".join(sentences)] if self.joined else sentences


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One row of an ablation: a system trained with a switch of its configuration."""

    name: str
    """Short name; the caller says by it where trained weights of the variant lie."""
    title: str
    """Name in the table."""
    system: str
    """Kind of the system whose configuration has the switch."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Fields of a recipe, dotted, with their values: ``model.query_attention = false``; empty: the
    whole system."""
    place: str = ""
    """Released system, or folder, that is taken where the caller names none; as long as there is
    no such thing, the variant is not trained."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A way of speaking that is varied while sentences, prompts and seeds stay the same."""

    label: str
    """Name of the label that trials get, and of the table: ``top_p``."""
    values: Mapping[str, Mapping[str, Any]]
    """What each value is called, and the options of ``speak`` that it stands for. TOML cannot write
    None: an empty text stands for it."""

    def __post_init__(self) -> None:
        """Check what a file can get wrong."""
        where = f"condition {self.label}"
        if self.label in _OWN_LABELS:
            raise ConfigError(f"{where}: trials have this label already; choose another name")
        if len(self.values) < 2:
            raise ConfigError(f"{where}: varies nothing; give two values or more")
        known = [option.name for option in fields(SpeakOptions)]
        for name, options in self.values.items():
            check_names(options, known, f"{where}, {name}: the options of speaking")


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a table is measured."""

    name: str
    """As on the command line."""
    title: str
    """Heading of the report."""
    source: str
    """Paper and section that it copies; empty: our own."""
    description: str
    """What is measured and how sentences and prompts are chosen, in words."""
    data: DataRule = field(default_factory=DataRule)
    """Which recordings are spoken again, or give prompts."""
    prompts: PromptRule
    """Where voices come from."""
    texts: tuple[TextList, ...] = ()
    """Sentences to speak; none: those of the recordings."""
    runs: int | None = None
    """Outputs of each condition: sentences come again, each time in the next voice and with the
    next seed, until there are so many; of more sentences so many are taken. None: each once."""
    steps: tuple[int, ...] = ()
    """Values of the system's option ``steps``, each a condition; none: its default."""
    conditions: tuple[Condition, ...] = ()
    """Further ways of speaking; every sentence is spoken under every combination of them."""
    variants: tuple[Variant, ...] = ()
    """Systems to compare, one report each, on the same sentences."""
    several_runs: bool = False
    """Whether reports of several systems or sizes are meant to be set side by side."""
    measures: tuple[str, ...]
    """Names of measures, see ``MEASURES``."""
    papers: tuple[str, ...] = ()
    """Tables of papers to set beside, see :mod:`parlando.evaluation.papers`."""
    differences: tuple[str, ...] = ()
    """What differs from the paper."""

    def __post_init__(self) -> None:
        """Check what a file can get wrong."""
        where = f"protocol {self.name}"
        check_names(self.measures, MEASURES, f"{where}: measures")
        if not self.measures:
            raise ConfigError(f"{where} measures nothing; list measures")
        for seconds in self.prompts.seconds:
            if seconds <= 0.0:
                raise ConfigError(f"{where}: prompts of {seconds:g} s; give a length above 0")
        if self.prompts.rule == "prefix" and len(self.prompts.seconds) != 1:
            raise ConfigError(
                f"{where}: the rule 'prefix' continues recordings after one length; give one value "
                "in prompts.seconds"
            )
        if self.texts and self.prompts.rule != "enrolment":
            raise ConfigError(
                f"{where}: nobody says the texts in a corpus; give prompts.rule = 'enrolment'"
            )
        if self.runs is not None and (self.runs < 1 or self.prompts.rule != "enrolment"):
            raise ConfigError(
                f"{where}: runs is {self.runs} with the rule '{self.prompts.rule}'; give 1 or "
                "more, and prompts.rule = 'enrolment'"
            )
        if any(steps < 1 for steps in self.steps):
            raise ConfigError(f"{where}: steps are counted from 1, got {min(self.steps)}")
        if self.data.layout == "ravdess" and (self.steps or self.conditions):
            raise ConfigError(f"{where}: takes of RAVDESS are spoken once; vary no conditions")
        labels = [condition.label for condition in self.conditions]
        if len(set(labels)) < len(labels):
            raise ConfigError(f"{where}: two conditions have one label; rename one of them")

    @property
    def needs_data(self) -> bool:
        """Whether it runs on a corpus only: sentences that come with Parlando can be spoken in the
        voice that comes with it."""
        return self.data.layout != "generated" and not self.texts

    def settings(self) -> list[tuple[dict[str, str], dict[str, Any]]]:
        """List the combinations of conditions that a sentence is spoken under.

        Returns:
            labels, and options of ``speak``, of each; where nothing is varied one without any.
        """
        varied: list[tuple[str, Mapping[str, Mapping[str, Any]]]] = []
        if self.steps:
            varied.append(("steps", {str(steps): {"steps": steps} for steps in self.steps}))
        varied += [(condition.label, condition.values) for condition in self.conditions]
        combinations = itertools.product(*(values.items() for _, values in varied))
        return [
            (
                {label: name for (label, _), (name, _) in zip(varied, chosen, strict=True)},
                {
                    option: None if value == "" else value
                    for _, options in chosen
                    for option, value in options.items()
                },
            )
            for chosen in combinations
        ]

    def trained(self, weights: Mapping[str, str]) -> list[tuple[Variant, str | None]]:
        """Say of every variant where its weights are; None: it is not trained, and stays empty.

        Args:
            weights: names of variants to names or folders of systems.

        Raises:
            ConfigError: there is no such variant.
        """
        check_names(weights, (variant.name for variant in self.variants), f"protocol {self.name}")
        return [(variant, weights.get(variant.name)) for variant in self.variants]

    def lines(self) -> Iterator[str]:
        """Say everything that a reader of a number has to know, one point a line."""
        yield f"{self.title} ({self.name})"
        if self.source:
            yield f"After: {self.source}"
        yield self.description
        yield f"Sentences: {', '.join(_spoken_of(self))}"
        yield f"Prompts: {_PROMPT_WORDS[self.prompts.rule]}, {_lengths(self.prompts)}"
        if self.runs is not None:
            yield f"Runs: {self.runs} under each condition"
        if self.steps:
            yield f"Steps: {', '.join(map(str, self.steps))}"
        for condition in self.conditions:
            values = ", ".join(
                f"{name} ({_settings(options)})" for name, options in condition.values.items()
            )
            yield f"Condition {condition.label}: {values}"
        for variant in self.variants:
            changed = _settings(variant.changes)
            yield f"Variant {variant.name}: {variant.title} ({changed or 'no change'})"
        yield f"Measures: {', '.join(self.measures)}"
        for difference in self.differences:
            yield f"Differs: {difference}"


_PROMPT_WORDS = {
    "other-utterance": "another utterance of the same speaker",
    "prefix": "the beginning of the utterance, which is continued",
    "enrolment": "a joined prompt of each test speaker in turn",
}


def _spoken_of(protocol: Protocol) -> Iterator[str]:
    for text in protocol.texts:
        noisy = ", ".join(f"{level:g}" for level in text.noise_db)
        yield f"list '{text.name}'" + (
            f" (prompt clean and with noise at {noisy} dB)" * bool(noisy)
        )
    if protocol.texts:
        return
    data = protocol.data
    yield {
        "corpus": f"recordings of {' and '.join(data.splits) or 'all splits'}",
        "generated": "recordings by espeak-ng",
        "ravdess": "recordings of RAVDESS",
    }[data.layout]
    if data.part:
        yield f"part {data.part}"
    if data.native_only:
        yield "native speakers only"
    if data.maximum_seconds is not None:
        yield f"{data.minimum_seconds:g} to {data.maximum_seconds:g} s"
    elif data.minimum_seconds:
        yield f"{data.minimum_seconds:g} s and longer"
    if data.sentences_per_speaker is not None:
        yield f"{data.sentences_per_speaker} of each of {data.speakers or 'all'} speakers"
    elif data.speakers is not None:
        yield f"{data.speakers} speakers"


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} = {'none' if value == '' else value}" for name, value in values.items()
    )


def _lengths(prompts: PromptRule) -> str:
    if prompts.seconds:
        return ", ".join(f"{seconds:g}" for seconds in prompts.seconds) + " s"
    return "3 to 6 s" if prompts.rule == "enrolment" else "whole utterances"


def protocol_names() -> list[str]:
    """List the protocols that come with Parlando."""
    return sorted(path.stem for path in _PROTOCOLS.glob("*.toml"))


def read_protocol(name: str | Path) -> Protocol:
    """Read a protocol by its name, or from a TOML file of one's own.

    Raises:
        ConfigError: there is no such protocol, or the file is not one.
    """
    path = Path(name)
    if path.suffix != ".toml":
        check_names([str(name)], protocol_names(), "evaluation/protocols")
        path = _PROTOCOLS / f"{name}.toml"
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the protocol ({error.strerror})") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not valid TOML ({error})") from error
    return from_mapping(Protocol, {"name": path.stem, **content}, str(path))
