"""Words of a text found in its symbols."""

import pytest

from parlando.text.phonemes import phonemize
from parlando.text.vocabulary import is_pause
from parlando.text.words import phone_runs, word_spans


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        "The cat sat on the mat, didn't it?",
        "He said: at the end of the day, we are one of them.",
        "It was in the year nineteen eighty four that I was at the sea.",
    ],
)
def test_every_phone_lies_in_one_span_and_every_word_is_named(text):
    symbols = [" ", *phonemize(text)]
    spans = word_spans(text, symbols)
    covered = [place for _, first, last in spans for place in range(first, last)]
    phones = [place for place, symbol in enumerate(symbols) if not is_pause(symbol)]
    assert [place for place in covered if not is_pause(symbols[place])] == phones
    assert covered == sorted(set(covered))
    named = " ".join(label for label, _, _ in spans)
    assert named == " ".join(word.strip(",.:?") for word in text.split())


def test_words_that_are_spoken_together_share_a_span():
    symbols = ["k", "ʌ", "p", " ", "ə", "v", "ð", "ə", " ", "t", "iː"]
    assert word_spans("cup of the tea", symbols) == [
        ("cup", 0, 3), ("of the", 4, 8), ("tea", 9, 11)
    ]  # fmt: skip


def test_runs_that_no_word_matches_are_labelled_by_phones():
    assert word_spans("a b c d e f g", ["h", "aɪ"]) == [("haɪ", 0, 2)]


def test_phone_runs():
    assert phone_runs([" ", "h", "aɪ", ",", "h", "."]) == [(1, 3), (4, 5)]
    assert phone_runs([]) == []
