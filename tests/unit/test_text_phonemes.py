"""Spoken form to symbols, through espeak-ng."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parlando.contracts import ConfigError, TextError
from parlando.text import phonemes, vocabulary
from parlando.text.normalize import normalize
from parlando.text.phonemes import phonemize, phonemize_many, phones_from_ipa

# Every phone of English, and words that espeak writes with signs of other languages.
# fmt: off
WORDS = [
    "beat", "bit", "bait", "bet", "bat", "bought", "cot", "boat", "book", "boot", "but",
    "about", "bird", "better", "bite", "bout", "boy", "near", "hair", "poor", "fire", "hour",
    "happy", "situation", "pin", "bin", "tin", "din", "kin", "gun", "chin", "judge", "fin",
    "vine", "thin", "then", "sin", "zoo", "shoe", "vision", "hat", "man", "none", "sing", "lip",
    "rip", "yes", "wet", "whale", "butter", "button", "little", "bottle", "rhythm", "uh-oh",
    "loch", "Bach", "croissant", "genre", "déjà", "père", "señor", "São", "Zürich", "façade",
    "naïve", "fiancée", "jalapeño", "nutshell", "courtship", "Wednesday", "colonel", "queue",
    "rural", "squirrel", "sixths", "strengths", "Llanelli", "Nguyen", "Xhosa", "Goethe",
    "Dvořák",
]
# fmt: on


def _spoken(text: str) -> str:
    return "".join(phonemize(text))


@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        ("Hello, world.", ["h", "ə", "l", "ˈoʊ", ",", "w", "ˈɜː", "l", "d", "."]),
        ("my judge", ["m", "aɪ", " ", "dʒ", "ˈʌ", "dʒ"]),
        ("nutshell", ["n", "ˈʌ", "t", "ʃ", "ɛ", "l"]),
        ("little boy", ["l", "ˈɪ", "ɾ", "ə", "l", " ", "b", "ˈɔɪ"]),
        ("button", ["b", "ˈʌ", "ʔ", "ə", "n"]),
        ("tie", ["t", "ˈaɪ"]),
    ],
)
def test_known_transcriptions(text: str, symbols: list[str]) -> None:
    assert phonemize(text) == symbols


def test_every_word_is_covered_by_the_vocabulary() -> None:
    for symbols in phonemize_many(WORDS):
        assert vocabulary.decode(vocabulary.encode(symbols)) == symbols
        assert any(vocabulary.is_phone(symbol) for symbol in symbols)


def test_espeak_emits_no_sign_that_is_lost() -> None:
    voice = phonemes._voice("en-us")
    known = set("".join(phonemes._SPELLINGS)) | set("ˈˌ_ː ")
    for word in WORDS:
        assert set(voice.text_to_phonemes(word, False)) <= known, word


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        ("One. Two? Three! Four; five: six — seven, eight", ".?!;:—,"),
        ("What?! No... Yes!!!", "?.!"),
        ('He said "no." Then (softly) left…', ".,,."),
        ("this - that -- other", "——"),
        ("... well", ""),
        ("well-known, e.g. 3.5", ",."),
    ],
)
def test_marks_become_one_pause_symbol(text: str, marks: str) -> None:
    symbols = phonemize(text)
    assert "".join(symbol for symbol in symbols if symbol in vocabulary.PUNCTUATION) == marks
    pauses = [vocabulary.is_pause(symbol) for symbol in symbols]
    assert not pauses[0]
    assert not any(left and right for left, right in pairwise(pauses))


def test_the_letter_a_and_the_article() -> None:
    assert _spoken("U S A") == "jˈuː ˈɛs ˈeɪ"
    assert _spoken("vitamin A is").endswith(" ˈeɪ ɪz")
    assert _spoken("A dog saw a dog").startswith("ɐ dˈɑːɡ")
    assert _spoken("A B C") == "ˈeɪ bˈiː sˈiː"


@pytest.mark.parametrize(
    ("ipa", "phones"),
    [
        ("ˈtʃa͡ɪ", ["tʃ", "ˈaɪ"]),
        ("bˈʌʔn̩", ["b", "ˈʌ", "ʔ", "ə", "n"]),
        ("lˈɑːx", ["l", "ˈɑː", "k"]),
        ("kwasɑ̃", ["k", "w", "ɑː", "s", "ɑː", "n"]),
        ("ɬan1", ["l", "ɑː", "n"]),
        ("ç", ["h"]),
        ("☃", []),
    ],
)
def test_foreign_phones_become_the_nearest(ipa: str, phones: list[str]) -> None:
    assert phones_from_ipa(ipa) == phones


@given(st.text(alphabet="".join(phonemes._SPELLINGS) + "ˈˌ_ː1(^", max_size=30))
def test_any_ipa_gives_symbols(ipa: str) -> None:
    assert all(vocabulary.is_phone(symbol) for symbol in phones_from_ipa(ipa))


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40))
def test_any_text_gives_symbols_or_a_clear_error(text: str) -> None:
    try:
        symbols = phonemize(text)
    except TextError:
        return
    assert vocabulary.decode(vocabulary.encode(symbols)) == symbols
    assert vocabulary.is_phone(symbols[0])


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="aAbIVX129.,-:/$%°'()@#+=é日 \n", max_size=25))
def test_any_spoken_form_can_be_spoken(text: str) -> None:
    try:
        spoken = normalize(text)
    except TextError:
        return
    assert vocabulary.is_phone(phonemize(spoken)[0])


def test_many_equals_one_by_one() -> None:
    texts = ["Hello, world.", "A second one?", "the end"]
    assert phonemize_many(texts) == [phonemize(text) for text in texts]


def test_long_text_keeps_its_words() -> None:
    symbols = phonemize("jump " * 5000)
    assert symbols.count(" ") == 4999


@pytest.mark.parametrize("text", ["", " ", "...", "( )"])
def test_nothing_to_speak_is_an_error(text: str) -> None:
    with pytest.raises(TextError, match="nothing to speak"):
        phonemize(text)


def test_unknown_language_is_an_error() -> None:
    with pytest.raises(ConfigError, match="unknown language 'xx-none'"):
        phonemize("hello", "xx-none")


def test_missing_espeak_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import espeakng_loader

    phonemes._voice.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(espeakng_loader, "get_library_path", lambda: "/nowhere/libespeak-ng.so")
        with pytest.raises(ConfigError, match=r"espeak-ng cannot be loaded .* install them again"):
            phonemize("hello")
    phonemes._voice.cache_clear()
    assert phonemize("tie") == ["t", "ˈaɪ"]
