"""No row is lost, nothing is judged twice, and the numbers depend on the input only."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fakejudges import Loudness, Said, Twin, calls, humming
from speechlike import speechlike

from parlando.audio import waveform
from parlando.contracts import AudioError, ConfigError, PromptError
from parlando.evaluation.engine import evaluate, kept_figures
from parlando.evaluation.makers import CodecMaker, FilesMaker, SpeechMaker, digest_folder
from parlando.evaluation.measure import Figure, Quantity, Recording, Trial
from parlando.evaluation.records import audio_path
from parlando.evaluation.sounds import add_noise
from parlando.evaluation.worker import Task

TEXTS = ("one", "two more", "three of them")


def trials(*texts):
    return [
        Trial(id=f"t{place}", text=text, seed=place, labels={"length": str(len(text))})
        for place, text in enumerate(texts or TEXTS)
    ]


def run(given, folder, measures=None, maker=None, processes=1, **rest):
    seen = folder.parent / "calls"
    return evaluate(
        [Task(trial=trial, maker="m") for trial in given],
        {"m": maker or humming(seen)},
        [Loudness(seen), Twin(seen)] if measures is None else measures,
        folder,
        processes=processes,
        **rest,
    )


def numbers(outcome):
    """Return all that must not differ between runs: everything but how long it took."""
    return [replace(row, wall_seconds=None) for row in outcome.rows], outcome.figures


@pytest.fixture
def sounds(tmp_path):
    """Write two recordings of 16 kHz."""
    paths = [tmp_path / "human" / f"{name}.wav" for name in ("x", "y")]
    paths[0].parent.mkdir()
    for place, path in enumerate(paths):
        waveform.save(path, speechlike(1.0 + place, pitch_hz=100.0 + 50.0 * place), 16_000)
    return paths


def test_the_numbers_are_the_same_for_any_number_of_processes(tmp_path):
    one = run(trials(), tmp_path / "one", processes=1)
    three = run(trials(), tmp_path / "three", processes=3)
    assert numbers(one) == numbers(three)
    assert [row.trial.id for row in one.rows] == ["t0", "t1", "t2"]
    assert not any(row.failures for row in one.rows)
    for row in one.rows:
        first, second = (audio_path(tmp_path / name, row.trial.id) for name in ("one", "three"))
        assert first.read_bytes() == second.read_bytes()


def test_figures_pool_over_rows_and_stand_beside_their_conditions(tmp_path):
    outcome = run(trials(), tmp_path / "report")
    rows = outcome.rows
    pairs = [row.values["loudness"] for row in rows]
    figures = {(f.quantity.key, f.condition.get("length")): f for f in outcome.figures}
    total = sum(a for a, _ in pairs) / sum(b for _, b in pairs)
    assert figures["loudness", None].value == pytest.approx(total, rel=1e-12)
    assert figures["loudness", "3"].value == pytest.approx(pairs[0][0] / pairs[0][1], rel=1e-12)
    assert figures["loudness", "3"].count == 1
    assert figures["failed", None].value == 0.0
    assert rows[1].notes == {"loudness": {"words": 8}}
    assert rows[1].seconds == pytest.approx(8 * 400 / 16_000)
    details = json.loads((tmp_path / "report" / "audio" / "t1.json").read_text())["details"]
    assert details["symbols"] == ["a", "b"]
    assert details["durations_frames"] == [3, 5]
    assert details["wall_seconds"] > 0.0


def test_what_crashes_is_a_row_that_says_why(tmp_path):
    given = trials("fine", "crash", "bug", "unloved", "nan", "also fine")
    rows = {row.trial.text: row for row in run(given, tmp_path / "report", processes=2).rows}
    assert len(rows) == 6
    assert rows["crash"].failures == {"output": "the text is 'crash'; give another"}
    assert rows["bug"].failures == {"output": "KeyError: 'lost'"}
    assert rows["unloved"].failures == {"loudness": "not this one"}
    assert "'twin' is (nan, 1.0)" in rows["nan"].failures["twin"]
    assert "loudness" in rows["nan"].values
    assert not rows["fine"].failures
    assert not rows["also fine"].failures


def test_figures_beside_weights_do_not_make_other_weights_of_them(tmp_path):
    (tmp_path / "codec").mkdir()
    for name in ("config.json", "weights.safetensors", "codec/weights.safetensors"):
        (tmp_path / name).write_text(name)
    before = digest_folder(tmp_path)
    for name in ("quality.json", "codec/curve.json", "card.md"):
        (tmp_path / name).write_text("measured")
    assert digest_folder(tmp_path) == before
    for name in ("config.json", "weights.safetensors", "codec/weights.safetensors"):
        (tmp_path / name).write_text("other")
        changed = digest_folder(tmp_path)
        assert changed != before
        before = changed


def test_what_kills_its_process_fails_alone(tmp_path):
    given = trials("fine", "die", "kill", "also fine")
    rows = {row.trial.text: row for row in run(given, tmp_path / "report", processes=2).rows}
    assert "process died" in rows["die"].failures["output"]
    assert "process died" in rows["kill"].failures["twin"]
    assert "loudness" in rows["kill"].values
    assert not rows["fine"].failures
    assert not rows["also fine"].failures


def test_processes_that_never_finish_anything_end_the_run(tmp_path):
    with pytest.raises(ConfigError, match="processes died before they finished anything"):
        run(trials("die", "die", "die", "die"), tmp_path / "report")


def test_a_conclusion_that_fails_becomes_a_remark(tmp_path):
    outcome = run(trials("inconclusive"), tmp_path / "report")
    assert outcome.remarks == ("twin: no conclusion (ValueError: no end)",)
    assert outcome.figures


def test_nothing_is_done_twice_and_what_changed_is_done_anew(tmp_path):
    report, seen = tmp_path / "report", tmp_path / "calls"
    first = run(trials(), report)
    assert numbers(run(trials(), report)) == numbers(first)
    assert (calls(seen, "speak"), calls(seen, "loudness"), calls(seen, "twin")) == (3, 3, 3)
    # A model is loaded once for a process, not once for a file.
    assert calls(seen, "load") == 1

    run(trials("one", "another", "three of them"), report)
    assert (calls(seen, "speak"), calls(seen, "loudness"), calls(seen, "twin")) == (4, 4, 4)

    other = [Loudness(seen, judge="better ears"), Twin(seen)]
    run(trials("one", "another", "three of them"), report, other)
    assert (calls(seen, "speak"), calls(seen, "loudness"), calls(seen, "twin")) == (4, 7, 4)

    run(trials("one", "another", "three of them"), report, other, fingerprints={"twin": "more"})
    assert (calls(seen, "speak"), calls(seen, "loudness"), calls(seen, "twin")) == (4, 7, 7)

    louder = humming(seen, level=0.2)
    run(trials("one", "another", "three of them"), report, other, louder)
    assert (calls(seen, "speak"), calls(seen, "loudness"), calls(seen, "twin")) == (7, 10, 10)


def test_a_measure_that_comes_later_is_the_only_one_that_judges(tmp_path):
    report, seen = tmp_path / "report", tmp_path / "calls"
    run(trials(), report, [Loudness(seen)])
    both = run(trials(), report)
    assert (calls(seen, "speak"), calls(seen, "loudness"), calls(seen, "twin")) == (3, 3, 3)
    assert numbers(both) == numbers(run(trials(), tmp_path / "fresh"))


def test_what_failed_is_tried_again(tmp_path):
    report, seen = tmp_path / "report", tmp_path / "calls"
    run(trials("fine", "crash", "unloved"), report)
    run(trials("fine", "crash", "unloved"), report)
    assert calls(seen, "speak") == 4
    assert calls(seen, "loudness") == 3


def test_another_recording_under_the_same_name_is_judged_anew(tmp_path, sounds):
    given = [Trial(id="x", text="x", reference=Recording(path=sounds[0]))]
    before = run(given, tmp_path / "report").rows[0].values["loudness_human"]
    waveform.save(sounds[0], 0.5 * speechlike(1.2), 16_000)
    after = run(given, tmp_path / "report").rows[0].values["loudness_human"]
    assert after[1] > before[1]


def test_another_file_in_the_folder_changes_nothing_for_the_others(tmp_path, sounds):
    given = [Trial(id=path.stem, text="hm") for path in sounds]
    seen = tmp_path / "calls"
    one = FilesMaker({"x": sounds[0]}, name="human")
    run(given, tmp_path / "report", [Loudness(seen)], one)
    both = FilesMaker({path.stem: path for path in sounds}, name="human")
    rows = run(given, tmp_path / "report", [Loudness(seen)], both).rows
    assert not any(row.failures for row in rows)
    assert calls(seen, "loudness") == 2
    waveform.save(sounds[1], speechlike(1.0), 16_000)
    run(given, tmp_path / "report", [Loudness(seen)], FilesMaker(both.paths, name="human"))
    assert calls(seen, "loudness") == 3


def test_what_other_measures_found_is_there_when_they_are_asked_for_again(tmp_path):
    report, seen = tmp_path / "report", tmp_path / "calls"
    run(trials(), report)
    run(trials(), report, [Loudness(seen, "other ears")])
    run(trials(), report)
    assert (calls(seen, "loudness"), calls(seen, "twin")) == (9, 3)


def test_a_system_that_can_continue_is_told_to_and_what_the_prompt_says():
    said = []

    class Continuing:
        synthesizer = SimpleNamespace(option_names=frozenset(("voice_text", "continuation")))

        def speak(self, text, voice=None, *, seed=None, **options):
            said.append((text, options))
            return Said(np.ones(100, np.float32))

    trial = Trial(id="x", text="the rest", prompt_text="the beginning", continues=True)
    made = SpeechMaker(Continuing, name="c").make(trial, None, None)
    SpeechMaker(Continuing, name="c").make(replace(trial, continues=False), None, None)
    told = {"voice_text": "the beginning", "continuation": True}
    assert said == [("the rest", told), ("the rest", {"voice_text": "the beginning"})]
    assert made.details["options"] == told
    # None is a choice, too: the recogniser listens, though the corpus has a transcript.
    heard = replace(trial, options={"voice_text": None}, continues=False)
    SpeechMaker(Continuing, name="c").make(heard, None, None)
    SpeechMaker(Continuing, name="c", options={"voice_text": None}).make(trial, None, None)
    assert [options["voice_text"] for _, options in said[2:]] == [None, None]


def test_a_transcript_that_is_not_heard_in_the_prompt_is_left_out():
    class Doubting:
        synthesizer = SimpleNamespace(option_names=frozenset(("voice_text",)))

        def speak(self, text, voice=None, *, seed=None, voice_text=None):
            if voice_text is not None:
                raise PromptError("this is not what is said")
            return Said(np.ones(100, np.float32))

    trial = Trial(id="x", text="the rest", prompt_text="the beginning")
    made = SpeechMaker(Doubting, name="d").make(trial, None, None)
    assert made.details["options"] == {"voice_text": None}
    # Whoever asked for a transcript is told.
    asked = replace(trial, options={"voice_text": "the beginning"})
    with pytest.raises(PromptError, match="not what is said"):
        SpeechMaker(Doubting, name="d").make(asked, None, None)


def test_figures_of_the_machine_are_measured_once(tmp_path):
    quantity = Quantity(key="speed", title="Speed", judge="clock")
    made = []

    def measure():
        made.append(Figure(quantity=quantity, value=1.5, low=1.0, high=2.0, count=3))
        return made[-1:]

    first = kept_figures(tmp_path, ["a"], measure, {"system": "one"})
    again = kept_figures(tmp_path, ["a"], measure, {"system": "other"})
    assert len(made) == 1
    assert first == [replace(made[0], condition={"system": "one"})]
    assert again == [replace(made[0], condition={"system": "other"})]
    kept_figures(tmp_path, ["b"], measure, {})
    assert len(made) == 2


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from fakejudges import Spellbound, Twin
from test_evaluation_engine import run, trials
if __name__ == "__main__":
    report = Path(sys.argv[2])
    seen = report.parent / "calls"
    measures = [Spellbound(seen, after=8), Twin(seen)]
    run(trials(*sys.argv[3:]), report, measures, processes=2)
"""


def test_a_run_that_is_killed_goes_on_where_it_was(tmp_path):
    texts = [f"sentence number {place}" for place in range(25)]
    script, report, seen = tmp_path / "run.py", tmp_path / "report", tmp_path / "calls"
    script.write_text(KILLED)
    command = [sys.executable, str(script), str(Path(__file__).parent), str(report), *texts]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120.0
    while calls(seen, "loudness") < 5 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    rows = list((report / "rows").glob("[!.]*.json"))
    assert 0 < len(rows) < len(texts)
    for row in rows:
        assert {"loudness", "twin"} == json.loads(row.read_text()).keys()
    resumed = run(trials(*texts), report, processes=1)
    assert calls(seen, "speak") == len(texts)
    assert numbers(resumed) == numbers(run(trials(*texts), tmp_path / "whole"))


def test_a_missing_judge_is_told_before_anything_is_made(tmp_path):
    seen = tmp_path / "calls"
    with pytest.raises(ConfigError, match="package twin is missing"):
        run(trials(), tmp_path / "report", [Twin(seen, installed=False)])
    assert not seen.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"given": []}, "nothing to judge"),
        ({"given": [*trials("one"), *trials("one")]}, "'t0' of a trial occurs twice"),
        ({"given": [Trial(id="a/b")]}, "'a/b' of a trial is not fit"),
        ({"processes": 0}, "expected at least 1"),
        ({"measures": [Twin(Path()), Twin(Path())]}, "two measures give 'twin'"),
    ],
)
def test_what_cannot_be_run_is_refused(tmp_path, change, message):
    with pytest.raises(ConfigError, match=message):
        run(**{"given": trials(), "folder": tmp_path / "report", **change})


def test_identical_sounds_are_judged_identical(tmp_path, sounds):
    copies = tmp_path / "copies"
    copies.mkdir()
    (copies / "x.wav").write_bytes(sounds[0].read_bytes())
    waveform.save(copies / "y.wav", 0.9 * waveform.load(sounds[1]).samples, 16_000)
    given = [Trial(id=path.stem, reference=Recording(path=path)) for path in sounds]
    maker = FilesMaker({path.stem: copies / path.name for path in sounds}, name="copies")
    rows = run(given, tmp_path / "report", maker=maker).rows
    assert [row.values["twin"] for row in rows] == [(1.0, 1.0), (0.0, 1.0)]
    assert rows[0].values["loudness"] == rows[0].values["loudness_human"]
    assert rows[0].wall_seconds is None


def test_a_file_that_is_not_there_is_a_row_that_failed(tmp_path, sounds):
    given = [Trial(id=name, text=name) for name in ("x", "z")]
    rows = run(given, tmp_path / "report", maker=FilesMaker({"x": sounds[0]}, name="some")).rows
    assert rows[1].failures == {"output": "some: holds no recording for z"}
    assert "loudness" in rows[0].values


def test_a_prompt_is_given_as_the_file_has_it_with_the_noise_that_is_asked_for(tmp_path, sounds):
    piece = Recording(path=sounds[1], start_seconds=0.25, seconds=1.0, exact=True)
    given = [
        Trial(id="clean", text="hm", prompt=(piece,)),
        Trial(id="noisy", text="hm", prompt=(piece,), noise_db=10.0, seed=4),
    ]
    run(given, tmp_path / "report")
    expected = waveform.load(sounds[1]).samples[4000:20_000]
    for trial, prompt in zip(given, (expected, add_noise(expected, 10.0, 4)), strict=True):
        kept = waveform.load(audio_path(tmp_path / "report", trial.id, "prompt")).samples
        np.testing.assert_allclose(kept, prompt, atol=1e-4)
        # The fake repeats its prompt after the hum: what it was given is what was kept.
        said = waveform.load(audio_path(tmp_path / "report", trial.id)).samples
        np.testing.assert_array_equal(said[800:], kept)


def test_outputs_of_a_system_are_marked_and_recordings_are_not(tmp_path, sounds):
    run(trials("one"), tmp_path / "made")
    run([Trial(id="x")], tmp_path / "taken", maker=FilesMaker({"x": sounds[0]}, name="x"))
    made = waveform.read_metadata(audio_path(tmp_path / "made", "t0"))
    assert "Synthetic speech" in made["comment"]
    assert waveform.read_metadata(audio_path(tmp_path / "taken", "x")) == {}


def tiny_codec(rate_hz=16_000):
    import torch

    from parlando.codecs.rvq.config import tiny
    from parlando.codecs.rvq.model import build_rvq

    torch.manual_seed(0)
    codec = build_rvq(tiny()).eval()
    codec.rate_hz = rate_hz
    return codec


def test_a_codec_codes_with_the_levels_that_are_asked_for(sounds):
    maker = CodecMaker(tiny_codec, name="tiny")
    reference = waveform.load(sounds[0]).samples[:-7]
    made = [
        maker.make(Trial(id="x", options={"levels": levels}), None, reference) for levels in (1, 2)
    ]
    assert [len(one.details["codes"]) for one in made] == [1, 2]
    assert made[1].details["codes"][0] == made[0].details["codes"][0]
    assert all(len(one.samples) == len(reference) for one in made)
    assert len(made[0].details["codes"][0]) == -(-len(reference) // made[0].details["hop_samples"])
    with pytest.raises(ConfigError, match="99 levels; the codec has 1 to"):
        maker.make(Trial(id="x", options={"levels": 99}), None, reference)
    other = CodecMaker(lambda: tiny_codec(24_000), name="tiny")
    with pytest.raises(AudioError, match="works at 24000 Hz"):
        other.make(Trial(id="x"), None, reference)
