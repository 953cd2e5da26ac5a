"""Laws of splitting long text, and the cases that rules of thumb get wrong."""

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from parlando.contracts import ConfigError, TextError
from parlando.text.segments import Segment, split

_TOKENS = st.sampled_from(
    [
        "a",
        "I",
        "5",
        "word",
        "longer",
        "Sentence.",
        "clause,",
        "end!",
        "why?",
        "Dr.",
        "J.",
        "3.5",
        "and",
        "—",
        "(so)",
        "etc.",
        '"Yes."',
        "which",
        "incomprehensibilities",
        "half;",
        "1.",
    ]
)
_GAPS = st.sampled_from([" ", " ", " ", "\n", "\n\n", "  \t"])
_TEXTS = st.lists(st.tuples(_TOKENS, _GAPS), min_size=1, max_size=60).map(
    lambda pairs: "".join(token + gap for token, gap in pairs)
)
_LIMITS = st.integers(1, 120)


def _texts(text: str, *limits: int) -> list[str]:
    return [segment.text for segment in split(text, *limits)]


def _words(text: str) -> list[str]:
    # A dash that stands alone is no word: a piece of dashes only is left out.
    return [word for word in text.split() if word != "—"]


@settings(max_examples=200, deadline=None)
@given(_TEXTS, _LIMITS, st.none() | st.integers(1, 60))
@example("— a a ", 5, 1)
def test_laws(text: str, limit: int, first: int | None) -> None:
    if not _words(text):
        return
    segments = split(text, limit, first)
    assert [word for segment in segments for word in _words(segment.text)] == _words(text)
    for index, segment in enumerate(segments):
        most = min(limit, first) if first is not None and index == 0 else limit
        assert len(segment.text) <= most or " " not in segment.text
        assert segment.text == " ".join(segment.text.split())
        assert 0 <= segment.pause_seconds <= 1
    assert segments[-1].pause_seconds == 0
    assert segments[-1].ends_paragraph
    assert split(text, limit, first) == segments


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        (
            "Dr. Smith met J. K. Rowling in the U.S. Army base. They talked for a long time there.",
            [
                "Dr. Smith met J. K. Rowling in the U.S. Army base.",
                "They talked for a long time there.",
            ],
        ),
        (
            '"What is that over there?" he asked the captain. "Nothing that matters to you!"',
            [
                '"What is that over there?" he asked the captain.',
                '"Nothing that matters to you!"',
            ],
        ),
        (
            "It costs 3.5 dollars and not 4. See No. 5 on the list of all things that we sell.",
            [
                "It costs 3.5 dollars and not 4.",
                "See No. 5 on the list of all things that we sell.",
            ],
        ),
        (
            "We bought apples, pears, etc. and went back home. Then it rained the whole night.",
            [
                "We bought apples, pears, etc. and went back home.",
                "Then it rained the whole night.",
            ],
        ),
        (
            "Oranges hold a lot of vitamin C. It keeps sailors in good health on their voyages.",
            [
                "Oranges hold a lot of vitamin C.",
                "It keeps sailors in good health on their voyages.",
            ],
        ),
        (
            "He waited for a very long while… then he left. She stayed until the morning came.",
            [
                "He waited for a very long while… then he left.",
                "She stayed until the morning came.",
            ],
        ),
    ],
)
def test_sentences(text: str, pieces: list[str]) -> None:
    assert _texts(text) == pieces


def test_short_sentences_are_joined_within_a_line_only() -> None:
    assert _texts("No. Yes. I did see it there, I am sure. Oh.") == [
        "No. Yes. I did see it there, I am sure. Oh."
    ]
    assert _texts("Title\n\nThe text begins here.") == ["Title", "The text begins here."]


def test_wrapped_lines_are_one_sentence_and_lists_are_not() -> None:
    assert _texts("a line that is\nwrapped at a width") == ["a line that is wrapped at a width"]
    assert _texts("Buy these:\n- milk\n- bread") == ["Buy these:", "- milk", "- bread"]
    assert _texts("1. First\n2. Second") == ["1. First", "2. Second"]


def test_long_sentences_are_cut_at_clauses_then_phrases_then_words() -> None:
    assert _texts("one two three four, five six seven eight nine", 30) == [
        "one two three four,",
        "five six seven eight nine",
    ]
    assert _texts("the man saw the dog in the big old park", 25) == [
        "the man saw the dog",
        "in the big old park",
    ]
    assert _texts("aaaa bbbb cccc dddd", 10) == ["aaaa bbbb", "cccc dddd"]
    assert _texts("x" * 50, 10) == ["x" * 50]


def test_the_first_piece_may_be_short() -> None:
    text = "Once upon a time, in a land far away, there lived a king who had three daughters."
    assert _texts(text, 200, 40)[0] == "Once upon a time,"
    assert _texts("There lived a king in a castle of stone.", 200, 25) == [
        "There lived a king",
        "in a castle of stone.",
    ]
    assert _texts("Hi. How are you doing today, my old friend?", 200, 40)[0] == "Hi."


def test_pauses_grow_with_the_strength_of_the_break() -> None:
    text = (
        "The first clause is here, the second clause is there; the third ends it all now. "
        "A sentence follows on.\nA line of its own is here.\n\nA paragraph."
    )
    segments = split(text, 33)
    pauses = [segment.pause_seconds for segment in segments]
    assert [segment.text.split()[-1] for segment in segments] == [
        *("here,", "there;", "now.", "on.", "here.", "paragraph.")
    ]
    assert 0 < pauses[0] < pauses[1] < pauses[2] < pauses[3] < pauses[4]
    assert pauses[5] == 0


def test_paragraph_flags() -> None:
    assert split("One is here.\n\nTwo is here.") == [
        Segment("One is here.", 0.8, True),
        Segment("Two is here.", 0.0, True),
    ]


def test_pieces_without_speech_are_left_out() -> None:
    assert _texts("Before.\n\n***\n\nAfter.\n\n日本") == ["Before.", "After."]


@pytest.mark.parametrize("text", ["", " \n", "...", "* * *", "日本語"])
def test_nothing_to_speak_is_an_error(text: str) -> None:
    with pytest.raises(TextError, match="expected words"):
        split(text)


@pytest.mark.parametrize("limits", [(0, None), (100, 0), (-1, 5)])
def test_limits_below_one_are_an_error(limits: tuple[int, int | None]) -> None:
    with pytest.raises(ConfigError, match="expected at least 1"):
        split("hello", *limits)


@pytest.mark.parametrize("unit", ["The fox, that is. ", "a ", "a", "A, and ", "a\n\n"])
def test_a_hundred_thousand_characters_take_less_than_a_second(unit: str) -> None:
    text = (unit * 100_000)[:100_000]
    start = time.process_time()
    assert "".join("".join(_texts(text, 200, 40)).split()) == "".join(text.split())
    assert time.process_time() - start < 1
