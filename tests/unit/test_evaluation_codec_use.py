"""What a codec spends: bits by sample, codebooks by corpus."""

import json
import pickle

import numpy as np
import pytest

from parlando.contracts import AudioError
from parlando.evaluation.codec_use import CodecUse
from parlando.evaluation.measure import Row, Sample, Trial, figures_of
from parlando.evaluation.reconstruction import perplexity


def sample(codes, name: str = "one", **details) -> Sample:
    details = {"codes": codes, "codebook_size": 8, "hop_samples": 200, "rate_hz": 16_000} | details
    details = {key: value for key, value in details.items() if value is not None}
    return Sample(trial=Trial(id=name), output=np.zeros(1, np.float32), details=details)


def row(codes, name: str = "one", **details) -> Row:
    judged = CodecUse().judge(sample(codes, name, **details))
    # As the engine keeps it: through JSON.
    notes = json.loads(json.dumps(dict(judged.notes)))
    return Row(trial=Trial(id=name), values=judged.values, notes={"codec": notes})


def test_bit_rate_is_levels_times_bits_times_frames() -> None:
    twelve = row(np.zeros((12, 80), int).tolist(), codebook_size=1024)
    six = row(np.zeros((6, 240), int).tolist(), codebook_size=1024)
    assert twelve.values["bit_rate"] == (pytest.approx(9.6), pytest.approx(1.0))
    assert six.values["bit_rate"] == (pytest.approx(4.8 * 3), pytest.approx(3.0))
    # Pooled over time: three quarters of it at half the rate.
    (figure,) = figures_of([twelve, six], CodecUse.quantities)
    assert figure.value == pytest.approx((9.6 + 3 * 4.8) / 4)
    at_24_khz = row(np.zeros((8, 75), int).tolist(), hop_samples=320, rate_hz=24_000)
    assert at_24_khz.values["bit_rate"] == (pytest.approx(8 * 3 * 0.075), pytest.approx(1.0))


def test_levels_with_names_are_pooled_by_them() -> None:
    whole = row([[0, 1], [2, 2], [4, 5]], level_names=["tune 1", "word 1", "rest 1"])
    part = row([[2, 3], [6, 7]], level_names=["tune 1", "word 1"])
    figures = CodecUse().conclude([whole, part])
    used = {f.condition.get("level"): f for f in figures if f.quantity.key == "codebook_used"}
    assert list(used) == [None, "tune 1", "word 1", "rest 1"]
    assert [used[name].value for name in ("tune 1", "word 1", "rest 1")] == [4 / 8, 3 / 8, 2 / 8]
    assert [used[name].count for name in ("tune 1", "rest 1")] == [2, 1]


def test_codebooks_are_pooled_over_rows() -> None:
    generator = np.random.default_rng(0)
    stacks = [generator.integers(0, (2, 5), size=(31, 2)).T for _ in range(4)]
    rows = [row(stack.tolist(), str(place)) for place, stack in enumerate(stacks)]
    found = {
        (figure.quantity.key, figure.condition.get("level")): figure
        for figure in CodecUse().conclude(rows)
    }
    levels = np.concatenate(stacks, axis=1)
    expected = [perplexity(np.unique(level, return_counts=True)[1]) for level in levels]
    assert found["codebook_perplexity", "1"].value == pytest.approx(expected[0])
    assert found["codebook_perplexity", "2"].value == pytest.approx(expected[1])
    assert found["codebook_perplexity", None].value == pytest.approx(np.mean(expected))
    assert found["codebook_used", "1"].value == 2 / 8
    assert found["codebook_used", "2"].value == 5 / 8
    assert found["codebook_used", None].value == 3.5 / 8
    assert {figure.count for figure in found.values()} == {4}


def test_a_corpus_uses_what_no_utterance_does() -> None:
    rows = [row([[entry] * 5], str(entry)) for entry in range(8)]
    values = {figure.quantity.key: figure.value for figure in CodecUse().conclude(rows)}
    assert values == {"codebook_perplexity": pytest.approx(8.0), "codebook_used": 1.0}


def test_fewer_levels_count_where_they_are() -> None:
    found = CodecUse().conclude([row([[0, 1]]), row([[2, 3], [4, 4]], "two")])
    counts = {
        figure.condition["level"]: (figure.value, figure.count)
        for figure in found
        if figure.quantity.key == "codebook_perplexity" and figure.condition
    }
    assert counts == {"1": (pytest.approx(4.0), 2), "2": (pytest.approx(1.0), 1)}


def test_rows_without_codes_are_passed_over() -> None:
    speech = Sample(trial=Trial(id="speech"), output=np.zeros(1, np.float32))
    assert CodecUse().judge(speech).values == {}
    failed = Row(trial=Trial(id="failed"), failures={"output": "no such file"})
    assert CodecUse().conclude([failed]) == []
    assert {figure.count for figure in CodecUse().conclude([failed, row([[1]])])} == {1}


@pytest.mark.parametrize(
    ("codes", "details", "message"),
    [
        ([[0, 8]], {}, "codes from 0 to 8; a codebook of 8 entries has 0 to 7"),
        ([[0, -1]], {}, "codes from -1 to 0"),
        ([[0, 1], [2]], {}, r"lengths \[1, 2\]"),
        ([[]], {}, r"lengths \[0\]"),
        ([], {}, r"lengths \[\]"),
        ([[0]], {"codebook_size": None}, "without codebook_size"),
    ],
)
def test_broken_codes_are_one_line(codes, details, message: str) -> None:
    with pytest.raises(AudioError, match=message) as caught:
        CodecUse().judge(sample(codes, **details))
    assert "\n" not in str(caught.value)


def test_two_codecs_never_share_a_figure() -> None:
    with pytest.raises(AudioError, match=r"\[8, 16\] entries"):
        CodecUse().conclude([row([[1]]), row([[1]], codebook_size=16)])


def test_it_travels_to_other_processes() -> None:
    measure = pickle.loads(pickle.dumps(CodecUse()))
    assert set(measure.judge(sample([[1, 2]])).values) == {"bit_rate"}
