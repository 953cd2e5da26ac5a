"""What a run shows and keeps."""

import io
import json

import numpy as np
import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from parlando.training.tracking import Tracker


def lines_of(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_records_reach_the_file_and_tensorboard(tmp_path):
    with Tracker(tmp_path, 0, Console(file=io.StringIO())) as tracker:
        tracker.record(10, 0.5, {"train/mel": 1.5, "train/odd": float("nan")}, 0.1)
        tracker.audio(10, "voice", np.sin(np.arange(1600) / 10) * 2, 16_000)
    assert lines_of(tmp_path) == [{"step": 10, "minutes": 0.5, "train/mel": 1.5, "train/odd": None}]
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in board.Scalars("train/mel")] == [(10, 1.5)]
    sound = board.Audio("voice")[0]
    assert (sound.step, sound.sample_rate, sound.length_frames) == (10, 16_000, 1600)


def test_records_of_a_lost_part_are_dropped(tmp_path):
    with Tracker(tmp_path, 0, Console(file=io.StringIO())) as tracker:
        for step in (1, 2, 3):
            tracker.record(step, 0.0, {"a": float(step)}, 0.0)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "min')  # as a kill leaves it
    with Tracker(tmp_path, 2, Console(file=io.StringIO())) as tracker:
        tracker.record(3, 0.0, {"a": 30.0}, 0.0)
    assert [(line["step"], line["a"]) for line in lines_of(tmp_path)] == [(1, 1), (2, 2), (3, 30)]


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_shows_speed_time_left_and_losses(tmp_path, terminal):
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=terminal, width=200)
    with Tracker(tmp_path, 0, console) as tracker:
        tracker.record(5, 10.0, {"train/mel": 0.123456}, 0.25)
    for part in ("step 5", "10.0 min", "steps/s", "30.0 min left", "train/mel 0.1235"):
        assert part in shown.getvalue()
