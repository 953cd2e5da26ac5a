"""When each written word of a recording is spoken, so that a cut recording keeps its words."""

import numpy as np

from parlando.contracts import AudioError, TextError
from parlando.evaluation.alignment import HOP_SAMPLES, PhoneFinder, symbols_of
from parlando.evaluation.material import Spoken, words_by_letters
from parlando.evaluation.measure import RATE_HZ
from parlando.evaluation.sounds import read_recording
from parlando.text.vocabulary import BOUNDARY, is_phone


class AlignedWords:
    """Counts the words before a time by the aligner: a ``WordsWithin``.

    Written words are spoken forms one by one (``12`` becomes twelve), so that each stays whole.
    Where the text cannot be aligned, all letters count the same.

    Args:
        finder: finds phones in sound; its aligner is loaded at the first call.
    """

    def __init__(self, finder: PhoneFinder):
        self._finder = finder

    def __call__(self, given: Spoken, seconds: float) -> int:
        """Count the words of an utterance whose middle lies before a time of its file."""
        words = [_symbols(word) for word in (given.utterance.text or "").split()]
        counts = [sum(map(is_phone, word)) for word in words]
        symbols = [symbol for word in words for symbol in (BOUNDARY, *word)][1:]
        try:
            found = self._finder.find(read_recording(given.speech), symbols)
        except (AudioError, TextError):
            return words_by_letters(given, seconds)
        # A sign that is not spoken belongs to the word before it.
        last = np.maximum(np.cumsum(counts) - 1, 0)
        first = np.where(counts, last - np.array(counts) + 1, last)
        middles = (found.starts[first] + found.stops[last]) / 2 * HOP_SAMPLES / RATE_HZ
        return int(np.sum(middles <= seconds - given.speech.start_seconds))


def _symbols(word: str) -> list[str]:
    try:
        return symbols_of(word)
    except TextError:
        return []
