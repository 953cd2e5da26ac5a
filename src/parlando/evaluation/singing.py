"""Singing beside its score: pitch, time and words of the notes.

A score is part of the trial, as ``options["notes"]``: a list of ``{"midi": 69, "start_seconds":
0.5, "seconds": 0.4, "lyric": "la"}``, for one voice, its times counted from the begin of the
output. What is sung is found in the sound itself; durations that a system tells would only repeat
what it was asked for.
"""

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from parlando.audio.pitch import f0
from parlando.contracts import ConfigError
from parlando.evaluation.alignment import PhoneFinder, symbols_of
from parlando.evaluation.intelligibility import phone_errors
from parlando.evaluation.measure import RATE_HZ, Better, Figure, Judgement, Quantity, Row, Sample
from parlando.text.vocabulary import base_phone, is_phone

if TYPE_CHECKING:
    from parlando.aligner.model import Aligner

WITHIN_CENTS = 50.0
"""Half a semitone: what is further off is nearer to another note."""

_HOP_SAMPLES = 80
_FRAME_SECONDS = _HOP_SAMPLES / RATE_HZ
_SHORTEST_SECONDS = 0.03
# Costs of a frame in nats. A voiced frame costs its distance to the note in semitones, up to a
# bound below that of a rest, so that a wrong note is still a note; a rest is silent or unvoiced.
_WRONG_PITCH = 2.0
_VOICED_REST = 2.5
_UNVOICED_NOTE = 1.0
_EARLY_OR_LATE = 0.5  # a second: decides only where pitch says nothing


@dataclass(frozen=True, kw_only=True)
class Note:
    """One note of a score."""

    midi: float
    """Pitch: 69 is the A of 440 Hz, one more is a semitone up; fractions are allowed."""
    start_seconds: float
    """When it begins."""
    seconds: float
    """How long it is."""
    lyric: str = ""
    """Word or syllable; ``-`` at its end joins it to the next, empty holds the one before."""

    @property
    def hertz(self) -> float:
        """Frequency of the note in equal temperament."""
        return float(440.0 * 2.0 ** ((self.midi - 69.0) / 12.0))


@dataclass(frozen=True, kw_only=True, eq=False)
class SungNote:
    """What was sung for a note."""

    note: Note
    """What was asked for."""
    start_seconds: float
    """When its voice begins: singers put the vowel on the beat, the consonants before it."""
    stop_seconds: float
    """When it ends."""
    cents: np.ndarray
    """Deviation from the note of each voiced frame."""
    apart: bool
    """Whether anything, a step of pitch or a gap, tells it from its neighbours."""


def notes_of(sample: Sample) -> tuple[Note, ...]:
    """Read the score of a sample; empty where its trial has none.

    Raises:
        ConfigError: an entry is no note, or notes overlap.
    """
    notes = tuple(_note(entry) for entry in sample.trial.options.get("notes", ()))
    for before, after in itertools.pairwise(notes):
        if after.start_seconds < before.start_seconds + before.seconds - 1e-6:
            raise ConfigError(
                f"the note at {after.start_seconds:g} s begins before the one at "
                f"{before.start_seconds:g} s ends; expected the notes of one voice in order"
            )
    return notes


def lyrics_of(notes: Sequence[Note]) -> str:
    """Join the lyrics of notes to a text: ``hel-``, ``lo``, nothing, ``world`` is "hello world"."""
    words = " ".join(note.lyric.strip() for note in notes if note.lyric.strip(" -"))
    return re.sub(r"-\s+", "", words).rstrip("-")


def sung_notes(samples: np.ndarray, notes: Sequence[Note]) -> list[SungNote | None]:
    """Find each note of a score in a recording.

    The cheapest path of frames through the notes, with a rest that may be empty before, between
    and after them, judged by F0. Where neighbours share their pitch and no gap parts them, sound
    does not tell where one ends; they are marked as not ``apart``.

    Args:
        samples: ``(S,)`` at 16 kHz.
        notes: of one voice, in order.

    Returns:
        one entry for each note; None where hardly anything is sung for it.
    """
    hertz = np.array([note.hertz for note in notes])
    # More than an octave beside the score, so that a voice an octave off is still heard.
    bounds = float(hertz.min()) / 2.2, float(hertz.max()) * 2.2
    pitch, voiced = f0(samples, RATE_HZ, _HOP_SAMPLES, *bounds)
    safe = np.where(voiced, pitch, 1.0)
    cents = np.where(voiced, 1200.0 * np.log2(safe / hertz[:, None]), np.nan)
    edges = _edges(cents, notes)
    found: list[SungNote | None] = []
    for index, (note, (start, stop)) in enumerate(zip(notes, edges, strict=True)):
        deviation = cents[index, start:stop]
        deviation = deviation[np.isfinite(deviation)]
        if len(deviation) * _FRAME_SECONDS < min(_SHORTEST_SECONDS, 0.5 * note.seconds):
            found.append(None)
            continue
        touching = [
            notes[other]
            for other in (index - 1, index + 1)
            if 0 <= other < len(notes) and {start, stop} & {*edges[other]}
        ]
        found.append(
            SungNote(
                note=note,
                start_seconds=start * _FRAME_SECONDS,
                stop_seconds=stop * _FRAME_SECONDS,
                cents=deviation,
                apart=all(abs(other.midi - note.midi) > 0.5 for other in touching),
            )
        )
    return found


class Singing:
    """How near singing comes to its score, and how well its words are understood.

    A recording of a person who sings the same score, given as the reference, is measured in the
    same way, and stands beside the output.

    Args:
        load_aligner: picklable maker of the phone recogniser.
        aligner_name: its name, on which the lyric error depends.
    """

    name = "singing"

    def __init__(self, load_aligner: "Callable[[], Aligner]", aligner_name: str = "an aligner"):
        self.quantities = _quantities(aligner_name)
        self._finder = PhoneFinder(load_aligner)

    def judge(self, sample: Sample) -> Judgement:
        """Judge one sample; without a score there is nothing to say.

        Raises:
            ParlandoError: the score is not valid.
        """
        notes = notes_of(sample)
        if not notes:
            return Judgement()
        text = lyrics_of(notes) or sample.trial.text
        lyrics = _phones(symbols_of(text)) if text else []
        sung = sung_notes(sample.output, notes)
        values = score_errors(sung) | self._lyric_error(sample.output, lyrics)
        if sample.reference is not None:
            human = score_errors(sung_notes(sample.reference, notes))
            human |= self._lyric_error(sample.reference, lyrics)
            values |= {f"{key}_human": pair for key, pair in human.items()}
        return Judgement(values=values, notes={"notes": [_told(note) for note in sung]})

    def conclude(self, rows: Sequence[Row]) -> list[Figure]:
        """Add nothing: every figure here is a sum over samples."""
        return []

    def _lyric_error(
        self, samples: np.ndarray, lyrics: Sequence[str]
    ) -> dict[str, tuple[float, float]]:
        if not lyrics:
            return {}
        count = phone_errors(lyrics, _phones(self._finder.hear(samples)))
        return {"sung_lyric_error": (float(count.edits), float(count.reference_length))}


def score_errors(sung: Sequence[SungNote | None]) -> dict[str, tuple[float, float]]:
    """Sum the deviations from a score.

    The pitch error of a note is that of the median of its voiced frames: vibrato and glides are no
    errors. Times count only for notes that stand apart from their neighbours.

    Returns:
        numerator and denominator by key, where defined.
    """
    found = [note for note in sung if note is not None]
    values = {"sung_notes_missed": (float(len(sung) - len(found)), float(len(sung)))}
    if found:
        cents = np.concatenate([note.cents for note in found])
        near = float(np.sum(np.abs(cents) <= WITHIN_CENTS))
        error = sum(abs(float(np.median(note.cents))) for note in found)
        values["sung_pitch_error"] = (error, float(len(found)))
        values["sung_pitch_within"] = (near, float(len(cents)))
    apart = [note for note in found if note.apart]
    if apart:
        onset = sum(abs(note.start_seconds - note.note.start_seconds) for note in apart)
        length = sum(
            abs(note.stop_seconds - note.start_seconds - note.note.seconds) for note in apart
        )
        values["sung_onset_error"] = (1000.0 * onset, float(len(apart)))
        values["sung_duration_error"] = (1000.0 * length, float(len(apart)))
    return values


def _note(entry: Any) -> Note:
    names = [field.name for field in fields(Note)]
    try:
        note = Note(**entry)
        valid = note.seconds > 0.0 and note.start_seconds >= 0.0 and 36.0 <= note.midi <= 96.0
    except TypeError:
        valid = False
    if not valid:
        raise ConfigError(
            f"got {entry!r} for a note; expected {', '.join(names)}, with midi 36 to 96, a start "
            "that is not negative and a positive length in seconds"
        )
    return note


def _edges(cents: np.ndarray, notes: Sequence[Note]) -> list[tuple[int, int]]:
    """Find the first frame and one past the last of each note.

    Who sings flat or an octave lower throughout is nearer to wrong notes: a second path allows
    for the usual deviation, and the better of the two is taken.

    Args:
        cents: ``(N, T)`` deviation of each frame from each note, not a number where unvoiced.
        notes: N.
    """
    from parlando.generative.monotonic import viterbi

    time = (np.arange(cents.shape[1]) + 0.5) * _FRAME_SECONDS
    if not len(time):
        return [(0, 0)] * len(notes)
    starts = np.array([[note.start_seconds] for note in notes])
    stops = starts + np.array([[note.seconds] for note in notes])
    late = _EARLY_OR_LATE * np.maximum(np.maximum(starts - time, time - stops), 0.0)
    scored = cents[(starts <= time) & (time < stops) & np.isfinite(cents)]
    paths = [
        viterbi(-_costs(cents - usual, late), np.arange(2 * len(notes) + 1) % 2 == 0)
        for usual in ([0.0, np.median(scored)] if len(scored) else [0.0])
    ]
    frames, _ = max(paths, key=lambda path: path[1])
    ends = np.cumsum(frames).tolist()
    return list(zip(ends[0:-1:2], ends[1::2], strict=True))


def _costs(cents: np.ndarray, late: np.ndarray) -> np.ndarray:
    """Compute the cost ``(T, 2 N + 1)`` of each frame as a rest, a note, a rest and so on."""
    voiced = np.isfinite(cents[0])
    costs = np.empty((cents.shape[1], 2 * len(cents) + 1))
    costs[:, ::2] = np.where(voiced, _VOICED_REST, 0.0)[:, None]
    away = np.minimum(np.abs(cents) / 100.0, _WRONG_PITCH)
    costs[:, 1::2] = (np.where(voiced, away, _UNVOICED_NOTE) + late).T
    return costs


def _phones(symbols: Sequence[str]) -> list[str]:
    return [base_phone(symbol) for symbol in symbols if is_phone(symbol)]


def _told(sung: SungNote | None) -> Mapping[str, float] | None:
    """Describe a note for the reader of a row."""
    if sung is None:
        return None
    return {
        "midi": sung.note.midi,
        "start_seconds": round(sung.start_seconds, 3),
        "seconds": round(sung.stop_seconds - sung.start_seconds, 3),
        "cents": round(float(np.median(sung.cents)), 1),
    }


def _quantities(aligner_name: str) -> tuple[Quantity, ...]:
    pitch, words = "F0 by WORLD DIO and StoneMask, frames of 5 ms", f"phones by {aligner_name}"
    table: tuple[tuple[str, str, str, Better, str], ...] = (
        ("sung_pitch_error", "Pitch error of notes", "cents", "lower", pitch),
        ("sung_pitch_within", "Voiced frames within 50 cents", "%", "higher", pitch),
        ("sung_onset_error", "Onset error of notes", "ms", "lower", pitch),
        ("sung_duration_error", "Duration error of notes", "ms", "lower", pitch),
        ("sung_notes_missed", "Notes not sung", "%", "lower", pitch),
        ("sung_lyric_error", "Phone error rate of the lyrics", "%", "lower", words),
    )
    return tuple(
        Quantity(
            key=key + side,
            title=title + (", human singing" if side else ""),
            unit=unit,
            better=better,
            judge=judge,
            human=None if side else f"{key}_human",
        )
        for side in ("", "_human")
        for key, title, unit, better, judge in table
    )
