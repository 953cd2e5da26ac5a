"""Long text to pieces that a system speaks one by one.

A text is a row of words; after every word there is a possible break of some strength. Splitting
only ever chooses among these, so no word is lost, doubled or cut.
"""

import math
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import accumulate

from parlando.contracts import ConfigError, TextError
from parlando.text.lexicon import ABBREVIATIONS, NUMBERED, SENTENCE_OPENERS, TITLES
from parlando.text.normalize import normalize

MAX_CHARACTERS = 200
"""About 13 seconds of speech, the length of a long training utterance."""

_SHORTEST_CHARACTERS = 30
_CLOSERS = "\"'”’»)]}*_"
_OPENERS = "\"'“‘«([{*_"
_DASHES = frozenset(("-", "--", "–", "—"))
# fmt: off
_PHRASE_OPENERS = frozenset((
    "and", "or", "but", "nor", "yet", "so", "because", "although", "though", "while",
    "when", "where", "which", "who", "that", "if", "unless", "until", "since", "after",
    "before", "as", "than", "with", "without", "from", "into", "about", "over", "under",
    "between", "through", "during", "against", "toward", "towards", "for", "to", "in", "on",
    "at", "by", "of",
))
# fmt: on
_CLAUSE_PAUSES_SECONDS = {",": 0.15, ";": 0.25, ":": 0.25, "—": 0.25, "–": 0.25, "-": 0.2}
_NUMBERING = re.compile(r"\(?(?:\d{1,3}|[a-zA-Z])[.)]")
_LINE_CHARACTERS = 60


class _Break(IntEnum):
    """How strong the break after a word is."""

    WORD = 0
    PHRASE = 1
    CLAUSE = 2
    SENTENCE = 3
    LINE = 4
    PARAGRAPH = 5


@dataclass(frozen=True)
class Segment:
    """A piece of text to speak in one go."""

    text: str
    """Words of the text, parted by single spaces."""
    pause_seconds: float
    """Silence after the piece; 0 after the last one."""
    ends_paragraph: bool
    """Whether a paragraph, or the text, ends here."""


@dataclass(frozen=True)
class _Words:
    """The words of a text, the break after each, and their end positions when joined."""

    words: Sequence[str]
    breaks: Sequence[_Break]
    ends: Sequence[int]

    def length(self, start: int, stop: int) -> int:
        """Characters of ``words[start:stop]``, joined by spaces."""
        return self.ends[stop - 1] - (self.ends[start - 1] + 1 if start else 0)

    def furthest(self, start: int, limit: int) -> int:
        """Largest stop so that the piece keeps the limit, at least one word on."""
        origin = self.ends[start - 1] + 1 if start else 0
        return max(start + 1, bisect_right(self.ends, origin + limit))


def _ends_sentence(words: Sequence[str], index: int) -> bool:
    """Tell whether a sentence ends with this word, a following one being there."""
    word = words[index].rstrip(_CLOSERS)
    following = words[index + 1].lstrip(_OPENERS)
    if not word or word[-1] not in ".?!…" or following[:1].islower():
        return False
    stem = word.lstrip(_OPENERS).rstrip(".?!…")
    if word[-1] != "." or word.endswith(".."):
        return True
    if stem in TITLES or stem in ("St", "Dr", "Mr", "Mrs", "Ms") or "." in stem:
        return False
    if stem.lower() in NUMBERED and following[:1].isdigit():
        return False
    if stem in ABBREVIATIONS:
        return following[:1].isupper()
    if len(stem) == 1 and stem.isupper():
        return following.rstrip(",") in SENTENCE_OPENERS  # "vitamin C. It", not "J. Smith"
    opens = index == 0 or words[index - 1][-1] in ".?!:"
    return not (stem.isdigit() and opens)


def _break(words: Sequence[str], index: int, gap: str, line_characters: int) -> _Break:
    word, following = words[index], words[index + 1]
    bare = word.rstrip(_CLOSERS)
    newlines = gap.count("\n")
    if newlines > 1:
        return _Break.PARAGRAPH
    # A line that stops early, or before a list item, was meant to end; others are only wrapped.
    if newlines and (
        following in _DASHES
        or following[0] in "•*#"
        or _NUMBERING.fullmatch(following)
        or (
            not following[0].islower()
            and (bare[-1:] in tuple(".?!…:;,") or line_characters < _LINE_CHARACTERS)
        )
    ):
        return _Break.LINE
    if _ends_sentence(words, index):
        return _Break.SENTENCE
    if bare[-1:] in tuple(",;:—–") or word in _DASHES or word[-1] in ")]" or following[0] in "([":
        return _Break.CLAUSE
    return _Break.PHRASE if following.lower() in _PHRASE_OPENERS else _Break.WORD


def _read(text: str) -> _Words:
    found = list(re.finditer(r"\S+", text))
    words = [match.group() for match in found]
    breaks = []
    line_start = 0
    for index, match in enumerate(found[:-1]):
        gap = text[match.end() : found[index + 1].start()]
        breaks.append(_break(words, index, gap, match.end() - line_start))
        if "\n" in gap:
            line_start = found[index + 1].start()
    breaks.append(_Break.PARAGRAPH)
    ends = [end - 1 for end in accumulate(len(word) + 1 for word in words)]
    return _Words(words, breaks, ends)


def _fit(words: _Words, start: int, stop: int, limit: int) -> list[tuple[int, int]]:
    """Cut a sentence into pieces of even length within the limit, at its strongest breaks."""
    pieces = []
    while words.length(start, stop) > limit and stop - start > 1:
        remaining = words.length(start, stop)
        target = remaining / math.ceil(remaining / limit)
        last = min(words.furthest(start, limit), stop - 1)
        cut = max(
            (end for end in range(start + 1, last + 1) if words.length(start, end) > 0.4 * target),
            key=lambda end: (words.breaks[end - 1], -abs(words.length(start, end) - target)),
            default=last,
        )
        pieces.append((start, cut))
        start = cut
    return [*pieces, (start, stop)]


def _first_cut(words: _Words, start: int, stop: int, limit: int) -> int:
    """Choose where the first piece ends: the earliest clause, else the last phrase that fits."""
    last = min(words.furthest(start, limit), stop - 1)
    ends = range(start + 1, last + 1)
    clauses = [end for end in ends[1:] if words.breaks[end - 1] >= _Break.CLAUSE]
    if clauses:
        return clauses[0]
    return max((end for end in ends if words.breaks[end - 1] == _Break.PHRASE), default=last)


def _cut_first(
    words: _Words, pieces: list[tuple[int, int]], limit: int
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Cut the first piece that can be spoken to a limit; return what leads to it, and the rest."""
    lead: list[tuple[int, int]] = []
    while pieces:
        (start, stop), *pieces = pieces
        if stop - start > 1 and words.length(start, stop) > limit:
            cut = _first_cut(words, start, stop, limit)
            stop, pieces = cut, [(cut, stop), *pieces]
        lead.append((start, stop))
        if _speakable(" ".join(words.words[start:stop])):
            break
    return lead, pieces


def _merge(words: _Words, pieces: list[tuple[int, int]], limit: int) -> list[tuple[int, int]]:
    """Join short pieces to the next, and the last one of a line to the one before."""
    shortest = min(_SHORTEST_CHARACTERS, limit // 4)
    merged: list[tuple[int, int]] = []
    for start, stop in pieces:
        if merged and words.breaks[start - 1] < _Break.LINE:
            before = merged[-1][0]
            closing = words.breaks[stop - 1] >= _Break.LINE
            short = words.length(before, start) < shortest or (
                closing and words.length(start, stop) < shortest
            )
            if short and words.length(before, stop) <= limit:
                merged[-1] = (before, stop)
                continue
        merged.append((start, stop))
    return merged


def _pause_seconds(word: str, strength: _Break) -> float:
    if strength == _Break.PARAGRAPH:
        return 0.8
    if strength == _Break.LINE:
        return 0.55
    mark = word.rstrip(_CLOSERS)[-1:]
    if strength == _Break.SENTENCE:
        return 0.5 if mark == "…" or word.endswith("..") else 0.4
    return _CLAUSE_PAUSES_SECONDS.get(mark, 0.15) if strength == _Break.CLAUSE else 0.0


def _speakable(text: str) -> bool:
    if re.search("[A-Za-z0-9]", text):
        return True
    try:
        return bool(normalize(text))
    except TextError:
        return False


def split(
    text: str,
    max_characters: int = MAX_CHARACTERS,
    first_max_characters: int | None = None,
) -> list[Segment]:
    """Split a text at its sentences, long ones at clauses, then phrases, then words.

    Short pieces are joined to a neighbour, since a fragment of one word sounds rushed. Pieces in
    which nothing can be spoken (a row of stars) are left out.

    Args:
        text: Text as people write it; lines and paragraphs part it too.
        max_characters: Longest piece, at least 1; only a single longer word exceeds it.
        first_max_characters: Longest first piece, so that a stream starts soon; it is cut at the
            earliest clause, and never joined to the second piece.

    Returns:
        The pieces in order, at least one.

    Raises:
        TextError: Nothing in the text can be spoken.
        ConfigError: A limit is below 1.
    """
    limits = (
        max_characters,
        max_characters if first_max_characters is None else first_max_characters,
    )
    if min(limits) < 1:
        raise ConfigError(f"a piece of {min(limits)} characters was asked for; expected at least 1")
    if not text.strip():
        raise TextError("the text is empty; expected words to speak")
    words = _read(text)
    stops = [end + 1 for end, kind in enumerate(words.breaks) if kind >= _Break.SENTENCE]
    pieces: list[tuple[int, int]] = []
    for start, stop in zip([0, *stops], stops, strict=False):
        pieces += _fit(words, start, stop, max_characters)
    if first_max_characters is not None:
        lead, rest = _cut_first(words, pieces, first_max_characters)
        pieces = lead + _merge(words, rest, max_characters)
    else:
        pieces = _merge(words, pieces, max_characters)
    texts = [(" ".join(words.words[start:stop]), stop - 1) for start, stop in pieces]
    spoken = [(piece, last) for piece, last in texts if _speakable(piece)]
    if not spoken:
        shown = " ".join(text.split())[:40]
        raise TextError(f"nothing to speak in {shown!r}; expected words or numbers in Latin script")
    segments = [
        Segment(
            piece,
            _pause_seconds(words.words[last], words.breaks[last]),
            words.breaks[last] == _Break.PARAGRAPH,
        )
        for piece, last in spoken
    ]
    return [*segments[:-1], Segment(segments[-1].text, 0.0, True)]
