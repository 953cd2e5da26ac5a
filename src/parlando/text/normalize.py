"""Text as people write it, to words as people say them.

``normalize`` is one ordered list of small rules. Later rules rely on earlier ones: web addresses
go before numbers, numbers before signs, signs before punctuation. Every pattern is linear in the
length of the text. Letters outside the Latin alphabet that are not single Greek letters are left
out, since espeak's English voice cannot read them.
"""

import re

from parlando.contracts import TextError
from parlando.text.capitals import read_bare_roman, read_roman, resolve_case, spell
from parlando.text.characters import SOFT, reduce_characters
from parlando.text.lexicon import (
    ABBREVIATIONS,
    PHRASES,
    RESPELLED_ACRONYMS,
    SENTENCE_OPENERS,
    SPELLED_EXTENSIONS,
    STANDALONE_UNITS,
    SYMBOLS,
    TITLES,
    UNITS,
    WORD_EXTENSIONS,
)
from parlando.text.numerals import NUMBER_RULES, Rule, cardinal, digits

_STRENGTH = "?!.—;:,"

# --- Addresses, files, mark-up --------------------------------------------------------------

_DOMAINS = "com|org|net|edu|gov|io|ai|co|uk|us|de|fr|eu|info|dev|app|tv|me|ca|au|jp|ly|gg|fm"
_SEPARATORS = {
    ".": "dot", "/": "slash", "-": "dash", "_": "underscore", "@": "at", ":": "colon", "~": "tilde",
    "?": "question mark", "=": "equals", "&": "and", "#": "hash", "%": "percent", "+": "plus",
}  # fmt: skip
_PIECE = re.compile(r"[^\W\d_]+|\d+|[./@:?=&#%+~_-]")


def _label(word: str) -> str:
    """Read a piece of an address: a word, or its letters when it cannot be pronounced."""
    if len(word) == 1:
        return word.upper()
    known = RESPELLED_ACRONYMS.get(word.upper())
    if known and len(word) > 2:
        return known
    if word.lower() in ("www", "io", "ai", "tv", "uk", "us", "eu") or not re.search(
        "[aeiouy]", word, re.I
    ):
        return spell(word)
    return word


def _address(text: str) -> str:
    words = []
    for piece in _PIECE.findall(text):
        if piece.isdigit():
            words.append(cardinal(piece) if len(piece) <= 4 else digits(piece))
        else:
            words.append(_SEPARATORS.get(piece) or _label(piece))
    return " ".join(words)


def _url(match: re.Match[str]) -> str:
    address = match[1]
    bare = address.rstrip(".,;:!?'\")]/")
    tail = address[len(bare) :].lstrip("/")
    return f" {_address(bare)}{tail} "


def _file(match: re.Match[str]) -> str:
    extension = match[2]
    spoken = WORD_EXTENSIONS.get(extension.lower()) or _extension(extension)
    return f"{_address(match[1])} dot {spoken}"


def _extension(extension: str) -> str:
    return " ".join(
        cardinal(piece) if piece.isdigit() else spell(piece)
        for piece in re.findall(r"\d+|\D", extension)
    )


def _hashtag(match: re.Match[str]) -> str:
    return "hashtag " + match[1].replace("_", " ")


_EXTENSIONS = "|".join(sorted(SPELLED_EXTENSIONS | set(WORD_EXTENSIONS), key=len, reverse=True))
WEB_RULES: tuple[Rule, ...] = (
    (re.compile(r"</?[a-zA-Z][^<>]{0,200}>"), " "),
    (re.compile(r"!?\[([^\[\]]{1,200})\]\((?:https?:|/|#)[^()\s]{1,500}\)"), r"\1"),
    (re.compile(r"(?<![\w.+-])([\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8})"), _url),
    (re.compile(r"(?<!\w)(?:https?|ftp)://(\S{1,2000})", re.I), _url),
    (re.compile(r"(?<![\w.])(www\.[^\s,]{1,2000})", re.I), _url),
    (
        re.compile(
            r"(?<!\w)(?:[.~]{0,2}/)?((?:[\w-]{1,80}[./]){0,8}[\w-]{1,80})\.("
            + _EXTENSIONS
            + r")\b(?!\.\w)"
        ),
        _file,
    ),
    (
        re.compile(
            rf"(?<![\w.@-])((?:[a-zA-Z0-9-]{{1,63}}\.){{1,5}}(?:{_DOMAINS})\b(?:/[^\s,]{{0,500}})?)"
        ),
        _url,
    ),
    (re.compile(r"(?<!\S)[:;=8][-o'^]?[()\[\]dDpP|/\\3](?!\w)"), " "),
    (re.compile(r"(?<=[a-zA-Z] )<3(?!\w)"), "heart"),
    (re.compile(r"(?<![\w@.])@(?=[^\W\d])"), "at "),
    (re.compile(r"(?<![\w#&])#(?![A-Z]{0,2}\d)([^\W\d]\w{0,100})"), _hashtag),
    (re.compile(r"^[ \t]*(?:#{1,6}|[-*+>]{1,3})[ \t]+", re.M), SOFT),
    (re.compile(r"\*{2,}|(?<!\w)[*_]+(?=\w)|(?<=[\w.,!?])[*_]+(?!\w)|~~+"), ""),
)

# --- Abbreviations, Roman numerals, capitals ------------------------------------------------


def _ends(match: re.Match[str]) -> str:
    """Give back the dot of an abbreviation where a sentence ends with it."""
    following = match.string[match.end() : match.end() + 12]
    return "." if re.match(r"[\"')\]]*(?:\s*$|\s+[\"'(]*[A-Z])", following) else ""


def _abbreviation(match: re.Match[str]) -> str:
    return ABBREVIATIONS[match[1]] + _ends(match)


def _letters(match: re.Match[str]) -> str:
    letters = " ".join(re.findall(r"\w", match[0])).upper()
    at_end = not match.string[match.end() : match.end() + 8].strip("\"') \n")
    return letters + ("." if at_end else "")


def _initials(match: re.Match[str]) -> str:
    """Join initials to their name, but leave the dot of a sentence that ends with a letter."""
    following = re.match(r"\w+", match.string[match.end() : match.end() + 20])
    if following and following[0] in SENTENCE_OPENERS and match.start():
        return match[0]
    return " ".join(re.findall(r"\w", match[0])) + " "


WORD_RULES: tuple[Rule, ...] = (
    (
        re.compile(
            r"(?<![\w./$£€,-])(?:"
            + "|".join(map(re.escape, sorted(PHRASES, key=len, reverse=True)))
            + r")(?![\w+#/-]|[.,]\d)"
        ),
        lambda m: PHRASES[m[0]],
    ),
    (re.compile(r"(?<![\w./])w/(?=\w)"), "with "),
    (re.compile(r"\bDr\b\.?(?=\s+[A-Z])"), "Doctor"),
    (re.compile(r"(?<=[a-z] )(?:Dr\.|Dr$)"), lambda m: "Drive" + _ends(m)),
    (re.compile(r"(?<![A-Z][a-z] )(?<![a-z]{3} )\bSt\.?(?=\s+[A-Z][a-z])"), "Saint"),
    (re.compile(r"(?<=[a-z] )\bSt\.(?=\s+[A-Z][a-z]+'s\b)"), "Saint"),
    (re.compile(r"(?<=[a-z] )\bSt\b(?:\.|(?=,|$))"), lambda m: "Street" + _ends(m)),
    (re.compile(r"\bSt\."), "Saint"),
    (
        re.compile(r"\b(" + "|".join(TITLES) + r")\.(?=\s*[A-Z])|\b(Mr|Mrs|Ms|Prof)\b(?=\s+[A-Z])"),
        lambda m: TITLES[m[1] or m[2]],
    ),
    (re.compile(r"(?<!\d)(?<!\d )\b(" + "|".join(ABBREVIATIONS) + r")\.(?!\w)"), _abbreviation),
    (re.compile(r"\b(?:[A-Za-z]\.){2,12}(?!\w)"), _letters),
    (re.compile(r"\b((?:[A-Z]\.\s?){1,5})(?=[A-Z][a-z])"), _initials),
    (re.compile(r"\b([A-Z][a-z]{1,20})\.? ([IVXLCDM]{1,9})\b(?!'[a-rt-z]|\.\w)"), read_roman),
    (
        re.compile(
            r"\b(the |)(II|III|VII|VIII|XI{2,3}|XIV|XVI{0,3}|XIX|XXI{0,3}|XXIV|XXV|MM[XVI]+|"
            r"MCM[LXVI]+)\b"
        ),
        read_bare_roman,
    ),
)

# --- Signs and punctuation ------------------------------------------------------------------

SIGN_RULES: tuple[Rule, ...] = (
    (re.compile(r"~\s?(?=\w)"), "about "),
    (
        re.compile(rf"(?<![\w/])({'|'.join(STANDALONE_UNITS)})(?![\w/'])"),
        lambda m: UNITS[m[1]][1],
    ),
    (re.compile(r"(?<!\w)&(?=\w)|(?<=\w)&(?!\w)|&"), " and "),
    (re.compile(r"(?<=\w)/(?=\w)"), " slash "),
    (re.compile(r"(?<=\w)\*(?=\w)"), " times "),
    (re.compile(r"(?<=\w)\\(?=\w)"), " backslash "),
    (re.compile(r"<-{1,3}>?|-{1,3}>|={1,3}>"), " to "),
    (re.compile(r"(?<=\s)<(?=\s)|(?<=\w)<(?=\w)"), " less than "),
    (re.compile(r"(?<=\s)>(?=\s)|(?<=\w)>(?=\w)"), " greater than "),
    (re.compile(r"<=|>="), lambda m: " is at most " if m[0][0] == "<" else " is at least "),
    (re.compile(r"!=|=="), lambda m: " is not equal to " if m[0][0] == "!" else " equals "),
    (
        re.compile("[" + re.escape("".join(set(SYMBOLS) - set("</>^\\"))) + "]"),
        lambda m: f" {SYMBOLS[m[0]]} ",
    ),
    (re.compile(r"[<>^~*_`\\/⋅′]+"), " "),
)

MARK_RULES: tuple[Rule, ...] = (
    (re.compile(r"[ \t]*\n\s*\n\s*"), ". "),
    (re.compile(r"(?<=[^\W\d_])\.(?=[a-z])"), " dot "),
    (re.compile(r"[\"″]"), " "),
    (re.compile(r"(?<!\w)'(?!(?:tis|twas|em|til|cause|round|bout)\b)|'(?!\w)"), ""),
    (re.compile(r"[()\[\]{}]+"), SOFT),
    (re.compile(r"--+|\s[-–—]+(?=\s)|[–—]+"), " — "),
    (re.compile(r"(?<!\w)-+|-+(?!\w)"), " "),
    (re.compile(r"(?:\.\s?){2,}|…+"), "…"),
    (re.compile(r"…(?=\s*[a-z])"), ", "),
    (re.compile("…"), ". "),
)
_RUN = re.compile(rf"[\s,.?!;:—{SOFT}]+")


def _run(match: re.Match[str]) -> str:
    """Reduce a run of marks and space to the strongest mark."""
    run = match[0]
    if not match.start():
        return ""
    mark = next((mark for mark in _STRENGTH if mark in run), "")
    if match.end() == len(match.string):
        return mark.strip("—")
    if not mark and SOFT in run:
        mark = ","
    return " — " if mark == "—" else mark + " "


def _apply(rules: tuple[Rule, ...], text: str) -> str:
    for pattern, spoken in rules:
        text = pattern.sub(spoken, text)
    return text


def normalize(text: str) -> str:
    """Turn written text into its spoken form.

    Args:
        text: Any text in English; mark-up, emoji and control characters are dealt with.

    Returns:
        Words in the Latin alphabet, single capitals for spelled letters, and the marks
        ``, . ? ! ; : —``; no figures.

    Raises:
        TextError: The text is empty, or nothing in it can be spoken.
    """
    if not text.strip():
        raise TextError("the text is empty; expected words to speak")
    spoken = _apply(WEB_RULES, reduce_characters(text))
    spoken = _apply(WORD_RULES, spoken)
    if any(map(str.isdigit, spoken)):
        spoken = _apply(NUMBER_RULES, spoken)
    spoken = resolve_case(_apply(SIGN_RULES, spoken))
    spoken = _RUN.sub(_run, _apply(MARK_RULES, spoken))
    if not re.search(r"[^\W\d_]", spoken):
        shown = " ".join(text.split())[:40]
        raise TextError(f"nothing to speak in {shown!r}; expected words or numbers in Latin script")
    return spoken
