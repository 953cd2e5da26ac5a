"""Words of a cut recording, by an aligner that gives every phone the same time."""

import numpy as np
import pytest
import soundfile
from speechlike import speechlike

from parlando.contracts import TextError
from parlando.data.corpora import Recording as Utterance
from parlando.evaluation.alignment import timed_phones
from parlando.evaluation.material import Spoken, words_by_letters
from parlando.evaluation.measure import RATE_HZ, Recording
from parlando.evaluation.word_times import AlignedWords
from parlando.text.vocabulary import is_phone


class EvenFinder:
    """Ten frames for each phone, none for what is between."""

    def find(self, samples, symbols):
        assert symbols
        assert is_phone(symbols[0])
        return timed_phones(symbols, [10 if is_phone(symbol) else 0 for symbol in symbols])


class FailingFinder:
    def find(self, samples, symbols):
        raise TextError("too short")


@pytest.fixture
def given(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.concatenate([speechlike(1.0), speechlike(4.0)]), RATE_HZ)
    utterance = Utterance(
        id="a", audio_path=path, text="See 12 — boats.", speaker="a", source="toy"
    )
    speech = Recording(path=path, start_seconds=1.0, seconds=4.0, exact=True)
    return Spoken(utterance=utterance, speech=speech)


def test_words_count_where_their_middle_is_before_the_time(given):
    # "See" has 2 phones, "twelve" 5, "boats" 4, of 0.125 s each, and speech begins at 1 s; the
    # dash is in the last phone of "twelve".
    words = AlignedWords(EvenFinder())
    times = {1.0: 0, 1.12: 0, 1.13: 1, 1.56: 1, 1.57: 2, 1.82: 3, 2.12: 3, 2.13: 4, 5.0: 4}
    assert {time: words(given, time) for time in times} == times


def test_what_cannot_be_aligned_is_divided_by_letters(given):
    words = AlignedWords(FailingFinder())
    for time in (1.0, 2.0, 3.0, 5.0):
        assert words(given, time) == words_by_letters(given, time)
