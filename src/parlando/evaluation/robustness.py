"""Skips, repeats and insertions of words, counted by a detector that is itself measured.

How well :func:`parlando.evaluation.slips.find_slips` detects depends on the phone recogniser and on
the speech. So each report alters the very speech it judges: a word is cut, doubled or put in, and
the share of these that is found stands beside the counts, as does the share of untouched human
recordings that is flagged.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from parlando.contracts import TextError
from parlando.evaluation.intelligibility import whole_frames
from parlando.evaluation.measure import RATE_HZ, Figure, Judgement, Quantity, Row, Sample
from parlando.evaluation.slips import (
    Kind,
    Phones,
    Slip,
    SpokenWords,
    ctc_scorer,
    find_slips,
    spoken_words,
    word_stretch,
)
from parlando.text.normalize import normalize
from parlando.text.phonemes import phonemize
from parlando.text.vocabulary import BOUNDARY, PHONE_CLASSES
from parlando.text.words import phone_runs, word_spans

if TYPE_CHECKING:
    from parlando.aligner.model import Aligner

_SHORTEST_ALTERED = 2
_SHORTEST_INSERTED = 3
_PIECE_WORDS = 40


def alter(
    spoken: SpokenWords, word: int, kind: Kind, other: int = 0, fade_samples: int = 80
) -> np.ndarray:
    """Cut one word out of speech, let it be heard twice, or put another one behind it.

    The seams are cross-faded: a click would be a hint that real slips do not give.

    Args:
        spoken: speech.
        word: the word that is cut, doubled or followed.
        kind: what to do.
        other: the word of the same speech that is put in, for an insertion.
        fade_samples: length of a cross-fade.

    Returns:
        ``(S',)`` samples.
    """
    start, stop = spoken.spans[word]
    samples = spoken.samples
    if kind == "skip":
        return _join(samples[:start], samples[stop:], fade_samples)
    if kind == "repeat":
        return _join(samples[:stop], samples[start:], fade_samples)
    first, last = spoken.spans[other]
    begun = _join(samples[:stop], samples[first:last], fade_samples)
    return _join(begun, samples[stop:], fade_samples)


def _join(first: np.ndarray, second: np.ndarray, fade_samples: int) -> np.ndarray:
    fade = min(fade_samples, len(first), len(second))
    rise = np.linspace(0.0, 1.0, fade, dtype=first.dtype)
    middle = first[len(first) - fade :] * (1.0 - rise) + second[:fade] * rise
    return np.concatenate([first[: len(first) - fade], middle, second[fade:]])


def found_in(slips: Sequence[Slip], words: Sequence[Phones], word: int, kind: Kind) -> bool:
    """Tell whether slips hold the one that was made at a word, or at a neighbour of it.

    In "no no no", and between neighbours that share phones, which one slipped is undecidable; and
    a word too many is one, whether or not it is known which.
    """
    return any(
        (slip.kind == "skip") == (kind == "skip")
        and (abs(slip.word - word) <= 1 or words[slip.word] == words[word])
        for slip in slips
    )


class Robustness:
    """Words skipped, repeated and inserted, and what the detector of them is worth.

    Source: the table of 50 hard sentences in NaturalSpeech 2, 5.3, whose errors people counted.

    In every output, and in every recording where there is one, a word of two phones or more is cut
    or doubled, or one of three or more is put in, by a draw from the trial's seed and name:
    ``detector_hits`` is the share found. ``slipped_human`` is the share of recordings flagged
    although nothing was done to them: the detector's false alarms. Where nobody has read the text,
    as with lists of sentences, ``slipped_prompt`` says the same of prompts whose words are known;
    slips at their last word are passed over, for prompts are cut there. Chance is the output
    against another text.

    Args:
        aligner: makes the phone recogniser and aligner, which is loaded at the first sample.
        aligner_name: what the figures call it.
    """

    name = "robustness"

    def __init__(self, aligner: "Callable[[], Aligner]", aligner_name: str) -> None:
        self.quantities = _slip_quantities(f"{aligner_name}; phone evidence")
        self._make = aligner
        self._aligner: Aligner | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_aligner": None}

    def check(self) -> None:
        """Raise ``ConfigError`` or ``CheckpointError`` if the aligner is not there."""
        self._make()

    def judge(self, sample: Sample) -> Judgement:
        """Count the slips of the output and of the recording, and look for one made on purpose.

        Raises:
            TextError: the text holds nothing that can be spoken.
        """
        trial = sample.trial
        if trial.text is None:
            return Judgement()
        spoken = normalize(trial.text)
        symbols = phonemize(spoken)
        labels = _labels(spoken, symbols)
        seed = (trial.seed, zlib.crc32(trial.id.encode()))
        values, slips = self._judge_speech(sample.output, symbols, sample.details, seed)
        notes = {"slips": [_note(slip, labels) for slip in slips]}
        if sample.reference is not None:
            of_human, slips = self._judge_speech(sample.reference, symbols, {}, seed)
            values |= {f"{key}_human": pair for key, pair in of_human.items()}
            notes["slips_human"] = [_note(slip, labels) for slip in slips]
        elif sample.prompt is not None and trial.prompt_text and trial.noise_db is None:
            values["slipped_prompt"] = (float(self._flags(sample.prompt, trial.prompt_text)), 1)
        if trial.control_text is not None:
            other = phonemize(normalize(trial.control_text))
            found = self._detect(sample.output, self._align(sample.output, other))
            values |= {f"{key}_control": pair for key, pair in _counts(found).items()}
        return Judgement(values=values, notes=notes)

    def conclude(self, rows: Sequence[Row]) -> list[Figure]:
        """Give nothing: the detector's own rates are shares of samples, too."""
        return []

    def _judge_speech(
        self,
        samples: np.ndarray,
        symbols: Sequence[str],
        details: Mapping[str, Any],
        seed: tuple[int, int],
    ) -> tuple[dict[str, tuple[float, float]], list[Slip]]:
        aligned = self._align(samples, symbols)
        slips = self._detect(samples, aligned)
        values = _counts(slips)
        timed = _told_words(samples, details)
        if timed is None or timed.words != aligned.words:
            timed = aligned
        alteration = draw_alteration(timed, np.random.default_rng(seed))
        if alteration is not None:
            word, kind, other = alteration
            altered = alter(timed, word, kind, other)
            found = self._detect(altered, self._align(altered, symbols))
            values["detector_hits"] = (float(found_in(found, timed.words, word, kind)), 1)
        return values, slips

    def _flags(self, prompt: np.ndarray, text: str) -> bool:
        """Tell whether a slip is found in a prompt, before the word that it is cut at."""
        aligned = self._align(prompt, phonemize(normalize(text)))
        last = len(aligned.words) - 1
        return any(slip.word < last for slip in self._detect(prompt, aligned))

    def _detect(self, samples: np.ndarray, aligned: SpokenWords) -> list[Slip]:
        words, evidence = aligned.words, self._evidence(samples)
        frames = [stop - start for start, stop in aligned.spans]
        # A text that is longer than the sound has no alignment.
        if not any(frames):
            return find_slips(words, ctc_scorer(evidence, PHONE_CLASSES))
        stretch = word_stretch(words, frames)
        slips = []
        for first, stop, begin, end in _pieces(aligned, len(evidence)):
            score = ctc_scorer(evidence[begin:end], PHONE_CLASSES)
            found = find_slips(words[first:stop], score, stretch=stretch[first:stop])
            slips += [replace(slip, word=first + slip.word) for slip in found]
        return sorted(slips, key=lambda slip: -slip.margin_nats)

    def _align(self, samples: np.ndarray, symbols: Sequence[str]) -> SpokenWords:
        aligner = self._loaded()
        # As in training, there is a pause at each end.
        framed = [BOUNDARY, *symbols, BOUNDARY]
        frames = whole_frames(samples, RATE_HZ, aligner.rate_hz, aligner.hop_samples)
        durations, _ = aligner.align(frames, framed)
        hop = aligner.hop_samples * RATE_HZ / aligner.rate_hz
        return spoken_words(samples, framed, durations, hop)

    def _evidence(self, samples: np.ndarray) -> np.ndarray:
        """Compute the log-probability of every phone class in every frame: ``(T, C)``."""
        import torch

        aligner = self._loaded()
        with torch.inference_mode():
            frames = whole_frames(samples, RATE_HZ, aligner.rate_hz, aligner.hop_samples)
            mel = aligner.features(frames[None])
            encoded = aligner.encode(mel, torch.ones(mel.shape[:2], dtype=torch.bool))
            phones: np.ndarray = aligner.phone_log_probabilities(encoded)[0].numpy()
        return phones

    def _loaded(self) -> "Aligner":
        if self._aligner is None:
            self._aligner = self._make()
        return self._aligner


def _pieces(aligned: SpokenWords, frames: int) -> Iterator[tuple[int, int, int, int]]:
    """Divide a long text: the search for slips weighs every word against all of the sound.

    Yields:
        first word, one past the last, and the same of the frames; cuts lie between words.
    """
    count, spans = len(aligned.words), aligned.spans
    parts = -(-count // _PIECE_WORDS)
    cuts = [count * part // parts for part in range(parts + 1)]
    scale = frames / len(aligned.samples)
    places = [round(scale * (spans[cut - 1][1] + spans[cut][0]) / 2) for cut in cuts[1:-1]]
    bounds = [0, *places, frames]
    for part in range(parts):
        # What the aligner squeezed to nothing is still searched for in a frame of sound.
        begin = min(bounds[part], frames - 1)
        yield cuts[part], cuts[part + 1], begin, max(bounds[part + 1], begin + 1)


def _counts(slips: Sequence[Slip]) -> dict[str, tuple[float, float]]:
    kinds = [slip.kind for slip in slips]
    return {
        "skips": (kinds.count("skip"), 1),
        "repeats": (kinds.count("repeat"), 1),
        "insertions": (kinds.count("insertion"), 1),
        "slipped": (float(bool(slips)), 1),
    }


def draw_alteration(
    spoken: SpokenWords, generator: np.random.Generator
) -> tuple[int, Kind, int] | None:
    """Draw what to do to speech whose words have a place in it.

    Returns:
        the word, what is done to it, and for an insertion the word that is put behind it; None
        where no word is long enough, or nothing would be left.
    """
    lengths = [len(phones) * (stop > start) for phones, (start, stop) in _timed(spoken)]
    long = [word for word, length in enumerate(lengths) if length >= _SHORTEST_ALTERED]
    if len(lengths) < 2 or not long:
        return None
    word = int(generator.choice(long))
    # What is put beside itself, or beside its neighbour, would be a repeat.
    others = [
        other
        for other, length in enumerate(lengths)
        if length >= _SHORTEST_INSERTED and abs(other - word) > 1
    ]
    kinds: tuple[Kind, ...] = ("skip", "repeat", "insertion") if others else ("skip", "repeat")
    kind = kinds[generator.integers(len(kinds))]
    return word, kind, int(generator.choice(others)) if others else 0


def _timed(spoken: SpokenWords) -> list[tuple[Phones, tuple[int, int]]]:
    return list(zip(spoken.words, spoken.spans, strict=True))


def _told_words(samples: np.ndarray, details: Mapping[str, Any]) -> SpokenWords | None:
    try:
        hop = details["hop_samples"] * RATE_HZ / details["rate_hz"]
        return spoken_words(samples, details["symbols"], details["durations_frames"], hop)
    except (KeyError, TextError):  # not every system tells, and some speak no phones
        return None


def _labels(spoken: str, symbols: Sequence[str]) -> list[str]:
    spans = word_spans(spoken, symbols)
    return [
        next((label for label, first, stop in spans if first <= start < stop), "")
        for start, _ in phone_runs(symbols)
    ]


def _note(slip: Slip, labels: Sequence[str]) -> dict[str, Any]:
    return {
        "kind": slip.kind,
        "word": slip.word,
        "label": labels[slip.word],
        "margin_nats": round(slip.margin_nats, 2),
    }


def _slip_quantities(judge: str) -> tuple[Quantity, ...]:
    titles = {
        "skips": ("Words skipped per sentence", ""),
        "repeats": ("Words repeated per sentence", ""),
        "insertions": ("Words inserted per sentence", ""),
        "slipped": ("Sentences with a skip, repeat or insertion", "%"),
        "detector_hits": ("Detector: words cut, doubled or put in that it finds", "%"),
    }
    of_people = {"slipped": "Detector: human recordings that it flags", "detector_hits": ""}
    made = []
    for key, (title, unit) in titles.items():
        own = key == "detector_hits"
        control = None if own else f"{key}_control"
        made.append(
            Quantity(
                key=key,
                title=title,
                unit=unit,
                better=None if own else "lower",
                judge=judge,
                human=f"{key}_human",
                control=control,
                compared=not own,
                source="" if own else "NaturalSpeech 2, 5.3",
            )
        )
        levels = {f"{key}_human": of_people.get(key) or f"{title}, recordings"}
        if control is not None:
            levels[control] = f"{title}, another text"
        made += [
            Quantity(
                key=name,
                title=said,
                unit=unit,
                judge=judge,
                compared=said != of_people.get(key),
            )
            for name, said in levels.items()
        ]
    flagged = "Detector: human prompts that it flags"
    return (
        *made,
        Quantity(key="slipped_prompt", title=flagged, unit="%", judge=judge, compared=False),
    )
