"""Files and trials find each other by name, and what has no counterpart is told in one line."""

import pytest
from speechlike import speechlike

from parlando.audio import waveform
from parlando.contracts import AudioError, ConfigError
from parlando.evaluation.measure import Recording, Trial
from parlando.evaluation.pairing import (
    check_rates,
    check_texts,
    outputs_of,
    reference_trials,
    sound_files,
)


def write(folder, *names, rate_hz=16_000):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        waveform.save(path, speechlike(0.2, rate_hz), rate_hz)
    return folder


def test_sound_files_of_all_kinds_and_depths_are_found(tmp_path):
    write(tmp_path, "a.wav", "deep/b.FLAC", "deep/er/c.ogg")
    (tmp_path / "notes.txt").write_text("no sound")
    assert list(sound_files(tmp_path)) == ["a", "b", "c"]


def test_folders_that_cannot_be_used_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no such folder"):
        sound_files(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="holds no sound file"):
        sound_files(tmp_path)
    with pytest.raises(ConfigError, match=r"a\.wav and b.a\.wav have the same name"):
        sound_files(write(tmp_path, "a.wav", "b/a.wav"))


def test_outputs_are_named_by_trials_or_by_recordings(tmp_path):
    trials = [
        Trial(id=f"000{n}-{name}", reference=Recording(path=tmp_path / f"{name}.wav"))
        for n, name in enumerate("ab")
    ]
    files = sound_files(write(tmp_path / "out", "0000-a.wav", "b.wav"))
    found, remarks = outputs_of(files, trials, tmp_path)
    assert {key: path.name for key, path in found.items()} == {
        "0000-a": "0000-a.wav",
        "0001-b": "b.wav",
    }
    assert remarks == ()


def test_a_recording_that_means_several_trials_names_none(tmp_path):
    piece = Recording(path=tmp_path / "a.wav")
    trials = [Trial(id=f"a-steps{n}", reference=piece) for n in (2, 4)]
    with pytest.raises(ConfigError, match="no file is named like one of the 2 trials"):
        outputs_of(sound_files(write(tmp_path / "out", "a.wav")), trials, tmp_path)


def test_what_has_no_counterpart_is_told(tmp_path):
    trials = [Trial(id=name) for name in "abcdef"]
    files = sound_files(write(tmp_path, "a.wav", "x.wav"))
    found, remarks = outputs_of(files, trials, tmp_path)
    assert list(found) == ["a"]
    assert remarks == (
        "1 files are none of the trials, not judged: x",
        "5 trials have no file, counted as failed: b, c, d, …",
    )
    with pytest.raises(ConfigError, match=r"got a, x; expected q.*rename the files"):
        outputs_of(files, [Trial(id="q")], tmp_path)


def test_rates_below_the_judges_are_refused_and_higher_ones_are_told(tmp_path):
    write(tmp_path, "ok.wav")
    write(tmp_path, "high.wav", "higher.wav", rate_hz=24_000)
    paths = sorted(tmp_path.glob("*.wav"))
    assert check_rates(paths[2:]) == ()
    assert check_rates(paths)[0].startswith("2 files of 24000 Hz are converted to 16000 Hz")
    write(tmp_path, "low.wav", rate_hz=8000)
    with pytest.raises(AudioError, match=r"low\.wav: has 8000 Hz"):
        check_rates([tmp_path / "low.wav"])
    (tmp_path / "broken.wav").write_bytes(b"RIFFnothing")
    with pytest.raises(AudioError, match="cannot be read as sound"):
        check_rates([tmp_path / "broken.wav"])


def test_references_become_trials_with_the_texts_beside_them(tmp_path):
    write(tmp_path, "one two.wav", "b.flac")
    (tmp_path / "b.txt").write_text(" Said here. \n")
    trials = {trial.id: trial for trial in reference_trials(tmp_path)}
    assert trials.keys() == {"one_two", "b"}
    assert trials["b"].text == "Said here."
    assert trials["one_two"].text is None
    assert trials["one_two"].reference.path == tmp_path / "one two.wav"
    write(tmp_path, "one_two.wav")
    with pytest.raises(ConfigError, match="too like another name"):
        reference_trials(tmp_path)


def test_missing_texts_are_told_and_refused_where_words_were_asked_for(tmp_path):
    reference = Recording(path=tmp_path / "a.wav")
    told, mute = Trial(id="a", text="A.", reference=reference), Trial(id="b", reference=reference)
    measures = ("distance", "intelligibility", "phones")
    for asked in (False, True):
        assert check_texts([told, told], measures, tmp_path, asked=asked) == ()
        assert check_texts([mute], ("distance", "voice"), tmp_path, asked=asked) == ()
        assert check_texts([told, mute, mute], measures, tmp_path, asked=asked) == (
            "2 of 3 recordings have no text (NAME.txt beside NAME.wav): intelligibility and phones "
            "not measured of them",
        )
    assert len(check_texts([mute], measures, tmp_path, asked=False)) == 1
    with pytest.raises(ConfigError, match=r"none of 2 recordings has a text, .* put NAME.txt"):
        check_texts([mute, mute], measures, tmp_path, asked=True)
