"""Number reading: dates, times, money, units, fractions and plain figures to words."""

import re
from collections.abc import Callable
from functools import lru_cache

from parlando.text.lexicon import (
    CURRENCIES,
    GLUED_UNITS,
    MAGNITUDES,
    MONTHS,
    NUMBERED,
    PER,
    UNITS,
)

Rule = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]

_LONGEST_CARDINAL = 15
_FIRST_YEAR, _LAST_YEAR = 1100, 2099
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@lru_cache(maxsize=4096)
def _words(value: int, kind: str) -> str:
    from num2words import num2words

    return str(num2words(value, to=kind)).replace(",", "").replace(" and ", " ")


def digits(figures: str) -> str:
    """Read figures one by one: ``"305"`` is ``three zero five``."""
    return " ".join(_DIGITS[int(figure)] for figure in figures)


def cardinal(figures: str) -> str:
    """Read an amount: ``"1,234.5"`` is ``one thousand two hundred thirty-four point five``.

    Figures with leading zeros, or longer than 15, are read one by one.
    """
    whole, _, decimals = figures.replace(",", "").partition(".")
    words = []
    if whole:
        plain = len(whole) <= _LONGEST_CARDINAL and (whole == "0" or whole[0] != "0")
        words.append(_words(int(whole), "cardinal") if plain else digits(whole))
    if decimals:
        words.append("point " + digits(decimals))
    return " ".join(words)


def ordinal(figures: str) -> str:
    """Read a rank: ``"22"`` is ``twenty-second``."""
    figures = figures.replace(",", "")
    if len(figures) > _LONGEST_CARDINAL:
        return digits(figures) + "th"
    return _words(int(figures), "ordinal")


def year(figures: str) -> str:
    """Read a year: ``"1905"`` is ``nineteen oh five``, ``"2024"`` ``twenty twenty-four``."""
    value = int(figures)
    century, rest = divmod(value, 100)
    if century < 10 or value % 1000 == 0 or 2000 <= value < 2010:
        return cardinal(str(value))
    head = cardinal(str(century))
    if rest == 0:
        return f"{head} hundred"
    return f"{head} oh {cardinal(str(rest))}" if rest < 10 else f"{head} {cardinal(str(rest))}"


def plural(word: str) -> str:
    """Put a number word in the plural: ``twenty`` gives ``twenties``."""
    if word.endswith("y"):
        return word[:-1] + "ies"
    return word + ("es" if word.endswith("x") else "s")


def fraction(numerator: str, denominator: str, article: bool = False) -> str:
    """Read a fraction: ``3, 4`` is ``three quarters``; with ``article``, ``1, 2`` is ``a half``."""
    if int(denominator) < 2 or int(denominator) > 100 or len(numerator) > 2:
        return f"{cardinal(numerator)} over {cardinal(denominator)}"
    one = {2: "half", 4: "quarter"}.get(int(denominator)) or ordinal(denominator)
    if int(numerator) == 1:
        return ("an " if one[0] in "aei" else "a ") + one if article else f"one {one}"
    return f"{cardinal(numerator)} {'halves' if one == 'half' else one + 's'}"


def _count(figures: str, one: str, many: str) -> str:
    return f"{cardinal(figures)} {one if figures == '1' else many}"


# Figures, with commas or without. Every repetition is bounded or starts only once in a run of
# figures (the look-behinds), so that no text makes a rule slower than linear.
_N = r"(?:\d{1,3}(?:,\d{3}){1,9}(?!\d)|\d++)(?:\.\d++)?|(?<![\w.])\.\d++"
_NUMBER = rf"(?<![\d./])(?:{_N})"
_MONTH = "(" + "|".join(sorted(MONTHS, key=len, reverse=True)) + r")\b\.?"
_MAGNITUDE = "|".join(sorted(MAGNITUDES, key=len, reverse=True))
_SIGN = "[$£€¥₹₩₽₿]"
_CODE = "|".join(code for code in CURRENCIES if code.isalpha())
_UNIT = "|".join(re.escape(unit) for unit in sorted(UNITS, key=len, reverse=True))
_PER = "|".join(re.escape(unit) for unit in sorted(PER, key=len, reverse=True))
_HALF_DAY = r"([aApP])\.?\s?[mM]\b(\.?)"


def _groups(match: re.Match[str]) -> str:
    spoken = ", ".join(digits(group) for group in re.findall(r"\d+", match[0]))
    return ("plus " if match[0][0] == "+" and not match[0].startswith("+1") else "") + spoken


def _dots(match: re.Match[str]) -> str:
    if match[2].count(".") == 3 and not match[1]:
        return " dot ".join(digits(part) for part in match[2].split("."))
    head = "version " if match[1] else ""
    return head + " point ".join(cardinal(part) for part in match[2].split("."))


def _date(month: int, day: str, year_figures: str) -> str:
    name = list(dict.fromkeys(MONTHS.values()))[month - 1]
    return f"{name} {ordinal(day)}, {year(year_figures)}"


def _iso_date(match: re.Match[str]) -> str:
    if not (1 <= int(match[2]) <= 12 and 1 <= int(match[3]) <= 31):
        return match[0]
    return _date(int(match[2]), match[3], match[1])


def _slash_date(match: re.Match[str]) -> str:
    # American order, unless only the other one is a date; dots are never American.
    first, second = int(match[1]), int(match[3])
    month_first = match[2] != "." and first <= 12
    if second > 12:
        month_first = True
    month, day = (first, second) if month_first else (second, first)
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return match[0]
    return _date(month, str(day), match[4])


def _month_day(match: re.Match[str]) -> str:
    until = f" to {ordinal(match[3])}" if match[3] else ""
    tail = f", {year(match[4])}" if match[4] else ""
    return f"{MONTHS[match[1]]} {ordinal(match[2])}{until}{tail}"


def _day_month(match: re.Match[str]) -> str:
    tail = f", {year(match[3])}" if match[3] else ""
    return f"the {ordinal(match[1])} of {MONTHS[match[2]]}{tail}"


def _decade(match: re.Match[str]) -> str:
    lead, figures = match[1].rstrip("'"), match[2]
    if len(figures) == 2:
        return lead + plural(cardinal(figures))
    head, _, last = year(figures).rpartition(" ")
    return f"{head} {plural(last)}"


def _half_day(letter: str, dot: str, rest: str) -> str:
    """Read a.m. or p.m., and keep its dot where a sentence ends with it."""
    ends = dot and (not rest.strip() or re.match(r"\s+[A-Z][a-z]*\b(?!day)", rest))
    return f" {letter.upper()} M{'.' if ends else ''}"


def _time(match: re.Match[str]) -> str:
    hour, minute, second = match[1], match[2], match[3]
    half = (
        _half_day(match[4], match[5], match.string[match.end() : match.end() + 20])
        if match[4]
        else ""
    )
    words = cardinal(str(int(hour)))
    if minute != "00" or second:
        words += f" oh {cardinal(minute[1])}" if minute[0] == "0" else f" {cardinal(minute)}"
    elif not half:
        words += (
            " o'clock" if 1 <= int(hour) <= 12 else " hundred" if int(hour) < 25 else " zero zero"
        )
    if second:
        words += f" oh {cardinal(second[1])}" if second[0] == "0" else f" {cardinal(second)}"
    return words + half


def _hour(match: re.Match[str]) -> str:
    rest = match.string[match.end() : match.end() + 20]
    return cardinal(match[1]) + _half_day(match[2], match[3], rest)


def _money(figures: str, currency: str, magnitude: str | None) -> str:
    one, many, cent, cents = CURRENCIES[currency]
    if magnitude:
        return f"{cardinal(figures)} {MAGNITUDES[magnitude]} {many}"
    whole, _, decimals = figures.replace(",", "").partition(".")
    if len(decimals) != 2 or not cent:
        return _count(figures, one, many)
    hundredths = _count(str(int(decimals)), cent, cents)
    if decimals == "00":
        return _count(whole, one, many)
    if int(whole or "0") == 0:
        return hundredths
    return f"{_count(whole, one, many)} and {hundredths}"


def _money_before(match: re.Match[str]) -> str:
    country = " ".join(match[1]) + " " if match[1] else ""
    start = f"{cardinal(match[3])} to " if match[3] else ""
    spoken = _money(match[4], match[2], match[5])
    if country:
        noun = CURRENCIES[match[2]][0]
        spoken = spoken.replace(noun, country + noun, 1)
    # "a $100 note": an amount before its noun is singular.
    before = match.string[max(0, match.start() - 3) : match.start()]
    after = match.string[match.end() : match.end() + 2]
    if re.search(r"\ba $", before) and re.match(r" [a-z]", after):
        spoken = re.sub(rf"\b{CURRENCIES[match[2]][1]}$", CURRENCIES[match[2]][0], spoken)
    return start + spoken


def _unit(match: re.Match[str]) -> str:
    one, many = (UNITS | GLUED_UNITS)[match[3]]
    if match[2] == "-":
        many = one
    return _count(match[1], one, many) + (f" per {PER[match[4]]}" if match[4] else "")


def _part(match: re.Match[str]) -> str:
    one, many = (UNITS | GLUED_UNITS)[match[3]]
    return f"{match[1] or ''}{match[2]} {many if match[1] else one}"


def _minus(match: re.Match[str]) -> str:
    return re.sub(r"(?<=[\w)]) [-−] (?=[\w(])", " minus ", match[0])


def _degrees(match: re.Match[str]) -> str:
    scale = {"C": " Celsius", "F": " Fahrenheit", "K": " Kelvin"}.get(match[2] or "", "")
    return _count(match[1], "degree", "degrees") + scale


def _arc(match: re.Match[str]) -> str:
    spoken = f"{_count(match[1], 'degree', 'degrees')} {_count(match[2], 'minute', 'minutes')}"
    return spoken + (" " + _count(match[3], "second", "seconds") if match[3] else "")


def _feet(match: re.Match[str]) -> str:
    spoken = _count(match[1], "foot", "feet")
    return spoken + (" " + _count(match[2], "inch", "inches") if match[2] else "")


def _magnitude(match: re.Match[str]) -> str:
    letter = match[0][-1]
    return f"{cardinal(match[1])} {'billion' if letter == 'n' else MAGNITUDES[letter]}"


def _power(match: re.Match[str]) -> str:
    power = match[1]
    named = {"2": " squared", "3": " cubed"}.get(power)
    return named or f" to the power of {power.replace('-', 'minus ')} "


def _plain(match: re.Match[str]) -> str:
    figures = match[0]
    if len(figures) == 4 and figures.isdigit() and _FIRST_YEAR <= int(figures) <= _LAST_YEAR:
        return year(figures)
    return cardinal(figures)


NUMBER_RULES: tuple[Rule, ...] = tuple(
    (re.compile(pattern), spoken)
    for pattern, spoken in (
        # 0. Figures grouped as elsewhere: by spaces, or with a decimal comma.
        (
            r"(?<![\d.,+-])(?<!\d )\d{1,3}(?: \d{3}){2,4}(?![\d -]?\d)",
            lambda m: m[0].replace(" ", ""),
        ),
        (r"(?<=€)(\d{1,6}),(\d{2})(?!\d)", r"\1.\2"),
        # 1. Codes made of figures: versions and addresses, telephone numbers, long chains.
        (r"(?<![\w.])([vV])\.?(\d{1,9}(?:\.\d{1,9}){0,5})(?![\w]|\.\d)", _dots),
        (r"(?<![\d.])\d{1,2}\.\d{1,2}\.\d{4}(?![\d.]*\d)", lambda m: m[0].replace(".", "⋅")),
        (r"(?<![\w.+])(?:\+?1[-. ])?(?:\(\d{3}\)\s?|\d{3}[-. ])\d{3}[-. ]\d{4}(?!\w)", _groups),
        (r"(?<!\w)\+\d{1,3}(?:[ -]\(?\d{1,5}\)?){2,6}(?!\w)|(?<!\w)\+\d{7,15}(?!\w)", _groups),
        (r"(?<![\w-])\d{3}-\d{4}(?![\w-])", _groups),
        (r"(?<![\w.])()(\d{1,9}(?:\.\d{1,9}){2,9})(?![\w]|\.\d)", _dots),
        # 2. Dates, decades, times.
        (r"(?<![\w-])(\d{4})-(\d{2})-(\d{2})(?![\w-])", _iso_date),
        (r"(?<![\w/])(\d{1,2})([/⋅-])(\d{1,2})[/⋅-](\d{4})(?![\w/])", _slash_date),
        (r"(?<![\w-])\d{1,9}(?:-\d{1,9}){2,9}(?![\w-])", _groups),
        (
            rf"\b{_MONTH} (\d{{1,2}})(?:st|nd|rd|th)?"
            r"(?:\s?[-–]\s?(\d{1,2})(?:st|nd|rd|th)?)?\b(?![:/%]|[.,]\d)"
            r"(?:,? (\d{4})\b)?",
            _month_day,
        ),
        (
            rf"\b(?:the )?(?<![\d:./,-])(\d{{1,2}})(?:st|nd|rd|th)?(?: of)? {_MONTH}"
            r"(?:,? (\d{4})\b)?",
            _day_month,
        ),
        (r"(?<![\w.,$£€])()'?([12]\d{2}0)'?s\b", _decade),
        (
            r"(?<!\w)((?:the |his |her |my |our |your |their |mid[ -]|late )?(?:'|(?<=\w[ -])))"
            r"(\d0)'?s\b",
            _decade,
        ),
        (r"(?<!\w)'(\d{2})(?!\w)", lambda m: digits(m[1]) if m[1][0] == "0" else cardinal(m[1])),
        (
            r"(?<=[\dmMCF])\s?[-–]\s?(?=-?\d{1,3}(?::\d\d|\s?[apAP]\.?[mM]\b|\s?°))",
            " to ",
        ),
        (rf"(?<![\w:.])(\d{{1,2}}):([0-5]\d)(?::([0-5]\d))?(?:\s?{_HALF_DAY})?(?![\d:])", _time),
        (rf"(?<![\w:.])(\d{{1,2}})\s?{_HALF_DAY}", _hour),
        (
            r"(?<![\w:.])(\d{1,9}):(\d{1,9})(?![\w:])",
            lambda m: f"{cardinal(m[1])} to {cardinal(m[2])}",
        ),
        # 3. Signs and ranges.
        (rf"(?<![\w)\]%°.+-])[-−](?={_SIGN}?\.?\d)", "minus "),
        (rf"(?<![\w)\]%°.+-])\+(?={_SIGN}?\.?\d)", "plus "),
        (r"±\s?(?=\.?\d)", " plus or minus "),
        (r"(?<=\d) [-−–] (?=[\d.]{1,20} =)", " minus "),
        (
            rf"(?<![\w.])(US|CA|AU|NZ|HK|A|C)?({_SIGN})\s?(?:({_N})\s?[-–—]\s?\2?)?({_N})"
            rf"(?:\s?({_MAGNITUDE})\b)?",
            _money_before,
        ),
        (r"(?<![\w-])(\d[\d.,]{0,15})(%?)\s?[-–—]\s?(?=\d[\d.,]{0,15}(?![\d-]))", r"\1\2 to "),
        # 4. Amounts: money, percent, degrees, lengths, units.
        (rf"({_NUMBER})\s?(€|£|¥|(?:{_CODE})\b)", lambda m: _money(m[1], m[2], None)),
        (rf"({_NUMBER})\s?¢", lambda m: _count(m[1], "cent", "cents")),
        (rf"({_NUMBER})\s?%", lambda m: f"{cardinal(m[1])} percent"),
        (rf"({_NUMBER})\s?‰", lambda m: f"{cardinal(m[1])} per mille"),
        (r"(?<!\d)(\d+)°\s?(\d{1,2})['′](?:\s?(\d{1,2})(?:\"|''))?", _arc),
        (rf"({_NUMBER})\s?°(?:\s?([CFK])\b)?", _degrees),
        (r"(?<![\d.])(\d{1,3})['′]\s?(\d{1,2})(?:\"|'')", _feet),
        (r"(?<![\d.])(\d{1,3})′()", _feet),
        (r"(?<![\d.])(\d{1,3})''(?!\w)", lambda m: _count(m[1], "inch", "inches")),
        (
            rf"\b(?i:({'|'.join(sorted(NUMBERED, key=len, reverse=True))}))\.\s?(?=\d)",
            lambda m: NUMBERED[m[1].lower()] + " ",
        ),
        (r"#(?=[A-Z]{0,2}\d)", "number "),
        (r"\bca?\.\s?(?=\d{3,4}\b)", "circa "),
        (rf"({_NUMBER})\s?x\s?(?=\d)", lambda m: f"{cardinal(m[1])} by "),
        (rf"({_NUMBER})[x×](?!\w|\s?[-+=*/^)])", lambda m: f"{cardinal(m[1])} times"),
        (rf"(\d[ -])?(?<![\d./])(\d{{1,2}}/\d{{1,2}})[\s-]?({_UNIT}|in)\b\.?", _part),
        (r"(?<=[a-zA-Z])\s?/\s?(?=\d{1,9}\s?[a-zA-Z])", " per "),
        (rf"({_NUMBER})(\s|-|)({_UNIT})(?:/({_PER}))?(?:\.(?=\s[a-z]))?(?![\w'^-]|/\D)", _unit),
        (rf"(?<=f[eo][eo]t )({_NUMBER})( |)(in)()\b", _unit),
        (rf"({_NUMBER})(-|)(in)()(?![\w'^/-])", _unit),
        (rf"(?<=[a-z])\s?/\s?({_PER})(?![\w^])", lambda m: f" per {PER[m[1]]}"),
        (rf"({_NUMBER})(?:\s?bn|[kM]|(?<=\d{{3}})K)(?!\w)", _magnitude),
        # 5. Ranks, fractions, powers, operators.
        (r"(?<![\d.])(\d{1,3}(?:,\d{3}){1,9}|\d+)(?:st|nd|rd|th)\b", lambda m: ordinal(m[1])),
        (
            r"(?<![\w./])(\d{1,4})[ -](\d{1,2})/(\d{1,2})(?![\w/])",
            lambda m: f"{cardinal(m[1])} and {fraction(m[2], m[3], article=True)}",
        ),
        (r"(?<![\w./])(\d{1,9})/(\d{1,9})(?![\w/])", lambda m: fraction(m[1], m[2])),
        (rf"({_NUMBER})[eE]([+-]?\d{{1,3}})\b", r"\1 times 10^\2"),
        (r"(?<=[\w)])\^\(?(-?\w{1,9})\)?", _power),
        (r"(?<=[\w)])\s?\*\s?(?=\d)|(?<=\d)\s?\*\s?(?=\w)", " times "),
        (r"(?<=[\w)] )[-−](?= ?[\w(][^=\n]{0,40}=)", "minus"),
        (r"=[^=\n]{1,80}", _minus),
        # 6. Figures beside letters, then what is left.
        (r"(?<=\d)([a-h])\b", lambda m: " " + m[1].upper()),
        (r"(?<=[^\W\d_])-?(?=\d)|(?<=\d)(?=[^\W\d_])", " "),
        (r"(?:(?<=\b[Ii]n )|(?<=\b[Ss]ince ))10\d\d(?![.,]?\d)", lambda m: year(m[0])),
        (r"(?<=\d)[-–](?=\d)", " "),
        (_N, _plain),
    )
)
"""Patterns and their readings, in the order in which they apply."""
