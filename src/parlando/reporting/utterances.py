"""Single utterances as a page shows them: text, sounds, transcripts, pictures, values."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from parlando.contracts import AudioError
from parlando.evaluation.measure import Quantity, Row
from parlando.evaluation.records import Report, audio_path
from parlando.reporting import document, wording
from parlando.reporting.document import Cell, Table
from parlando.reporting.pictures import phones_of, spectrogram
from parlando.reporting.players import PART_TITLES, Player, Sounds, read_sound


@dataclass(frozen=True, kw_only=True)
class Heard:
    """A transcript with its title."""

    title: str
    """Who heard what."""
    stretches: tuple[wording.Stretch, ...]
    """The words and their fate."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A spectrogram with its title."""

    title: str
    """What it shows."""
    sound: str
    """Id of the sound, so that a click plays it from there."""
    svg: str
    """The picture."""


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """One entry of the list on a page."""

    id: str
    """Of the trial."""
    text: str
    """What was to be said."""
    labels: tuple[str, ...]
    """Speaker and conditions."""
    players: tuple[Player, ...]
    """Its sounds."""
    table: Table | None
    """All values."""
    facts: Mapping[str, Any]
    """What the page sorts and filters by."""
    failures: tuple[tuple[str, str], ...] = ()
    """What went wrong where."""
    heard: tuple[Heard, ...] = ()
    """Transcripts with faults, always seen."""
    more: tuple[Heard, ...] = ()
    """Other transcripts."""
    pictures: tuple[Picture, ...] = ()
    """Spectrograms."""
    notes: tuple[tuple[str, str], ...] = field(default=())
    """What else the judges noted."""


def worst_rows(report: Report, count: int) -> set[str]:
    """Choose utterances for pictures: the worst of every quantity in turn, up to a number."""
    quantities = [each for each in document.per_utterance(report) if each.better is not None]
    orders = [document.worst_first(report, each) for each in quantities] or [list(report.rows)]
    chosen: dict[str, None] = {}
    for rank in zip(*orders, strict=True):
        chosen.update(dict.fromkeys(row.trial.id for row in rank if "output" not in row.failures))
        if len(chosen) >= count:
            break
    return set(list(chosen)[:count])


def label_texts(row: Row) -> tuple[str, ...]:
    """Write the conditions of a trial, and its speaker."""
    texts = [f"{document.words(name)}: {value}" for name, value in row.trial.labels.items()]
    return tuple(([row.trial.speaker] if row.trial.speaker else []) + texts)


def sorted_labels(utterances: Iterable[Utterance]) -> list[str]:
    """List the labels of all utterances once, 3 before 10."""

    def natural(label: str) -> list[tuple[int, float, str]]:
        parts = re.split(r"(\d+(?:\.\d+)?)", label)
        return [(0, float(p), "") if p[:1].isdigit() else (1, 0.0, p) for p in parts]

    return sorted({label for each in utterances for label in each.labels}, key=natural)


def utterance(
    report: Report,
    place: int,
    quantities: Sequence[Quantity],
    sounds: Sounds,
    *,
    with_pictures: bool,
) -> Utterance:
    """Describe one row of a report.

    Args:
        report: whose row it is.
        place: of the row in the report.
        quantities: those that single utterances have.
        sounds: takes in its sounds.
        with_pictures: whether to draw spectrograms.
    """
    row = report.rows[place]
    failures = tuple(row.failures.items())
    players: list[Player] = []
    drawn: list[Picture] = []
    try:
        players = sounds.of_trial(report.folder, row.trial.id)
        if with_pictures:
            drawn = [
                picture(report, row, player, PART_TITLES[player.part])
                for player in players
                if player.part != "prompt"
            ]
    except AudioError as error:
        failures += (("sound", str(error)),)
    transcripts = wording.transcripts(row.notes)
    first = [each for each in transcripts if each.whose == "output" and not each.faultless]
    first = [each for each in first if each.judge != "phones"]
    measured = [each for each in quantities if document.ratio(row, each.key) is not None]
    return Utterance(
        id=row.trial.id,
        text=row.trial.text or "",
        labels=label_texts(row),
        players=tuple(players),
        table=_value_table(row, measured),
        facts={
            "place": place,
            "silent": "output" in row.failures,
            "failed": bool(failures),
            "labels": label_texts(row),
            "words": " ".join([row.trial.id, row.trial.text or "", row.trial.speaker]),
            "values": {each.key: _sortable(row, each) for each in measured},
        },
        failures=failures,
        heard=tuple(heard(each) for each in first),
        more=tuple(heard(each) for each in transcripts if each not in first),
        pictures=tuple(drawn),
        notes=tuple(_notes(row)),
    )


def _sortable(row: Row, quantity: Quantity) -> tuple[float, str]:
    """Give a number that is the larger the worse, and the value as text."""
    value = document.ratio(row, quantity.key)
    assert value is not None  # only measured quantities are asked for
    unit = f" {quantity.unit}" if quantity.unit else ""
    badness = -value if quantity.better == "higher" else value
    return badness, document.number(value, quantity) + unit


def _value_table(row: Row, quantities: Sequence[Quantity]) -> Table | None:
    if not quantities:
        return None
    rows = tuple(
        (
            Cell(text=document.head(each)),
            *(
                Cell(text=text, strong=place == 0)
                for place, text in enumerate(
                    document.aligned([document.ratio(row, key or "") for key in keys], each)
                )
            ),
        )
        for each in quantities
        for keys in [(each.key, each.human, each.control)]
    )
    columns = ("Quantity", "Output", "Reference", "Chance")
    return Table(caption="Values of this utterance", columns=columns, rows=rows)


def heard(transcript: wording.Transcript, of: str = "") -> Heard:
    """Give a transcript its title; ``of`` names whose output it is, where there are several."""
    if transcript.whose == "human":
        of = "the reference"
    what = f"Heard in {of}" if of else "Heard"
    return Heard(title=f"{what} ({transcript.judge})", stretches=transcript.stretches)


def picture(report: Report, row: Row, player: Player, title: str) -> Picture:
    """Draw the spectrogram of what a player plays, with the phones that the system told.

    Args:
        report: where the sound lies.
        row: whose sound it is.
        player: an output's or a reference's.
        title: names the sound.
    """
    samples = read_sound(audio_path(report.folder, row.trial.id, player.part))
    told = phones_of(_details(report, row)) if player.part == "output" else ()
    title = f"{title}: mel spectrogram, pitch (60 to 500 Hz){', phones' if told else ''}"
    svg = spectrogram(samples, label=f"{title} of {row.trial.id}", phones=told)
    return Picture(title=title, sound=player.sound, svg=svg)


def _details(report: Report, row: Row) -> Mapping[str, Any]:
    """Read what the system told of an output; the engine keeps it beside the sound."""
    path = audio_path(report.folder, row.trial.id).with_name(f"{row.trial.id}.json")
    try:
        details = json.loads(path.read_text(encoding="utf-8"))["details"]
    except (OSError, ValueError, LookupError, TypeError):
        return {}
    return details if isinstance(details, dict) else {}


def _notes(row: Row) -> list[tuple[str, str]]:
    trial = row.trial
    notes = [("Prompt says", trial.prompt_text)] if trial.prompt_text else []
    if row.seconds is not None:
        notes.append(("Length", f"{row.seconds:.2f} s"))
    if row.wall_seconds is not None:
        notes.append(("Time to make", f"{row.wall_seconds:.2f} s"))
    notes.append(("Seed", str(trial.seed)))
    return notes + wording.other_notes(row.notes)
