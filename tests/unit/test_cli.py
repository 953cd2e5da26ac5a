"""The command line: one line for an error, status 2, no traceback, no half-written file."""

import io
import json
import sys
import time

import numpy as np
import pytest
from sines import RATE, SineSynthesizer, babble

from parlando import registry
from parlando.audio.waveform import load, read_metadata, save
from parlando.cli.main import COMMANDS, main
from parlando.cli.named import read_named
from parlando.recipes import to_mapping
from parlando.speech import Voice
from parlando.systems.naturalspeech2.config import tiny


@pytest.fixture
def sines(monkeypatch):
    """Speak with sines in the place of released weights."""
    synthesizer = SineSynthesizer()
    monkeypatch.setattr(registry, "load_system", lambda place, device: synthesizer)
    return synthesizer


@pytest.fixture
def voice(tmp_path):
    path = tmp_path / "voice.wav"
    save(path, babble(4.0), RATE)
    return str(path)


def test_speak_writes_the_file_and_one_line(sines, voice, tmp_path, capsys):
    out = tmp_path / "out.flac"
    assert main(["speak", "Hello there.", "--voice", voice, "-o", str(out), "--seed", "9"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    seconds = load(out).duration_seconds
    for part in (str(out), f"{seconds:.2f} s", "real-time factor", "seed 9"):
        assert part in printed
    assert "seed 9" in read_metadata(out)["comment"]


def test_speak_passes_its_options_on(sines, voice, tmp_path, monkeypatch):
    seen = {}

    def speak(self, text, voice, **options):
        seen.update(options, text=text, voice=len(voice.samples))
        raise KeyboardInterrupt

    monkeypatch.setattr("parlando.speaking.Speaker.speak", speak)
    words = ["--steps", "5", "--solver", "sde", "--speed", "1.5", "--duration", "3", "--seed", "1"]
    status = main(["speak", "Hi.", "--voice", voice, "-o", str(tmp_path / "o.wav"), *words])
    assert status == 130
    del seen["progress"]
    assert seen == {
        "text": "Hi.",
        "voice": len(Voice.from_file(voice).samples),
        "seed": 1,
        "steps": 5,
        "solver": "sde",
        "speed": 1.5,
        "duration_seconds": 3.0,
    }


def test_any_option_that_a_system_has_can_be_named(sines, voice, tmp_path, monkeypatch):
    seen = []
    render = SineSynthesizer.render
    monkeypatch.setattr(
        SineSynthesizer,
        "render",
        lambda self, symbols, prompt, options, generator: (
            seen.append(options) or render(self, symbols, prompt, options, generator)
        ),
    )
    words = ["--option", "guidance=1.5", "--option", "solver=euler", "--steps", "3"]
    out = str(tmp_path / "o.wav")
    assert main(["speak", *words, "Hi.", "--voice", voice, "-o", out]) == 0
    assert (seen[0].guidance, seen[0].solver, seen[0].steps) == (1.5, "euler", 3)


def test_named_options_are_numbers_words_or_none_at_all():
    words = ["guidance=2", "solver=euler", "continuation=true", "voice_text=null"]
    assert read_named(words, "--options") == {
        "guidance": 2,
        "solver": "euler",
        "continuation": True,
        "voice_text": None,
    }


@pytest.mark.parametrize("source", ["argument", "file", "stdin", "stdin file"])
def test_speak_reads_text_from_anywhere(sines, voice, tmp_path, monkeypatch, source):
    text = 'He said: "Well,\nwell."\n'
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    path = tmp_path / "text.txt"
    path.write_text(text, encoding="utf-8-sig")
    words = {
        "argument": [text],
        "file": ["--text-file", str(path)],
        "stdin": ["-"],
        "stdin file": ["--text-file", "-"],
    }[source]
    out = tmp_path / f"{source}.wav"
    assert main(["speak", *words, "--voice", voice, "-o", str(out), "--seed", "0"]) == 0
    expected = tmp_path / "expected.wav"
    main(["speak", text, "--voice", voice, "-o", str(expected), "--seed", "0"])
    assert np.array_equal(load(out).samples, load(expected).samples)


def test_speak_draws_a_picture(sines, voice, tmp_path):
    plot = tmp_path / "out.png"
    words = ["--voice", voice, "-o", str(tmp_path / "out.wav"), "--plot", str(plot)]
    assert main(["speak", "Hello.", *words]) == 0
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_a_stream_is_raw_sound_while_it_is_made(sines, voice, tmp_path, capsys):
    text = "Hello there. This is another sentence."
    out, raw = tmp_path / "out.wav", tmp_path / "out.pcm"
    assert main(["speak", text, "--voice", voice, "-o", str(out), "--seed", "9"]) == 0
    capsys.readouterr()
    assert main(["speak", text, "--voice", voice, "--stream", str(raw), "--seed", "9"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "16000 Hz, 16 bit, mono; first sound after" in captured.err
    assert captured.err.endswith("; seed 9\n")
    streamed = np.frombuffer(raw.read_bytes(), dtype=np.int16) / 32767.0
    assert np.abs(streamed - load(out).samples).max() < 1e-4


def test_who_waits_for_the_first_sound_waits_for_the_prompt_too(
    sines, voice, tmp_path, monkeypatch, capsys
):
    def encode(self, waveform):
        time.sleep(0.4)
        return 0.0

    monkeypatch.setattr(SineSynthesizer, "encode_prompt", encode)
    raw = str(tmp_path / "out.pcm")
    assert main(["speak", "Hello.", "--voice", voice, "--stream", raw, "--seed", "9"]) == 0
    told = capsys.readouterr().err
    assert float(told.split("first sound after ")[1].split()[0]) >= 0.4


@pytest.mark.parametrize(
    ("words", "chunks"),
    [([], 1.0), (["--best-of", "1"], 1.0), (["--option", "chunk_seconds=0.5"], 0.5)],
)
def test_a_stream_takes_chunks_where_the_system_has_them(
    sines, voice, tmp_path, monkeypatch, words, chunks
):
    seen = []

    def stream(self, symbols, prompt, options, generator):
        seen.append(options.chunk_seconds)
        yield self.render(symbols, prompt, options, generator)

    monkeypatch.setattr(SineSynthesizer, "stream", stream, raising=False)
    monkeypatch.setattr(sines, "option_names", sines.option_names | {"chunk_seconds", "best_of"})
    raw = str(tmp_path / "out.pcm")
    assert main(["speak", "Hello.", "--voice", voice, "--stream", raw, *words]) == 0
    assert seen == [chunks]


def test_a_stream_to_standard_output_holds_nothing_but_sound(sines, voice, monkeypatch):
    sink = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(sink, write_through=True))
    assert main(["speak", "Hello.", "--voice", voice, "--stream", "-", "--seed", "9"]) == 0
    assert len(sink.getvalue()) % 2 == 0
    assert np.abs(np.frombuffer(sink.getvalue(), dtype=np.int16)).max() > 1000


def _bad_files(folder):
    save(folder / "short.wav", babble(0.4), RATE)
    save(folder / "silent.wav", np.zeros(3 * RATE, dtype=np.float32), RATE)
    (folder / "empty.wav").touch()
    (folder / "noise.wav").write_bytes(b"this is no sound" * 100)
    (folder / "latin.txt").write_bytes("café".encode("latin-1"))


SPEAK_ERRORS = {
    "no text": ([], "got no text"),
    "two texts": (["Hi.", "--text-file", "x.txt"], "got two texts"),
    "empty text": ([""], "got no text"),
    "only punctuation": (["?!… —"], ""),
    "only control characters": (["\x00\x07\x1b"], ""),
    "missing text file": (["--text-file", "missing.txt"], "missing.txt"),
    "text in another encoding": (["--text-file", "latin.txt"], "UTF-8"),
    "missing voice": (["Hi.", "--voice", "missing.wav"], "missing.wav"),
    "empty voice": (["Hi.", "--voice", "empty.wav"], "empty.wav"),
    "voice that is no sound": (["Hi.", "--voice", "noise.wav"], "noise.wav"),
    "silent voice": (["Hi.", "--voice", "silent.wav"], "silent"),
    "short voice": (["Hi.", "--voice", "short.wav"], "at least 1 s"),
    "unknown format": (["Hi.", "-o", "out.aiff"], ".aiff"),
    "missing folder": (["Hi.", "-o", "nowhere/out.wav"], "nowhere"),
    "folder as output": (["Hi.", "-o", "."], ""),
    "unknown picture": (["Hi.", "--plot", "out.txt"], "out.txt"),
    "no steps": (["Hi.", "--steps", "0"], "expected 1 to 1000"),
    "unknown solver": (["Hi.", "--solver", "magic"], "dpm, euler, sde"),
    "too fast": (["Hi.", "--speed", "9"], "expected 0.25 to 4"),
    "impossible length": (["Hello there.", "--duration", "0.01"], "duration 0.01"),
    "negative seed": (["Hi.", "--seed", "-1"], "seed -1"),
    "option of another system": (["Hi.", "--top-p", "0.5"], "sines has no option top_p"),
    "named option of another system": (
        ["Hi.", "--option", "repetition_window=0"],
        "sines has no option repetition_window",
    ),
    "named option of none": (["Hi.", "--option", "guidence=1"], "did you mean 'guidance'?"),
    "argument as an option": (["Hi.", "--option", "seed=1"], "--option has no 'seed'"),
    "option without a value": (["Hi.", "--option", "guidance"], "expected NAME=VALUE such as"),
    "option out of range": (["Hi.", "--option", "guidance=90"], "guidance 90.0; expected 0 to 20"),
    "option of a wrong type": (["Hi.", "--option", "guidance=much"], "guidance: expected float"),
    "option twice": (
        ["Hi.", "--option", "guidance=1", "--option", "guidance=2"],
        "--option has 'guidance' twice",
    ),
    "option and flag": (
        ["Hi.", "--option", "steps=2", "--steps", "3"],
        "got steps by its own flag and by --option",
    ),
    "picture of a stream": (["Hi.", "--stream", "a.pcm", "--plot", "b.png"], "leave one out"),
    "impossible length of a stream": (
        ["Hello there.", "--stream", "a.pcm", "--duration", "0.01"],
        "duration 0.01",
    ),
    "stream to nowhere": (["Hi.", "--stream", "nowhere/a.pcm"], "nowhere/a.pcm: cannot be written"),
}


@pytest.mark.parametrize("case", SPEAK_ERRORS)
def test_bad_input_is_one_line_and_leaves_no_file(
    sines, voice, tmp_path, monkeypatch, capsys, case
):
    words, message = SPEAK_ERRORS[case]
    folder = tmp_path / "work"
    folder.mkdir()
    _bad_files(folder)
    monkeypatch.chdir(folder)
    before = set(folder.iterdir())
    if "--voice" not in words:
        words = [*words, "--voice", voice]
    assert main(["speak", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert set(folder.iterdir()) == before


TINY = json.dumps(to_mapping(tiny()))


def _checkpoint(folder, kind="naturalspeech2", config="{}"):
    folder.mkdir()
    card = {"schema": 1, "kind": kind, "config": json.loads(config)}
    (folder / "config.json").write_text(json.dumps(card))
    return folder


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path, "no such folder"),
        (lambda path: path.mkdir() or path, "not a checkpoint"),
        (lambda path: _checkpoint(path, kind="codec"), "expected a system"),
        (lambda path: _checkpoint(path, config='{"with": 3}'), "no 'with'"),
        (lambda path: _checkpoint(path, config=TINY), "weights.safetensors: missing"),
    ],
)
def test_wrong_checkpoint_is_one_line(voice, tmp_path, capsys, make, message):
    folder = make(tmp_path / "trained")
    out = tmp_path / "out.wav"
    words = ["--voice", voice, "-o", str(out), "--system", str(folder)]
    assert main(["speak", "Hello.", *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert not out.exists()


def test_truncated_weights_are_one_line(voice, tmp_path, capsys):
    folder = _checkpoint(tmp_path / "trained", config=TINY)
    (folder / "weights.safetensors").write_bytes(b"\x40\x00\x00\x00\x00\x00\x00\x00{")
    assert main(["speak", "Hi.", "--voice", voice, "--system", str(folder)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "weights.safetensors" in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["speek"], "did you mean 'speak'?"),
        (["speak", "Hi.", "--system", "naturalspeech2-smal"], "'naturalspeech2-small'"),
        (["speak", "Hi.", "--system", "valle2-small-group1"], "has no released weights yet"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_help_lists_every_command(capsys):
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    for name, purpose in COMMANDS.items():
        assert name in printed
        assert purpose in printed


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_its_options(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    assert f"parlando {name}" in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("parlando ")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["speak", "Hi.", "--steps", "abc"], ["--steps", "'abc'", "speak --help"]),
        (["speak", "Hi.", "--stepz", "3"], ["--stepz", "Perhaps you meant: --steps INT"]),
        (["speak", "Hi.", "--steps"], ["--steps", "Missing value"]),
        (["train", "aligner", "tiny"], ["Missing", "--data PATH", "--out PATH"]),
        (["train", "alligner", "tiny", "--data", "x", "--out", "y"], ["'alligner'", "'aligner'"]),
    ],
)
def test_a_slip_in_the_options_is_told_in_one_line(words, told, capsys):
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("parlando: ")
    assert captured.err.count("\n") == 1
    assert not set("│╭─╰") & set(captured.err)
    for part in told:
        assert part in captured.err
