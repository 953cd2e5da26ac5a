"""From a protocol and a corpus to a list of trials: the same list for the same seed."""

import itertools
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from parlando.contracts import ConfigError
from parlando.data.corpora import Recording as Utterance
from parlando.evaluation.drawing import Draw, Drawn, draw_enrolled, draw_same_speaker
from parlando.evaluation.intelligibility import shuffled
from parlando.evaluation.material import (
    WordsWithin,
    read_utterances,
    seconds_of,
    spread,
    words_by_letters,
)
from parlando.evaluation.measure import Gallery, Recording, Trial
from parlando.evaluation.protocol import Protocol
from parlando.evaluation.ravdess import ravdess_trials, read_ravdess
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
    complete: bool = False
    """Whether these are the sentences and prompts that the paper has, as far as its words go: of
    its corpus, in full number. Without this, no figure may be compared with the paper's."""

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
        protocol: any but that of RAVDESS, see :func:`choose`.
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
        raise ConfigError(f"protocol {protocol.name} reads a folder of RAVDESS, not a corpus")
    _check_limit(limit)
    wanted, shortfalls = _of_the_paper(protocol, recordings)
    remarks: list[str] = []
    sentences = [] if protocol.texts else _sentences(protocol, wanted, remarks)
    if protocol.prompts.rule == "enrolment":
        voices = _in_splits(protocol, wanted, protocol.prompts.splits)
        draw = draw_enrolled(protocol, sentences, voices, seed=seed, limit=limit)
    else:
        voices = _in_splits(protocol, wanted, protocol.data.splits)
        draw = draw_same_speaker(
            protocol, sentences, voices, seed=seed, limit=limit, words_within=words_within
        )
    shortfalls += draw.shortfalls
    if not draw.drawn:
        reasons = "; ".join(shortfalls) or "nothing fits"
        raise ConfigError(f"protocol {protocol.name}: no sentence is left ({reasons})")
    if limit is not None:
        shortfalls.append(f"a quick look: at most {limit} sentences")
    if protocol.prompts.rule != "other-utterance" or protocol.prompts.seconds:
        remarks.append(_TEXT_RULE)
    listed = [text for part in protocol.texts for text in part.read()]
    listed += [item.text for item in sentences if item.text]
    trials = tuple(_trials(protocol, draw, seed, words_within, listed, remarks))
    if unknown := {one.speaker for one in draw.drawn} - draw.gallery.keys():
        remarks.append(f"{len(unknown)} speakers have no speech left to be identified by")
    return Selection(
        trials=trials,
        gallery=Gallery(speech=draw.gallery, groups=draw.groups),
        remarks=(*shortfalls, *remarks, *draw.remarks),
        complete=bool(protocol.data.sources) and not shortfalls,
    )


def choose(
    protocol: Protocol,
    data: Path | None,
    *,
    kind: str = "jsonl",
    seed: int = 0,
    limit: int | None = None,
    work: Path,
    words_within: WordsWithin = words_by_letters,
) -> Selection:
    """Read a corpus, or the folder of RAVDESS, and choose as :func:`select` does.

    Args:
        protocol: any.
        data: the corpus; None where the protocol needs none.
        kind: of the corpus, see :func:`parlando.data.corpora.read_corpus`; that of RAVDESS is not
            looked at.
        seed: of every choice.
        limit: most sentences, evenly spread.
        work: folder for speech that is generated.
        words_within: see :func:`select`.

    Raises:
        ConfigError: the corpus cannot be read, or does not fit the protocol.
        AudioError: a recording cannot be read.
    """
    if protocol.data.layout == "ravdess" and data is not None:
        return _of_ravdess(protocol, data, seed, limit)
    recordings = read_utterances(protocol, data, kind=kind, work=work)
    return select(protocol, recordings, seed, limit, words_within=words_within)


def _of_ravdess(protocol: Protocol, folder: Path, seed: int, limit: int | None) -> Selection:
    _check_limit(limit)
    every = ravdess_trials(folder, seed)
    trials = spread(every, limit)
    used = {piece.path for trial in every for piece in (*trial.prompt, trial.reference) if piece}
    speech: dict[str, list[Recording]] = defaultdict(list)
    for take in read_ravdess(folder):
        if take.path not in used and len(speech[take.actor]) < _TAKES:
            speech[take.actor].append(Recording(path=take.path))
    actors = {trial.speaker for trial in every}
    wanted = protocol.data.speakers or len(actors)
    shortfalls = [f"{len(actors)} speakers instead of {wanted}"] if len(actors) < wanted else []
    if limit is not None:
        shortfalls.append(f"a quick look: at most {limit} sentences")
    return Selection(
        trials=tuple(trials),
        gallery=Gallery(
            speech={name: tuple(takes) for name, takes in speech.items() if takes},
            groups={trial.speaker: trial.group for trial in every},
        ),
        remarks=tuple(shortfalls),
        complete=not shortfalls,
    )


# Some twenty seconds with the silence around them trimmed.
_TAKES = 12


def _check_limit(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise ConfigError(f"a limit of {limit} leaves nothing to speak; give 1 or more")


_TEXT_RULE = (
    "what a cut prompt says is estimated: a word counts where its middle lies before the cut"
)


def _of_the_paper(
    protocol: Protocol, recordings: Sequence[Utterance]
) -> tuple[list[Utterance], list[str]]:
    """Keep the sources and the part that the protocol is of; where there are none, say so."""
    rule, shortfalls, kept = protocol.data, list[str](), list(recordings)
    if not kept:
        raise ConfigError(f"protocol {protocol.name}: the corpus holds no recordings; give another")
    if rule.sources:
        found = [item for item in kept if item.source in rule.sources]
        if not found:
            others = ", ".join(sorted({item.source for item in kept}))
            shortfalls.append(f"the corpus is {others}, not {' or '.join(rule.sources)}")
        kept = found or kept
    if rule.part:
        found = [item for item in kept if rule.part in item.audio_path.parts]
        if not found:
            shortfalls.append(f"the corpus does not say which recordings are {rule.part}")
        kept = found or kept
    return kept, shortfalls


def _in_splits(
    protocol: Protocol, recordings: Sequence[Utterance], splits: Sequence[str]
) -> list[Utterance]:
    """Keep the recordings of splits, and see to it that there are any and have sound files.

    Raises:
        ConfigError: there are none, or files are missing.
    """
    kept = [item for item in recordings if not splits or item.split in splits]
    if not kept:
        known = ", ".join(sorted({item.split for item in recordings}))
        whose = ", ".join(sorted({item.source for item in recordings if item.source}))
        raise ConfigError(
            f"protocol {protocol.name}: no recording of split {' or '.join(splits)}, "
            f"{whose or 'the corpus'} has {known}; mark the split in the corpus"
        )
    missing = [item for item in kept if not item.audio_path.is_file()]
    if missing:
        raise ConfigError(
            f"{len(missing)} of {len(kept)} recordings have no sound file, the first is "
            f"{missing[0].audio_path}; put it there or take the line out"
        )
    return kept


def _sentences(
    protocol: Protocol, recordings: Sequence[Utterance], remarks: list[str]
) -> list[Utterance]:
    """Keep what may be spoken again, in the order of the corpus.

    Raises:
        ConfigError: there is none; the message says which condition took the last.
    """
    rule = protocol.data
    longest = float("inf") if rule.maximum_seconds is None else rule.maximum_seconds
    kept = _in_splits(protocol, recordings, rule.splits)
    where = f"protocol {protocol.name}"
    if not rule.splits and (heard := sum(item.split == "train" for item in kept)):
        remarks.append(
            f"the corpus marks {heard} of {len(kept)} recordings as training speech: a system that "
            "was trained on them is not judged by this"
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
    if rule.minimum_seconds or rule.maximum_seconds is not None:
        fitting = [item for item in kept if rule.minimum_seconds <= seconds_of(item) <= longest]
        if not fitting:
            raise ConfigError(
                f"{where}: none of {len(kept)} recordings lasts {rule.minimum_seconds:g} to "
                f"{longest:g} s; give another corpus"
            )
        kept = fitting
    return kept


def _trials(
    protocol: Protocol,
    draw: Draw,
    seed: int,
    words_within: WordsWithin,
    listed: Sequence[str],
    remarks: list[str],
) -> Iterator[Trial]:
    """Give every sentence under every condition; all else of it stays the same."""
    controls = _controls([one.sentence.text for one in draw.drawn], listed, seed)
    if None in controls:
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
                continues=protocol.prompts.rule == "prefix",
                reference=one.sentence.reference,
                reference_speaker=one.sentence.reference_speaker,
                noise_db=condition.noise_db,
                labels={**one.sentence.labels, **condition.labels},
                options=condition.options,
                seed=seed + number,
            )


def _controls(texts: Sequence[str], listed: Sequence[str], seed: int) -> Sequence[str | None]:
    """Give every text another one, of those spoken or, where they are too few, of all listed."""
    unspoken = [text for text in dict.fromkeys(listed) if text not in texts]
    for pool in (texts, [*texts, *unspoken]):
        try:
            return [pool[index] for index in shuffled(pool, seed)[: len(texts)]]
        except ValueError:
            continue
    return [None] * len(texts)


_NO_NAME = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True, kw_only=True)
class _Condition:
    seconds: float | None
    noise_db: float | None
    labels: dict[str, str]
    options: dict[str, Any]
    suffix: str


def _conditions(protocol: Protocol, one: Drawn) -> Iterator[_Condition]:
    lengths: tuple[float | None, ...] = protocol.prompts.seconds or (None,)
    noises: tuple[float | None, ...] = (None, *one.sentence.noise_db)
    settings = protocol.settings()
    for seconds, noise_db, (varied, options) in itertools.product(lengths, noises, settings):
        labels, suffix = {}, ""
        if len(lengths) > 1:
            labels["prompt_seconds"] = f"{seconds:g}"
            suffix += f"-prompt{seconds:g}"
        if len(noises) > 1:
            labels["noise_db"] = "clean" if noise_db is None else f"{noise_db:g}"
            suffix += f"-noise_{labels['noise_db']}"
        for name, value in varied.items():
            suffix += f"-{name}_{_NO_NAME.sub('-', value)}"
        labels |= varied
        yield _Condition(
            seconds=seconds, noise_db=noise_db, labels=labels, options=options, suffix=suffix
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
