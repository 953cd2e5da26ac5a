"""Emotion by distance and by classifier, on a corpus of tones in the layout of RAVDESS."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from speechlike import padded

from parlando.audio import waveform
from parlando.contracts import AudioError, ConfigError
from parlando.evaluation.emotion import Emotion
from parlando.evaluation.emotion_classifier import EmotionClassifier, pooled_features
from parlando.evaluation.measure import Row, Sample, Trial, figures_of
from parlando.evaluation.ravdess import EMOTIONS, STATEMENTS, ravdess_trials, read_ravdess
from parlando.evaluation.sounds import read_recording

RATE_HZ = 16_000
# Pitch over the actor's own, syllables a second, octaves of fall, brightness.
MANNERS = {
    "neutral": (1.0, 4.0, 0.0, 1.0),
    "sad": (0.8, 2.5, -0.3, 0.4),
    "angry": (1.6, 5.5, 0.4, 2.0),
}


def tones(actor: int, emotion: str, statement: int, take: int = 1) -> np.ndarray:
    """Speak in tones: two formants that depend on statement and actor, a manner on the emotion."""
    raise_by, rate, fall, brightness = MANNERS[emotion]
    seconds = 3.0 / rate
    time = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    generator = np.random.default_rng([actor, statement, take, EMOTIONS.index(emotion)])
    base = (110.0 if actor % 2 else 190.0) * raise_by * generator.uniform(0.97, 1.03)
    pitch = base * 2.0 ** (fall * time / seconds) * (1.0 + 0.02 * np.sin(2 * np.pi * 5.0 * time))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE_HZ
    formants = (500.0 + 40.0 * actor, 1500.0 - 400.0 * statement)
    sound = np.zeros(len(time))
    for harmonic in range(1, 25):
        hertz = harmonic * pitch
        gain = sum(np.exp(-(((hertz - f) / 300.0) ** 2)) for f in formants)
        tilt = (0.02 + gain) * np.exp(-hertz / (900.0 * brightness))
        sound += tilt * np.sin(harmonic * phase) * (hertz < 7500.0)
    swell = 0.1 + 0.9 * np.clip(np.sin(2 * np.pi * rate * time) + 0.6, 0.0, 1.0)
    sound = 0.3 * sound * swell / np.abs(sound).max()
    sound += 1e-3 * generator.standard_normal(len(time))
    return padded(sound, 0.3, 0.4)


def write(folder: Path, actor: int, emotion: str, statement: int, repetition: int) -> None:
    place = folder / f"Actor_{actor:02d}"
    place.mkdir(parents=True, exist_ok=True)
    code, intensity = EMOTIONS.index(emotion) + 1, 1 if emotion == "neutral" else 2
    name = f"03-01-{code:02d}-{intensity:02d}-{statement:02d}-{repetition:02d}-{actor:02d}.wav"
    sound = tones(actor, emotion, statement, repetition)
    # The corpus comes at 48 kHz.
    waveform.save(place / name, waveform.resample(sound, RATE_HZ, 48_000), 48_000)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ravdess")
    for actor in (1, 2, 3):
        for emotion in MANNERS:
            for statement in (1, 2):
                for repetition in (1, 2):
                    write(folder, actor, emotion, statement, repetition)
    noise = 0.01 * np.random.default_rng(0).standard_normal(1600)
    others = folder / "Actor_01"
    waveform.save(others / "03-02-05-02-01-01-01.wav", noise, RATE_HZ)  # a song
    waveform.save(others / "03-01-05-01-01-01-01.wav", noise, RATE_HZ)  # of normal intensity
    (others / "._03-01-05-02-01-01-01.wav").write_text("what a file system leaves")
    return folder


@pytest.fixture(scope="module")
def measure(corpus: Path) -> Emotion:
    return Emotion(corpus)


def sample(trial: Trial, output: np.ndarray) -> Sample:
    return Sample(trial=trial, output=output.astype(np.float32))


def acted(trial: Trial, emotion: str) -> np.ndarray:
    """Let a third take of the trial's statement be the output of a system, in an emotion."""
    statement = STATEMENTS.index(trial.text) + 1
    return tones(int(trial.speaker[-2:]), emotion, statement, take=3)


def rows_of(measure: Emotion, trials: list[Trial], outputs: list[np.ndarray]) -> list[Row]:
    rows = []
    for trial, output in zip(trials, outputs, strict=True):
        judged = measure.judge(sample(trial, output))
        notes = json.loads(json.dumps(dict(judged.notes)))
        rows.append(Row(trial=trial, values=judged.values, notes={"emotion": notes}))
    return rows


def test_the_folder_is_read_as_it_is(corpus: Path) -> None:
    takes = read_ravdess(corpus)
    assert len(takes) == 3 * 3 * 2 * 2 + 1
    take = next(t for t in takes if t.path.name == "03-01-05-02-02-01-03.wav")
    assert (take.emotion, take.intensity, take.statement) == ("angry", 2, 2)
    assert (take.repetition, take.actor, take.group) == (1, "Actor_03", "male")
    assert take.text == "Dogs are sitting by the door."


def test_trials_ask_for_the_other_statement_in_the_same_emotion(corpus: Path) -> None:
    trials = ravdess_trials(corpus, 0)
    assert [trial.id for trial in trials][:3] == [
        "Actor_01-neutral",
        "Actor_01-sad",
        "Actor_01-angry",
    ]
    assert len({trial.id for trial in trials}) == 9
    for trial in trials:
        assert {trial.text, trial.prompt_text} == set(STATEMENTS)
        (prompt,) = trial.prompt
        said, reference = prompt.path.stem.split("-"), trial.reference.path.stem.split("-")
        assert said[2:4] == reference[2:4]
        assert said[3] == ("01" if trial.labels["emotion"] == "neutral" else "02")
        assert STATEMENTS[int(said[4]) - 1] == trial.prompt_text
        assert STATEMENTS[int(reference[4]) - 1] == trial.text
        assert prompt.path.parent.name == trial.reference.path.parent.name == trial.speaker
        assert trial.reference_speaker == trial.speaker
    assert {trial.group for trial in trials} == {"male", "female"}


def test_the_seed_fixes_the_list(corpus: Path) -> None:
    assert ravdess_trials(corpus, 3) == ravdess_trials(corpus, 3)
    lists = {tuple(t.reference.path.name for t in ravdess_trials(corpus, s)) for s in range(4)}
    assert len(lists) > 1


def test_the_reference_itself_is_nearest_and_at_no_distance(measure: Emotion, corpus: Path) -> None:
    trials = ravdess_trials(corpus, 0)[:3]
    rows = rows_of(measure, trials, [read_recording(t.reference) for t in trials])
    for row in rows:
        assert row.values["emotion_mcd"] == (pytest.approx(0.0, abs=1e-9), 1.0)
        assert row.values["emotion_nearest"] == (1.0, 1.0)
        assert row.values["emotion_chance"] == (1.0, 3.0)
        assert row.values["emotion_mcd_human"][0] > 0.0
        assert row.values["emotion_mcd_other"][0] > row.values["emotion_mcd_human"][0]


def test_the_right_emotion_beats_a_wrong_one(measure: Emotion, corpus: Path) -> None:
    trials = ravdess_trials(corpus, 1)
    right = rows_of(measure, trials, [acted(t, t.labels["emotion"]) for t in trials])
    wrong_of = {"neutral": "angry", "sad": "neutral", "angry": "sad"}
    wrong = rows_of(measure, trials, [acted(t, wrong_of[t.labels["emotion"]]) for t in trials])

    def value(rows, key):
        found = figures_of(rows, measure.quantities)
        return next(f for f in found if f.quantity.key == key and not f.condition)

    assert value(right, "emotion_nearest").value > 0.85
    assert value(wrong, "emotion_nearest").value < 0.15
    assert value(right, "emotion_classified").value > 0.85
    assert value(wrong, "emotion_classified").value < 0.15
    assert value(right, "emotion_mcd").value < value(wrong, "emotion_mcd").value
    figure = value(right, "emotion_classified")
    assert figure.control == pytest.approx(1 / 3)
    assert figure.human > 0.85
    assert {row.notes["emotion"]["classified"] for row in right} == set(MANNERS)
    # MCD of each emotion, as in NaturalSpeech 3's table, comes with the labels.
    of_emotions = [f for f in figures_of(right, measure.quantities[:1]) if f.condition]
    assert [f.condition["emotion"] for f in of_emotions] == list(MANNERS)


def test_the_classifier_states_its_own_accuracy(measure: Emotion, corpus: Path) -> None:
    trials = ravdess_trials(corpus, 0)
    rows = rows_of(measure, trials, [acted(t, "sad") for t in trials])
    figures = measure.conclude([*rows, Row(trial=trials[0], failures={"output": "it broke"})])
    whole, *parts = figures
    assert whole.condition == {}
    # Every take of every actor once, though each actor has three rows.
    assert whole.count == 3 * 3 * 2 * 2
    assert whole.control == pytest.approx(1 / 3)
    assert whole.value > 0.85
    assert whole.low <= whole.value <= whole.high
    assert [part.condition["emotion"] for part in parts] == list(MANNERS)
    assert sum(part.value * part.count for part in parts) == pytest.approx(
        whole.value * whole.count
    )


def test_labels_dealt_at_random_leave_the_classifier_at_chance(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    takes = []
    for number in range(16):
        sound = tones(1 + number % 2, "neutral", 1, take=number)
        path = tmp_path / f"{number}.wav"
        waveform.save(path, sound, RATE_HZ)
        takes.append((path, f"Actor_{1 + number % 2:02d}", str(generator.choice(["sad", "angry"]))))
    classifier = EmotionClassifier(takes)
    hits = [pair for a in ("Actor_01", "Actor_02") for pair in classifier.own_hits(a).values()]
    right, total = np.sum(hits, axis=0)
    assert total == 16
    assert 0.2 < right / total < 0.8


def test_a_take_without_speech_is_named(tmp_path: Path) -> None:
    path = tmp_path / "empty.wav"
    waveform.save(path, np.zeros(16_000), RATE_HZ)
    takes = [(path, "Actor_01", "sad"), (path, "Actor_02", "angry")]
    with pytest.raises(AudioError, match=r"empty\.wav: the sound is silent .*; take it away"):
        EmotionClassifier(takes)
    with pytest.raises(ConfigError, match="at least two actors in two emotions"):
        EmotionClassifier(takes[:1])


def test_features_do_not_know_the_level_and_do_know_the_pitch() -> None:
    low, high = tones(1, "neutral", 1), tones(1, "angry", 1)
    first = pooled_features(low)
    assert first.shape == (49,)
    assert np.isfinite(first).all()
    # The detector of speech has an absolute threshold, hence not exactly.
    assert pooled_features(np.float32(0.5) * low) == pytest.approx(first, abs=0.15)
    assert pooled_features(high)[36] - first[36] > 0.3
    hiss = (0.1 * np.random.default_rng(0).standard_normal(16_000)).astype(np.float32)
    assert np.isfinite(pooled_features(hiss)).all()


def test_other_samples_are_passed_over(measure: Emotion) -> None:
    assert measure.judge(sample(Trial(id="one"), tones(1, "sad", 1))).values == {}
    assert measure.conclude([Row(trial=Trial(id="one"))]) == []


def test_silence_is_one_line(measure: Emotion, corpus: Path) -> None:
    with pytest.raises(AudioError, match=r"^the output is silent") as caught:
        measure.judge(sample(ravdess_trials(corpus)[0], np.zeros(16_000)))
    assert "\n" not in str(caught.value)


def test_a_take_that_is_not_there_is_one_line(measure: Emotion, corpus: Path) -> None:
    trial = ravdess_trials(corpus)[0]
    gone = replace(trial.reference, path=corpus / "Actor_09" / "03-01-01-01-01-01-09.wav")
    with pytest.raises(ConfigError, match="lacks the reference Actor_09/"):
        measure.judge(sample(replace(trial, reference=gone), tones(1, "sad", 1)))


def test_what_is_no_ravdess_is_told(tmp_path: Path, corpus: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such folder"):
        read_ravdess(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"is no RAVDESS: .* Actor_01 lies") as caught:
        Emotion(tmp_path).check()
    assert "\n" not in str(caught.value)
    write(tmp_path, 1, "sad", 1, 1)
    with pytest.raises(ConfigError, match="holds 1 actor;"):
        Emotion(tmp_path).check()
    with pytest.raises(ConfigError, match="no actor says both statements"):
        ravdess_trials(tmp_path)
    (tmp_path / "Actor_01" / "notes.wav").write_text("no take")
    with pytest.raises(ConfigError, match=r"notes\.wav: is no name of RAVDESS"):
        read_ravdess(tmp_path)
    Emotion(corpus).check()


def test_it_travels_to_other_processes_without_what_it_read(measure: Emotion, corpus: Path) -> None:
    trial = ravdess_trials(corpus)[0]
    output = acted(trial, "neutral")
    here = measure.judge(sample(trial, output))
    packed = pickle.dumps(measure)
    assert len(packed) < 1000
    there = pickle.loads(packed).judge(sample(trial, output))
    assert there == here
