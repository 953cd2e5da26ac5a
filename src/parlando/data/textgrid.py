"""Alignments as Praat TextGrid files, and back, without losing a frame.

One reader serves Praat's long and short text formats and what the Montreal Forced Aligner writes:
by Praat's own rule only free-standing numbers, quoted texts and flags count, and everything else
in a text file is a comment.
"""

import contextlib
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from parlando.contracts import ConfigError
from parlando.text.vocabulary import base_phone, is_pause
from parlando.text.words import phone_runs

WORDS, PHONES = "words", "phones"
"""Names of the two tiers that are written, as the Montreal Forced Aligner names them."""
SILENCES = frozenset({"", "sil", "sp", "SIL", "SP", "<eps>", "<sil>"})
"""Labels that mean that nothing is said."""
_GAP_SECONDS = 1e-3
_TOKEN = re.compile(
    r'"((?:[^"]|"")*)"|(?<!\S)(<exists>|<absent>|[-+]?[\d.]+(?:[eE][-+]?\d+)?)(?!\S)'
    r"|(?<!\S)![^\n]*"  # a comment: matched, so that its quotes are not
)

WordSpan = tuple[str, int, int]
"""A word, its first symbol and one past its last."""


@dataclass(frozen=True)
class Interval:
    """A labelled stretch of time."""

    start_seconds: float
    end_seconds: float
    label: str


Tiers = dict[str, tuple[Interval, ...]]
"""Interval tiers by name; the intervals of each follow one another without gaps."""


def write_textgrid(
    path: str | Path,
    symbols: Sequence[str],
    durations_frames: Sequence[int],
    frame_seconds: float,
    words: Sequence[WordSpan] | None = None,
) -> None:
    """Write the tiers ``words`` and ``phones`` in Praat's long format, whole or not at all.

    Pauses have empty labels; symbols that last no frame have no interval.

    Args:
        path: target.
        symbols: ``N`` vocabulary symbols.
        durations_frames: frames of each, together at least 1.
        frame_seconds: length of a frame.
        words: spans in order; without them a word is what lies between pauses and word
            boundaries, labelled by its phones.

    Raises:
        ConfigError: the durations do not fit the symbols, or the target cannot be written.
    """
    path = Path(path)
    if len(symbols) != len(durations_frames) or min(durations_frames, default=-1) < 0:
        raise ConfigError(
            f"{path}: got {len(durations_frames)} durations for {len(symbols)} symbols; expected "
            "one of 0 frames or more for each"
        )
    edges = [0]
    for frames in durations_frames:
        edges.append(edges[-1] + frames)
    if not edges[-1]:
        raise ConfigError(f"{path}: got an alignment without frames; expected at least one")
    if words is None:
        words = [("".join(symbols[a:b]), a, b) for a, b in phone_runs(symbols)]
    phones = [
        ("" if is_pause(symbol) else symbol, edges[place], edges[place + 1])
        for place, symbol in enumerate(symbols)
    ]
    spans = [(label, edges[first], edges[last]) for label, first, last in words]
    tiers = {WORDS: _without_gaps(spans, edges[-1]), PHONES: _without_gaps(phones, edges[-1])}
    _write(path, "\n".join(_lines(tiers, edges[-1], frame_seconds)) + "\n")


def read_textgrid(path: str | Path) -> Tiers:
    """Read the interval tiers of a TextGrid in Praat's long or short text format.

    Args:
        path: a file in UTF-8, or in UTF-16 with its mark, as Praat writes it.

    Returns:
        the tiers in their order; point tiers are left out.

    Raises:
        ConfigError: the file is missing, not a TextGrid, cut short, or its times are not in order.
    """
    path = Path(path)
    tokens = _Tokens(path, _text(path))
    kinds = [tokens.text(), tokens.text()]
    if not kinds[0].startswith("ooTextFile") or kinds[1] != "TextGrid":
        raise ConfigError(f"{path}: not a TextGrid, it begins with {kinds}; give one from Praat")
    tokens.bounds()
    tiers: Tiers = {}
    if tokens.flag() != "<exists>":
        return tiers
    for _ in range(tokens.count()):
        kind, name = tokens.text(), tokens.text()
        tokens.bounds()
        count = tokens.count()
        if kind == "TextTier":
            for _ in range(count):
                tokens.point()
            continue
        if kind != "IntervalTier" or name in tiers:
            reason = "a second tier" if name in tiers else f"a tier of kind '{kind}'"
            raise ConfigError(f"{path}: has {reason} '{name}'; expected interval tiers, each once")
        tiers[name] = tuple(tokens.interval() for _ in range(count))
        _check_order(path, name, tiers[name])
    return tiers


def durations_of(
    tier: Sequence[Interval],
    n_frames: int,
    frame_seconds: float,
    symbols: Sequence[str] | None = None,
) -> list[int]:
    """Turn a tier into durations in frames that sum to ``n_frames`` exactly.

    Boundaries go to the nearest frame, so an error never adds up; the last one is the end. The
    tier may end up to one frame beside ``n_frames``, since sounds need not last whole frames.

    Args:
        tier: intervals from 0 on.
        n_frames: frames of the sound.
        frame_seconds: length of a frame.
        symbols: vocabulary symbols whose phones are the tier's labels, with or without stress.

    Returns:
        the durations of the intervals, or those of the symbols; a pause that the tier lacks lasts
        0 frames.

    Raises:
        ConfigError: the tier is of another length, or its labels are not the symbols.
    """
    if not tier or tier[0].start_seconds > frame_seconds:
        raise ConfigError("the tier is empty or does not begin at 0 s; align the whole sound")
    end = tier[-1].end_seconds / frame_seconds
    if abs(end - n_frames) > 1.0 + 1e-6:
        raise ConfigError(
            f"the tier ends at {tier[-1].end_seconds:.3f} s, the sound at "
            f"{n_frames * frame_seconds:.3f} s; expected the alignment of this sound"
        )
    edges = [min(round(one.end_seconds / frame_seconds), n_frames) for one in tier[:-1]]
    frames = [b - a for a, b in pairwise([0, *edges, n_frames])]
    return frames if symbols is None else _of_symbols(tier, frames, symbols)


def _of_symbols(
    tier: Sequence[Interval], frames: Sequence[int], symbols: Sequence[str]
) -> list[int]:
    durations = [0] * len(symbols)
    place = 0
    for interval, count in zip(tier, frames, strict=True):
        at = f"'{interval.label}' at {interval.start_seconds:.3f} s"
        if interval.label in SILENCES:
            if place < len(symbols) and is_pause(symbols[place]):
                durations[place] += count
            elif count:
                raise ConfigError(f"silence {at}, where the text has no pause; align it again")
            continue
        while place < len(symbols) and is_pause(symbols[place]):
            place += 1
        expected = symbols[place] if place < len(symbols) else "the end"
        if place == len(symbols) or interval.label not in (expected, base_phone(expected)):
            raise ConfigError(f"got {at}, expected '{expected}'; it is of another text")
        durations[place] = count
        place += 1
    if rest := [symbol for symbol in symbols[place:] if not is_pause(symbol)]:
        raise ConfigError(f"the tier ends before '{rest[0]}'; it is of another text")
    return durations


def _without_gaps(spans: Sequence[WordSpan], end: int) -> list[WordSpan]:
    """Fill what lies between spans with empty labels, and drop spans of no length."""
    filled: list[WordSpan] = []
    reached = 0
    for label, first, last in [*spans, ("", end, end)]:
        if first > reached:
            filled.append(("", reached, first))
        if last > first:
            filled.append((label, first, last))
        reached = max(reached, last)
    return filled


def _lines(tiers: dict[str, list[WordSpan]], end: int, frame_seconds: float) -> Iterator[str]:
    def bounds(first: int, last: int, indent: str) -> Iterator[str]:
        yield f"{indent}xmin = {first * frame_seconds:.12g}"
        yield f"{indent}xmax = {last * frame_seconds:.12g}"

    yield from ('File type = "ooTextFile"', 'Object class = "TextGrid"', "")
    yield from bounds(0, end, "")
    yield from ("tiers? <exists>", f"size = {len(tiers)}", "item []:")
    for number, (name, spans) in enumerate(tiers.items(), 1):
        yield from (f"    item [{number}]:", '        class = "IntervalTier"')
        yield f'        name = "{name}"'
        yield from bounds(0, end, " " * 8)
        yield f"        intervals: size = {len(spans)}"
        for place, (label, first, last) in enumerate(spans, 1):
            yield f"        intervals [{place}]:"
            yield from bounds(first, last, " " * 12)
            doubled = label.replace('"', '""')
            yield f'            text = "{doubled}"'


def check_writable(path: str | Path) -> Path:
    """Refuse a target that could not be written, before any work is done.

    Raises:
        ConfigError: it is a folder, or its folder is missing or not writable.
    """
    path = Path(path)
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise ConfigError(f"{path}: cannot be written there; choose another file")
    return path


def _write(path: Path, content: str) -> None:
    partial = check_writable(path).with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(content, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    marked = content.startswith((b"\xfe\xff", b"\xff\xfe"))
    try:
        return content.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: is neither UTF-8 nor UTF-16; save it from Praat as a text file"
        ) from error


def _check_order(path: Path, name: str, tier: Sequence[Interval]) -> None:
    place = tier[0].start_seconds if tier else 0.0
    for interval in tier:
        if (
            abs(interval.start_seconds - place) > _GAP_SECONDS
            or interval.end_seconds < interval.start_seconds
        ):
            raise ConfigError(
                f"{path}: tier '{name}' has an interval from {interval.start_seconds:g} to "
                f"{interval.end_seconds:g} s after {place:g} s; expected no gaps and no overlaps"
            )
        place = interval.end_seconds


class _Tokens:
    """What counts in a Praat text file, one after the other."""

    def __init__(self, path: Path, content: str) -> None:
        self._path = path
        self._found = (found for found in _TOKEN.finditer(content) if found[0][0] != "!")

    def text(self) -> str:
        """Return the next token, a quoted text."""
        quoted, plain = self._groups()
        if quoted is None:
            raise self._wrong("a text", plain)
        return quoted.replace('""', '"')

    def number(self) -> float:
        """Return the next token, a finite number."""
        quoted, plain = self._groups()
        with contextlib.suppress(ValueError, TypeError):
            value = float(plain)  # type: ignore[arg-type]
            if math.isfinite(value):
                return value
        raise self._wrong("a number", plain or quoted)

    def flag(self) -> str:
        """Return the next flag."""
        quoted, plain = self._groups()
        if plain is None or not plain.startswith("<"):
            raise self._wrong("<exists>", plain or quoted)
        return plain

    def count(self) -> int:
        """Return the next number, how many of something follow."""
        value = self.number()
        if value < 0 or value != int(value):
            raise self._wrong("a count", f"{value:g}")
        return int(value)

    def bounds(self) -> tuple[float, float]:
        """Return the next two numbers, from when to when something lasts."""
        return self.number(), self.number()

    def point(self) -> tuple[float, str]:
        """Return the next point of a tier."""
        return self.number(), self.text()

    def interval(self) -> Interval:
        """Return the next interval of a tier."""
        return Interval(*self.bounds(), self.text())

    def _groups(self) -> tuple[str | None, str | None]:
        match = next(self._found, None)
        if match is None:
            raise ConfigError(f"{self._path}: ends too early; expected a whole TextGrid")
        return match.group(1), match.group(2)

    def _wrong(self, expected: str, got: str | None) -> ConfigError:
        return ConfigError(
            f"{self._path}: got '{str(got)[:40]}' where {expected} should be; it is damaged"
        )
