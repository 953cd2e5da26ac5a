import dataclasses
import json
import os

import numpy as np
import pytest
import soundfile
import torch
from speechlike import padded, speechlike
from tinycorpus import counting_codes, even_alignment, prepare, recordings

from parlando.audio.waveform import active_level_db, load
from parlando.contracts import CheckpointError, ConfigError, TextError
from parlando.data import annotate, store
from parlando.data import prepare as preparation
from parlando.data.annotate import (
    AlignmentLimits,
    prepare_alignment,
    prepare_codes,
    reason_to_reject,
)
from parlando.data.corpora import Recording
from parlando.data.prepare import AudioOptions, jobs_of, prepare_audio, symbols_of
from parlando.data.report import print_report, write_report
from parlando.data.store import PreparedCorpus
from parlando.text.vocabulary import is_pause

OPTIONS = AudioOptions(shard_utterances=5)


def recording(path, name, text="Hello there my old friend", **fields):
    return Recording(id=name, audio_path=path, text=text, speaker="a", source="one", **fields)


def assert_same_contents(first, second):
    assert first.rows == second.rows
    for index in range(len(first)):
        for name, part in first.item(index).items():
            other = second.item(index)[name]
            torch.testing.assert_close(part, other, rtol=0.0, atol=0.0, equal_nan=True)


def test_every_part_of_an_utterance_has_the_frames_of_its_row(tmp_path):
    corpus = prepare(tmp_path)
    assert corpus.stages == ("audio", "alignment", "codes")
    assert len(corpus) == 12
    assert [row["id"] for row in corpus.rows] == [f"u{number}" for number in range(12)]
    for index, row in enumerate(corpus.rows):
        item = corpus.item(index)
        frames = row["n_frames"]
        assert item["waveform"].shape == (frames * 200,)
        assert item["f0"].shape == item["voiced"].shape == (frames,)
        assert item["codes"].shape == (4, frames)
        assert torch.equal(item["codes"][0], torch.arange(frames) % 1000)
        assert item["symbols"].shape == item["durations"].shape == (row["n_symbols"],)
        assert int(item["durations"].sum()) == (frames if row["text"] else 0)
        assert torch.equal(item["voiced"], item["f0"] > 0)
        assert (row["n_symbols"] > 0) == (row["text"] is not None)
        assert row["licence"] == "CC0-1.0"
        assert row["native"] is True


def test_audio_is_the_trimmed_levelled_recording(tmp_path):
    corpus = prepare(tmp_path)
    original = load(tmp_path / "corpus" / "0.wav").samples
    kept = corpus.item(0)["waveform"].numpy()
    assert len(original) / 16_000 - len(kept) / 16_000 == pytest.approx(0.8, abs=0.12)
    assert active_level_db(kept, 16_000) == pytest.approx(-23.0, abs=0.3)
    found = np.correlate(original[3200:9600], kept[1600:4800], "valid")
    piece = original[3200 + found.argmax() :][:3200]
    assert np.corrcoef(piece, kept[1600:4800])[0, 1] > 0.999
    hertz = corpus.item(0)["f0"]
    assert float(hertz[hertz > 0].median()) == pytest.approx(100.0, rel=0.02)


def test_symbols_leave_room_for_silence_at_both_ends():
    for text in ("Hello there.", "hello there"):
        symbols = symbols_of(recording("hello.wav", "hello", text))
        assert is_pause(symbols[0])
        assert is_pause(symbols[-1])
        assert not is_pause(symbols[1])
        assert not is_pause(symbols[-2])
    with pytest.raises(TextError):
        symbols_of(recording("dots.wav", "dots", "..."))


def test_phones_stand_in_for_a_text_and_must_be_symbols():
    heard = recording("heard.wav", "heard", None, phones=("h", "ə", "l", "oʊ"))
    assert symbols_of(heard) == [" ", "h", "ə", "l", "oʊ", " "]
    assert symbols_of(recording("none.wav", "none", None)) == []
    both = dataclasses.replace(heard, text="hello")
    assert "ˈoʊ" in symbols_of(both)
    with pytest.raises(TextError, match="xyz"):
        symbols_of(dataclasses.replace(heard, phones=("xyz",)))


def test_a_killed_run_goes_on_and_ends_the_same(tmp_path, monkeypatch):
    whole = prepare(tmp_path / "whole")
    corpus = recordings(tmp_path / "corpus")
    out = tmp_path / "out"
    done = []

    def dies(job, options):
        done.append(job.id)
        if len(done) == 8:
            raise KeyboardInterrupt
        return real(job, options)

    real = preparation.prepare_job
    monkeypatch.setattr(preparation, "prepare_job", dies)
    with pytest.raises(KeyboardInterrupt):
        prepare_audio(corpus, out, OPTIONS, processes=1)
    assert [path.name for path in (out / "shards").iterdir()] == ["00000.audio.safetensors"]
    assert not (out / "manifest.jsonl").exists()
    done.clear()
    monkeypatch.setattr(preparation, "prepare_job", lambda *a: done.append(a[0].id) or real(*a))
    prepare_audio(corpus, out, OPTIONS, processes=1)
    assert done == [f"u{number}" for number in range(5, 12)]

    aligned = []

    def align_dies(waveform, symbols):
        aligned.append(symbols)
        if len(aligned) == 6:
            raise KeyboardInterrupt
        return even_alignment(waveform, symbols)

    with pytest.raises(KeyboardInterrupt):
        prepare_alignment(out, align_dies, "even")
    assert "alignment" not in PreparedCorpus(out).stages
    assert store.shard_path(out, 0, "alignment").exists()
    prepare_alignment(out, even_alignment, "even")
    prepare_codes(out, counting_codes, "counting")
    resumed = PreparedCorpus(out)
    assert_same_contents(resumed, whole)


def test_two_processes_give_what_one_gives(tmp_path):
    corpus = recordings(tmp_path / "corpus", 4)
    for processes in (1, 2):
        prepare_audio(corpus, tmp_path / str(processes), OPTIONS, processes)
    assert_same_contents(PreparedCorpus(tmp_path / "1"), PreparedCorpus(tmp_path / "2"))


def dies(job, options):
    os._exit(9)


def test_a_killed_process_is_told_in_one_line_and_keeps_what_is_done(tmp_path, monkeypatch):
    corpus = recordings(tmp_path / "corpus", 3)
    options = dataclasses.replace(OPTIONS, shard_utterances=1)
    monkeypatch.setattr(preparation, "prepare_job", dies)
    with pytest.raises(ConfigError, match="run the same command again"):
        prepare_audio(corpus, tmp_path / "out", options, processes=2)
    monkeypatch.undo()
    prepare_audio(corpus, tmp_path / "out", options, processes=1)
    assert len(PreparedCorpus(tmp_path / "out")) == 3


def test_another_corpus_or_other_options_are_refused(tmp_path):
    corpus = recordings(tmp_path / "corpus", 3)
    prepare_audio(corpus, tmp_path / "out", OPTIONS, processes=1)
    prepare_audio(corpus, tmp_path / "out", OPTIONS, processes=1)
    for other, options in (
        (corpus[:2], OPTIONS),
        (corpus, dataclasses.replace(OPTIONS, margin_seconds=0.2)),
    ):
        with pytest.raises(ConfigError, match="another corpus or with other options"):
            prepare_audio(other, tmp_path / "out", options, processes=1)
    with pytest.raises(ConfigError, match="nothing to prepare"):
        prepare_audio([], tmp_path / "empty", OPTIONS)
    with pytest.raises(ConfigError, match="hop_samples is 0"):
        AudioOptions(hop_samples=0)
    with pytest.raises(ConfigError, match="voices is -1"):
        AudioOptions(voices=-1)
    with pytest.raises(ConfigError, match="voices is -2"):
        AudioOptions(voices_of_source={"one": -2})


def test_unusable_recordings_are_skipped_with_their_reason(tmp_path):
    def sound(name, samples):
        soundfile.write(tmp_path / name, samples, 16_000)
        return tmp_path / name

    (tmp_path / "broken.wav").write_bytes(b"RIFF of nothing")
    good = sound("good.wav", speechlike(1.8))
    corpus = [
        recording(good, "good"),
        recording(tmp_path / "missing.wav", "missing"),
        recording(tmp_path / "broken.wav", "broken"),
        recording(sound("silent.wav", np.zeros(32_000)), "silent"),
        recording(sound("short.wav", speechlike(0.25)), "short"),
        recording(sound("long.wav", speechlike(26.0)), "long"),
        recording(good, "unspeakable", text="?!"),
        recording(good, "too much text", text="many words " * 30),
        recording(good, "too little text", text="a"),
    ]
    prepare_audio(corpus, tmp_path / "out", OPTIONS, processes=1)
    report = write_report(tmp_path / "out")
    reasons = {entry["id"]: entry["reason"] for entry in report["skipped"]}
    assert reasons == {
        "missing": "unreadable",
        "broken": "unreadable",
        "silent": "no speech",
        "short": "too short",
        "long": "too long",
        "unspeakable": "no phonemes",
        "too much text": "implausible rate",
        "too little text": "implausible rate",
    }
    assert report["sources"]["one"] | {"hours": None} == {
        "hours": None,
        "utterances": 1,
        "with_text": 1,
        "speakers": 1,
        "skipped": 8,
        "rejected": 0,
    }
    assert report["skipped_reasons"]["unreadable"] == 2
    assert [row["id"] for row in PreparedCorpus(tmp_path / "out").rows] == ["good"]


def test_unexpected_failures_skip_one_utterance_only(tmp_path, monkeypatch):
    corpus = recordings(tmp_path / "corpus", 3)
    real = preparation.symbols_of

    def fails(entry):
        if (entry.text or "").startswith("The"):
            raise ZeroDivisionError("odd")
        return real(entry)

    monkeypatch.setattr(preparation, "symbols_of", fails)
    prepare_audio(corpus, tmp_path / "out", OPTIONS, processes=1)
    skipped = write_report(tmp_path / "out")["skipped"]
    assert [entry["id"] for entry in skipped] == ["u0", "u1"]
    assert skipped[0]["detail"] == "ZeroDivisionError: odd"


def test_long_recordings_without_text_keep_their_best_part_and_segments_are_cut(tmp_path):
    sound = padded(speechlike(26.0), 3.0, 0.0)
    soundfile.write(tmp_path / "long.wav", sound, 16_000)
    corpus = [
        recording(tmp_path / "long.wav", "long", text=None),
        recording(tmp_path / "long.wav", "segment", None, start_seconds=2.0, duration_seconds=4.0),
    ]
    prepare_audio(corpus, tmp_path / "out", OPTIONS, processes=1)
    rows = PreparedCorpus(tmp_path / "out").rows
    assert rows[0]["n_frames"] == 25 * 80
    assert rows[1]["n_frames"] == pytest.approx(3.1 * 80, abs=4)


def test_new_voices_are_new_speakers_of_transcribed_training_data(tmp_path):
    corpus = recordings(tmp_path / "corpus", 12)
    options = dataclasses.replace(OPTIONS, voices=2)
    prepare_audio(corpus, tmp_path / "out", options, processes=1)
    rows = PreparedCorpus(tmp_path / "out").rows
    made = [row for row in rows if row["voice"]]
    assert {row["speaker"] for row in made} == {"a+v1", "a+v2", "b+v1", "b+v2"}
    assert {row["split"] for row in made} == {"train"}
    assert len(made) == 2 * sum(
        entry.split == "train" and entry.text is not None for entry in corpus
    )
    by_speaker = {}
    for row in made:
        by_speaker.setdefault(row["speaker"], set()).add(json.dumps(row["voice"]))
    assert all(len(voices) == 1 for voices in by_speaker.values())
    sources = dataclasses.replace(OPTIONS, voices=2, voices_of_source={corpus[0].source: 1})
    assert {job.speaker for job in jobs_of(corpus, sources)} == {"a", "b", "c", "a+v1", "b+v1"}


@pytest.mark.parametrize(
    ("durations", "score", "reason"),
    [
        ([4, 6, 8, 5, 6, 4], -1.0, None),
        ([0, 6, 8, 0, 6, 80], -1.0, None),
        ([4, 6, 60, 5, 6, 4], -1.0, "phone too long"),
        ([4, 1, 1, 5, 6, 4], -1.0, "too many one-frame phones"),
        ([4, 0, 8, 5, 6, 4], -1.0, "phone without a frame"),
        ([4, 40, 40, 5, 40, 4], -1.0, "implausible rate"),
        ([4, 6, 8, 5, 6, 4], -9.0, "low score"),
        ([4, 6, 8, 5, 6, 4], float("nan"), "low score"),
    ],
)
def test_implausible_alignments_have_a_reason(durations, score, reason):
    symbols = (" ", "k", "ˈæ", " ", "t", ".")
    limits = AlignmentLimits(lowest_score=-5.0)
    assert reason_to_reject(symbols, durations, score, 200 / 16_000, limits) == reason


def test_rejected_utterances_are_left_out_and_reported(tmp_path):
    out = tmp_path / "out"
    prepare_audio(recordings(tmp_path / "corpus"), out, OPTIONS, processes=1)
    calls = []

    def align(waveform, symbols):
        calls.append(len(symbols))
        durations, score = even_alignment(waveform, symbols)
        if len(calls) == 1:
            raise TextError("cannot be aligned")
        if len(calls) == 2:
            frames = sum(durations)
            durations = [1] * len(symbols)
            durations[-1] += frames - len(symbols)
        return durations, score

    prepare_alignment(out, align, "picky")
    corpus = PreparedCorpus(out)
    assert corpus.rows[0]["rejected"] == "not alignable: cannot be aligned"
    assert corpus.rows[1]["rejected"] == "too many one-frame phones"
    assert corpus.select(aligned=True) == [3, 4, 6, 7, 9, 10]
    assert corpus.select(text=True) == [0, 1, 3, 4, 6, 7, 9, 10]
    report = write_report(out)
    assert report["rejected_reasons"] == {"not alignable": 1, "too many one-frame phones": 1}
    assert report["sources"]["one"]["rejected"] == 2


def test_another_model_annotates_anew_and_the_same_one_does_nothing(tmp_path):
    corpus = prepare(tmp_path)
    out = corpus.folder

    def refuses(*_):
        raise AssertionError("called")

    prepare_codes(out, refuses, "counting")
    prepare_alignment(out, refuses, "even")
    prepare_codes(out, lambda wave: counting_codes(wave) + 1, "other")
    assert int(PreparedCorpus(out).item(0)["codes"][0, 0]) == 1


def test_models_of_another_frame_rate_are_refused(tmp_path):
    out = tmp_path / "out"
    prepare_audio(recordings(tmp_path / "corpus", 3), out, OPTIONS, processes=1)
    with pytest.raises(CheckpointError, match="another frame rate"):
        prepare_codes(out, lambda wave: counting_codes(wave[:, ::2]), "half")
    with pytest.raises(CheckpointError, match="another frame rate"):
        prepare_alignment(out, lambda wave, symbols: even_alignment(wave[::2], symbols), "half")
    with pytest.raises(ConfigError, match="no prepared corpus"):
        annotate.prepare_codes(tmp_path / "none", counting_codes, "x")


def test_the_report_counts_and_draws(tmp_path, capsys):
    corpus = prepare(tmp_path)
    report = write_report(corpus.folder)
    frames = sum(row["n_frames"] for row in corpus.rows)
    assert report["total"]["hours"] == pytest.approx(frames / 80 / 3600, abs=1e-4)
    assert report["total"]["speakers"] == 3
    assert report["sources"]["two"]["utterances"] == 4
    assert report["splits"]["valid"]["utterances"] == 3
    assert json.loads((corpus.folder / "report.json").read_text()) == report
    assert (corpus.folder / "report.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    print_report(report)
    printed = capsys.readouterr().out
    assert "one" in printed
    assert "two" in printed
