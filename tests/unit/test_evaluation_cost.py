"""Cost of a toy system whose times, passes, memory and size are known."""

import time
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from parlando.contracts import ConfigError
from parlando.evaluation.cost import (
    Request,
    counted_calls,
    machine,
    measure_cost,
    parameter_counts,
    peak_memory_bytes,
    time_under_load,
)
from parlando.evaluation.measure import Row, Trial
from parlando.registry import example_prompt

MEGABYTE = 1 << 20


class ToySpeaker:
    """Takes 20 ms for each of the pieces of a second, with ``steps`` passes of its network."""

    def __init__(self, megabytes=0):
        network = torch.nn.Linear(10, 10)
        # The prompt's encoder is the network too: it is counted once.
        self.synthesizer = SimpleNamespace(
            network=network, same=network, other=torch.nn.Linear(5, 1)
        )
        self.ballast = np.ones(megabytes * MEGABYTE, dtype=np.uint8)
        self.voices = []

    def stream(self, text, voice=None, *, seed=None, steps=4):
        self.voices.append(voice)
        for _ in text.split():
            time.sleep(0.02)
            for _ in range(steps):
                self.synthesizer.network(torch.zeros(3, 10))
            yield SimpleNamespace(samples=np.zeros(8000, dtype=np.float32), rate_hz=8000)

    def speak(self, text, voice=None, *, seed=None, steps=4):
        parts = [part.samples for part in self.stream(text, voice, seed=seed, steps=steps)]
        return SimpleNamespace(samples=np.concatenate(parts), rate_hz=8000)


class MuteSpeaker:
    def speak(self, text, voice=None, *, seed=None):
        return SimpleNamespace(samples=np.zeros(8000, dtype=np.float32), rate_hz=8000)


class DyingSpeaker(MuteSpeaker):
    def speak(self, text, voice=None, *, seed=None):
        import os

        os._exit(9)


REQUEST = Request(text="three words here", options={"steps": 2})


def test_every_cost_of_a_toy_system_is_what_it_is():
    figures = measure_cost(
        ToySpeaker,
        request=REQUEST,
        network=lambda speaker: speaker.synthesizer.network,
        repeats=3,
        condition={"steps": "2"},
    )
    found = {figure.quantity.key: figure for figure in figures}
    assert 0.02 < found["real_time_factor"].value < 0.2
    # The first of three pieces, not the whole.
    assert 0.02 < found["first_audio"].value < 0.06
    assert found["network_evaluations"].value == 6
    assert found["parameters"].value == pytest.approx((110 + 6) / 1e6)
    assert found["peak_memory"].quantity.unit == "MB"
    assert 20 < found["peak_memory"].value < 2000
    rtf = found["real_time_factor"]
    assert rtf.low <= rtf.value <= rtf.high
    assert (rtf.count, rtf.condition) == (3, {"steps": "2"})
    assert "thread" in rtf.quantity.judge


class WelcomingSpeaker(ToySpeaker):
    """Takes 30 ms more for a voice that it is given."""

    default_voice = example_prompt()

    def stream(self, text, voice=None, *, seed=None, steps=4):
        time.sleep(0.0 if voice is None else 0.03)
        yield from super().stream(text, voice, seed=seed, steps=steps)


def test_a_new_voice_is_waited_for():
    figures = measure_cost(WelcomingSpeaker, request=REQUEST, repeats=3)
    found = {figure.quantity.key: figure.value for figure in figures}
    assert found["first_audio_new_voice"] - found["first_audio"] > 0.015


def test_what_a_system_does_not_have_is_left_out():
    figures = measure_cost(MuteSpeaker, repeats=1)
    assert {f.quantity.key for f in figures} == {"real_time_factor", "peak_memory"}


def test_memory_is_that_of_a_process_of_its_own():
    here = np.ones(400 * MEGABYTE, dtype=np.uint8)
    light = peak_memory_bytes(partial(ToySpeaker, 0), REQUEST)
    heavy = peak_memory_bytes(partial(ToySpeaker, 200), REQUEST)
    assert heavy - light == pytest.approx(200 * MEGABYTE, rel=0.1)
    assert here[0] == 1
    lightest = peak_memory_bytes(MuteSpeaker, Request(text="word"))
    # What the caller holds does not count.
    assert lightest < light + 50 * MEGABYTE


def test_a_process_that_dies_is_told_in_one_line():
    with pytest.raises(ConfigError, match="ended from outside"):
        peak_memory_bytes(DyingSpeaker, Request(text="word"))


def test_calls_are_counted_only_inside_the_context():
    network = torch.nn.Linear(2, 2)
    with counted_calls(network) as calls:
        network(torch.zeros(7, 2))
        network(torch.zeros(2))
    network(torch.zeros(2))
    assert calls.count == 2
    assert not network._forward_hooks


def test_parameters_are_found_in_attributes_and_in_the_object_itself():
    counts = parameter_counts(ToySpeaker())
    assert counts == {"synthesizer.network": 110, "synthesizer.other": 6}
    assert parameter_counts(torch.nn.Linear(2, 3)) == {"Linear": 9}
    assert parameter_counts(MuteSpeaker()) == {}


def test_the_voice_reaches_the_speaker():
    speaker = ToySpeaker()
    voice = (np.zeros(16_000, dtype=np.float32), 16_000)
    request = Request(text="one", voice=voice)
    request.speak(speaker, seed=1)
    request.first_part(speaker, seed=1)
    assert speaker.voices == [voice, voice]


def test_who_can_stream_in_chunks_does_so_to_be_first():
    asked = []

    class Chunked(ToySpeaker):
        def in_chunks(self, options):
            return {"steps": 1, **options}

        def stream(self, text, voice=None, *, seed=None, steps=4):
            asked.append(steps)
            return super().stream(text, voice, seed=seed, steps=steps)

    Request(text="one").first_part(Chunked(), seed=0)
    Request(text="one", options={"steps": 3}).first_part(Chunked(), seed=0)
    Request(text="one").first_part(ToySpeaker(), seed=0)
    assert asked == [1, 3]


def test_time_under_load_is_pooled_over_rows_that_know_it():
    trial = Trial(id="t")
    rows = [
        Row(trial=trial, seconds=10.0, wall_seconds=1.0),
        Row(trial=trial, seconds=2.0, wall_seconds=2.0),
        Row(trial=trial, failures={"output": "crashed"}),
    ]
    figure = time_under_load(rows)
    assert figure.value == pytest.approx(3.0 / 12.0)
    assert figure.count == 2
    assert time_under_load(rows[2:]) is None


def test_time_under_load_of_one_system_leaves_the_others_out():
    rows = [
        Row(trial=Trial(id=name, labels={"system": name}), seconds=1.0, wall_seconds=wall)
        for name, wall in (("quick", 0.5), ("slow", 4.0))
    ]
    figure = time_under_load(rows, {"system": "slow"})
    assert (figure.value, figure.condition) == (4.0, {"system": "slow"})


def test_the_processor_is_named_and_not_only_its_kind():
    name = machine()
    assert "thread" in name
    assert not name.startswith(("x86_64,", ","))
