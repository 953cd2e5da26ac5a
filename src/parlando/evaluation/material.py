"""Pieces of human speech to make prompts of, and the corpora they come from.

Pieces are places in files, exact to the sample, so that a list of trials holds no sound and still
says what every prompt was.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from parlando.audio import pitch, waveform
from parlando.contracts import ConfigError
from parlando.data.corpora import Recording as Utterance
from parlando.data.corpora import read_corpus
from parlando.evaluation.generated import generated_corpus
from parlando.evaluation.intelligibility import scoring_words
from parlando.evaluation.measure import RATE_HZ, Recording
from parlando.evaluation.protocol import Protocol
from parlando.evaluation.sounds import GAP_SECONDS, read_joined, read_recording

_Item = TypeVar("_Item")

ENROLMENT_SECONDS = 2.0
"""Least speech to identify a speaker by."""
SHORTEST_PROMPT_SECONDS = 3.0
"""What an enrolment prompt is joined to, where the protocol names no length."""
LONGEST_PROMPT_SECONDS = 6.0
"""Where such a prompt is cut."""
# Between the usual medians of men (about 115 Hz) and women (about 200 Hz) in read speech.
_SEX_BORDER_HZ = 160.0


def read_utterances(
    protocol: Protocol, data: Path | None, *, kind: str = "jsonl", work: Path
) -> list[Utterance]:
    """Read the recordings that a protocol is run on.

    Args:
        protocol: what is to be run.
        data: the corpus; None for protocols that need none, whose prompts espeak-ng speaks.
        kind: of the corpus, see :func:`parlando.data.corpora.read_corpus`.
        work: folder for speech that is generated.

    Raises:
        ConfigError: the protocol needs a corpus and none is given, or it cannot be read.
    """
    if protocol.data.layout == "generated" or (data is None and not protocol.needs_data):
        return generated_corpus(work)
    if data is None:
        raise ConfigError(
            f"protocol {protocol.name} speaks the sentences of a corpus; give one with --data, or "
            "use the protocol 'bundled', which needs none"
        )
    return read_corpus(kind, data)


def spread(items: Sequence[_Item], limit: int | None) -> list[_Item]:
    """Choose at most ``limit`` items, evenly spread over all."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[index * len(items) // limit] for index in range(limit)]


def place_of(utterance: Utterance) -> Recording:
    """Say where an utterance lies; one that begins its file is all of the file."""
    segment = utterance.start_seconds > 0.0
    return Recording(
        path=utterance.audio_path,
        start_seconds=utterance.start_seconds,
        seconds=utterance.duration_seconds if segment else None,
    )


def seconds_of(utterance: Utterance) -> float:
    """Return the length that the corpus states, or else that of the file.

    Raises:
        AudioError: the file cannot be read.
    """
    if utterance.duration_seconds is not None:
        return utterance.duration_seconds
    return len(read_recording(place_of(utterance))) / RATE_HZ


def speech_of(utterance: Utterance) -> Recording | None:
    """Find the speech of an utterance, without the silence around it; None for silence.

    Raises:
        AudioError: the file cannot be read.
    """
    start, stop = waveform.speech_bounds(read_recording(place_of(utterance)), RATE_HZ)
    if stop <= start:
        return None
    offset = round(utterance.start_seconds * RATE_HZ)
    return _piece(utterance.audio_path, offset + start, stop - start)


def _piece(path: Path, first: int, count: int) -> Recording:
    return Recording(path=path, start_seconds=first / RATE_HZ, seconds=count / RATE_HZ, exact=True)


def _length(piece: Recording) -> int:
    assert piece.seconds is not None
    return round(piece.seconds * RATE_HZ)


_GAP = round(GAP_SECONDS * RATE_HZ)


def joined_seconds(pieces: Sequence[Recording]) -> float:
    """Return how long exact pieces last when they are joined."""
    count = sum(map(_length, pieces)) + _GAP * max(len(pieces) - 1, 0)
    return count / RATE_HZ


def divided(
    pieces: Sequence[Recording], seconds: float
) -> tuple[tuple[Recording, ...], tuple[Recording, ...]]:
    """Divide joined exact pieces at a time; what is cut of a gap between them is dropped."""
    first: list[Recording] = []
    second: list[Recording] = []
    left = round(seconds * RATE_HZ)
    for piece in pieces:
        count, start = _length(piece), round(piece.start_seconds * RATE_HZ)
        taken = min(max(left, 0), count)
        if taken:
            first.append(_piece(piece.path, start, taken))
        if taken < count:
            second.append(_piece(piece.path, start + taken, count - taken))
        left -= count + _GAP
    return tuple(first), tuple(second)


def estimated_sex(samples: np.ndarray) -> str:
    """Judge the sex by the median F0 of ``(S,)`` samples at 16 kHz."""
    f0_hz, _ = pitch.f0(samples, RATE_HZ, 200)
    voiced = f0_hz[f0_hz > 0]
    return "female" if voiced.size and np.median(voiced) > _SEX_BORDER_HZ else "male"


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """An utterance and where its speech is."""

    utterance: Utterance
    speech: Recording
    """Exact, without the silence around it."""


def spoken(utterances: Iterable[Utterance]) -> Iterator[Spoken]:
    """Find the speech of utterances; those without any are left out.

    Raises:
        AudioError: a file cannot be read.
    """
    for utterance in utterances:
        speech = speech_of(utterance)
        if speech is not None:
            yield Spoken(utterance=utterance, speech=speech)


WordsWithin = Callable[[Spoken, float], int]
"""Counts the words that are said before a time of the file, in seconds."""


def words_by_letters(given: Spoken, seconds: float) -> int:
    """Count the words whose middle lies before a time, if all letters lasted the same.

    Choice: this needs no aligner and is a word off at times; one that knows better can be given
    instead.
    """
    assert given.speech.seconds is not None
    words = (given.utterance.text or "").split()
    ends = np.cumsum([len(word) + 1 for word in words])
    middles = (ends - [(len(word) + 1) / 2 for word in words]) / max(ends[-1:], default=1)
    share = (seconds - given.speech.start_seconds) / given.speech.seconds
    return int(np.sum(middles <= share))


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A voice to speak in."""

    pieces: tuple[Recording, ...]
    """Exact pieces, joined."""
    spoken: tuple[Spoken, ...]
    """What each piece, in order, is the speech or its beginning of."""

    def holds(self, text: str) -> bool:
        """Tell whether the prompt may say a text, in whatever spelling."""
        words = scoring_words(text)
        return any(scoring_words(item.utterance.text or "") == words for item in self.spoken)

    def shortened(self, seconds: float | None) -> "Prompt":
        """Cut the prompt to a length; None leaves it whole."""
        if seconds is None or joined_seconds(self.pieces) <= seconds:
            return self
        pieces, _ = divided(self.pieces, seconds)
        return Prompt(pieces=pieces, spoken=self.spoken[: len(pieces)])

    def words(self, words_within: WordsWithin) -> str | None:
        """Return what the prompt says; None where a piece of it has no transcript."""
        parts = []
        for piece, item in zip(self.pieces, self.spoken, strict=True):
            if not item.utterance.text:
                return None
            assert piece.seconds is not None
            count = words_within(item, piece.start_seconds + piece.seconds)
            parts += item.utterance.text.split()[:count]
        return " ".join(parts)


@dataclass(frozen=True, kw_only=True)
class PromptSpeaker:
    """A speaker with one prompt for all sentences."""

    name: str
    sex: str
    sex_is_estimated: bool
    """Whether ``sex`` was judged by the median F0 because the corpus does not say."""
    prompt: Prompt
    enrolment: tuple[Recording, ...]
    """Other speech of the same speaker."""


def enrolled(
    utterances: Sequence[Utterance],
    *,
    shortest_seconds: float = SHORTEST_PROMPT_SECONDS,
    longest_seconds: float = LONGEST_PROMPT_SECONDS,
) -> PromptSpeaker | None:
    """Divide the utterances of one speaker into a prompt and other speech.

    Utterances are joined until the prompt is long enough, and the others are what identification
    compares with. Where none would be left, all there is gives both: its first half, but at least
    ``shortest_seconds``, is the prompt.

    Args:
        utterances: of one speaker, in order.
        shortest_seconds: speech of the prompt, gaps not counted.
        longest_seconds: where the prompt is cut.

    Returns:
        the speaker, or None where there is too little speech for both.
    """
    kept = list(spoken(utterances))
    pieces = [item.speech for item in kept]
    count, length = 0, 0.0
    while count < len(pieces) and length < shortest_seconds:
        length += _length(pieces[count]) / RATE_HZ
        count += 1
    if count < len(pieces):
        prompt, enrolment = tuple(pieces[:count]), tuple(pieces[count:])
    else:
        half = round(joined_seconds(pieces) * RATE_HZ) // 2 / RATE_HZ
        prompt, enrolment = divided(pieces, max(half, shortest_seconds))
    if joined_seconds(enrolment) < ENROLMENT_SECONDS:
        return None
    sex = utterances[0].sex
    whole = Prompt(pieces=prompt, spoken=tuple(kept[: len(prompt)]))
    return PromptSpeaker(
        name=utterances[0].speaker,
        sex=sex or estimated_sex(read_joined(enrolment)),
        sex_is_estimated=sex is None,
        prompt=whole.shortened(longest_seconds),
        enrolment=enrolment,
    )


def prompt_of(utterances: Sequence[Utterance], seconds: float | None) -> Prompt | None:
    """Make a prompt of a length: of one utterance if one is long enough, or else of several.

    Args:
        utterances: of one speaker; the first that will do is taken.
        seconds: length; None takes the first utterance whole.

    Returns:
        the prompt, or None where all the speech is too short.
    """
    if seconds is None:
        return next((_joined([item]) for item in spoken(utterances)), None)
    long = [item for item in utterances if seconds_of(item) >= seconds]
    for item in spoken(long):
        if joined_seconds([item.speech]) >= seconds:
            return _joined([item]).shortened(seconds)
    used: list[Spoken] = []
    for item in spoken(utterances):
        used.append(item)
        if joined_seconds([one.speech for one in used]) >= seconds:
            return _joined(used).shortened(seconds)
    return None


def _joined(used: Sequence[Spoken]) -> Prompt:
    return Prompt(pieces=tuple(item.speech for item in used), spoken=tuple(used))
