"""Join pieces of sound so that what is not near a joint stays bit for bit what it was."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FADE_SECONDS = 0.01
"""Length of a cross-fade."""


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of a sound; what lies beside it in the sound serves to fade."""

    sound: np.ndarray
    """``(S,)``."""
    start: int
    """First sample of the part."""
    stop: int
    """One past its last."""
    made: bool
    """Whether it was made to fit the others, and so sounds like them beyond its ends."""


def splice(
    pieces: Sequence[Piece], fade_samples: int
) -> tuple[np.ndarray, tuple[tuple[int, int], ...]]:
    """Join pieces, with cross-fades.

    Next to a made piece the fade lies where the other one is, since both say the same there;
    between two that were not made, it lies half on either side.

    Args:
        pieces: one or more, in order.
        fade_samples: longest cross-fade; it is shorter where a piece is.

    Returns:
        the joined sound ``(S,)`` float32, and the spans of samples in it that were made or faded:
        all others are those of their piece.
    """
    lengths = [piece.stop - piece.start for piece in pieces]
    joined = np.concatenate([piece.sound[piece.start : piece.stop] for piece in pieces])
    joined = joined.astype(np.float32)
    edges = np.cumsum([0, *lengths]).tolist()
    spans = [(edges[k], edges[k + 1]) for k, piece in enumerate(pieces) if piece.made]
    for k, (left, right) in enumerate(itertools.pairwise(pieces)):
        before, after = _extents(left, right, fade_samples)
        at = edges[k + 1]
        fading = left.sound[left.stop - before : left.stop + after]
        rising = right.sound[right.start - before : right.start + after]
        joined[at - before : at + after] = _cross_fade(fading, rising)
        spans.append((at - before, at + after))
    return joined, _merged(spans)


def _extents(left: Piece, right: Piece, fade_samples: int) -> tuple[int, int]:
    """Say how many samples before and after their joint two pieces are mixed."""
    # Half a piece at most: its other end may be faded, too.
    before = min(fade_samples, (left.stop - left.start) // 2, right.start)
    after = min(fade_samples, (right.stop - right.start) // 2, len(left.sound) - left.stop)
    if left.made != right.made:
        return (0, after) if left.made else (before, 0)
    half = min(before, after, fade_samples // 2)
    return half, half


def _cross_fade(fading: np.ndarray, rising: np.ndarray) -> np.ndarray:
    """Mix two sounds so that their power stays even, however alike they are."""
    count = len(fading)
    slope = 0.5 - 0.5 * np.cos(np.pi * (np.arange(count) + 0.5) / max(count, 1))
    norm = float(np.sqrt(np.sum(np.square(fading)) * np.sum(np.square(rising))))
    likeness = min(1.0, max(0.0, float(np.dot(fading, rising)) / norm)) if norm > 0.0 else 1.0
    power = np.square(slope) + np.square(1.0 - slope) + 2.0 * likeness * slope * (1.0 - slope)
    mixed: np.ndarray = ((1.0 - slope) * fading + slope * rising) / np.sqrt(power)
    return mixed.astype(np.float32)


def _merged(spans: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(span for span in spans if span[0] < span[1]):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(stop, merged[-1][1])
        else:
            merged.append((start, stop))
    return tuple(merged)
