"""From a corpus to a voice through the command line: prepare, train, resume, release, speak."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from parlando.audio.waveform import load
from parlando.cli.main import main
from parlando.data.store import PreparedCorpus
from parlando.safety.provenance import read
from parlando.training.checkpoint import WEIGHTS_NAME, read_card
from parlando.training.loop import existing_checkpoints
from parlando.training.stepper import Stepper

SENTENCES = (
    "The river is low in summer.",
    "Seven small boats lie on the sand.",
    "Who has painted the door green?",
    "We walked home under the old trees.",
    "A letter came for you this morning.",
    "They never close the windows at night.",
)
VOICES = ("en-us", "en-us+f3")
SPOKEN = """
import json, runpy, sys
from parlando.audio.waveform import save
espeak = runpy.run_path(sys.argv[1])["espeak"]
for voice in json.loads(sys.argv[4]):
    for number, text in enumerate(json.loads(sys.argv[3])):
        save(f"{sys.argv[2]}/{voice}-{number}.wav", *espeak(text, voice))
"""
TRAIN = ["--device", "cpu", "--threads", "1", "--precision", "fp32", "--warmup-steps", "0"]
# A handful of steps teaches no plausible alignment, and none is needed to go the whole way.
ANY_ALIGNMENT = (
    *("--limits.longest-phone-seconds", "99", "--limits.one-frame-share", "1"),
    *("--limits.slowest-phones", "0", "--limits.quickest-phones", "9999"),
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Twelve sentences by two voices of espeak-ng, the last of each voice for validation."""
    folder = tmp_path_factory.mktemp("corpus")
    example = Path(__file__).parents[2] / "examples" / "make_example_prompt.py"
    # In a process of its own: the library keeps something of each voice for the next.
    words = [json.dumps(given) for given in (SENTENCES, VOICES)]
    subprocess.run([sys.executable, "-c", SPOKEN, example, folder, *words], check=True)
    rows = []
    for voice in VOICES:
        for number, text in enumerate(SENTENCES):
            name = f"{voice}-{number}"
            rows.append(
                {
                    "id": name,
                    "audio": f"{name}.wav",
                    "source": "espeak",
                    "speaker": voice,
                    "sex": None,
                    "native_english": True,
                    "text": text,
                    "duration_seconds": load(folder / f"{name}.wav").duration_seconds,
                    "split": "valid" if number == len(SENTENCES) - 1 else "train",
                    "licence": "CC0-1.0",
                }
            )
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def _done(*words):
    assert main([str(word) for word in words]) == 0


def _train(kind, data, out, steps, *words):
    _done("train", kind, "tiny", "--data", data, "--out", out, "--steps", steps, *TRAIN, *words)
    return existing_checkpoints(out)[-1]


def _recipe(path, **sections):
    path.write_text(json.dumps(sections))
    return path


def test_from_a_corpus_to_a_voice(corpus, tmp_path, monkeypatch, capsys):
    data, runs = tmp_path / "data", tmp_path / "runs"
    _done("prepare", "--out", data, "--corpus", "jsonl", corpus / "corpus.jsonl", "--processes", 1)
    assert len(PreparedCorpus(data).rows) == len(SENTENCES) * len(VOICES)

    aligner = _train("aligner", data, runs / "aligner", 3, "--batch-seconds", 6)
    _done("prepare", "--out", data, "--stages", "align", "--aligner", aligner, *ANY_ALIGNMENT)
    prepared = PreparedCorpus(data)
    aligned = prepared.select(split="train", text=True, aligned=True)
    assert len(aligned) == 10
    for index in aligned:
        durations = prepared.item(index, ("durations",))["durations"]
        assert int(durations.sum()) == prepared.rows[index]["n_frames"]

    first = _train("codec", data, runs / "autoencoder", 3, "--batch-seconds", 3)
    joint = _recipe(
        tmp_path / "joint.json", objective={"fit_frames": 64, "loss": {"stage": "joint"}}
    )
    words = ("--batch-seconds", 3, "--recipe", joint, "--init", first)
    codec = _train("codec", data, runs / "joint", 3, *words)
    _done("prepare", "--out", data, "--stages", "codes", "--codec", codec)

    recipe = _recipe(tmp_path / "system.json", objective={"codec": str(codec)})
    words = ("--batch-seconds", 6, "--recipe", recipe, "--checkpoint-every", 2)
    whole = _train("naturalspeech2", data, runs / "whole", 5, *words)
    _kill_at(3, monkeypatch)
    killed = ("train", "naturalspeech2", "tiny", "--data", data, "--out", runs / "killed")
    assert main([str(word) for word in (*killed, "--steps", 5, *TRAIN, *words)]) == 130
    assert read_card(existing_checkpoints(runs / "killed")[-1]).step == 2
    monkeypatch.undo()
    resumed = _train("naturalspeech2", data, runs / "killed", 5, *words)
    expected = load_file(whole / WEIGHTS_NAME)
    for name, tensor in load_file(resumed / WEIGHTS_NAME).items():
        assert tensor.equal(expected[name]), name

    system, out = tmp_path / "my-system", tmp_path / "said.wav"
    _done("release", runs / "killed", "--out", system)
    # It brings the codec on whose latents it was trained, and no longer needs the run.
    assert read_card(system / "codec").kind == "codec"
    codec.rename(tmp_path / "gone")
    capsys.readouterr()
    _done(
        "speak", "It speaks, in its way.", "--system", system, "-o", out, "--seed", 5, "--steps", 2
    )
    assert f"{load(out).duration_seconds:.2f} s" in capsys.readouterr().out
    made = read(out)
    assert (made.system, made.seed) == ("my-system", 5)
    _language_model(data, runs, tmp_path / "gone", tmp_path)


def _language_model(data, runs, codec, folder):
    """Train a language model of the same codes, and hear it while it speaks."""
    recipe = _recipe(folder / "talker.json", objective={"codec": str(codec)})
    _train("valle2", data, runs / "talker", 2, "--batch-seconds", 6, "--recipe", recipe)
    system, out = folder / "my-talker", folder / "said.pcm"
    _done("release", runs / "talker", "--out", system, "--bits", 8)
    assert read_card(system / "codec").kind == "codec"
    _done("speak", "It speaks.", "--system", system, "--stream", out, "--seed", 5)
    samples = out.stat().st_size // 2
    assert samples % 200 == 0
    assert samples > 8 * 2 * 200  # two frames a phone at the least


def _kill_at(step, monkeypatch):
    """End the process in the midst of a step, as Ctrl-C pressed twice does."""
    take = Stepper.take

    def mortal(self, number, *rest):
        if number == step:
            raise KeyboardInterrupt
        return take(self, number, *rest)

    monkeypatch.setattr(Stepper, "take", mortal)
