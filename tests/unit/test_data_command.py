"""``parlando prepare``, from the command line to a corpus that trains."""

import json

import numpy as np
import pytest
import torch
from tinycorpus import counting_codes, even_alignment, write_corpus

from parlando import registry
from parlando.cli.main import main
from parlando.data.store import PreparedCorpus


class Even(torch.nn.Module):
    """An aligner that shares the frames out evenly, and a codec that counts them."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.decoder = torch.nn.Linear(1, 1)
        self.calls = 0

    def align(self, waveform, symbols):
        self.calls += 1
        return even_alignment(waveform, symbols)

    def encode(self, waveform):
        self.calls += 1
        return counting_codes(waveform)


@pytest.fixture
def model(monkeypatch):
    model = Even()
    monkeypatch.setattr(registry, "load_aligner", lambda place, device: model)
    monkeypatch.setattr(registry, "load_codec", lambda place, device: model)
    return model


def run(*words):
    return main(["prepare", *map(str, words), "--processes", "1"])


def test_one_command_runs_all_stages_and_reports(tmp_path, model, capsys):
    corpus = write_corpus(tmp_path / "corpus", 6)
    out = tmp_path / "out"
    stages = ("--stages", "audio", "align", "codes")
    assert run("--corpus", "jsonl", corpus, "--out", out, *stages, "--voices", "1") == 0
    printed = capsys.readouterr().out
    assert "report.json" in printed
    prepared = PreparedCorpus(out)
    assert prepared.stages == ("audio", "alignment", "codes")
    assert len(prepared) == 8
    assert json.loads((out / "report.json").read_text())["total"]["speakers"] == 5
    assert np.array_equal(prepared.item(0)["codes"][0], np.arange(prepared.rows[0]["n_frames"]))


def test_stages_may_come_one_by_one_and_only_new_weights_repeat_them(tmp_path, model):
    corpus = write_corpus(tmp_path / "corpus", 3)
    assert run("--corpus", "jsonl", corpus, "--out", tmp_path / "out") == 0
    assert run("--out", tmp_path / "out", "--stages", "codes") == 0
    assert model.calls == 3
    torch.nn.init.ones_(model.decoder.weight)
    assert run("--out", tmp_path / "out", "--stages", "codes") == 0
    assert model.calls == 3
    torch.nn.init.ones_(model.weight)
    assert run("--out", tmp_path / "out", "--stages", "codes") == 0
    assert model.calls == 6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--out", "OUT"), "needs --corpus"),
        (("--out", "OUT", "--stages", "codes"), "no prepared corpus"),
        (("--out", "OUT", "--corpus", "jsonl", "none.jsonl"), "no such corpus file"),
        (("--out", "OUT", "--corpus", "vctk", "none"), "no such folder"),
        (("--out", "/proc/nothing/here", "--corpus", "jsonl", "CORPUS"), "cannot be written"),
        (("--out", "OUT", "--corpus", "jsonl", "CORPUS", "--voices", "-1"), "voices is -1"),
        (("--out", "OUT", "--corpus", "jsonl", "CORPUS", "--processes", "0"), "processes is 0"),
    ],
)
def test_mistakes_are_one_line_and_status_two(tmp_path, capsys, words, message):
    places = {"OUT": tmp_path / "out", "CORPUS": write_corpus(tmp_path / "corpus", 1)}
    assert main(["prepare", *(str(places.get(word, word)) for word in words)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert "Traceback" not in error
