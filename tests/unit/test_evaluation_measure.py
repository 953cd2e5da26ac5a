"""Figures: pooled, and drawn by sentence where one is spoken under several conditions."""

import numpy as np
import pytest

from parlando.evaluation.measure import Quantity, Row, Trial, by_sentence, figures_of, ratio_of

ERRORS = Quantity(key="errors", title="Errors")


def rows_of(conditions, sentences=30):
    """Sentences of unlike hardness, each the same under every condition."""
    hard = np.random.default_rng(0).integers(0, 9, sentences)
    return [
        Row(
            trial=Trial(
                id=f"{number}-{steps}",
                text=f"sentence {number}",
                seed=number,
                labels={"steps": str(steps)},
            ),
            values={"errors": (float(hard[number]), 10.0)},
        )
        for number in range(sentences)
        for steps in range(conditions)
    ]


def test_a_sentence_under_several_conditions_is_one_draw():
    once, often = (ratio_of(rows_of(count), "errors") for count in (1, 8))
    assert often.value == pytest.approx(once.value)
    # Eight copies of a sentence know no more than one.
    assert (often.low, often.high) == pytest.approx((once.low, once.high))
    assert (once.count, often.count) == (30, 240)


def test_figures_of_a_condition_are_those_of_its_own_rows():
    figures = figures_of(rows_of(2), [ERRORS])
    assert [(figure.condition, figure.count) for figure in figures] == [
        ({}, 60),
        ({"steps": "0"}, 30),
        ({"steps": "1"}, 30),
    ]
    assert len({figure.value for figure in figures}) == 1


def test_what_nobody_measured_or_what_weighs_nothing_has_no_figure():
    rows = rows_of(1)
    assert ratio_of(rows, None) is None
    assert ratio_of(rows, "other") is None
    weightless = [Row(trial=row.trial, values={"errors": (0.0, 0.0)}) for row in rows]
    assert ratio_of(weightless, "errors") is None


def test_trials_of_which_nothing_is_known_stay_apart():
    trials = [Trial(id="a"), Trial(id="b"), Trial(id="c", text="x"), Trial(id="d", text="x")]
    sums = by_sentence(trials, [[1.0, 1.0], [2.0, 1.0], [3.0, 1.0], [4.0, 1.0]])
    np.testing.assert_array_equal(sums, [[1.0, 1.0], [2.0, 1.0], [7.0, 2.0]])
