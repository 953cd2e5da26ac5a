"""Laws of the symbol inventory."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlando.contracts import TextError
from parlando.text import vocabulary
from parlando.text.vocabulary import PHONE_CLASSES, PHONE_IDS, PHONES, SYMBOLS, VOWELS


@given(st.lists(st.sampled_from(SYMBOLS)))
def test_decode_inverts_encode(symbols: list[str]) -> None:
    assert vocabulary.decode(vocabulary.encode(symbols)) == symbols


def test_ids_never_change() -> None:
    # Released weights depend on this digest: never update it.
    digest = hashlib.sha256("|".join(SYMBOLS).encode()).hexdigest()
    assert len(SYMBOLS) == len(set(SYMBOLS)) == 101
    assert digest == "144862cb28f535ddf1bdf6767a639d96889fd02f2da588544fb4e1b959691d02"


def test_padding_is_zero_and_neither_phone_nor_pause() -> None:
    assert vocabulary.encode("_") == [0]
    assert not vocabulary.is_phone("_")
    assert not vocabulary.is_pause("_")


def test_every_symbol_but_padding_is_a_phone_or_a_pause() -> None:
    for symbol in SYMBOLS[1:]:
        assert vocabulary.is_phone(symbol) != vocabulary.is_pause(symbol)
    assert [symbol for symbol in SYMBOLS if vocabulary.is_pause(symbol)] == list(" ,.?!;:—")


def test_every_vowel_has_three_stress_forms_of_one_class() -> None:
    assert len(VOWELS) == 22
    for vowel in VOWELS:
        forms = vocabulary.encode((vowel, "ˈ" + vowel, "ˌ" + vowel))
        assert {PHONE_CLASSES[PHONE_IDS[index]] for index in forms} == {vowel}
        assert {vocabulary.base_phone(SYMBOLS[index]) for index in forms} == {vowel}


def test_classes_cover_blank_silence_and_all_phones() -> None:
    assert ("<blank>", "sil", *PHONES) == PHONE_CLASSES
    assert len(PHONE_IDS) == len(SYMBOLS)
    assert set(PHONE_IDS) == set(range(len(PHONE_CLASSES)))
    for symbol, index in zip(SYMBOLS, PHONE_IDS, strict=True):
        if vocabulary.is_pause(symbol):
            assert PHONE_CLASSES[index] == "sil"
        elif vocabulary.is_phone(symbol):
            assert PHONE_CLASSES[index] == vocabulary.base_phone(symbol)


@pytest.mark.parametrize("symbol", ["", "x", "ˈt", "ab", "ˈ"])
def test_unknown_symbols_are_refused(symbol: str) -> None:
    with pytest.raises(TextError, match="unknown symbol"):
        vocabulary.encode(["t", symbol])
    with pytest.raises(TextError, match="unknown symbol"):
        vocabulary.base_phone(symbol)
    assert not vocabulary.is_phone(symbol)
    assert not vocabulary.is_pause(symbol)


@pytest.mark.parametrize("index", [-1, len(SYMBOLS)])
def test_unknown_ids_are_refused(index: int) -> None:
    with pytest.raises(TextError, match="unknown symbol id"):
        vocabulary.decode([index])
