"""From a protocol and a corpus to a list of trials: the same list for the same seed."""

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from parlando.contracts import ConfigError
from parlando.data.corpora import Recording as Utterance
from parlando.evaluation.drawing import Draw, Drawn, draw_enrolled, draw_same_speaker
from parlando.evaluation.intelligibility import shuffled
from parlando.evaluation.material import WordsWithin, seconds_of, words_by_letters
from parlando.evaluation.measure import Gallery, Recording, Trial
from parlando.evaluation.protocol import Protocol
from parlando.recipes import from_mapping, to_mapping


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What a protocol comes to on a corpus."""

    trials: tuple[Trial, ...]
    """What is to be spoken; trials of one sentence under several conditions share its seed."""
    gallery: Gallery
    """Speakers among whom voices are identified."""
    remarks: tuple[str, ...] = ()
    """Where the corpus falls short of the protocol, and rules that a reader has to know."""

    def to_json(self, root: Path | None = None) -> str:
        """Write the lists as text.

        Args:
            root: folder of the corpus: paths under it are written relative to it.
        """
        content = to_mapping(self if root is None else _moved(self, root, relative=True))
        return json.dumps(content, ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text: str, root: Path | None = None) -> "Selection":
        """Read the lists again; relative paths are taken to lie under ``root``.

        Raises:
            ConfigError: the text holds no selection.
        """
        try:
            content = json.loads(text)
        except ValueError as error:
            raise ConfigError(f"not a list of trials ({error}); select them again") from error
        selection = from_mapping(cls, content, "selection")
        return selection if root is None else _moved(selection, root, relative=False)


def select(
    protocol: Protocol,
    recordings: Sequence[Utterance],
    seed: int = 0,
    limit: int | None = None,
    *,
    words_within: WordsWithin = words_by_letters,
) -> Selection:
    """Choose sentences and prompts as a protocol says.

    Args:
        protocol: any but those of RAVDESS, whose folder
            :func:`parlando.evaluation.emotion.ravdess_trials` reads.
        recordings: of the corpus, see :func:`parlando.evaluation.material.read_utterances`.
        seed: of every choice; trial ``n`` is spoken with ``seed + n``.
        limit: for a quick look, at most so many sentences, evenly spread; each is spoken under
            every condition.
        words_within: tells which words a cut recording still holds; by default as if all letters
            lasted the same.

    Raises:
        ConfigError: nothing is left to speak, or recordings have no sound file.
        AudioError: a recording cannot be read.
    """
    if protocol.data.layout == "ravdess":
        raise ConfigError(
            f"protocol {protocol.name} reads the folder of RAVDESS; give that folder as data"
        )
    if limit is not None and limit < 1:
        raise ConfigError(f"a limit of {limit} leaves nothing to speak; give 1 or more")
    wanted, remarks = _of_the_paper(protocol, recordings)
    sentences = [] if protocol.texts else _sentences(protocol, wanted, remarks)
    if protocol.prompts.rule == "enrolment":
        voices = _in_splits(wanted, protocol.prompts.splits)
        _check_files(voices)
        draw = draw_enrolled(protocol, sentences, voices, seed=seed, limit=limit)
    else:
        voices = _in_splits(wanted, protocol.data.splits)
        _check_files(voices)
        draw = draw_same_speaker(
            protocol, sentences, voices, seed=seed, limit=limit, words_within=words_within
        )
    if not draw.drawn:
        reasons = "; ".join([*remarks, *draw.remarks])
        raise ConfigError(f"protocol {protocol.name}: no sentence is left ({reasons})")
    if protocol.prompts.rule != "other-utterance" or protocol.prompts.seconds:
        remarks.append(_TEXT_RULE)
    trials = tuple(_trials(protocol, draw, seed, words_within, remarks))
    if unknown := sorted({one.speaker for one in draw.drawn} - draw.gallery.keys()):
        remarks.append(f"{len(unknown)} speakers have no speech left to be identified by")
    return Selection(
        trials=trials,
        gallery=Gallery(speech=draw.gallery, groups=draw.groups),
        remarks=tuple(remarks + draw.remarks),
    )


_TEXT_RULE = (
    "what a cut prompt says is estimated: a word counts where its middle lies before the cut"
)


def _of_the_paper(
    protocol: Protocol, recordings: Sequence[Utterance]
) -> tuple[list[Utterance], list[str]]:
    """Keep the sources and the part that the protocol is of; where there are none, say so."""
    rule, remarks, kept = protocol.data, list[str](), list(recordings)
    if not kept:
        raise ConfigError(f"protocol {protocol.name}: the corpus holds no recordings; give another")
    if rule.sources:
        found = [item for item in kept if item.source in rule.sources]
        if not found:
            others = ", ".join(sorted({item.source for item in kept}))
            remarks.append(f"the corpus is {others}, not {' or '.join(rule.sources)}")
        kept = found or kept
    if rule.part:
        found = [item for item in kept if rule.part in item.audio_path.parts]
        if not found:
            remarks.append(f"the corpus does not say which recordings are {rule.part}")
        kept = found or kept
    return kept, remarks


def _in_splits(recordings: Sequence[Utterance], splits: Sequence[str]) -> list[Utterance]:
    return [item for item in recordings if not splits or item.split in splits]


def _sentences(
    protocol: Protocol, recordings: Sequence[Utterance], remarks: list[str]
) -> list[Utterance]:
    """Keep what may be spoken again, in the order of the corpus.

    Raises:
        ConfigError: there is none; the message says which condition took the last.
    """
    rule = protocol.data
    longest = float("inf") if rule.maximum_seconds is None else rule.maximum_seconds
    kept = _in_splits(recordings, rule.splits)
    where = f"protocol {protocol.name}"
    if not kept:
        known = ", ".join(sorted({item.split for item in recordings}))
        raise ConfigError(
            f"{where}: no recording of split {' or '.join(rule.splits)}, the corpus has {known}; "
            "mark the split in the corpus"
        )
    if rule.native_only:
        kept = [item for item in kept if item.extra.get("native_english", True)]
    untold = sum(not item.text for item in kept)
    kept = [item for item in kept if item.text]
    if untold and kept:
        remarks.append(f"{untold} recordings have no transcript and are not spoken")
    if not kept:
        raise ConfigError(
            f"{where}: none of {untold} recordings has a transcript; give a corpus with texts"
        )
    _check_files(kept)
    if rule.minimum_seconds or rule.maximum_seconds is not None:
        fitting = [item for item in kept if rule.minimum_seconds <= seconds_of(item) <= longest]
        if not fitting:
            raise ConfigError(
                f"{where}: none of {len(kept)} recordings lasts {rule.minimum_seconds:g} to "
                f"{longest:g} s; give another corpus"
            )
        kept = fitting
    return kept


def _check_files(recordings: Sequence[Utterance]) -> None:
    missing = [item for item in recordings if not item.audio_path.is_file()]
    if missing:
        raise ConfigError(
            f"{len(missing)} of {len(recordings)} recordings have no sound file, the first is "
            f"{missing[0].audio_path}; put it there or take the line out"
        )


def _trials(
    protocol: Protocol, draw: Draw, seed: int, words_within: WordsWithin, remarks: list[str]
) -> Iterator[Trial]:
    """Give every sentence under every condition; all else of it stays the same."""
    texts = [one.sentence.text for one in draw.drawn]
    try:
        controls: list[str | None] = [texts[index] for index in shuffled(texts, seed)]
    except ValueError:
        controls = [None] * len(texts)
        remarks.append("too few different texts for a control by shuffled texts")
    for number, (one, control) in enumerate(zip(draw.drawn, controls, strict=True)):
        stem = f"{number:04d}-{_NO_NAME.sub('-', one.sentence.name)}"
        for condition in _conditions(protocol, one):
            prompt = one.prompt.shortened(condition.seconds)
            yield Trial(
                id=stem + condition.suffix,
                speaker=one.speaker,
                group=draw.groups.get(one.speaker, ""),
                text=one.sentence.text,
                control_text=control,
                prompt=prompt.pieces,
                prompt_text=prompt.words(words_within),
                reference=one.sentence.reference,
                reference_speaker=one.sentence.reference_speaker,
                noise_db=condition.noise_db,
                labels={**one.sentence.labels, **condition.labels},
                options={} if condition.steps is None else {"steps": condition.steps},
                seed=seed + number,
            )


_NO_NAME = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True, kw_only=True)
class _Condition:
    seconds: float | None
    noise_db: float | None
    steps: int | None
    labels: dict[str, str]
    suffix: str


def _conditions(protocol: Protocol, one: Drawn) -> Iterator[_Condition]:
    lengths: tuple[float | None, ...] = protocol.prompts.seconds or (None,)
    noises: tuple[float | None, ...] = (None, *one.sentence.noise_db)
    every: tuple[int | None, ...] = protocol.steps or (None,)
    for seconds, noise_db, steps in itertools.product(lengths, noises, every):
        labels, suffix = {}, ""
        if len(lengths) > 1:
            labels["prompt_seconds"] = f"{seconds:g}"
            suffix += f"-prompt{seconds:g}"
        if len(noises) > 1:
            labels["noise_db"] = "clean" if noise_db is None else f"{noise_db:g}"
            suffix += f"-noise_{labels['noise_db']}"
        if steps is not None:
            labels["steps"] = str(steps)
            suffix += f"-steps{steps}"
        yield _Condition(
            seconds=seconds, noise_db=noise_db, steps=steps, labels=labels, suffix=suffix
        )


def _moved(selection: Selection, root: Path, *, relative: bool) -> Selection:
    """Rewrite every path to or from one relative to ``root``."""

    def move(recording: Recording) -> Recording:
        path = recording.path
        if relative and path.is_relative_to(root):
            return replace(recording, path=path.relative_to(root))
        return recording if relative else replace(recording, path=root / path)

    return replace(
        selection,
        trials=tuple(
            replace(
                trial,
                prompt=tuple(map(move, trial.prompt)),
                reference=trial.reference and move(trial.reference),
            )
            for trial in selection.trials
        ),
        gallery=replace(
            selection.gallery,
            speech={
                name: tuple(map(move, pieces)) for name, pieces in selection.gallery.speech.items()
            },
        ),
    )
