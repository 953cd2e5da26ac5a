"""``parlando align`` and ``parlando recognize``, on a tiny aligner."""

import json

import numpy as np
import pytest
import torch
from speechlike import padded, speechlike

from parlando.aligner.config import tiny
from parlando.aligner.model import Aligner
from parlando.audio.waveform import save
from parlando.cli.main import main
from parlando.data.corpora import read_jsonl
from parlando.data.textgrid import durations_of, read_textgrid
from parlando.recipes import to_mapping
from parlando.text.vocabulary import PHONES
from parlando.training.checkpoint import Card, save_release

RATE = 16_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    torch.manual_seed(0)
    card = Card(kind="aligner", config=to_mapping(tiny()))
    save_release(folder / "aligner", Aligner(tiny()), card)
    save(folder / "hello.wav", padded(speechlike(1.5), 0.7, 0.5), RATE)
    save(folder / "silent.wav", np.zeros(RATE, dtype=np.float32), RATE)
    save(folder / "long.wav", np.zeros(125 * RATE, dtype=np.float32), RATE)
    return folder


@pytest.fixture(autouse=True)
def _there(folder, monkeypatch):
    monkeypatch.chdir(folder)


def test_align_writes_words_and_phones_and_one_picture(folder, capsys):
    words = ["--text", "Hello, it's 5.", "--aligner", "./aligner", "-o", "a.TextGrid"]
    assert main(["align", "hello.wav", *words, "--plot", "a.png"]) == 0
    assert capsys.readouterr().out.startswith("a.TextGrid: 2.70 s, 3 words, ")
    tiers = read_textgrid(folder / "a.TextGrid")
    assert [one.label for one in tiers["words"] if one.label] == ["Hello", "it's", "five"]
    assert sum(durations_of(tiers["phones"], 216, 0.0125)) == 216
    # What lies beside the speech is silence, whatever the aligner thinks of it.
    assert tiers["phones"][0].label == tiers["phones"][-1].label == ""
    assert tiers["phones"][0].end_seconds >= 0.55
    assert (folder / "a.png").read_bytes().startswith(b"\x89PNG")


def test_recognize_prints_a_line_of_phones(capsys):
    assert main(["recognize", "hello.wav", "--aligner", "./aligner"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert set(printed.split()) <= {*PHONES, "sil"}
    assert main(["recognize", "hello.wav", "hello.wav", "--aligner", "./aligner"]) == 0
    assert capsys.readouterr().out == f"hello.wav: {printed}" * 2


def test_recognize_gives_a_corpus_the_phones_that_its_training_speech_lacks(folder, capsys):
    rows = [
        {"id": "known", "audio": "hello.wav", "speaker": "a", "text": "Hello."},
        {"id": "unknown", "audio": "hello.wav", "speaker": "a", "text": None},
        {"id": "held out", "audio": "hello.wav", "speaker": "b", "split": "test"},
    ]
    (folder / "in.jsonl").write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    arguments = ["recognize", "--corpus", "in.jsonl", "--out", "out.jsonl"]
    assert main([*arguments, "--aligner", "./aligner"]) == 0
    known, unknown, held_out = read_jsonl(folder / "out.jsonl")
    assert not known.phones
    assert not held_out.transcribed
    assert main(["recognize", "hello.wav", "--aligner", "./aligner"]) == 0
    heard = capsys.readouterr().out.split()
    assert heard
    assert list(unknown.phones) == ["," if phone == "sil" else phone for phone in heard]


ERRORS = {
    "nothing to recognize": (["recognize"], "sound files, or a --corpus"),
    "corpus without a place": (["recognize", "--corpus", "in.jsonl"], "belong together"),
    "no text": (["align", "hello.wav"], "got no text"),
    "two texts": (["align", "hello.wav", "--text", "a", "--text-file", "b"], "got two texts"),
    "missing sound": (["align", "none.wav", "--text", "hi"], "none.wav: no such file"),
    "silent": (["align", "silent.wav", "--text", "hi"], "is silent"),
    "too long": (["align", "long.wav", "--text", "hi"], "at most 120 s"),
    "no speech in the text": (["align", "hello.wav", "--text", "?!"], ""),
    "text of another sound": (["align", "hello.wav", "--text", "hello " * 60], "too few"),
    "unwritable": (["align", "hello.wav", "--text", "hi", "-o", "nowhere/a"], "choose another"),
    "unknown picture": (["align", "hello.wav", "--text", "hi", "--plot", "a.txt"], "a.txt"),
    "unknown aligner": (["align", "hello.wav", "--text", "hi", "--aligner", "x"], "has no 'x'"),
    "silence to recognize": (["recognize", "silent.wav"], "is silent"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_bad_input_is_one_line_and_leaves_no_file(folder, capsys, case):
    words, message = ERRORS[case]
    if "--aligner" not in words:
        words = [*words, "--aligner", "./aligner"]
    before = set(folder.iterdir())
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert not captured.out
    assert set(folder.iterdir()) == before
