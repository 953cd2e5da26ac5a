"""What changes between the symbols that a recording says and those that it is to say."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

from parlando.contracts import Revision, TextError
from parlando.text.vocabulary import BOUNDARY, PUNCTUATION, base_phone, is_pause, is_phone
from parlando.text.words import phone_runs

SHORTEST_ISLAND_FRAMES = 4
"""What would stay between two changes and is shorter is made anew, for there is no room to fade."""
LONG_PAUSE_FRAMES = 8
"""A pause from here on parts what is beside it: no phone beyond it is made anew to fit."""


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """Changes that are near each other, with what stays beside them."""

    revision: Revision
    """Of the excerpt."""
    first_frame: int
    """Where it begins in the recording."""
    first_symbol: int
    """Which of the new symbols is its first."""
    runs: tuple[tuple[int, int], ...]
    """The changes, as :func:`changed_runs` tells those of the whole."""


def revise(
    symbols: Sequence[str],
    durations_frames: Sequence[int],
    new_symbols: Sequence[str],
    margin_phones: int = 0,
) -> Revision:
    """Find the words that stay, and with them the pauses beside them.

    A word is a run of phones; it stays, with the stress it was said with, where its phones do. A
    pause stays where its mark does and a word beside it; marks at the very end are not missed where
    one of the texts has none there.

    Args:
        symbols: what is said, with a pause at each end.
        durations_frames: frames of each.
        new_symbols: what is to be said, with a pause at each end.
        margin_phones: phones next to a change that are made anew in their old length.

    Raises:
        TextError: nothing changes, or nothing stays.
    """
    old_runs, new_runs = phone_runs(symbols), phone_runs(new_symbols)
    old_pauses, new_pauses = _gaps(symbols, old_runs), _gaps(new_symbols, new_runs)
    new = list(new_symbols)
    last_old, last_new = old_pauses[-1], new_pauses[-1]
    if [BOUNDARY] in (list(symbols[slice(*last_old)]), new[slice(*last_new)]):
        new[slice(*last_new)] = symbols[slice(*last_old)]
        new_pauses[-1] = (last_new[0], len(new))
    pairs = _matching(_words(symbols, old_runs), _words(new, new_runs))
    if not pairs:
        raise TextError(
            "the new text shares no word with the transcript; speak it with 'parlando speak' and "
            "the recording as voice"
        )
    sources: list[int | None] = [None] * len(new)
    for i, j in pairs:
        _keep(sources, new_runs[j], old_runs[i])
        new[slice(*new_runs[j])] = symbols[slice(*old_runs[i])]
    # Beside the first and the last word there is the end, which always stays where it is.
    after = {-1: -1, **{j: i for i, j in pairs}, len(new_runs): len(old_runs)}
    used: set[int] = set()
    # Last first: the silence after the last word is no pause for a word that is added there.
    for j in range(len(new_runs), -1, -1):
        start, stop = new_pauses[j]
        beside = [after[j - 1] + 1] if j - 1 in after else []
        beside += [after[j]] if j in after else []
        for i in beside if j < len(new_runs) else beside[::-1]:
            if i not in used and list(symbols[slice(*old_pauses[i])]) == new[start:stop]:
                _keep(sources, (start, stop), old_pauses[i])
                used.add(i)
                break
    if sources == list(range(len(symbols))):
        raise TextError("the new text says what the transcript says; change it to edit")
    return _revision(symbols, durations_frames, new, sources, margin_phones)


def changed_runs(revision: Revision) -> list[tuple[int, int]]:
    """Find what is made anew: first new symbol and one past the last of each run, in order.

    Where something is only left out, the run is empty.
    """
    runs: list[tuple[int, int]] = []
    start, expected = 0, 0
    for place, source in enumerate((*revision.sources, len(revision.symbols))):
        if source is None:
            continue
        if start < place or source != expected:
            runs.append((start, place))
        start, expected = place + 1, source + 1
    return runs


def excerpts(revision: Revision, context_frames: int) -> list[Excerpt]:
    """Cut out every change with what stays on both sides of it, and join those that are near.

    Of a pause at the end of an excerpt a part may be cut off, of a phone none.

    Args:
        revision: of a whole recording.
        context_frames: most frames that stay in an excerpt; those between two changes are at most
            half of it.
    """
    kept = [frames or 0 for frames in revision.new_durations_frames]
    runs = changed_runs(revision)
    groups = [runs[:1]]
    inner = 0
    for left, right in itertools.pairwise(runs):
        inner += sum(kept[left[1] : right[0]])
        if inner > context_frames // 2:
            groups.append([])
            inner = 0
        groups[-1].append(right)
    # Beside a group lies what stays up to its neighbour, or to the end.
    edges = [(0, 0), *((group[0][0], group[-1][1]) for group in groups), (len(kept), len(kept))]
    cut = []
    for group, before, (start, stop), after in zip(
        groups, edges, edges[1:], edges[2:], strict=False
    ):
        between = sum(sum(kept[a[1] : b[0]]) for a, b in itertools.pairwise(group))
        room = context_frames - between
        left_most, right_most = sum(kept[before[1] : start]), sum(kept[stop : after[0]])
        left_room = max(room // 2, room - right_most)
        first, front = _within(revision, range(start - 1, before[1] - 1, -1), left_room)
        right_room = room - min(left_room, left_most)
        last, back = _within(revision, range(stop, after[0]), right_room)
        begin = start if first is None else first
        end = stop if last is None else last + 1
        cut.append(_excerpt(revision, group, (begin, front), (end, back)))
    return cut


def _within(revision: Revision, places: range, room: int) -> tuple[int | None, int]:
    """Walk over symbols that stay: the last that has room, and the frames cut off it."""
    reached = None
    for place in places:
        frames = revision.new_durations_frames[place] or 0
        if frames > room:
            pause = is_pause(revision.new_symbols[place]) and room > 0
            return (place, frames - room) if pause else (reached, 0)
        reached, room = place, room - frames
    return reached, 0


def _excerpt(
    revision: Revision,
    group: list[tuple[int, int]],
    begin: tuple[int, int],
    end: tuple[int, int],
) -> Excerpt:
    """Cut out new symbols from ``begin`` to ``end``, less so many frames of the first and last."""
    (start, front), (stop, back) = begin, end
    sources = revision.sources
    # What was said beside the first and the last change, where nothing that stays lies there.
    first = last_kept(sources, start) + 1
    last = next((source for source in sources[stop:] if source is not None), None)
    last = len(revision.symbols) if last is None else last
    old = list(revision.durations_frames[first:last])
    new = list(revision.new_durations_frames[start:stop])
    for lengths in (old, new):
        if front:
            lengths[0] = (lengths[0] or 0) - front
        if back:
            lengths[-1] = (lengths[-1] or 0) - back
    return Excerpt(
        revision=Revision(
            symbols=revision.symbols[first:last],
            durations_frames=tuple(old),
            new_symbols=revision.new_symbols[start:stop],
            new_durations_frames=tuple(new),
            sources=tuple(None if s is None else s - first for s in sources[start:stop]),
        ),
        first_frame=sum(revision.durations_frames[:first]) + front,
        first_symbol=start,
        runs=tuple(group),
    )


def last_kept(sources: Sequence[int | None], place: int) -> int:
    """Tell which old symbol stays last before a new one; -1: none."""
    return next((source for source in reversed(sources[:place]) if source is not None), -1)


def _revision(
    symbols: Sequence[str],
    durations: Sequence[int],
    new: Sequence[str],
    sources: list[int | None],
    margin_phones: int,
) -> Revision:
    """Widen the changes by the margin, close small islands, and fix what is not to be chosen."""
    lengths = [None if source is None else durations[source] for source in sources]
    told = Revision(
        symbols=tuple(symbols),
        durations_frames=tuple(durations),
        new_symbols=tuple(new),
        new_durations_frames=tuple(lengths),
        sources=tuple(sources),
    )
    wider = list(sources)
    for start, stop in changed_runs(told):
        for step, place, beyond in ((-1, start - 1, start), (1, stop, stop - 1)):
            left = 0 if _rests(told, place, step, beyond) else margin_phones
            while left and 0 <= place < len(new):
                frames = lengths[place]
                if frames is None or (is_pause(new[place]) and frames >= LONG_PAUSE_FRAMES):
                    break
                wider[place] = None
                left -= is_phone(new[place])
                place += step
    changes = changed_runs(replace(told, sources=tuple(wider)))
    for (_, start), (stop, _) in itertools.pairwise(changes):
        if sum(lengths[place] or 0 for place in range(start, stop)) < SHORTEST_ISLAND_FRAMES:
            wider[start:stop] = [None] * (stop - start)
    return replace(told, sources=tuple(wider))


def _matching(old: list[tuple[str, ...]], new: list[tuple[str, ...]]) -> list[tuple[int, int]]:
    blocks = SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    return [(a + place, b + place) for a, b, size in blocks for place in range(size)]


def _rests(told: Revision, place: int, step: int, beyond: int) -> bool:
    """Tell whether the symbol that stays beside a change was beside a pause, and still is."""
    if not (0 <= place < len(told.sources) and 0 <= beyond < len(told.sources)):
        return False
    source = told.sources[place]
    was = -1 if source is None else source - step
    if not 0 <= was < len(told.symbols) or not is_pause(told.symbols[was]):
        return False
    mark, frames = told.new_symbols[beyond], told.new_durations_frames[beyond]
    still = (
        mark in PUNCTUATION if frames is None else is_pause(mark) and frames >= LONG_PAUSE_FRAMES
    )
    return still and told.durations_frames[was] >= LONG_PAUSE_FRAMES


def _words(symbols: Sequence[str], runs: Sequence[tuple[int, int]]) -> list[tuple[str, ...]]:
    return [tuple(map(base_phone, symbols[start:stop])) for start, stop in runs]


def _gaps(symbols: Sequence[str], runs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Find what lies before, between and after runs."""
    edges = [0, *(edge for run in runs for edge in run), len(symbols)]
    return list(zip(edges[::2], edges[1::2], strict=True))


def _keep(sources: list[int | None], new: tuple[int, int], old: tuple[int, int]) -> None:
    sources[slice(*new)] = range(*old)
