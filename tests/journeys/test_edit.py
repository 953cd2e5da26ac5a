"""From a recording and two texts to an edited file, with the released aligner."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

import parlando
from parlando.cli.main import main
from parlando.codecs.facodec import config as facodec
from parlando.codecs.facodec.model import build_facodec
from parlando.recipes import to_mapping
from parlando.systems.naturalspeech3.config import tiny
from parlando.systems.naturalspeech3.model import NaturalSpeech3
from parlando.text.vocabulary import SYMBOLS
from parlando.text.words import phone_runs
from parlando.training.checkpoint import Card, save_release

OLD = "The quick brown fox jumps over the lazy dog, and runs away into the forest."
NEW = "The quick brown fox jumps over the sleepy cat, and runs away into the forest."


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("trained") / "my-voice"
    torch.manual_seed(0)
    config = replace(tiny(), levels=6)
    card = Card(kind="naturalspeech3", config=to_mapping(config))
    save_release(place, NaturalSpeech3(config, len(SYMBOLS)), card)
    card = Card(kind="facodec", config=to_mapping(facodec.tiny()))
    save_release(place / "codec", build_facodec(facodec.tiny()), card)
    return place


@pytest.fixture(scope="module")
def speech():
    """Spoken by the released system, which tells when each phone is said."""
    return parlando.speak(OLD, seed=1)


def test_only_the_words_that_change_are_made_anew(folder, speech, tmp_path, capsys):
    source, out = tmp_path / "in.wav", tmp_path / "out.wav"
    speech.save(source)
    words = ["edit", str(source), "--transcript", OLD, "--text", NEW, "-o", str(out)]
    assert main([*words, "--system", str(folder), "--seed", "1"]) == 0
    told = capsys.readouterr().out
    before, rate_hz = soundfile.read(source, dtype="int16")
    after, same_hz = soundfile.read(out, dtype="int16")
    assert rate_hz == same_hz
    longest = min(len(before), len(after))
    start = int(np.flatnonzero(before[:longest] != after[:longest])[0]) / rate_hz
    kept = int(np.flatnonzero(before[::-1][:longest] != after[::-1][:longest])[0]) / rate_hz
    edges = np.cumsum([0.0, *speech.durations])
    runs = phone_runs(speech.phonemes)
    assert [len(runs), *speech.phonemes[slice(*runs[7])]] == [15, "l", "ˈeɪ", "z", "i"]
    # "lazy dog" and a phone before it, and the fades; after it there is a pause.
    assert edges[runs[7][0]] - 0.15 < start < edges[runs[7][0]]
    assert 0.0 < edges[-1] - kept - edges[runs[8][1]] + 0.05 < 0.15
    assert float(told.split("made anew ")[1].split("-")[0]) == pytest.approx(start, abs=0.011)


def test_a_transcript_of_something_else_is_refused(folder, speech, tmp_path, capsys):
    speech.save(tmp_path / "in.wav")
    other = "Good morning to everyone who listens, and to all of you who are still at home."
    words = ["edit", str(tmp_path / "in.wav"), "--transcript", other, "--text", NEW]
    assert main([*words, "--system", str(folder)]) == 2
    assert "the transcript does not seem to be what is said" in capsys.readouterr().err
