"""Skipped and repeated words, found from phones, by a detector that first proves itself.

For every word two hypotheses compete with the expected text: the word is missing, or it is there
twice. Each is a phone sequence; a scorer says how well it explains the sound. A hypothesis that
beats the expected text by a margin is a slip. Errors of the recogniser cost every hypothesis the
same and cancel in the difference, which a comparison of transcripts cannot offer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from parlando.contracts import TextError
from parlando.text.vocabulary import base_phone, is_phone

Phones = tuple[str, ...]
Scorer = Callable[[Sequence[Phones]], np.ndarray]
"""Phone sequences to the log-likelihood of the sound given each, ``(len,)``, in nats."""

SKIP_MARGIN_NATS = 5.0
"""Evidence that a skip needs by default: it outweighs prior odds of one slip in 150 words."""
REPEAT_MARGIN_NATS = 2.0
"""The same for a repeat; less, because no error of a recogniser looks like a whole word."""


@dataclass(frozen=True, kw_only=True)
class Slip:
    """One word that was left out or said twice."""

    word: int
    """Index of the word in the text."""
    kind: Literal["skip", "repeat"]
    """What happened to it."""
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


Detector = Callable[[np.ndarray, Sequence[Phones]], list[Slip]]


@dataclass(frozen=True, kw_only=True)
class Proof:
    """How well a detector did on speech where the truth is known."""

    altered: int
    """Outputs from which a word was cut or in which one was doubled."""
    found: int
    """Those where a slip of that kind was reported at that word or a neighbour."""
    untouched: int
    """Outputs left as they were."""
    flagged: int
    """Those with any slip reported: false alarms, if the speaker made none."""
    missed: tuple[str, ...] = ()
    """Kind, place and phones of each alteration that went unseen."""

    @property
    def hit_rate(self) -> float:
        """Share of alterations found."""
        return self.found / self.altered

    @property
    def false_alarm_rate(self) -> float:
        """Share of untouched outputs flagged."""
        return self.flagged / self.untouched

    def holds(self, hits: float = 0.9, false_alarms: float = 0.05) -> bool:
        """Tell whether the detector is good enough to be believed."""
        return self.hit_rate >= hits and self.false_alarm_rate <= false_alarms


def spoken_words(
    samples: np.ndarray, symbols: Sequence[str], durations_frames: Sequence[int], hop_samples: int
) -> SpokenWords:
    """Group vocabulary symbols into words and find each word's samples.

    Args:
        samples: ``(S,)``.
        symbols: vocabulary symbols; boundaries and punctuation part words.
        durations_frames: length of each symbol.
        hop_samples: samples per frame.

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
            spans.append((start * hop_samples, position * hop_samples))
            phones = []
        position += frames
    if not words:
        raise TextError(f"no word among {len(symbols)} symbols")
    return SpokenWords(samples=samples, words=tuple(words), spans=tuple(spans))


def find_slips(
    words: Sequence[Phones],
    score: Scorer,
    *,
    skip_margin_nats: float = SKIP_MARGIN_NATS,
    repeat_margin_nats: float = REPEAT_MARGIN_NATS,
) -> list[Slip]:
    """Find the words that were skipped or repeated, the clearest first.

    The best hypothesis is taken into the expected text before the search goes on, so that one
    event is counted once although neighbouring hypotheses explain parts of it too.

    Args:
        words: base phones of each expected word.
        score: log-likelihood of the sound given phone sequences.
        skip_margin_nats: evidence needed to call a word skipped; a higher value misses more
            short words and raises fewer false alarms.
        repeat_margin_nats: the same for a repeated word.

    Returns:
        the slips; in a run of equal words the first is named.
    """
    needed = {"skip": skip_margin_nats, "repeat": repeat_margin_nats}
    places = list(range(len(words)))
    slips: list[Slip] = []
    while len(slips) < len(words):
        found = strongest_slips(words, score, places)
        clear = [slip for slip in found if slip.margin_nats > needed[slip.kind]]
        if not clear:
            break
        best = max(clear, key=lambda slip: slip.margin_nats)
        slips.append(best)
        place = places.index(best.word)
        places[place : place + 1] = [] if best.kind == "skip" else [best.word, best.word]
    return slips


def strongest_slips(
    words: Sequence[Phones], score: Scorer, places: Sequence[int] | None = None
) -> list[Slip]:
    """Find the likeliest skip and the likeliest repeat, however unlikely they are.

    Over speech without slips their margins show what a detector must tolerate: set its margins
    there, on other speech than it is proved or used on.

    Args:
        words: base phones of each expected word.
        score: log-likelihood of the sound given phone sequences.
        places: indices of the words as they are said; by default each once, in order.

    Returns:
        one slip of each kind; none if no word is said at all.
    """
    places = range(len(words)) if places is None else places

    def join(chosen: Sequence[int]) -> Phones:
        return tuple(phone for place in chosen for phone in words[place])

    # Equal words in a row give equal hypotheses: only the first of them is scored.
    hypotheses: dict[Phones, tuple[int, Literal["skip", "repeat"]]] = {}
    for index, place in enumerate(places):
        before, after = places[:index], places[index + 1 :]
        hypotheses.setdefault(join([*before, *after]), (place, "skip"))
        hypotheses.setdefault(join([*before, place, place, *after]), (place, "repeat"))
    scores = score([join(places), *hypotheses])
    strongest: dict[str, Slip] = {}
    for (place, kind), margin in zip(hypotheses.values(), scores[1:] - scores[0], strict=True):
        if kind not in strongest or margin > strongest[kind].margin_nats:
            strongest[kind] = Slip(word=place, kind=kind, margin_nats=float(margin))
    return list(strongest.values())


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
    frames = torch.from_numpy(mixed).log()
    index = {name: place for place, name in enumerate(classes)}

    def score(sequences: Sequence[Phones]) -> np.ndarray:
        lengths = [len(sequence) for sequence in sequences]
        targets = torch.tensor([index[phone] for sequence in sequences for phone in sequence])
        losses = torch.nn.functional.ctc_loss(
            frames[:, None].expand(-1, len(sequences), -1),
            targets,
            torch.full((len(sequences),), len(frames)),
            torch.tensor(lengths),
            reduction="none",
        )
        return -losses.numpy()

    return score


def channel_scorer(recognized: Sequence[str], *, error_rate: float = 0.2) -> Scorer:
    """Score phone sequences by the likelihood of one recognised string: for any recogniser.

    The best path through a memoryless channel that substitutes, deletes and inserts phones, with
    the same share of each. It knows less than posteriors do; see :func:`ctc_scorer`.

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

    def score(sequences: Sequence[Phones]) -> np.ndarray:
        values = []
        for sequence in sequences:
            row = slope
            for phone in sequence:
                step = row + dropped
                step[1:] = np.maximum(step[1:], row[:-1] + np.where(heard == phone, right, wrong))
                # Insertions run along the row: a running maximum once their slope is taken out.
                row = np.maximum.accumulate(step - slope) + slope
            values.append(row[-1])
        return np.array(values)

    return score


def alter(
    spoken: SpokenWords, word: int, kind: Literal["skip", "repeat"], fade_samples: int = 80
) -> np.ndarray:
    """Cut one word out of speech, or let it be heard twice.

    The seams are cross-faded: a click would be a hint that real slips do not give.

    Returns:
        ``(S',)`` samples.
    """
    start, stop = spoken.spans[word]
    samples = spoken.samples
    if kind == "skip":
        return _join(samples[:start], samples[stop:], fade_samples)
    return _join(samples[:stop], samples[start:], fade_samples)


def _join(first: np.ndarray, second: np.ndarray, fade_samples: int) -> np.ndarray:
    fade = min(fade_samples, len(first), len(second))
    rise = np.linspace(0.0, 1.0, fade, dtype=first.dtype)
    middle = first[len(first) - fade :] * (1.0 - rise) + second[:fade] * rise
    return np.concatenate([first[: len(first) - fade], middle, second[fade:]])


def prove(
    detect: Detector,
    outputs: Sequence[SpokenWords],
    untouched: Sequence[tuple[np.ndarray, Sequence[Phones]]],
    *,
    minimum_phones: int = 2,
    seed: int = 0,
) -> Proof:
    """Measure a detector on outputs with one word cut or doubled, and on speech without a slip.

    Args:
        detect: from samples and expected words to slips.
        outputs: each is altered once, cut and doubled in turn, at a word drawn at random.
        untouched: samples and words of speech that is held to be right; a slip that its speaker
            did make counts as a false alarm.
        minimum_phones: shortest word that is altered; a one-phone word such as "a" leaves
            no more trace than a mumble does.
        seed: of the draw.

    Raises:
        ValueError: if either list is empty or an output has no word long enough.
    """
    if not outputs or not untouched:
        raise ValueError(f"{len(outputs)} outputs to alter, {len(untouched)} to leave: need both")
    generator = np.random.default_rng(seed)
    missed = []
    for number, spoken in enumerate(outputs):
        kind: Literal["skip", "repeat"] = "repeat" if number % 2 else "skip"
        long = [i for i, phones in enumerate(spoken.words) if len(phones) >= minimum_phones]
        if not long:
            raise ValueError(f"output {number} has no word of {minimum_phones} phones or more")
        word = int(generator.choice(long))
        slips = detect(alter(spoken, word, kind), spoken.words)
        if not any(slip.kind == kind and _same(spoken.words, slip.word, word) for slip in slips):
            missed.append(
                f"{kind} of word {word} of output {number}: {' '.join(spoken.words[word])}"
            )
    return Proof(
        altered=len(outputs),
        found=len(outputs) - len(missed),
        untouched=len(untouched),
        flagged=sum(bool(detect(samples, words)) for samples, words in untouched),
        missed=tuple(missed),
    )


def _same(words: Sequence[Phones], reported: int, true: int) -> bool:
    # In "no no no", and between neighbours that share phones, which one slipped is undecidable.
    return abs(reported - true) <= 1 or words[reported] == words[true]
