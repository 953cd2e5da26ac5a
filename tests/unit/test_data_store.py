import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from tinycorpus import prepare

from parlando.contracts import CheckpointError, ConfigError
from parlando.data import store
from parlando.data.store import PreparedCorpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("store"))


@pytest.fixture
def copy(tmp_path):
    return prepare(tmp_path, count=3, shard_utterances=2)


def test_a_crop_is_a_part_of_the_waveform(corpus):
    for index in (0, 4, 11):
        whole = corpus.item(index, ("waveform",))["waveform"]
        assert torch.equal(corpus.crop(index, 7, 20), whole[1400:5400])


def test_types_are_those_of_the_contract(corpus):
    kinds = {name: part.dtype for name, part in corpus.item(0).items()}
    assert kinds == {
        "waveform": torch.float32,
        "f0": torch.float32,
        "voiced": torch.bool,
        "symbols": torch.int64,
        "durations": torch.int64,
        "score": torch.float32,
        "codes": torch.int64,
    }
    assert float(corpus.item(0)["score"]) == -1.5


def test_rows_are_selected_by_split_text_and_source(corpus):
    assert corpus.select(split="valid") == [3, 4, 5]
    assert corpus.select(split="valid", text=True) == [3, 4]
    assert corpus.select(sources=("two",)) == [2, 5, 8, 11]
    assert corpus.select(split="test") == []
    rows = [row["id"] for row, item in corpus.items([5, 2]) if len(item["f0"])]
    assert rows == ["u5", "u2"]


def test_a_corpus_travels_to_another_process(corpus):
    other = pickle.loads(pickle.dumps(corpus))
    assert torch.equal(other.item(3)["codes"], corpus.item(3)["codes"])


def test_only_the_stages_that_are_there_are_read(copy):
    info = store.read_info(copy.folder)
    info["stages"] = ["audio"]
    store.write_json(copy.folder / "info.json", info)
    corpus = PreparedCorpus(copy.folder)
    assert set(corpus.item(0)) == {"waveform", "f0", "voiced", "symbols"}
    with pytest.raises(ConfigError, match="--stages align"):
        corpus.item(0, ("durations",))
    with pytest.raises(ConfigError, match="--stages codes"):
        corpus.require("codes")
    with pytest.raises(ConfigError, match="alignment stage"):
        corpus.select(aligned=True)


def test_durations_that_do_not_sum_to_the_frames_are_refused(copy):
    notes = store.read_notes(copy.folder, 0, "alignment")
    durations = np.ones(sum(row["n_symbols"] for row in copy.rows[:2]), np.int16)
    arrays = {"durations": durations, "score": np.zeros(2, np.float32)}
    store.write_shard(copy.folder, 0, "alignment", arrays, notes)
    with pytest.raises(CheckpointError, match="sum to"):
        PreparedCorpus(copy.folder).item(0)


def test_a_manifest_of_other_shards_is_refused(copy):
    rows = [dict(row) for row in copy.rows]
    rows[1]["n_frames"] += 5
    store.write_rows(copy.folder / "manifest.jsonl", rows)
    with pytest.raises(CheckpointError, match=r"the manifest says|damaged"):
        PreparedCorpus(copy.folder).item(1, ("f0",))


@pytest.mark.parametrize("damage", ["missing", "cut", "nonsense"])
def test_damaged_shards_are_named(copy, damage):
    path = store.shard_path(copy.folder, 0, "audio")
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"nonsense")
    with pytest.raises(CheckpointError, match=r"00000\.audio") as caught:
        PreparedCorpus(copy.folder).item(0)
    assert "\n" not in str(caught.value)


def test_folders_that_are_no_prepared_corpus_are_refused(tmp_path, copy):
    with pytest.raises(ConfigError, match="no prepared corpus"):
        PreparedCorpus(tmp_path / "nothing")
    info = store.read_info(copy.folder)
    (copy.folder / "manifest.jsonl").write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match="manifest"):
        PreparedCorpus(copy.folder)
    store.write_json(copy.folder / "info.json", info | {"schema_version": 99})
    with pytest.raises(ConfigError, match="schema 99"):
        PreparedCorpus(copy.folder)
    (copy.folder / "info.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"info\.json"):
        PreparedCorpus(copy.folder)


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path):
    path = tmp_path / "x.json"
    store.write_json(path, {"a": 1})

    def fails(partial):
        partial.write_text("half")
        raise OSError("disk full")

    with pytest.raises(ConfigError, match="disk full"):
        store.replace_file(path, fails)
    assert json.loads(path.read_text()) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"]


def test_reading_needs_neither_sound_nor_text_libraries(corpus):
    code = f"""
import sys
for name in ("soundfile", "soxr", "pyworld", "phonemizer", "espeakng_loader", "lhotse", "rich"):
    sys.modules[name] = None
from parlando.data.dataset import AudioCrops, Utterances
from parlando.data.store import PreparedCorpus
corpus = PreparedCorpus({str(corpus.folder)!r})
print(Utterances(corpus, batch_frames=400).batch(0, 0, 1)["codes"].shape[1])
print(AudioCrops(corpus, batch_size=2, crop_frames=40).batch(0, 0, 1)["waveform"].shape[1])
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["4", "8000"]
