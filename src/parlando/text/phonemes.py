"""Spoken-form text to vocabulary symbols, through espeak-ng."""

import logging
import re
import threading
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from parlando.contracts import ConfigError, TextError
from parlando.text.vocabulary import (
    BOUNDARY,
    PHONES,
    PRIMARY,
    PUNCTUATION,
    SECONDARY,
    VOWELS,
)

# IPA outside the vocabulary, to the nearest phones an American English speaker has. espeak emits
# these for foreign names, and for the words that it hands to the voice of another language.
# fmt: off
_NEAREST: dict[str, tuple[str, ...]] = {
    "n̩": ("ə", "n"), "l̩": ("ə", "l"), "m̩": ("ə", "m"), "ɹ̩": ("ɚ",),
    "ɛː": ("ɛ",), "ɪː": ("iː",), "oː": ("ɔː",), "eː": ("eɪ",), "aː": ("ɑː",), "əː": ("ɜː",),
    "ʊː": ("uː",), "æː": ("æ",), "ʌː": ("ʌ",), "ɚː": ("ɜː",), "ɝ": ("ɜː",), "ɜ": ("ɜː",),
    "əʊ": ("oʊ",), "ɔ̃": ("ɔː", "n"), "ɑ̃": ("ɑː", "n"), "ɛ̃": ("æ", "n"), "œ̃": ("ʌ", "n"),
    "a": ("ɑː",), "ɑ": ("ɑː",), "ɒ": ("ɑː",), "e": ("eɪ",), "o": ("oʊ",), "y": ("uː",),
    "ø": ("ɜː",), "œ": ("ɜː",), "ɶ": ("ɜː",), "ɨ": ("ᵻ",), "ʉ": ("uː",), "ɯ": ("uː",),
    "ʏ": ("ʊ",), "ɵ": ("ʊ",), "ɘ": ("ə",), "ɤ": ("ʌ",), "ɞ": ("ɜː",), "ᵿ": ("ʊ",),
    "r": ("ɹ",), "ʀ": ("ɹ",), "ʁ": ("ɹ",), "ɻ": ("ɹ",), "ɺ": ("ɹ",), "ɽ": ("ɾ",),
    "x": ("k",), "χ": ("k",), "q": ("k",), "c": ("k",), "ɣ": ("ɡ",), "ɢ": ("ɡ",), "ɟ": ("dʒ",),
    "g": ("ɡ",), "c\u0327": ("h",), "ħ": ("h",), "ɦ": ("h",), "ʕ": ("ʔ",), "ʝ": ("j",),
    "ʎ": ("l", "j"),
    "ɲ": ("n", "j"), "ɳ": ("n",), "ɴ": ("ŋ",), "ɱ": ("m",), "ɫ": ("l",), "ɭ": ("l",), "ʟ": ("l",),
    "ɬ": ("l",), "ɮ": ("l",), "ʈ": ("t",), "ɖ": ("d",), "ɸ": ("f",), "β": ("v",), "ʋ": ("v",),
    "ʂ": ("ʃ",), "ɕ": ("ʃ",), "ʐ": ("ʒ",), "ʑ": ("ʒ",), "tɕ": ("tʃ",), "dʑ": ("dʒ",),
    "tʂ": ("tʃ",), "dʐ": ("dʒ",), "ɥ": ("w",), "ɰ": ("w",), "ʍ": ("w",), "ɓ": ("b",),
    "ɗ": ("d",), "ɠ": ("ɡ",), "ʄ": ("dʒ",), "ʙ": ("b",), "ɧ": ("ʃ",),
}
# fmt: on
_SPELLINGS = {phone: (phone,) for phone in PHONES} | _NEAREST
_LONGEST = max(map(len, _SPELLINGS))
_VOWELS = frozenset(VOWELS)

# Marks that always part clauses, and those that do so only at the end of a word ("3.5", "10:30").
_VARIANTS = str.maketrans(
    {"…": ".", "–": "—", "―": "—", "’": "'", "‘": "'", "\u00a0": " "}
    | dict.fromkeys("()[]{}", ", ")
    | dict.fromkeys('"“”„«»`*_', " ")
)
_MARKS = re.compile(r"\s*(?:[—¡¿]|[,.?!;:]+(?=[\s,.?!;:—]|$)|(?<=\s)-+(?=\s))[\s,.?!;:—-]*")
_STRENGTH = "?!.—;:,"
_TIE = "\u0361"
_FLAGS = re.compile(r"\([^)]*\)")
_TRAILING = re.compile(r"_+(?=\s|$)")

# A lone capital A is a letter ("U S A", "vitamin A is") unless it opens a clause or a capitalised
# word follows ("A dog", "Once Upon A Time"). espeak reads it as the article; "eigh" is its name.
_LETTER_A = re.compile(r"(?<=\b[A-Z] )A\b(?!')|\bA(?= [A-Z]\b(?!'))|(?<=[\w'] )A(?= [a-z]|$)")

# espeak-ng keeps its state in globals of the library: one caller at a time.
_LOCK = threading.Lock()


@lru_cache(maxsize=8)
def _voice(language: str) -> Any:
    """Load espeak-ng with the voice of a language, once."""
    try:
        import espeakng_loader
        from phonemizer.backend.espeak.wrapper import EspeakWrapper

        logging.getLogger("phonemizer").setLevel(logging.ERROR)
        EspeakWrapper.set_library(espeakng_loader.get_library_path())
        EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
        voice = EspeakWrapper()
    except (ImportError, OSError, RuntimeError) as error:
        raise ConfigError(
            f"espeak-ng cannot be loaded ({error}); expected the packages phonemizer-fork and "
            "espeakng-loader, install them again"
        ) from error
    try:
        voice.set_voice(language)
    except RuntimeError as error:
        raise ConfigError(f"unknown language {language!r}; expected one such as 'en-us'") from error
    return voice


def phones_from_ipa(ipa: str) -> list[str]:
    """Segment one word of IPA into vocabulary phones; stress moves to the next vowel.

    Phones outside the vocabulary become the nearest ones; what is no phone (tones, ties,
    aspiration) is left out.

    Args:
        ipa: A word as espeak writes it, phones optionally parted by ``_``.

    Returns:
        Phone symbols.
    """
    phones: list[str] = []
    stress = ""
    for chunk in unicodedata.normalize("NFD", ipa.replace(_TIE, "")).split("_"):
        position = 0
        while position < len(chunk):
            if chunk[position] in (PRIMARY, SECONDARY):
                stress = chunk[position]
                position += 1
                continue
            for length in range(min(_LONGEST, len(chunk) - position), 0, -1):
                found = _SPELLINGS.get(chunk[position : position + length])
                if found:
                    break
            else:
                found, length = (), 1
            position += length
            for phone in found:
                if stress and phone in _VOWELS:
                    phones.append(stress + phone)
                    stress = ""
                else:
                    phones.append(phone)
    return phones


def _clauses(text: str) -> list[tuple[str, str]]:
    """Cut a text into (words, the pause symbol after them or nothing)."""
    text = text.translate(_VARIANTS)
    clauses = []
    start = 0
    for match in _MARKS.finditer(text):
        marks = match.group().replace("-", "—")
        mark = next((mark for mark in _STRENGTH if mark in marks), "")
        clauses.append((text[start : match.start()].strip(), mark))
        start = match.end()
    clauses.append((text[start:].strip(), ""))
    return clauses


def _phonemize(text: str, voice: Any) -> list[str]:
    symbols: list[str] = []
    for clause, mark in _clauses(text):
        if clause:
            clause = _LETTER_A.sub("eigh", clause)
            ipa = _FLAGS.sub("", _TRAILING.sub("", voice.text_to_phonemes(clause, False)))
            for word in ipa.split():
                phones = phones_from_ipa(word)
                if phones:
                    if symbols and symbols[-1] not in PUNCTUATION:
                        symbols.append(BOUNDARY)
                    symbols.extend(phones)
        if mark and symbols and symbols[-1] not in PUNCTUATION:
            symbols.append(mark)
    if not symbols:
        shown = text.strip()[:40]
        raise TextError(f"nothing to speak in {shown!r}; expected words in the Latin alphabet")
    return symbols


def phonemize_many(texts: Iterable[str], language: str = "en-us") -> list[list[str]]:
    """Turn normalised texts into vocabulary symbols.

    Args:
        texts: Spoken-form texts, as ``normalize`` returns them.
        language: Name of an espeak-ng voice.

    Returns:
        For each text its symbols: words are joined by ``" "``, and a clause ends with its mark,
        which stands in the place of the boundary.

    Raises:
        TextError: A text holds nothing that can be spoken.
        ConfigError: espeak-ng cannot be loaded, or does not know the language.
    """
    with _LOCK:
        voice = _voice(language)
        return [_phonemize(text, voice) for text in texts]


def phonemize(text: str, language: str = "en-us") -> list[str]:
    """Turn one normalised text into vocabulary symbols; see ``phonemize_many``."""
    return phonemize_many((text,), language)[0]
