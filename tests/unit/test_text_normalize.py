"""Written text to spoken form: a table of cases, and laws for any text."""

import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parlando.contracts import TextError
from parlando.text.capitals import roman
from parlando.text.normalize import normalize
from parlando.text.numerals import cardinal, fraction, ordinal, year

_ESCAPES = {r"\n": "\n", r"\t": "\t", r"\x00": "\x00", r"\u200b": "\u200b"}
_TABLE = Path(__file__).with_name("text_spoken_forms.tsv").read_text(encoding="utf-8")


def _written(text: str) -> str:
    for escape, character in _ESCAPES.items():
        text = text.replace(escape, character)
    return text


CASES = [
    tuple(line.split("\t")) for line in _TABLE.splitlines() if line and not line.startswith("# W")
]


@pytest.mark.parametrize(("written", "spoken"), CASES)
def test_spoken_form(written: str, spoken: str) -> None:
    assert normalize(_written(written)) == spoken


def test_the_table_is_large_and_has_no_case_twice() -> None:
    assert len(CASES) >= 500
    assert len({written for written, _ in CASES}) == len(CASES)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "\n\n",
        "...",
        "?!",
        "—",
        "***",
        "()",
        '""',
        "\x00\x01",
        "日本語",
        "Привет",
        ":-)",
        "¯",
    ],
)
def test_nothing_to_speak_is_an_error(text: str) -> None:
    with pytest.raises(TextError, match=r"expected words"):
        normalize(text)


def test_marks_of_other_scripts_and_of_symbols_are_dropped() -> None:
    assert normalize("0\U0001e01b a\u20d0b") == "zero ab"
    # No letter has these two in one character.
    assert normalize("x\u0301y") == "x\u0301y"


_MIXED = st.lists(
    st.sampled_from([written for written, _ in CASES]) | st.text(max_size=12), max_size=6
).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(_MIXED)
def test_any_text_becomes_words_and_marks(text: str) -> None:
    try:
        spoken = normalize(text)
    except TextError:
        return
    assert re.search(r"[^\W\d_]", spoken)
    assert not re.search(r"[^\w\s',.?!;:—\u0300-\u036f-]|[\d_]|\s\s|[\n\t]", spoken)
    assert spoken == spoken.strip()


@pytest.mark.parametrize(("_", "spoken"), CASES[::4])
def test_a_spoken_form_stays_as_it_is(_: str, spoken: str) -> None:
    assert normalize(spoken) == spoken


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "1",
        "1,",
        "1.",
        "-",
        "a.a@",
        "https://",
        "A ",
        "J. ",
        "😀",
        "x^",
        "<a",
        "[a](",
        "1,111,",
    ],
)
def test_time_is_linear(unit: str) -> None:
    """A hundred thousand characters take seconds at the most, whatever they are."""
    text = unit * (100_000 // len(unit))
    start = time.process_time()
    try:
        assert normalize(text)
    except TextError:
        assert unit == "-"
    assert time.process_time() - start < 5


def test_numbers() -> None:
    assert cardinal("1,001.50") == "one thousand one point five zero"
    assert cardinal("0") == "zero"
    assert ordinal("103") == "one hundred third"
    assert [year(figures) for figures in ("1999", "1900", "2000", "2009", "2010", "1066")] == [
        "nineteen ninety-nine",
        "nineteen hundred",
        "two thousand",
        "two thousand nine",
        "twenty ten",
        "ten sixty-six",
    ]
    assert fraction("1", "8", article=True) == "an eighth"
    assert fraction("3", "500") == "three over five hundred"


def test_roman_numerals() -> None:
    assert [roman(numeral) for numeral in ("I", "IV", "XIV", "MCMXCIX")] == [1, 4, 14, 1999]
    assert [roman(numeral) for numeral in ("IIII", "VX", "IC", "")] == [0, 0, 0, 0]
