"""How much of a text a recogniser gets back from speech: word and phone errors.

The figures depend on the recogniser, the text normaliser and the sentences: report all three
beside every number, and compare only numbers that share them.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from parlando.contracts import TextError
from parlando.evaluation.intervals import Interval, ratio_interval

NORMALIZER = "lower case, letters and digits only, apostrophes inside words, titles spelled out"
"""What :func:`scoring_words` does, in a line for reports."""

_APOSTROPHES = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "`": "'"})
_TITLES = {"mr": "mister", "mrs": "missus", "ms": "miss", "dr": "doctor"}
_NOISE = re.compile(r"\[[^\]]*\]|<[^>]*>|\(\d+\)")
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


class Recognizer(Protocol):
    """Speech to written words."""

    name: str

    def transcribe(self, samples: np.ndarray, rate_hz: int) -> str:
        """Return the words heard in ``(S,)`` float samples in [-1, 1]."""


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
    import jiwer

    if not reference:
        raise TextError("the reference is empty; an error rate needs at least one word or phone")
    if not hypothesis:
        return ErrorCount(
            reference_length=len(reference),
            substitutions=0,
            deletions=len(reference),
            insertions=0,
        )
    # jiwer's default transforms would strip and split again: the tokens are what is compared.
    keep = jiwer.Compose([jiwer.ReduceToListOfListOfWords()])
    found = jiwer.process_words(
        " ".join(reference),
        " ".join(hypothesis),
        reference_transform=keep,
        hypothesis_transform=keep,
    )
    return ErrorCount(
        reference_length=len(reference),
        substitutions=found.substitutions,
        deletions=found.deletions,
        insertions=found.insertions,
    )


def word_errors(reference: str, hypothesis: str) -> ErrorCount:
    """Count word errors between two texts, both through :func:`scoring_words`."""
    return token_errors(scoring_words(reference), scoring_words(hypothesis))


def phone_errors(reference: Sequence[str], hypothesis: Sequence[str]) -> ErrorCount:
    """Count phone errors; both sides are base phones without stress, pauses or punctuation."""
    return token_errors(reference, hypothesis)


def corpus_error(counts: Sequence[ErrorCount], *, seed: int = 0) -> Interval:
    """Compute the error rate of a corpus: all edits over all reference tokens, with its interval.

    Long sentences weigh more than short ones; the mean of per-sentence rates is another figure.
    """
    return ratio_interval(
        [count.edits for count in counts], [count.reference_length for count in counts], seed=seed
    )


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


def allowed_error(human: float, control: float, share: float = 0.4) -> float:
    """Compute the bound ``human + share * (control - human)`` between recordings and chance."""
    return human + share * (control - human)


class PocketsphinxRecognizer:
    """Offline large-vocabulary recogniser with the en-us model that its package bundles.

    It is weak by today's standards, and the same for everyone: use it for comparisons. Every
    utterance is decoded from a fresh state, so that the order of utterances changes nothing.
    """

    name = "pocketsphinx-5 en-us"
    rate_hz = 16_000

    def __init__(self) -> None:
        self._decoder: Any = None

    def transcribe(self, samples: np.ndarray, rate_hz: int) -> str:
        """Return the best word string for ``(S,)`` float samples, or an empty string."""
        if self._decoder is None:
            from pocketsphinx import Decoder

            # Whole-utterance mean normalisation: the default keeps a mean across utterances.
            self._decoder = Decoder(samprate=float(self.rate_hz), loglevel="FATAL", cmn="batch")
        if rate_hz != self.rate_hz:
            import soxr

            samples = soxr.resample(samples, rate_hz, self.rate_hz)
        pcm = np.round(np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2")
        if pcm.size == 0:
            return ""
        # The noise tracker and gain control also remember: without this, results drift.
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        self._decoder.process_raw(pcm.tobytes(), no_search=False, full_utt=True)
        self._decoder.end_utt()
        best = self._decoder.hyp()
        return best.hypstr if best is not None else ""
