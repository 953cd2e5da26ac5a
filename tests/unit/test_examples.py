"""Each example runs."""

import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
from sines import RATE, SineSynthesizer

from parlando import registry
from parlando.audio.waveform import load, read_metadata

EXAMPLES = Path(__file__).parents[2] / "examples"


def _example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def sines(monkeypatch):
    monkeypatch.setattr(registry, "load_system", lambda place, device: SineSynthesizer())
    registry._default_speaker.cache_clear()
    yield
    registry._default_speaker.cache_clear()


def test_speak_writes_a_file_and_prints_phonemes(sines, tmp_path, capsys):
    _example("speak").main(str(tmp_path / "hello.wav"), "Hello.")
    assert load(tmp_path / "hello.wav").duration_seconds > 0.2
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [words[-1] for words in printed[:4]] == ["h", "ə", "l", "ˈoʊ"]


def test_stream_writes_the_samples_of_speak(sines):
    text = "Hello there. This is another sentence."
    sink = io.BytesIO()
    _example("stream").main(text, sink)
    streamed = np.frombuffer(sink.getvalue(), dtype=np.int16) / 32767.0
    spoken = registry.load().speak(text, seed=1).samples
    assert len(streamed) == len(spoken)
    assert np.abs(streamed - spoken).max() < 1e-4


def test_example_prompt_is_made_again_as_it_is(tmp_path):
    path = tmp_path / "prompt.wav"
    _example("make_example_prompt").main(path)
    made, bundled = load(path), load(registry.example_prompt())
    assert made.rate_hz == RATE
    assert made.samples.shape == bundled.samples.shape
    # Processors add in their own order, so that samples may round to neighbouring 16-bit steps.
    assert 2**15 * np.abs(made.samples - bundled.samples).max() <= 2.0
    assert "no recording of a person" in read_metadata(path)["comment"]
