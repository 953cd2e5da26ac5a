"""The rules by which protocols choose sentences, prompts, and what voices are known by."""

import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle, islice

import numpy as np

from parlando.contracts import ConfigError
from parlando.data.corpora import Recording as Utterance
from parlando.evaluation.intelligibility import scoring_words
from parlando.evaluation.material import (
    LONGEST_PROMPT_SECONDS,
    SHORTEST_PROMPT_SECONDS,
    Prompt,
    PromptSpeaker,
    Spoken,
    WordsWithin,
    enrolled,
    estimated_sex,
    place_of,
    prompt_of,
    seconds_of,
    speech_of,
    spread,
)
from parlando.evaluation.measure import RATE_HZ, Recording
from parlando.evaluation.protocol import Protocol
from parlando.evaluation.sounds import read_joined, read_recording

GALLERY_SECONDS = 20.0
"""Speech by which a speaker is known, where so much is left."""


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """What is to be said."""

    name: str
    """Unique in the protocol."""
    text: str
    reference: Recording | None = None
    """A human recording of the text."""
    reference_speaker: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    noise_db: tuple[float, ...] = ()
    """Noise of the prompt under which it is said once more."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A sentence and the voice to speak it in, before conditions are applied."""

    sentence: Sentence
    speaker: str
    """Whose voice is asked for."""
    prompt: Prompt
    """Of the longest length that the protocol asks for."""


@dataclass(kw_only=True)
class Draw:
    """What a rule comes to; filled as it goes."""

    drawn: list[Drawn] = field(default_factory=list)
    gallery: dict[str, tuple[Recording, ...]] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    shortfalls: list[str] = field(default_factory=list)
    """Where the corpus has less than the protocol asks for."""
    remarks: list[str] = field(default_factory=list)
    """What else a reader has to know."""


def draw_same_speaker(
    protocol: Protocol,
    sentences: Sequence[Utterance],
    others: Sequence[Utterance],
    *,
    seed: int,
    limit: int | None,
    words_within: WordsWithin,
) -> Draw:
    """Speak sentences of each speaker in the same speaker's voice.

    Args:
        protocol: its rule is ``other-utterance`` or ``prefix``.
        sentences: what may be spoken.
        others: all recordings of the splits: what prompts and the gallery are taken from.
        seed: of the choice; that of one speaker does not depend on other speakers.
        limit: most sentences, evenly spread.
        words_within: see :data:`parlando.evaluation.material.WordsWithin`.
    """
    draw = Draw()
    chosen = _chosen_sentences(protocol, sentences, seed, draw)
    wanted = {item.id for item in spread(chosen, limit)}
    recordings = _by_speaker(others)
    short = 0
    for name, targets in _by_speaker(chosen).items():
        kept = [item for item in targets if item.id in wanted]
        if not kept:
            continue
        rest = _known_by(name, recordings[name], targets, seed, draw)
        for target in kept:
            if protocol.prompts.rule == "prefix":
                one = _continued(protocol, target, words_within)
            else:
                one = _another(protocol, target, rest, seed)
            short += one is None
            draw.drawn += [] if one is None else [one]
    if short:
        draw.shortfalls.append(
            f"{short} of {len(wanted)} sentences are left out: too little speech of their speaker "
            "for the prompt"
            if protocol.prompts.rule == "other-utterance"
            else f"{short} of {len(wanted)} sentences are left out: nothing to continue"
        )
    _estimate_groups(draw)
    return draw


def _by_speaker(utterances: Sequence[Utterance]) -> dict[str, list[Utterance]]:
    found: dict[str, list[Utterance]] = defaultdict(list)
    for item in sorted(utterances, key=lambda item: item.id):
        found[item.speaker].append(item)
    return {name: found[name] for name in sorted(found)}


def _generator(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _shuffled(items: Sequence[Utterance], seed: int, name: str) -> list[Utterance]:
    return [items[index] for index in _generator(seed, name).permutation(len(items))]


def _chosen_sentences(
    protocol: Protocol, sentences: Sequence[Utterance], seed: int, draw: Draw
) -> list[Utterance]:
    """Choose speakers and the sentences of each, in order of speaker and id."""
    rule = protocol.data
    speakers = _by_speaker(sentences)
    if rule.speakers is not None and len(speakers) > rule.speakers:
        order = np.random.default_rng(seed).permutation(len(speakers))[: rule.speakers]
        names = list(speakers)
        speakers = {names[index]: speakers[names[index]] for index in sorted(order)}
    elif rule.speakers is not None and len(speakers) < rule.speakers:
        draw.shortfalls.append(f"{len(speakers)} speakers instead of {rule.speakers}")
    chosen, fewer = [], 0
    for name, items in speakers.items():
        most = rule.sentences_per_speaker or len(items)
        fewer += len(items) < most
        chosen += sorted(_shuffled(items, seed, name)[:most], key=lambda item: item.id)
    if fewer:
        draw.shortfalls.append(
            f"{fewer} of {len(speakers)} speakers have fewer than {rule.sentences_per_speaker} "
            "sentences that fit"
        )
    return chosen


def _known_by(
    name: str, recordings: Sequence[Utterance], targets: Sequence[Utterance], seed: int, draw: Draw
) -> list[Utterance]:
    """Set aside what a speaker is known by; return what may be a prompt, in random order."""
    order = _shuffled(recordings, seed, f"{name}/prompts")
    spoken = {item.id for item in targets}
    # What is not spoken goes first; a sentence that is spoken is set aside only for want of others.
    free = sorted(order, key=lambda item: item.id in spoken)
    aside: list[Utterance] = []
    seconds = 0.0
    while len(aside) < len(recordings) // 3 and seconds < GALLERY_SECONDS:
        aside.append(free[len(aside)])
        seconds += seconds_of(aside[-1])
    pieces = [piece for item in aside if (piece := speech_of(item)) is not None]
    if pieces:
        draw.gallery[name] = tuple(pieces)
    draw.groups[name] = next((item.sex for item in recordings if item.sex), "")
    held = {item.id for item in aside}
    return [item for item in order if item.id not in held]


def _another(
    protocol: Protocol, target: Utterance, rest: Sequence[Utterance], seed: int
) -> Drawn | None:
    words = scoring_words(target.text or "")
    allowed = [
        item
        for item in rest
        if item.id != target.id and (not item.text or scoring_words(item.text) != words)
    ]
    order = _shuffled(allowed, seed, target.id)
    prompt = prompt_of(order, max(protocol.prompts.seconds, default=None))
    if prompt is None:
        return None
    return Drawn(sentence=_sentence_of(target), speaker=target.speaker, prompt=prompt)


def _sentence_of(target: Utterance) -> Sentence:
    return Sentence(
        name=target.id,
        text=target.text or "",
        reference=place_of(target),
        reference_speaker=target.speaker,
    )


def _continued(protocol: Protocol, target: Utterance, words_within: WordsWithin) -> Drawn | None:
    """Cut an utterance in two: its beginning to the sample, and what is to be said after it."""
    seconds = protocol.prompts.seconds[0]
    whole, speech = place_of(target), speech_of(target)
    length = len(read_recording(whole)) / RATE_HZ
    if speech is None or length <= seconds:
        return None
    start = whole.start_seconds
    head = Recording(path=whole.path, start_seconds=start, seconds=seconds, exact=True)
    prompt = Prompt(pieces=(head,), spoken=(Spoken(utterance=target, speech=speech),))
    text = " ".join((target.text or "").split()[len((prompt.words(words_within) or "").split()) :])
    if not scoring_words(text):
        return None
    rest = Recording(path=whole.path, start_seconds=start + seconds, seconds=length - seconds)
    sentence = replace(_sentence_of(target), text=text, reference=rest)
    return Drawn(sentence=sentence, speaker=target.speaker, prompt=prompt)


def _estimate_groups(draw: Draw) -> None:
    """Judge the sex of speakers of whom the corpus does not say it."""
    unknown = [name for name, group in draw.groups.items() if not group]
    heard = {one.speaker: one.prompt.pieces for one in draw.drawn} | draw.gallery
    for name in unknown:
        if name in heard:
            draw.groups[name] = estimated_sex(read_joined(heard[name]))
    _remark_estimates(draw, len(unknown))


def _remark_estimates(draw: Draw, count: int) -> None:
    if count:
        draw.remarks.append(
            f"the sex of {count} of {len(draw.groups)} speakers is judged by their median pitch: "
            "the corpus does not say it"
        )


def draw_enrolled(
    protocol: Protocol,
    sentences: Sequence[Utterance],
    others: Sequence[Utterance],
    *,
    seed: int,
    limit: int | None,
) -> Draw:
    """Speak sentences in the voices of enrolled speakers, each in turn.

    Args:
        protocol: its rule is ``enrolment``; its lists of texts go before the sentences.
        sentences: recordings to be spoken again where the protocol has no texts, in order.
        others: recordings of the speakers.
        seed: of the order of the speakers.
        limit: most sentences or runs, and most speakers, each evenly spread.

    Raises:
        ConfigError: no speaker has enough speech.
    """
    draw = Draw()
    order = _enrol(protocol, others, limit, draw)
    order = [order[index] for index in np.random.default_rng(seed).permutation(len(order))]
    said = list(_listed(protocol)) or [_sentence_of(item) for item in sentences]
    if protocol.runs is not None:
        said = list(islice(cycle(spread(said, protocol.runs)), protocol.runs))
    for number, sentence in enumerate(spread(said, limit)):
        turns = [order[(number + step) % len(order)] for step in range(len(order))]
        speaker = next((one for one in turns if not one.prompt.holds(sentence.text)), None)
        if speaker is None:
            draw.shortfalls.append(f"'{sentence.name}' is left out: every prompt says it")
            continue
        draw.drawn.append(Drawn(sentence=sentence, speaker=speaker.name, prompt=speaker.prompt))
    return draw


def _listed(protocol: Protocol) -> Iterator[Sentence]:
    for given in protocol.texts:
        for number, text in enumerate(given.read()):
            yield Sentence(
                name=f"{given.name}/{number:02d}",
                text=text,
                labels={"text": given.name},
                noise_db=given.noise_db,
            )


def _enrol(
    protocol: Protocol, others: Sequence[Utterance], limit: int | None, draw: Draw
) -> list[PromptSpeaker]:
    by_speaker = _by_speaker(others)
    wanted = protocol.prompts.seconds
    longest = max(wanted, default=LONGEST_PROMPT_SECONDS)
    found = [
        enrolled(
            by_speaker[name],
            shortest_seconds=max(wanted, default=SHORTEST_PROMPT_SECONDS),
            longest_seconds=longest,
        )
        for name in spread(list(by_speaker), limit)
    ]
    speakers = [speaker for speaker in found if speaker is not None]
    if not speakers:
        raise ConfigError(
            f"protocol {protocol.name}: none of {len(found)} speakers has enough speech for a "
            f"prompt of {longest:g} s and for identification; give a corpus with more of each"
        )
    if len(speakers) < len(found):
        missing = len(found) - len(speakers)
        draw.shortfalls.append(f"{missing} of {len(found)} speakers have too little speech")
    for speaker in speakers:
        draw.gallery[speaker.name] = speaker.enrolment
        draw.groups[speaker.name] = speaker.sex
    _remark_estimates(draw, sum(speaker.sex_is_estimated for speaker in speakers))
    return speakers
