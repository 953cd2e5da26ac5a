import json

import pytest
import soundfile
from speechlike import speechlike
from tinycorpus import write_corpus

from parlando.contracts import ConfigError
from parlando.data.corpora import read_corpus, read_jsonl


def test_jsonl_rows_become_recordings(tmp_path):
    found = read_corpus("jsonl", write_corpus(tmp_path, 3))
    first = found[0]
    assert (first.id, first.speaker, first.source, first.split) == ("u0", "a", "one", "train")
    assert first.audio_path == tmp_path / "0.wav"
    assert first.extra == {"native_english": True, "licence": "CC0-1.0"}
    assert found[2].text is None
    assert found[2].sex is None


def test_only_id_audio_and_speaker_are_needed(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"id": "x", "audio": "x.wav", "speaker": "me"}\n\n', encoding="utf-8")
    (found,) = read_jsonl(path)
    assert (found.text, found.source, found.split) == (None, "mine", "train")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "corpus.jsonl:2: not an utterance"),
        ("[1]", "corpus.jsonl:2: not an utterance"),
        ('{"id": "x", "audio": "x.wav"}', "speaker"),
        ('{"id": "ok", "audio": "x.wav", "speaker": "me"}', "'ok' occurs twice"),
    ],
)
def test_bad_lines_are_named(tmp_path, line, message):
    path = tmp_path / "corpus.jsonl"
    good = json.dumps({"id": "ok", "audio": "x.wav", "speaker": "me"})
    path.write_text(f"{good}\n{line}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        read_jsonl(path)


def test_missing_empty_and_unknown_corpora_are_refused(tmp_path):
    (tmp_path / "empty.jsonl").touch()
    for kind, name, message in (
        ("jsonl", "none.jsonl", "no such corpus file"),
        ("jsonl", "empty.jsonl", "holds no utterance"),
        ("librispeech", "none", "no such folder"),
        ("librispeech", ".", "not a librispeech corpus"),
        ("ljspeech", ".", "not a ljspeech corpus"),
        ("lhotse", ".", "recordings"),
        ("klingon", ".", "unknown corpus kind 'klingon'"),
    ):
        with pytest.raises(ConfigError, match=message):
            read_corpus(kind, tmp_path / name)


@pytest.fixture
def ljspeech(tmp_path):
    folder = tmp_path / "LJSpeech-1.1"
    (folder / "wavs").mkdir(parents=True)
    lines = []
    for number in range(60):
        name = f"LJ001-{number:04d}"
        soundfile.write(folder / "wavs" / f"{name}.wav", speechlike(0.3, 22_050), 22_050)
        lines.append(f"{name}|In 18{number}, he said|In eighteen something, he said\n")
    (folder / "metadata.csv").write_text("".join(lines), encoding="utf-8")
    return folder


def test_ljspeech_is_read_through_lhotse(ljspeech):
    found = read_corpus("ljspeech", ljspeech)
    assert len(found) == 60
    first = found[0]
    assert first.id == "ljspeech/LJ001-0000"
    assert first.audio_path == ljspeech / "wavs" / "LJ001-0000.wav"
    assert first.text == "In 180, he said"
    assert (first.source, first.sex, first.speaker) == ("ljspeech", "female", "ljspeech/ljspeech")
    assert first.duration_seconds == pytest.approx(0.3, abs=1e-3)
    assert 0 < sum(entry.split == "valid" for entry in found) < 6
    assert [entry.split for entry in read_corpus("ljspeech", ljspeech)] == [
        entry.split for entry in found
    ]


def test_librispeech_is_read_by_part_and_in_lower_case(tmp_path):
    for part, speaker in (("train-clean-5", "19"), ("dev-clean", "84"), ("test-clean", "61")):
        folder = tmp_path / part / speaker / "198"
        folder.mkdir(parents=True)
        name = f"{speaker}-198-0000"
        soundfile.write(folder / f"{name}.flac", speechlike(0.3), 16_000)
        (folder / f"{speaker}-198.trans.txt").write_text(f"{name} NORTHANGER ABBEY\n")
    found = {entry.speaker: entry for entry in read_corpus("librispeech", tmp_path)}
    assert {name: entry.split for name, entry in found.items()} == {
        "librispeech/19": "train",
        "librispeech/84": "valid",
        "librispeech/61": "test",
    }
    assert found["librispeech/19"].text == "northanger abbey"


def test_manifests_of_lhotse_are_read(tmp_path, ljspeech):
    from lhotse.recipes import prepare_ljspeech

    prepare_ljspeech(ljspeech, tmp_path / "manifests")
    found = read_corpus("lhotse", tmp_path / "manifests")
    assert len(found) == 60
    assert found[0].source == "ljspeech"
    (tmp_path / "manifests" / "ljspeech_supervisions_all.jsonl.gz").unlink()
    with pytest.raises(ConfigError, match="beside it"):
        read_corpus("lhotse", tmp_path / "manifests")


def test_of_a_corpus_of_many_languages_english_is_taken(tmp_path, ljspeech, monkeypatch):
    import lhotse.recipes

    both = lhotse.recipes.prepare_ljspeech(ljspeech)
    made = {"english": {"train": both}, "german": {"train": None}}
    monkeypatch.setattr(lhotse.recipes, "prepare_mls", lambda folder: made)
    found = read_corpus("mls", ljspeech)
    assert len(found) == 60
    assert {entry.split for entry in found} == {"train"}
    assert found[0].id == "mls/LJ001-0000"
