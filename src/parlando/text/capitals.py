"""Roman numerals, acronyms, shouted words and words written together."""

import re

from parlando.text.lexicon import (
    NUMBERED_NOUNS,
    REGNAL,
    RESPELLED_ACRONYMS,
    ROMAN_LOOKALIKES,
    SHORT_WORDS,
    SPELLED_ACRONYMS,
    SPOKEN_ACRONYMS,
)
from parlando.text.numerals import cardinal, ordinal

_ROMAN = re.compile(r"M{0,3}(CM|CD|D?C{0,3})(XC|XL|L?X{0,3})(IX|IV|V?I{0,3})")
_ROMAN_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}


def roman(numeral: str) -> int:
    """Value of a canonical Roman numeral in capitals, 0 if it is none."""
    if not numeral or not _ROMAN.fullmatch(numeral):
        return 0
    values = [_ROMAN_VALUES[letter] for letter in numeral]
    return sum(
        -value if value < following else value
        for value, following in zip(values, [*values[1:], 0], strict=True)
    )


def read_roman(match: re.Match[str]) -> str:
    """Read a name or noun (group 1) with its numeral (group 2): ``Henry VIII``, ``Act II``."""
    name, numeral = match[1], match[2]
    value = roman(numeral)
    single = len(numeral) == 1
    if not value or (
        single
        and name.capitalize() not in NUMBERED_NOUNS
        and (name not in REGNAL or numeral != "V")
    ):
        return match[0]
    if name in REGNAL:
        return f"{name} the {ordinal(str(value))}"
    if numeral in ROMAN_LOOKALIKES:
        return match[0]
    return f"{name} {cardinal(str(value))}"


def read_bare_roman(match: re.Match[str]) -> str:
    """Read a Roman numeral that stands alone, or after "the"."""
    value = roman(match[2])
    if not value:
        return match[0]
    return match[1] + (ordinal(str(value)) if match[1] else cardinal(str(value)))


def spell(word: str) -> str:
    """Write a word as single letters: ``ibm`` is ``I B M``."""
    return " ".join(word.upper())


def _acronym(word: str, shouting: bool) -> str:
    """Read a word in capitals: as a word, or letter by letter."""
    if word in RESPELLED_ACRONYMS:
        return RESPELLED_ACRONYMS[word]
    if word in SPOKEN_ACRONYMS:
        return word.lower()
    spelled = word in SPELLED_ACRONYMS or not re.search("[AEIOUYÀ-Ý]", word)
    if shouting:
        spelled = spelled and word not in SHORT_WORDS
    elif not spelled:
        spelled = len(word) <= 3 and word not in SHORT_WORDS
    return spell(word) if spelled else word.lower()


_CAPITALS = re.compile(r"(?<![^\W_])([A-ZÀ-ÖØ-Þ]{2,})('?s|'S)?(?![^\W_])")
_CONTRACTION = re.compile(r"\b[A-Z]+'(?:T|M|D|LL|RE|VE)\b")
_CAMEL = re.compile(r"(?<=[a-zà-ÿ])(?=[A-ZÀ-Þ])|(?<=[A-Z])(?=[A-Z][a-z]{2,})")
_JOINED_NAMES = re.compile(r"\b(?:Mc|Mac|De|Di|La|Le|Du|Van|Fitz|O')[A-Z][a-z]+\b")


def _camel(text: str) -> str:
    """Part words written together (``camelCase``), but not names like ``McDonald``."""
    names = [match.span() for match in _JOINED_NAMES.finditer(text)]
    pieces, start, name = [], 0, 0
    for match in _CAMEL.finditer(text):
        while name < len(names) and names[name][1] < match.start():
            name += 1
        if name < len(names) and names[name][0] < match.start():
            continue
        pieces.append(text[start : match.start()])
        start = match.start()
    return " ".join([*pieces, text[start:]])


def resolve_case(text: str) -> str:
    """Read capitals: shouted texts, acronyms, and words written together."""
    words = re.findall(r"[^\W\d_]{2,}", text)
    shouting = len(words) > 1 and sum(map(str.isupper, words)) > 0.8 * len(words)
    if shouting:
        text = re.sub(r"\bA\b(?= [A-Z]{2})", "a", text)
    text = _CONTRACTION.sub(lambda match: match[0].lower().replace("i'", "I'"), text)
    return _CAPITALS.sub(
        lambda match: _acronym(match[1], shouting) + ("'s" if match[2] else ""), _camel(text)
    )
