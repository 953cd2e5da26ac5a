"""How much of a text a recogniser gets back from speech: word and phone errors.

The figures depend on the recogniser, the text normaliser and the sentences: report all three
beside every number, and compare only numbers that share them.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from parlando.audio.waveform import resample
from parlando.contracts import TextError
from parlando.evaluation.measure import (
    RATE_HZ,
    Figure,
    Judgement,
    Quantity,
    Recording,
    Row,
    Sample,
)
from parlando.evaluation.pretrained import require
from parlando.evaluation.recognizers import Recognizer, load_recognizer
from parlando.text.normalize import normalize
from parlando.text.phonemes import phonemize
from parlando.text.vocabulary import base_phone, is_phone

if TYPE_CHECKING:
    import torch

    from parlando.aligner.model import Aligner

NORMALIZER = "lower case, letters and digits only, apostrophes inside words, titles spelled out"
"""What :func:`scoring_words` does, in a line for reports."""

_APOSTROPHES = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "`": "'"})
_TITLES = {"mr": "mister", "mrs": "missus", "ms": "miss", "dr": "doctor"}
_NOISE = re.compile(r"\[[^\]]*\]|<[^>]*>|\(\d+\)")
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


@dataclass(frozen=True, kw_only=True)
class ErrorCount:
    """The edits that turn a reference into what was recognised."""

    reference_length: int
    """Tokens of the reference."""
    substitutions: int
    """Tokens recognised as another."""
    deletions: int
    """Tokens of the reference that are missing."""
    insertions: int
    """Tokens recognised that the reference lacks."""

    @property
    def edits(self) -> int:
        """All edits together."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Edits per reference token; above 1 when much is inserted."""
        return self.edits / self.reference_length


def scoring_words(text: str) -> list[str]:
    """Split a text in its spoken form into the words that are compared.

    Unicode compatibility forms are folded, letters lower-cased and stripped of accents; hyphens
    and every other sign separate words; an apostrophe inside a word stays; recogniser marks such
    as ``[NOISE]``, ``<sil>`` or the ``(2)`` of a second pronunciation go; ``mr mrs ms dr`` are
    written out. Numbers are not expanded: give the spoken form of both sides.

    Words stay words: joining them before scoring would count sentences, not words.
    """
    folded = unicodedata.normalize("NFKD", text.translate(_APOSTROPHES))
    bare = "".join(char for char in folded if not unicodedata.combining(char)).lower()
    return [_TITLES.get(word, word) for word in _WORD.findall(_NOISE.sub(" ", bare))]


def token_errors(reference: Sequence[str], hypothesis: Sequence[str]) -> ErrorCount:
    """Count the edits of the shortest alignment of two token sequences.

    Args:
        reference: at least one token, none with a space in it.
        hypothesis: any number of tokens.

    Raises:
        TextError: if the reference is empty, because it has no error rate.
    """
    jiwer = require("jiwer", "evaluate")
    if not reference:
        raise TextError("the reference is empty; an error rate needs at least one word or phone")
    if not hypothesis:
        return _all_lost(len(reference))
    # jiwer's default transforms would strip and split again: the tokens are what is compared.
    keep = jiwer.Compose([jiwer.ReduceToListOfListOfWords()])
    found = jiwer.process_words(
        " ".join(reference),
        " ".join(hypothesis),
        reference_transform=keep,
        hypothesis_transform=keep,
    )
    return _counted(found, len(reference))


def _counted(found: Any, length: int) -> ErrorCount:
    return ErrorCount(
        reference_length=length,
        substitutions=found.substitutions,
        deletions=found.deletions,
        insertions=found.insertions,
    )


def _all_lost(length: int) -> ErrorCount:
    return ErrorCount(reference_length=length, substitutions=0, deletions=length, insertions=0)


def character_errors(reference: Sequence[str], hypothesis: Sequence[str]) -> ErrorCount:
    """Count the character errors between two lists of words.

    The words are joined by single spaces, which count as characters: running words together or
    apart is an error, how wide a gap was written is not.

    Raises:
        TextError: if the reference is empty.
    """
    jiwer = require("jiwer", "evaluate")
    if not reference:
        raise TextError("the reference is empty; an error rate needs at least one character")
    said, heard = " ".join(reference), " ".join(hypothesis)
    if not heard:
        return _all_lost(len(said))
    keep = jiwer.Compose([jiwer.ReduceToListOfListOfChars()])
    found = jiwer.process_characters(
        said, heard, reference_transform=keep, hypothesis_transform=keep
    )
    return _counted(found, len(said))


def phone_errors(reference: Sequence[str], hypothesis: Sequence[str]) -> ErrorCount:
    """Count phone errors; both sides are base phones without stress, pauses or punctuation."""
    return token_errors(reference, hypothesis)


def shuffled(texts: Sequence[str], seed: int = 0) -> list[int]:
    """Give every text the index of one that differs from it, for the chance level of an error.

    A control that left some sentences in place would flatter whoever is compared with it.

    Args:
        texts: two or more, at most half of them alike.
        seed: of the permutation.

    Returns:
        a permutation ``p`` with ``texts[p[i]] != texts[i]`` for every ``i``.

    Raises:
        ValueError: if no such permutation exists.
    """
    generator = np.random.default_rng(seed)
    random_order = generator.permutation(len(texts))
    order = sorted(random_order.tolist(), key=lambda index: texts[index])
    longest = max((texts.count(text) for text in set(texts)), default=0)
    if len(texts) < 2 or 2 * longest > len(texts):
        raise ValueError(f"{len(texts)} texts, {longest} of them alike, cannot all change places")
    # Equal texts are neighbours in `order`; a shift by at least their number separates them all.
    shift = int(generator.integers(longest, len(texts) - longest + 1))
    partner = [0] * len(texts)
    for place, index in enumerate(order):
        partner[index] = order[(place + shift) % len(texts)]
    return partner


def reference_words(text: str) -> list[str]:
    """Return the words that a recogniser should find, numbers and symbols spoken out."""
    return scoring_words(normalize(text))


def reference_phones(text: str) -> list[str]:
    """Return the base phones that a recogniser should find, pauses left out."""
    return [base_phone(symbol) for symbol in phonemize(normalize(text)) if is_phone(symbol)]


def error_quantities(
    keys: Mapping[str, tuple[str, str]], judge: str, source: str = ""
) -> tuple[Quantity, ...]:
    """Define error figures, each with that of people and that of chance.

    Args:
        keys: title and unit of each figure; ``wer`` becomes ``wer``, ``wer_human`` (the recording
            of a person against its text) and ``wer_control`` (the output against another text).
        judge: what the numbers depend on.
        source: paper and section.
    """
    made = []
    for key, (title, unit) in keys.items():
        human, control = f"{key}_human", f"{key}_control"
        for name, whose in ((key, ""), (human, ", recordings"), (control, ", another text")):
            made.append(
                Quantity(
                    key=name,
                    title=title + whose,
                    unit=unit,
                    better=None if whose else "lower",
                    judge=judge,
                    human=None if whose else human,
                    control=None if whose else control,
                    source=source,
                )
            )
    return tuple(made)


class Intelligibility:
    """Word and character error rates of outputs, human recordings, and outputs beside other texts.

    Both sides are compared as :func:`scoring_words`, the text after
    :func:`parlando.text.normalize.normalize`. The recordings' errors are the recogniser's own. A
    sample without a text is not judged.

    Args:
        recognizer: name of a recogniser, or what makes one; its weights are loaded once.
    """

    name = "intelligibility"

    def __init__(self, recognizer: str | Callable[[], Recognizer] = "pocketsphinx") -> None:
        self.recognizer = (
            load_recognizer(recognizer) if isinstance(recognizer, str) else recognizer()
        )
        edits = ("substitution", "deletion", "insertion")
        self.quantities = error_quantities(
            {
                "wer": ("Word error rate", "%"),
                "cer": ("Character error rate", "%"),
                **{f"word_{kind}s": (f"Word {kind}s per sentence", "") for kind in edits},
            },
            judge=f"{self.recognizer.name}; {NORMALIZER}",
        )
        self._human: dict[Recording, str] = {}

    def check(self) -> None:
        """Raise ``ConfigError`` if the recogniser or jiwer is not there."""
        require("jiwer", "evaluate")
        check = getattr(self.recognizer, "check", None)
        if check is not None:
            check()

    def judge(self, sample: Sample) -> Judgement:
        """Transcribe the output and the recording, each by itself, and count errors.

        Raises:
            TextError: the text holds no word.
        """
        trial = sample.trial
        if trial.text is None:
            return Judgement()
        words = reference_words(trial.text)
        heard = self.recognizer.transcribe(sample.output, RATE_HZ)
        values = _word_values(words, heard, "")
        notes = {"reference": " ".join(words), "heard": heard}
        if trial.control_text is not None:
            values |= _word_values(reference_words(trial.control_text), heard, "_control")
        if sample.reference is not None:
            notes["heard_human"] = self._transcribe_human(trial.reference, sample.reference)
            values |= _word_values(words, notes["heard_human"], "_human")
        return Judgement(values=values, notes=notes)

    def conclude(self, rows: Sequence[Row]) -> list[Figure]:
        """Give nothing: every figure is a sum over samples."""
        return []

    def _transcribe_human(self, recording: Recording | None, samples: np.ndarray) -> str:
        # A protocol with several conditions meets the same recording once for each.
        if recording is None:
            return self.recognizer.transcribe(samples, RATE_HZ)
        if recording not in self._human:
            self._human[recording] = self.recognizer.transcribe(samples, RATE_HZ)
        return self._human[recording]


def _word_values(words: Sequence[str], heard: str, suffix: str) -> dict[str, tuple[float, float]]:
    found = scoring_words(heard)
    of_words, of_characters = token_errors(words, found), character_errors(words, found)
    return {
        f"wer{suffix}": (of_words.edits, of_words.reference_length),
        f"cer{suffix}": (of_characters.edits, of_characters.reference_length),
        f"word_substitutions{suffix}": (of_words.substitutions, 1),
        f"word_deletions{suffix}": (of_words.deletions, 1),
        f"word_insertions{suffix}": (of_words.insertions, 1),
    }


class Phones:
    """Phone error rate by a recogniser without a language model, which mends nothing.

    Phones are those of espeak-ng's en-us voice for the text, without stress and pauses.

    Args:
        aligner: makes the phone recogniser, which is loaded at the first sample.
        aligner_name: what the figures call it.
    """

    name = "phones"

    def __init__(self, aligner: "Callable[[], Aligner]", aligner_name: str) -> None:
        self._make = aligner
        self._aligner: Aligner | None = None
        self.quantities = error_quantities(
            {"per": ("Phone error rate", "%")}, judge=f"{aligner_name}; espeak-ng en-us phones"
        )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_aligner": None}

    def check(self) -> None:
        """Raise ``ConfigError`` or ``CheckpointError`` if the aligner or jiwer is not there."""
        require("jiwer", "evaluate")
        self._make()

    def judge(self, sample: Sample) -> Judgement:
        """Recognise the phones of the output and of the recording, and count errors.

        Raises:
            TextError: the text holds nothing that can be spoken.
        """
        trial = sample.trial
        if trial.text is None:
            return Judgement()
        phones = reference_phones(trial.text)
        heard = self.recognize(sample.output)
        values = {"per": phone_pair(phones, heard)}
        notes = {"reference": " ".join(phones), "heard": " ".join(heard)}
        if trial.control_text is not None:
            values["per_control"] = phone_pair(reference_phones(trial.control_text), heard)
        if sample.reference is not None:
            human = self.recognize(sample.reference)
            values["per_human"] = phone_pair(phones, human)
            notes["heard_human"] = " ".join(human)
        return Judgement(values=values, notes=notes)

    def conclude(self, rows: Sequence[Row]) -> list[Figure]:
        """Give nothing: the rates are sums over samples."""
        return []

    def recognize(self, samples: np.ndarray) -> list[str]:
        """Name the phones of ``(S,)`` samples at 16 kHz, without pauses."""
        if self._aligner is None:
            self._aligner = self._make()
        frames = whole_frames(samples, RATE_HZ, self._aligner.rate_hz, self._aligner.hop_samples)
        return [phone for phone in self._aligner.recognize(frames) if is_phone(phone)]


def whole_frames(
    samples: np.ndarray, rate_hz: int, wanted_hz: int, hop_samples: int
) -> "torch.Tensor":
    """Resample ``(S,)`` samples, and add silence up to whole frames that last 0.1 s or more."""
    import torch

    sound = resample(samples, rate_hz, wanted_hz)
    # A spectrogram mirrors its edges: it needs more sound than half a window.
    length = max(len(sound), wanted_hz // 10)
    return torch.from_numpy(
        np.pad(sound, (0, -(-length // hop_samples) * hop_samples - len(sound)))
    )


def phone_pair(reference: Sequence[str], heard: Sequence[str]) -> tuple[float, float]:
    """Give the number of phone errors and that of the phones of the text."""
    count = phone_errors(reference, heard)
    return count.edits, count.reference_length
