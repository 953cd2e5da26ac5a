"""Comparison: what is alike shows no difference, what differs is found, and how often."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from reportlike import QUANTITIES, SIM, WER, changed, report, row, simulated
from speechlike import speechlike

from parlando.audio.waveform import save
from parlando.contracts import ConfigError
from parlando.evaluation.measure import Figure, Quantity, Recording, Row, Trial
from parlando.evaluation.records import audio_path
from parlando.reporting.compare import compare, holm, paired_difference


def rates(count, generator, gap):
    """Two systems on the same utterances: shared hardness, own noise; the true gap is known."""
    words = generator.integers(5, 20, count).astype(float)
    hard = generator.normal(0.3, 0.1, count)
    first = (hard + generator.normal(0.0, 0.1, count)) * words
    second = (hard + gap + generator.normal(0.0, 0.1, count)) * words
    weights = np.stack([words, words], 1)
    return np.stack([np.stack([first, second], 1), weights], 2)


def test_identical_reports_differ_in_nothing(tmp_path):
    rows = [row(i, {"wer": (i % 4, 10.0), "sim_o": (0.8 + 0.01 * (i % 7), 1.0)}) for i in range(30)]
    comparison = compare([report(rows, tmp_path), report(rows, tmp_path)])
    assert [line.quantity.key for line in comparison.lines] == ["wer", "sim_o"]
    assert comparison.names == ("naturalspeech2-small (1)", "naturalspeech2-small (2)")
    assert not comparison.remarks
    for index, line in enumerate(comparison.lines):
        difference = line.differences[0]
        assert (difference.value, difference.low, difference.high) == (0.0, 0.0, 0.0)
        assert difference.p == difference.p_holm == 1.0
        assert comparison.lines[index].verdict(0) == "not shown"


def test_what_is_not_of_the_outputs_is_no_test(tmp_path):
    detector = Quantity(key="hits", title="Detector: found", compared=False)

    def made(name, extra):
        rows = simulated(60, 1, extra=extra)
        values = [each.values | {"hits": (float(i % 3 > 0), 1.0)} for i, each in enumerate(rows)]
        rows = [dataclasses.replace(one, values=new) for one, new in zip(rows, values, strict=True)]
        return report(rows, tmp_path, name=name, quantities=(*QUANTITIES, detector))

    comparison = compare([made("one", 0.0), made("two", 0.02), made("three", 0.03)])
    assert [line.quantity.key for line in comparison.lines] == ["wer"]
    assert comparison.tests == 2
    ps = [difference.p for difference in comparison.lines[0].differences]
    assert [one.p_holm for one in comparison.lines[0].differences] == holm(ps)
    assert comparison.remarks == ("not compared, not of the outputs themselves: Detector: found",)


def test_a_true_difference_is_found_and_named_by_its_direction(tmp_path):
    good, bad = simulated(120, 1), simulated(120, 1, extra=0.1)
    first, second = report(good, tmp_path, name="good"), report(bad, tmp_path, name="bad")
    line = compare([first, second]).lines[0]
    difference = line.differences[0]
    assert difference.value == pytest.approx(0.1, abs=0.04)
    assert difference.low > 0.0
    assert difference.p_holm < 0.01
    assert line.verdict(0) == "worse"
    assert compare([second, first]).lines[0].verdict(0) == "better"


def test_conditions_of_one_sentence_prove_no_more_than_one(tmp_path):
    def conditions(extra, copies):
        return [
            dataclasses.replace(
                each, trial=dataclasses.replace(each.trial, id=f"{each.trial.id}-{copy}")
            )
            for each in simulated(12, 1, extra=extra)
            for copy in range(copies)
        ]

    lines = [
        compare([report(conditions(extra, copies), tmp_path) for extra in (0.0, 0.02)]).lines[0]
        for copies in (1, 6)
    ]
    assert lines[1].differences[0] == lines[0].differences[0]
    assert (lines[0].figures[0].count, lines[1].figures[0].count) == (12, 72)


def test_what_fares_alike_is_one_remark_and_people_stand_beside(tmp_path):
    first = [row(i, {"wer": (2, 10.0), "wer_human": (1, 10.0), "sim_o": (0.8, 1)}) for i in (1, 2)]
    second = [row(1, {"wer": (3, 10.0), "wer_human": (1, 10.0), "sim_o": (0.9, 1)})]
    second.append(row(2, {}, failures={"output": "none"}))
    comparison = compare([report(first, tmp_path, name="a"), report(second, tmp_path, name="b")])
    assert comparison.remarks == (
        "1 of the 2 common trials failed wholly or in part in b",
        "1 of 2 common trials left out, not measured in every report: Word error rate; SIM-O",
    )
    assert [line.human for line in comparison.lines] == [0.1, None]


def test_the_order_of_reports_flips_the_sign(tmp_path):
    first = report(simulated(40, 2), tmp_path, name="a")
    second = report(simulated(40, 2, extra=0.03), tmp_path, name="b")
    there = compare([first, second], seed=3).lines[0].differences[0]
    back = compare([second, first], seed=3).lines[0].differences[0]
    assert there.value == pytest.approx(-back.value)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert there.p == back.p


def test_the_interval_covers_the_truth_and_chance_is_rarely_believed():
    generator = np.random.default_rng(0)
    covered = believed = 0
    runs = 300
    for _ in range(runs):
        difference = paired_difference(rates(60, generator, 0.05), resamples=1000)
        covered += difference.low <= 0.05 <= difference.high
        believed += paired_difference(rates(60, generator, 0.0), resamples=1000).p < 0.05
    # Two standard errors of a share of 0.95 in 300 runs are 0.025.
    assert 0.92 <= covered / runs <= 0.98
    assert believed / runs <= 0.08


def test_pairing_is_narrower_than_the_spread_of_utterances():
    generator = np.random.default_rng(1)
    pairs = rates(80, generator, 0.0)
    # The same noise, on unlike utterances: the second system meets them in another order.
    shuffled = pairs.copy()
    shuffled[:, 1] = pairs[generator.permutation(80), 1]
    paired, unpaired = paired_difference(pairs), paired_difference(shuffled)
    assert paired.high - paired.low < 0.9 * (unpaired.high - unpaired.low)


def test_few_utterances_prove_nothing():
    pairs = np.asarray([[[0.0, 10.0], [5.0, 10.0]]] * 5)
    assert paired_difference(pairs).p == pytest.approx(2.0**-4)
    assert paired_difference(pairs[:1]).p == 1.0


def test_holm_agrees_with_the_textbook():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_two_judges_never_share_a_column(tmp_path):
    rows = simulated(20, 4)
    rows = changed(rows, lambda each: {**each.values, "sim_o": (0.8, 1.0)})
    other = (WER, dataclasses.replace(SIM, judge="WavLM-large"))
    comparison = compare(
        [report(rows, tmp_path, name="a"), report(rows, tmp_path, name="b", quantities=other)]
    )
    assert [line.quantity.key for line in comparison.lines] == ["wer"]
    assert any(
        "two models in one column" in remark and "WavLM-large" in remark
        for remark in comparison.remarks
    )


def test_only_common_trials_are_compared_and_the_rest_is_told(tmp_path):
    rows = simulated(20, 5)
    moved = dataclasses.replace(rows[3], trial=dataclasses.replace(rows[3].trial, text="Other."))
    unmeasured = dataclasses.replace(rows[4], values={}, failures={"output": "no sound"})
    second = [*rows[:3], moved, unmeasured, *rows[5:15]]
    comparison = compare([report(rows, tmp_path, name="a"), report(second, tmp_path, name="b")])
    assert len(comparison.trials) == 14
    assert comparison.lines[0].figures[0].count == 13
    told = "\n".join(comparison.remarks)
    assert "5 of the 20 trials of a are not in every report" in told
    assert "same id but another text, prompt or recording, left out: 1" in told
    assert "1 of 14 common trials left out" in told
    assert "1 of the 14 common trials failed wholly or in part in b" in told


def test_recordings_that_only_share_a_name_are_not_compared(tmp_path):
    def made(name, pitch_hz):
        rows = []
        for index in range(3):
            trial = Trial(id=f"{index:03d}", reference=Recording(path=Path(f"{index:03d}.wav")))
            rows.append(Row(trial=trial, values={"sim_o": (0.8, 1.0)}))
            path = audio_path(tmp_path / name, trial.id, "reference")
            path.parent.mkdir(parents=True, exist_ok=True)
            save(path, speechlike(0.5, pitch_hz=pitch_hz if index else 100.0), 16_000)
        return dataclasses.replace(report(rows, tmp_path / name, name=name), kind="codec")

    one, same, other = made("one", 100.0), made("same", 100.0), made("other", 120.0)
    assert compare([one, same]).trials == ("000", "001", "002")
    comparison = compare([one, other])
    assert comparison.trials == ("000",)
    told = "trials with the same id but another text, prompt or recording, left out: 2"
    assert told in comparison.remarks


def test_going_on_and_speaking_anew_are_two_tasks(tmp_path):
    """Human speech is .905 like its own beginning, .779 like another utterance (VALL-E 2)."""
    anew = [row(i, {"sim_o": (0.8, 1.0)}) for i in range(5)]
    on = [
        dataclasses.replace(each, trial=dataclasses.replace(each.trial, continues=True))
        for each in anew
    ]
    with pytest.raises(ConfigError, match="share no trial"):
        compare([report(anew, tmp_path), report(on, tmp_path)])


def test_what_only_one_report_measured_is_told(tmp_path):
    rows = simulated(10, 6)
    more = changed(rows, lambda each: {**each.values, "sim_o": (0.8, 1.0)})
    comparison = compare([report(rows, tmp_path, name="a"), report(more, tmp_path, name="b")])
    assert any(
        "SIM-O" in remark and "only measured in b" in remark for remark in comparison.remarks
    )


def test_three_reports_are_compared_with_the_first_and_corrected_together(tmp_path):
    reports = [
        report(simulated(60, 7, extra=extra), tmp_path, name=f"system {extra}")
        for extra in (0.0, 0.02, 0.2)
    ]
    comparison = compare(reports)
    (line,) = comparison.lines
    assert comparison.tests == len(line.differences) == 2
    assert line.differences[1].p_holm == pytest.approx(2 * line.differences[1].p)
    assert line.verdict(1) == "worse"


def test_refusals(tmp_path):
    one = report(simulated(5, 8), tmp_path)
    with pytest.raises(ConfigError, match="needs two or more"):
        compare([one])
    with pytest.raises(ConfigError, match="reports of one kind"):
        compare([one, dataclasses.replace(one, kind="codec")])
    apart = report([row(i + 50, {"wer": (0.0, 1.0)}) for i in range(5)], tmp_path)
    with pytest.raises(ConfigError, match="share no trial"):
        compare([one, apart])


def test_levels_of_people_and_chance_are_no_lines(tmp_path):
    rows = [row(i, {"wer": (1, 10), "wer_human": (0, 10)}) for i in range(8)]
    lines = compare([report(rows, tmp_path, name=name) for name in "ab"]).lines
    assert [line.quantity.key for line in lines] == ["wer"]
    assert QUANTITIES[1].key == "wer_human"


def test_a_figure_of_the_whole_list_is_not_paired(tmp_path):
    quantity = dataclasses.replace(SIM, key="rank_one", title="Rank-1 identification")
    reports = []
    for name in "ab":
        made = report(simulated(6, 9), tmp_path, name=name)
        figure = Figure(quantity=quantity, value=0.9, count=6)
        reports.append(dataclasses.replace(made, figures=(*made.figures, figure)))
    comparison = compare(reports)
    assert [line.quantity.key for line in comparison.lines] == ["wer"]
    assert comparison.remarks == (
        "not compared, figures of the whole list, which utterances cannot be paired for: "
        "Rank-1 identification",
    )
