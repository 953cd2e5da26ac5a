"""The benchmark of decoding runs without weights, and is held to the aims of VALL-E 2."""

from dataclasses import replace

import pytest
from benchmarks.decoding import Options, measure
from benchmarks.results import entries, read_aims


@pytest.fixture(scope="module")
def figures():
    return measure(Options(frames=6, repeats=1, threads=1))


def test_every_aim_has_its_figure(figures):
    judged = {e["key"]: e for e in entries("valle2-decoding", figures) if "aim" in e}
    assert judged.keys() == read_aims("valle2-decoding").keys()
    assert {key: entry["bound"] for key, entry in judged.items()} == {
        "cache_speed_up": 5.0,
        "group_speed_up": 1.6,
        "real_time_factor": 0.8,
        "first_audio": 0.5,
    }


def test_the_real_time_factor_has_all_that_speaking_a_piece_does(figures):
    found = {figure.quantity.key: figure.value for figure in figures}
    assert all(value > 0.0 for value in found.values())
    stages = sum(found[stage] for stage in ("text", "pairs", "finer", "finish"))
    assert found["real_time_factor"] == pytest.approx(stages / (6 / 80))
    assert found["group_speed_up"] == pytest.approx(found["single"] / found["pairs"])
    assert found["cache_speed_up"] == pytest.approx(found["uncached"] / found["single"])


def test_speed_ups_are_lower_bounds_and_times_upper_ones(figures):
    def reached(share):
        """Judge figures that lie by a share beyond their bounds, on the wrong side of them."""
        aims = read_aims("valle2-decoding")
        moved = [
            replace(f, value=aim.bound(None, None) * (1 - share if aim.wants_more else 1 + share))
            for f in figures
            if (aim := aims.get(f.quantity.key))
        ]
        return {entry["reached"] for entry in entries("valle2-decoding", moved)}

    assert reached(0.0) == {True}
    assert reached(0.1) == {False}
