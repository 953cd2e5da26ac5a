"""Figures: pooled, and drawn by sentence where one is spoken under several conditions."""

import numpy as np
import pytest

from parlando.evaluation.generation import Generation
from parlando.evaluation.measure import (
    Quantity,
    Row,
    Sample,
    Trial,
    by_sentence,
    figures_of,
    ratio_of,
    varied_labels,
)

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


def crossed_rows(nuclei=("0", "0.8"), groups=("1", "2", "4")):
    """Two sentences of unlike lists under all combinations; errors tell the combination."""
    return [
        Row(
            trial=Trial(
                id=f"{text}{p}{group}",
                text=text,
                labels={"list": text, "top_p": p, "variant": group},
            ),
            values={"errors": (float(p) + float(group), 1.0)},
        )
        for text in ("hard", "easy")
        for p in nuclei
        for group in groups
    ]


def test_conditions_that_were_varied_together_have_figures_for_each_combination():
    rows = crossed_rows()
    assert varied_labels([row.trial for row in rows]) == ["top_p", "variant"]
    cells = [figure for figure in figures_of(rows, [ERRORS]) if len(figure.condition) == 2]
    assert len(cells) == 2 * 3
    for figure in cells:
        expected = float(figure.condition["top_p"]) + float(figure.condition["variant"])
        assert (figure.value, figure.count) == (expected, 2)
    alone = figures_of(crossed_rows(groups=("2",)), [ERRORS])
    assert {len(figure.condition) for figure in alone} == {0, 1}
    assert varied_labels([row.trial for row in rows if row.trial.text == "hard"][:2]) == ["variant"]


def test_a_row_without_one_of_the_varied_labels_is_in_no_combination():
    rows = crossed_rows()
    other = Row(trial=Trial(id="x", text="x", labels={"top_p": "0"}), values={"errors": (99.0, 1)})
    cells = [figure.value for figure in figures_of([*rows, other], [ERRORS])]
    assert [value for value in cells if value > 9.0] == [
        pytest.approx((sum(row.values["errors"][0] for row in rows) + 99.0) / 13),
        pytest.approx((1.0 + 2.0 + 4.0 + 1.0 + 2.0 + 4.0 + 99.0) / 7),
    ]


def generated(notes, seconds=2):
    sound = np.zeros(seconds * 16_000, np.float32)
    details = {} if notes is None else {"notes": notes}
    return Generation().judge(Sample(trial=Trial(id="x"), output=sound, details=details))


def test_an_output_is_cut_where_any_of_its_pieces_was():
    made = [
        generated({"cut": cut, "replaced": replaced})
        for cut, replaced in ((0.0, 3.0), (2.0, 5.0), (0.0, 0.0))
    ]
    rows = [
        Row(trial=Trial(id=str(place)), values=judged.values) for place, judged in enumerate(made)
    ]
    cut, replaced = figures_of(rows, Generation().quantities)
    assert cut.value == pytest.approx(1 / 3)
    assert replaced.value == pytest.approx(8.0 / 6.0)
    assert made[1].notes == {"cut": 2.0, "replaced": 5.0}


def test_a_system_that_tells_nothing_has_no_figures_of_generation():
    assert generated(None).values == {}
    assert generated({"other": 1.0}).values == {}


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
