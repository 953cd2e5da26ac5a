import functools
import pickle

import numpy as np
import pytest

from parlando.aligner.config import tiny
from parlando.aligner.model import Aligner
from parlando.contracts import ConfigError
from parlando.evaluation.measure import Sample, Trial
from parlando.evaluation.singing import Note, Singing, lyrics_of, notes_of, sung_notes

RATE = 16_000
MELODY = (60, 64, 67, 72, 71, 57)
LAID_APART = [
    {"midi": midi, "start_seconds": 0.3 + 0.5 * place, "seconds": 0.4}
    for place, midi in enumerate(MELODY)
]
LEGATO = [note | {"start_seconds": 0.3 + 0.4 * k} for k, note in enumerate(LAID_APART)]


class Listener(Aligner):
    """Hears the same phones in anything."""

    def __init__(self, phones=()):
        super().__init__(tiny())
        self.phones = phones

    def recognize(self, waveform):
        return list(self.phones)


def sing(notes, *, cents=0.0, late=0.0, stretch=1.0, vibrato=0.0, seconds=4.0):
    """Sing harmonic tones, each detuned, shifted and lengthened."""
    sound = np.zeros(round(seconds * RATE))
    for note in notes:
        start = round((note["start_seconds"] + late) * RATE)
        time = np.arange(round(note["seconds"] * stretch * RATE)) / RATE
        wobble = vibrato * np.sin(2 * np.pi * 5 * time)
        hertz = 440.0 * 2 ** ((note["midi"] - 69) / 12 + (cents + wobble) / 1200)
        phase = 2 * np.pi * np.cumsum(hertz) / RATE
        tone = sum(np.sin(k * phase) / k for k in range(1, 5))
        sound[start : start + len(tone)] += 0.2 * tone[: len(sound) - start]
    return sound.astype(np.float32)


def sample(output, notes, **more):
    text = more.pop("text", None)
    return Sample(trial=Trial(id="one", options={"notes": notes}, text=text), output=output, **more)


def judged(output, notes, **more):
    judgement = Singing(Listener).judge(sample(output, notes, **more))
    return {key: top / bottom for key, (top, bottom) in judgement.values.items()}, judgement


def test_a_note_has_the_frequency_of_equal_temperament():
    assert Note(midi=69, start_seconds=0, seconds=1).hertz == pytest.approx(440.0)
    assert Note(midi=60, start_seconds=0, seconds=1).hertz == pytest.approx(261.6256, abs=1e-3)


@pytest.mark.parametrize("notes", [LAID_APART, LEGATO], ids=["apart", "legato"])
@pytest.mark.parametrize("cents", [0.0, 30.0, -70.0, -1200.0])
def test_detuning_comes_back_in_cents(notes, cents):
    values, judgement = judged(sing(notes, cents=cents), notes)
    assert values["sung_pitch_error"] == pytest.approx(abs(cents), abs=1.5)
    assert values["sung_pitch_within"] == pytest.approx(float(abs(cents) < 50), abs=0.06)
    assert values["sung_notes_missed"] == 0.0
    assert [note["cents"] for note in judgement.notes["notes"]] == pytest.approx(
        [cents] * 6, abs=1.5
    )


@pytest.mark.parametrize("late", [0.0, 0.04, 0.12])
def test_a_shift_comes_back_as_onset_error_and_not_as_length(late):
    values, _ = judged(sing(LAID_APART, late=late), LAID_APART)
    assert values["sung_onset_error"] == pytest.approx(1000 * late, abs=10)
    assert values["sung_duration_error"] < 15
    assert values["sung_pitch_error"] < 1.5


def test_short_notes_come_back_as_duration_error_and_not_as_onset():
    values, _ = judged(sing(LAID_APART, stretch=0.5), LAID_APART)
    assert values["sung_duration_error"] == pytest.approx(200, abs=15)
    assert values["sung_onset_error"] < 10


def test_legato_notes_are_told_apart_by_their_pitch():
    values, judgement = judged(sing(LEGATO, late=0.06), LEGATO)
    assert values["sung_onset_error"] == pytest.approx(60, abs=12)
    assert judgement.values["sung_onset_error"][1] == 6


def test_vibrato_is_no_error_of_pitch():
    values, _ = judged(sing(LAID_APART, vibrato=80.0), LAID_APART)
    assert values["sung_pitch_error"] < 10
    assert values["sung_pitch_within"] < 0.7


def test_a_wrong_note_is_wrong_and_its_neighbours_are_right():
    wrong = [
        note | ({"midi": note["midi"] - 10} if k == 2 else {}) for k, note in enumerate(LEGATO)
    ]
    values, judgement = judged(sing(wrong), LEGATO)
    cents = [note["cents"] for note in judgement.notes["notes"]]
    assert cents == pytest.approx([0, 0, -1000, 0, 0, 0], abs=3)
    assert values["sung_pitch_error"] == pytest.approx(1000 / 6, abs=3)


def test_a_missing_note_is_counted_and_has_no_pitch():
    values, judgement = judged(sing([*LAID_APART[:3], *LAID_APART[4:]]), LAID_APART)
    assert values["sung_notes_missed"] == pytest.approx(1 / 6)
    assert judgement.notes["notes"][3] is None
    assert judgement.values["sung_pitch_error"][1] == 5
    assert values["sung_onset_error"] < 10


@pytest.mark.parametrize("seconds", [0.0, 0.01, 4.0])
def test_silence_misses_every_note_and_has_no_other_figure(seconds):
    values, _ = judged(np.zeros(round(seconds * RATE), dtype=np.float32), LAID_APART)
    assert values == {"sung_notes_missed": 1.0}


def test_times_count_only_for_notes_that_sound_tells_apart():
    held = [LEGATO[0], LEGATO[1] | {"midi": 60}, LEGATO[2]]
    audio = sing([LEGATO[0] | {"seconds": 0.8}, LEGATO[2]])
    first, second, third = sung_notes(audio, [Note(**note) for note in held])
    assert (first.apart, second.apart, third.apart) == (False, False, True)
    again = [LAID_APART[0], LAID_APART[1] | {"midi": 60}]
    assert all(note.apart for note in sung_notes(sing(again), [Note(**note) for note in again]))


def test_a_person_who_sings_the_score_stands_beside_the_output():
    values, _ = judged(
        sing(LAID_APART, cents=40.0), LAID_APART, reference=sing(LAID_APART, cents=10.0)
    )
    assert values["sung_pitch_error"] == pytest.approx(40, abs=1.5)
    assert values["sung_pitch_error_human"] == pytest.approx(10, abs=1.5)
    quantities = {quantity.key: quantity for quantity in Singing(Listener).quantities}
    assert quantities["sung_pitch_error"].human == "sung_pitch_error_human"
    assert set(values) <= set(quantities)


def test_lyrics_join_syllables_and_skip_held_notes():
    words = ["hel-", "lo", "", "bright", "-", "world"]
    notes = [Note(midi=60, start_seconds=k, seconds=1, lyric=word) for k, word in enumerate(words)]
    assert lyrics_of(notes) == "hello bright world"
    assert lyrics_of(notes[:1]) == "hel"
    assert lyrics_of([]) == ""


def test_lyric_error_counts_phones_of_lyrics_or_else_of_the_text():
    words = [LAID_APART[0] | {"lyric": "sea"}, LAID_APART[1] | {"lyric": "sun"}]
    audio = sing(words)
    one_wrong = Singing(functools.partial(Listener, ("s", "iː", "sil", "s", "ʌ", "m")))
    judgement = one_wrong.judge(sample(audio, words))
    assert judgement.values["sung_lyric_error"] == (1.0, 5.0)
    judgement = one_wrong.judge(sample(audio, LAID_APART[:2], text="sea sum"))
    assert judgement.values["sung_lyric_error"] == (0.0, 5.0)
    assert "sung_lyric_error" not in one_wrong.judge(sample(audio, LAID_APART[:2])).values


def test_without_a_score_there_is_nothing_to_say():
    spoken = Sample(trial=Trial(id="one", text="hello"), output=np.zeros(RATE, dtype=np.float32))
    assert notes_of(spoken) == ()
    assert Singing(Listener).judge(spoken).values == {}


@pytest.mark.parametrize(
    ("notes", "message"),
    [
        ([{"midi": 60, "seconds": 1}], "got {'midi': 60, 'seconds': 1} for a note"),
        ([LEGATO[0] | {"pitch": 3}], "expected midi, start_seconds, seconds, lyric"),
        ([LEGATO[0] | {"seconds": 0}], "positive length"),
        ([LEGATO[0] | {"midi": "C4"}], "midi 36 to 96"),
        (["C4"], "for a note"),
        ([LEGATO[0], LEGATO[1] | {"start_seconds": 0.5}], "begins before the one at 0.3 s ends"),
    ],
)
def test_a_bad_score_is_one_line(notes, message):
    with pytest.raises(ConfigError, match=message) as caught:
        notes_of(sample(np.zeros(RATE), notes))
    assert "\n" not in str(caught.value)


def test_the_measure_can_be_sent_to_a_process():
    copy = pickle.loads(pickle.dumps(Singing(Listener)))
    assert copy.judge(sample(sing(LAID_APART), LAID_APART)).values["sung_notes_missed"] == (
        0.0,
        6.0,
    )
    assert copy.conclude([]) == []
