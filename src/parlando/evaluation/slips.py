"""Skipped, repeated and inserted words, found from phones.

Hypotheses compete with the expected text: a word is missing, it is there twice, an unknown word
stands between two. Each is a phone sequence; a scorer says how well it explains the sound. What
beats the expected text by a margin is a slip. Errors of the recogniser cost every hypothesis the
same and cancel in the difference, which a comparison of transcripts cannot offer.

The margins were set on doctored recordings of a training split, where each kind flags one recording
in a hundred; :mod:`parlando.evaluation.robustness` measures what they are worth on other speech.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from parlando.contracts import TextError
from parlando.text.vocabulary import base_phone, is_phone

Phones = tuple[str, ...]
Scorer = Callable[[Sequence[Phones]], np.ndarray]
"""Phone sequences to the log-likelihood of the sound given each, ``(len,)``, in nats."""
Kind = Literal["skip", "repeat", "insertion"]

UNKNOWN_WORD: Phones = ("*1", "*2", "*3")
"""A word of which nothing is known: three phones, each of them any; a longer one fits too."""

SKIP_MARGIN_NATS = 5.0
"""Evidence that a skip needs by default: it outweighs prior odds of one slip in 150 words."""
SKIP_STRETCH_NATS = 3.8
"""What it needs besides for every unit of stretch that the word has beyond ``ABSENT_STRETCH``."""
ABSENT_STRETCH = -1.55
"""Stretch of a word that is not there: an aligner has only a frame or two for each phone."""
REPEAT_MARGIN_NATS = 2.0
"""Evidence that a repeat needs by default, before ``REPEAT_PHONE_NATS`` is taken off."""
REPEAT_PHONE_NATS = 1.45
"""What a repeat needs less for each phone of the word. The longer a word that was said once, the
worse it explains the sound when it is expected twice; and the recogniser's errors cost a true
repeat something at each phone."""
INSERTION_MARGIN_NATS = -2.5
"""The same for an unknown word; below 0, because each phone of it pays for being any of 40."""


@dataclass(frozen=True, kw_only=True)
class Slip:
    """One word that was left out, said twice, or said although the text has none."""

    word: int
    """Index of the word in the text; for an insertion, of the word before it, or 0."""
    kind: Kind
    """What happened."""
    margin_nats: float
    """How much better the sound is explained this way than as expected."""


@dataclass(frozen=True, kw_only=True)
class SpokenWords:
    """Speech whose words, and their places, are known."""

    samples: np.ndarray
    """``(S,)`` float."""
    words: tuple[Phones, ...]
    """Base phones of each word."""
    spans: tuple[tuple[int, int], ...]
    """First sample and one past the last of each word."""


def spoken_words(
    samples: np.ndarray,
    symbols: Sequence[str],
    durations_frames: Sequence[int],
    hop_samples: float,
) -> SpokenWords:
    """Group vocabulary symbols into words and find each word's samples.

    Args:
        samples: ``(S,)``.
        symbols: vocabulary symbols; boundaries and punctuation part words.
        durations_frames: length of each symbol.
        hop_samples: samples per frame; a fraction where the rate was changed.

    Raises:
        TextError: if symbols and durations do not pair up, or there is no word.
    """
    if len(symbols) != len(durations_frames):
        raise TextError(f"got {len(symbols)} symbols and {len(durations_frames)} durations")
    words: list[Phones] = []
    spans: list[tuple[int, int]] = []
    phones: list[str] = []
    start = position = 0
    # A closing boundary ends the last word as any other.
    for symbol, frames in zip([*symbols, " "], [*durations_frames, 0], strict=True):
        if is_phone(symbol):
            if not phones:
                start = position
            phones.append(base_phone(symbol))
        elif phones:
            words.append(tuple(phones))
            spans.append((round(start * hop_samples), round(position * hop_samples)))
            phones = []
        position += frames
    if not words:
        raise TextError(f"no word among {len(symbols)} symbols")
    return SpokenWords(samples=samples, words=tuple(words), spans=tuple(spans))


def word_stretch(words: Sequence[Phones], frames: Sequence[int]) -> list[float]:
    """Compare how long the phones of each word last with the median over the words.

    Args:
        words: phones of each word.
        frames: length of each word in an alignment, not negative.

    Returns:
        the logarithm of the ratio; an aligner squeezes a word that was not said.
    """
    pace = np.asarray(frames) / [len(word) for word in words]
    # Half a frame keeps the logarithm finite.
    smallest = 0.5 / np.array([len(word) for word in words])
    ratio = (pace + smallest) / max(float(np.median(pace)), float(smallest.min()))
    return [float(value) for value in np.log(ratio)]


@dataclass(frozen=True)
class _Hypothesis:
    slip: Slip
    places: tuple[int, ...]
    """Indices of the words as they are said; one past the last is the unknown word."""


def find_slips(
    words: Sequence[Phones],
    score: Scorer,
    *,
    stretch: Sequence[float] | None = None,
    skip_margin_nats: float = SKIP_MARGIN_NATS,
    repeat_margin_nats: float = REPEAT_MARGIN_NATS,
    repeat_phone_nats: float = REPEAT_PHONE_NATS,
    insertion_margin_nats: float = INSERTION_MARGIN_NATS,
) -> list[Slip]:
    """Find the words that were skipped, repeated or inserted, the clearest first.

    The best hypothesis is taken into the expected text before the search goes on, so that one
    event is counted once although neighbouring hypotheses explain parts of it too.

    Args:
        words: base phones of each expected word.
        score: log-likelihood of the sound given phone sequences; it knows ``UNKNOWN_WORD``.
        stretch: of each word, from :func:`word_stretch`; None where there is no alignment.
        skip_margin_nats: evidence needed to call a word skipped; a higher value misses more
            short words and raises fewer false alarms.
        repeat_margin_nats: the same for a repeated word, before the next is taken off.
        repeat_phone_nats: for each phone of the word.
        insertion_margin_nats: the same for an inserted word.

    Returns:
        the slips; in a run of equal words the first is named.
    """

    def excess(found: _Hypothesis) -> float:
        slip = found.slip
        if slip.kind == "insertion":
            return slip.margin_nats - insertion_margin_nats
        if slip.kind == "repeat":
            discount = repeat_phone_nats * len(words[slip.word])
            return slip.margin_nats - repeat_margin_nats + discount
        longer = 0.0 if stretch is None else stretch[slip.word] - ABSENT_STRETCH
        return slip.margin_nats - skip_margin_nats - SKIP_STRETCH_NATS * longer

    places = tuple(range(len(words)))
    slips: list[Slip] = []
    while len(slips) < len(words):
        changes = [*_changes(places, len(words)), *_insertions(places, len(words))]
        clear = [one for one in _weighed(changes, words, score, places) if excess(one) > 0]
        if not clear:
            break
        # Several explain the same event: the likeliest does, whatever it needed to be believed.
        best = max(clear, key=lambda one: one.slip.margin_nats)
        slips.append(best.slip)
        places = best.places
    return slips


_Change = tuple[int, Kind, tuple[int, ...]]


def _changes(places: tuple[int, ...], unknown: int) -> Iterator[_Change]:
    for index, place in enumerate(places):
        if place != unknown:
            before, after = places[:index], places[index + 1 :]
            yield place, "skip", before + after
            yield place, "repeat", (*before, place, place, *after)


def _insertions(places: tuple[int, ...], unknown: int) -> Iterator[_Change]:
    word = 0
    for gap in range(len(places) + 1):
        if gap and places[gap - 1] != unknown:
            word = places[gap - 1]
        yield word, "insertion", (*places[:gap], unknown, *places[gap:])


def _weighed(
    changes: Iterable[_Change],
    words: Sequence[Phones],
    score: Scorer,
    places: tuple[int, ...],
) -> list[_Hypothesis]:
    known = (*words, UNKNOWN_WORD)

    def join(chosen: Sequence[int]) -> Phones:
        return tuple(phone for place in chosen for phone in known[place])

    # Equal words in a row give equal hypotheses: only the first of them is scored.
    different: dict[Phones, _Change] = {}
    for change in changes:
        different.setdefault(join(change[2]), change)
    scores = score([join(places), *different])
    return [
        _Hypothesis(Slip(word=word, kind=kind, margin_nats=float(margin)), after)
        for (word, kind, after), margin in zip(
            different.values(), scores[1:] - scores[0], strict=True
        )
    ]


def ctc_scorer(
    log_probabilities: np.ndarray,
    classes: Sequence[str],
    *,
    silent: Sequence[str] = ("sil",),
    error_rate: float = 0.2,
) -> Scorer:
    """Score phone sequences by the CTC likelihood under a recogniser's frame posteriors.

    Source: Graves et al., 2006. Two deviations: silence may stand wherever the blank may, because
    where a speaker pauses is not at question; and the posteriors are mixed with a share of the
    uniform distribution, because CTC networks are surer than they are right.

    Args:
        log_probabilities: ``(T, C)``, the blank first.
        classes: names of the ``C`` classes.
        silent: classes that mean no phone, besides the blank.
        error_rate: share of the uniform distribution, from 0, below 1: about the recogniser's phone
            error rate. It bounds what one frame can say.
    """
    import torch

    probabilities = np.exp(np.asarray(log_probabilities, dtype=np.float64))
    mute = [0, *(classes.index(name) for name in silent)]
    probabilities[:, 0] = probabilities[:, mute].sum(1)
    probabilities[:, mute[1:]] = 0.0
    mixed = (1.0 - error_rate) * probabilities + error_rate / len(classes)
    phones = np.setdiff1d(np.arange(len(classes)), mute)
    unknown = np.repeat(mixed[:, phones].mean(1, keepdims=True), len(UNKNOWN_WORD), axis=1)
    frames = torch.from_numpy(np.concatenate([mixed, unknown], axis=1)).log()
    # A pause that no one heard: what does not fit into the sound may still be compared.
    pause = torch.full((1, frames.shape[1]), error_rate / len(classes)).log().double()
    pause[0, 0] = np.log1p(error_rate / len(classes) - error_rate)
    index = {name: place for place, name in enumerate((*classes, *UNKNOWN_WORD))}

    def score(sequences: Sequence[Phones]) -> np.ndarray:
        lengths = [len(sequence) for sequence in sequences]
        targets = torch.tensor([index[phone] for sequence in sequences for phone in sequence])
        missing = max(0, 2 * max(lengths) - len(frames))
        longer = torch.cat([frames, pause.expand(missing, -1)])
        losses = torch.nn.functional.ctc_loss(
            longer[:, None].expand(-1, len(sequences), -1),
            targets,
            torch.full((len(sequences),), len(longer)),
            torch.tensor(lengths),
            reduction="none",
        )
        return -losses.numpy()

    return score


def channel_scorer(recognized: Sequence[str], *, error_rate: float = 0.2) -> Scorer:
    """Score phone sequences by the likelihood of one recognised string: for any recogniser.

    The best path through a memoryless channel that substitutes, deletes and inserts phones, with
    the same share of each. It knows less than posteriors do; see :func:`ctc_scorer`. Two phones
    that a recogniser adds side by side are nearly an unknown word, and a wrong phone costs no more
    than two: ask for 5 nats of an insertion, and take nothing off a repeat.

    Args:
        recognized: phones as recognised, without pauses.
        error_rate: phone error rate of the recogniser, above 0 and below 1.
    """
    alphabet = 40.0
    share = error_rate / 3.0
    right, wrong = np.log(1.0 - error_rate), np.log(share / alphabet)
    dropped, added = np.log(share), np.log(share / alphabet)
    heard = np.asarray(recognized, dtype=object)
    slope = added * np.arange(len(heard) + 1)

    def match(phone: str) -> np.ndarray:
        if phone in UNKNOWN_WORD:
            return np.full(len(heard), right - np.log(alphabet))
        return np.asarray(np.where(heard == phone, right, wrong))

    def score(sequences: Sequence[Phones]) -> np.ndarray:
        values = []
        for sequence in sequences:
            row = slope
            for phone in sequence:
                step = row + dropped
                step[1:] = np.maximum(step[1:], row[:-1] + match(phone))
                # Insertions run along the row: a running maximum once their slope is taken out.
                row = np.maximum.accumulate(step - slope) + slope
            values.append(row[-1])
        return np.array(values)

    return score
