"""The benchmark of decoding runs without weights, and its verdict reads bounds the right way."""

from benchmarks.decoding import TARGETS, Options, measure, verdict


def test_everything_is_measured_and_judged():
    figures = measure(Options(frames=6, prompt_frames=9, symbols=5, repeats=1, threads=1))
    assert all(value > 0.0 for value in figures.values())
    assert verdict(figures).keys() == TARGETS.keys() <= figures.keys()


def test_speed_ups_are_lower_bounds_and_times_upper_ones():
    assert all(verdict(TARGETS).values())
    worse = {
        name: bound * (0.9 if name.endswith("speed_up") else 1.1) for name, bound in TARGETS.items()
    }
    assert not any(verdict(worse).values())
