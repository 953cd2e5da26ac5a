"""The symbols that every system reads: pauses, and espeak's en-us phones with their stress.

A vowel is three symbols (``ˈoʊ`` primary stress, ``ˌoʊ`` secondary, ``oʊ`` none), a consonant one.
Long marks, glides of diphthongs and the fricative of affricates belong to their phone; a vowel
before an ``ɹ`` and the ``ɹ`` are two phones. Weights depend on the ids, so the inventory is a
frozen literal: nothing is ever inserted, moved or removed.
"""

from collections.abc import Iterable, Sequence

from parlando.contracts import TextError

PADDING = "_"
BOUNDARY = " "
PUNCTUATION: tuple[str, ...] = (",", ".", "?", "!", ";", ":", "—")
PRIMARY = "ˈ"
SECONDARY = "ˌ"

# fmt: off
SYMBOLS: tuple[str, ...] = (
    "_", " ", ",", ".", "?", "!", ";", ":", "—",
    "p", "b", "t", "d", "k", "ɡ", "tʃ", "dʒ", "f", "v", "θ", "ð", "s", "z", "ʃ", "ʒ", "h",
    "m", "n", "ŋ", "l", "ɹ", "j", "w", "ɾ", "ʔ",
    "iː", "ˈiː", "ˌiː", "i", "ˈi", "ˌi", "ɪ", "ˈɪ", "ˌɪ", "eɪ", "ˈeɪ", "ˌeɪ",
    "ɛ", "ˈɛ", "ˌɛ", "æ", "ˈæ", "ˌæ", "ɑː", "ˈɑː", "ˌɑː", "ɔː", "ˈɔː", "ˌɔː",
    "ɔ", "ˈɔ", "ˌɔ", "oʊ", "ˈoʊ", "ˌoʊ", "ʊ", "ˈʊ", "ˌʊ", "uː", "ˈuː", "ˌuː",
    "u", "ˈu", "ˌu", "ʌ", "ˈʌ", "ˌʌ", "ə", "ˈə", "ˌə", "ɐ", "ˈɐ", "ˌɐ",
    "ᵻ", "ˈᵻ", "ˌᵻ", "ɚ", "ˈɚ", "ˌɚ", "ɜː", "ˈɜː", "ˌɜː",
    "aɪ", "ˈaɪ", "ˌaɪ", "aʊ", "ˈaʊ", "ˌaʊ", "ɔɪ", "ˈɔɪ", "ˌɔɪ",
)
# fmt: on
"""Every symbol; the index is the id. Padding is 0."""

_IDS = {symbol: index for index, symbol in enumerate(SYMBOLS)}
_PAUSES = frozenset((BOUNDARY, *PUNCTUATION))

VOWELS: tuple[str, ...] = tuple(symbol[1:] for symbol in SYMBOLS if symbol[0] == PRIMARY)
"""The phones that carry stress, without it."""

PHONES: tuple[str, ...] = tuple(
    symbol
    for symbol in SYMBOLS
    if symbol != PADDING and symbol not in _PAUSES and symbol[0] not in PRIMARY + SECONDARY
)
"""Every phone without stress, in the order of the ids."""

PHONE_CLASSES: tuple[str, ...] = ("<blank>", "sil", *PHONES)
"""What the CTC recogniser tells apart: its blank (0), silence (1) and the phones."""


def encode(symbols: Iterable[str]) -> list[int]:
    """Turn symbols into ids.

    Args:
        symbols: Members of ``SYMBOLS``.

    Returns:
        One id for each symbol, 0 to ``len(SYMBOLS) - 1``.

    Raises:
        TextError: A symbol is not in the vocabulary.
    """
    try:
        return [_IDS[symbol] for symbol in symbols]
    except KeyError as error:
        raise TextError(
            f"unknown symbol {error.args[0]!r}; expected members of "
            "parlando.text.vocabulary.SYMBOLS, as phonemize() returns"
        ) from None


def decode(ids: Iterable[int]) -> list[str]:
    """Turn ids into symbols, the inverse of ``encode``.

    Raises:
        TextError: An id is outside 0 to ``len(SYMBOLS) - 1``.
    """
    symbols = []
    for index in ids:
        if not 0 <= index < len(SYMBOLS):
            raise TextError(f"unknown symbol id {index}; expected 0 to {len(SYMBOLS) - 1}")
        symbols.append(SYMBOLS[index])
    return symbols


def is_phone(symbol: str) -> bool:
    """Tell whether the symbol is a phone, stressed or not."""
    return symbol in _IDS and symbol != PADDING and symbol not in _PAUSES


def is_pause(symbol: str) -> bool:
    """Tell whether the symbol may last zero frames: the word boundary and punctuation."""
    return symbol in _PAUSES


def with_boundaries(symbols: Sequence[str]) -> list[str]:
    """Add a boundary at each end where there is no pause.

    Raises:
        TextError: There is no phone among the symbols.
    """
    if not any(is_phone(symbol) for symbol in symbols):
        raise TextError(f"got the symbols {''.join(symbols)!r}; expected at least one phone")
    first = [] if symbols[0] == BOUNDARY else [BOUNDARY]
    last = [] if is_pause(symbols[-1]) else [BOUNDARY]
    return [*first, *symbols, *last]


def base_phone(symbol: str) -> str:
    """Drop the stress of a phone: ``ˈoʊ`` becomes ``oʊ``; other symbols stay as they are.

    Raises:
        TextError: The symbol is not in the vocabulary.
    """
    encode((symbol,))
    return symbol.lstrip(PRIMARY + SECONDARY)


def _phone_class(symbol: str) -> int:
    if symbol == PADDING:
        return 0
    return PHONE_CLASSES.index(base_phone(symbol) if is_phone(symbol) else "sil")


PHONE_IDS: tuple[int, ...] = tuple(_phone_class(symbol) for symbol in SYMBOLS)
"""Index of the ``PHONE_CLASSES`` member of each symbol id; padding is 0, every pause 1."""
