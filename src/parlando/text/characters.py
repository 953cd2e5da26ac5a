"""Unicode to the letters, figures and signs that the reading rules know."""

import html
import re
import unicodedata

from parlando.text.lexicon import SYMBOLS

SOFT = "\ue000"
"""A pause that a bracket, an emoji or a line asks for; it gives way to any mark beside it."""

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_TRANSLATION = str.maketrans(
    {"\u2044": "/", "ß": "ss", "ẞ": "SS", "\ufffd": " ", "№": "No.", "″": "''"}
    | dict.fromkeys("‘’‚‛ʼ´`", "'")
    | dict.fromkeys("“”„‟«»‹›〝〞「」『』", '"')
    | dict.fromkeys("‐‑‒﹣－", "-")
    | dict.fromkeys("―⸺⸻", "—")
    | dict.fromkeys("\u3001،", ",")
    | dict.fromkeys("。｡۔।", ". ")
    | dict.fromkeys("؟", "?")
    | dict.fromkeys("•‣▪◦·●|¦", SOFT)
    | dict.fromkeys("™®℠¿¡¨¸¯ˈˌ\u00ad", "")
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]+")
_SCRIPTED_POWER = re.compile(r"(?<=[\w)])([⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]{1,9})")
_VULGAR = re.compile(r"(?<=\d)(?=[¼-¾⅐-⅞])")
_EMOJI = re.compile(
    "[\u2190-\u21ff\u2300-\u23ff\u25a0-\u27bf\u2900-\u297f\u2b00-\u2bff\U0001f000-\U0001faff\ufe0f"
    "\u200d\u20e3]+(?:\\s?[\u2600-\u27bf\U0001f000-\U0001faff\ufe0f\u200d]+){0,50}"
)
_SILENT = ("variation", "zero width", "emoji modifier", "combining", "male sign", "female sign")
_QUALIFIERS = re.compile(r"\b(?:black|white|heavy|sign|symbol|button|emoji|medium)\b\s?")


def _emoji(match: re.Match[str]) -> str:
    names: list[str] = []
    for character in match[0]:
        if character in SYMBOLS:
            names.append(SYMBOLS[character])
            continue
        name = unicodedata.name(character, "").lower()
        if name.startswith("regional indicator symbol letter "):
            names.append(name[-1].upper())
        elif name and not name.startswith(_SILENT):
            names.append(_QUALIFIERS.sub("", name).strip() or name)
    flags = names and all(len(name) == 1 for name in names)
    arrows = all(character in SYMBOLS or character.isspace() for character in match[0])
    if flags:
        return f"{SOFT} flag {' '.join(names)} {SOFT}"
    if arrows:
        return f" {' '.join(names)} "
    return SOFT + SOFT.join(f" {name} " for name in dict.fromkeys(names)) + SOFT


def reduce_characters(text: str) -> str:
    """Reduce Unicode to letters, ASCII figures and known signs."""
    if "&" in text:
        text = html.unescape(text)
    text = _CONTROLS.sub(" ", text)
    text = _SCRIPTED_POWER.sub(lambda m: "^" + m[1].translate(_SUPERSCRIPTS), text)
    text = _VULGAR.sub(" ", text).translate(_TRANSLATION)
    text = unicodedata.normalize("NFKC", text).translate(_TRANSLATION)
    if text.isascii():
        return text
    text = _EMOJI.sub(_emoji, text)
    return "".join(map(_character, text))


def _character(character: str) -> str:
    if character.isascii() or character in SYMBOLS or character in "…–—′⋅" + SOFT:
        return character
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.digit(character))
    name = unicodedata.name(character, "")
    if category[0] == "L":
        if name.startswith("LATIN"):
            return character
        if name.startswith("GREEK") and " LETTER " in name:
            return f" {name.split(' LETTER ')[1].split()[-1 if 'FINAL' in name else 0].lower()} "
        return " "
    if category == "Mn":
        # The marks of Latin letters; those of symbols and of other scripts say nothing here.
        return character if "\u0300" <= character <= "\u036f" else ""
    return " "
