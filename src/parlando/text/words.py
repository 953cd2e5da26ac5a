"""Which symbols each written word became."""

import itertools
import re
from collections.abc import Sequence

from parlando.contracts import TextError
from parlando.text.phonemes import phonemize
from parlando.text.vocabulary import is_pause

_EDGES = re.compile(r"^[^\w]+|[^\w'.]+$|\.+$")
_MOST_JOINED = 4
_JOINT_COST = 0.5


def word_spans(spoken: str, symbols: Sequence[str]) -> list[tuple[str, int, int]]:
    """Find the words of a text in its symbols.

    espeak joins small words ("of the") and parts others; the cheapest monotonic match of words,
    spoken alone, with the runs of phones tells which. Joined words share a span.

    Args:
        spoken: text in spoken form, as ``normalize`` returns it.
        symbols: what ``phonemize`` made of it.

    Returns:
        for each word its spelling, its first symbol and one past its last; runs that no word
        matches are labelled by their phones.
    """
    runs = phone_runs(symbols)
    words = [(word, phones) for word in re.split(r"[\s—…]+", spoken) if (phones := _phones(word))]
    heard = [list(symbols[a:b]) for a, b in runs]
    steps = _cheapest_steps([phones for _, phones in words], heard)
    if steps is None:
        return [("".join(symbols[a:b]), a, b) for a, b in runs]
    spans = []
    i = j = 0
    for di, dj in steps:
        label = " ".join(_EDGES.sub("", word) for word, _ in words[i : i + di])
        spans.append((label, runs[j][0], runs[j + dj - 1][1]))
        i, j = i + di, j + dj
    return spans


def _cheapest_steps(
    words: Sequence[list[str]], runs: Sequence[list[str]]
) -> list[tuple[int, int]] | None:
    """Match lists of phones with lists of phones: how many of each belong together, in order."""
    best: dict[tuple[int, int], tuple[float, tuple[int, int]]] = {(0, 0): (0.0, (0, 0))}
    several = range(2, _MOST_JOINED + 1)
    steps = [(1, 1), *((1, n) for n in several), *((n, 1) for n in several)]
    for i, j in itertools.product(range(len(words)), range(len(runs))):
        if (i, j) not in best:
            continue
        for di, dj in steps:
            if i + di > len(words) or j + dj > len(runs):
                continue
            said = list(itertools.chain(*words[i : i + di]))
            heard = list(itertools.chain(*runs[j : j + dj]))
            differ = abs(len(said) - len(heard)) + (said[0] != heard[0]) + (said[-1] != heard[-1])
            cost = best[i, j][0] + differ + _JOINT_COST * (di + dj - 2)
            there = (i + di, j + dj)
            if there not in best or cost < best[there][0]:
                best[there] = cost, (di, dj)
    place = len(words), len(runs)
    if place not in best:
        return None
    path = []
    while place != (0, 0):
        step = best[place][1]
        path.append(step)
        place = place[0] - step[0], place[1] - step[1]
    return path[::-1]


def phone_runs(symbols: Sequence[str]) -> list[tuple[int, int]]:
    """Find the runs of phones between pauses: first symbol and one past the last of each."""
    spoken = [False, *(not is_pause(symbol) for symbol in symbols), False]
    edges = [place for place, (a, b) in enumerate(itertools.pairwise(spoken)) if a != b]
    return list(zip(edges[::2], edges[1::2], strict=True))


def _phones(word: str) -> list[str]:
    try:
        return [symbol for symbol in phonemize(word) if not is_pause(symbol)]
    except TextError:  # a mark on its own
        return []
