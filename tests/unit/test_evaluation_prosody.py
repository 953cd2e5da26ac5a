import functools
import pickle
import warnings

import numpy as np
import pytest
import scipy.stats
from toned import StepAligner, reading

from parlando.contracts import AudioError, TextError
from parlando.evaluation.alignment import PhoneFinder, timed_phones, told_phones
from parlando.evaluation.contours import (
    correlation,
    frame_energy_db,
    moment_differences,
    moments,
    phone_values,
    root_mean_square_error,
    stress_contrast,
    warped_frames,
)
from parlando.evaluation.measure import Recording, Sample, Trial
from parlando.evaluation.prosody import Prosody
from parlando.evaluation.sounds import read_recording
from parlando.registry import example_prompt, load_aligner

SYMBOLS = ("m", "ˈæ", "s", "ə", "n", "ˈiː", "l", "ɪ")
PITCH = (110, 150, 0, 120, 130, 160, 100, 115)
FRAMES = (8, 16, 10, 7, 9, 14, 11, 6)
MINE = list(zip(PITCH, FRAMES, strict=True))


def sample(output, *, reference=None, prompt=None, by="anna", details=None, text="spoken"):
    trial = Trial(id="one", speaker="anna", reference_speaker=by, text=text, prompt_text=None)
    details = {"symbols": SYMBOLS} if details is None else details
    return Sample(trial=trial, output=output, reference=reference, prompt=prompt, details=details)


def judged(*arguments, **options):
    judgement = Prosody(StepAligner).judge(sample(*arguments, **options))
    return {key: top / bottom for key, (top, bottom) in judgement.values.items()}, judgement


def test_moments_are_those_of_scipy_and_need_values_and_spread():
    values = np.random.default_rng(1).gamma(2.0, 30.0, 50)
    found = moments(np.append(values, np.nan))
    assert found == pytest.approx(
        {
            "mean": np.mean(values),
            "std": np.std(values),
            "skewness": scipy.stats.skew(values),
            "kurtosis": scipy.stats.kurtosis(values, fisher=True),
        }
    )
    assert moments(np.array([np.nan])) == {}
    assert moments(np.array([7.0])) == {"mean": 7.0, "std": 0.0}
    assert moments(np.full(10, 0.1)) == pytest.approx({"mean": 0.1, "std": 0.0})
    assert [*moments(np.array([5.0, 5.1]), least_spread=0.1)] == ["mean", "std"]


def test_moment_differences_have_no_sign_and_only_what_both_have():
    few, many = np.array([100.0]), np.array([90.0, 130.0, 200.0])
    assert moment_differences(few, many) == pytest.approx({"mean": 40.0, "std": many.std()})
    assert moment_differences(many, few) == pytest.approx(moment_differences(few, many))
    assert set(moment_differences(many, many).values()) == {0.0}


def test_correlation_and_rmse_look_where_both_are_finite():
    generator = np.random.default_rng(2)
    first = generator.standard_normal(40)
    second = first + generator.standard_normal(40)
    expected = scipy.stats.pearsonr(first, second).statistic
    error = np.sqrt(np.mean((first - second) ** 2))
    gaps = np.append(first, [np.nan, 3.0]), np.append(second, [1.0, np.nan])
    assert correlation(*gaps) == pytest.approx(expected)
    assert root_mean_square_error(*gaps) == pytest.approx(error)
    assert correlation(first, -2 * first + 5) == pytest.approx(-1.0)


@pytest.mark.parametrize("second", [[1.0, 2.0, np.nan], [4.0, 4.0, 4.0], [np.nan] * 3])
def test_correlation_is_undefined_for_two_points_and_for_a_constant(second):
    assert correlation(np.array([1.0, 2.0, 3.0]), np.array(second)) is None


def test_rmse_of_nothing_is_undefined():
    assert root_mean_square_error(np.array([np.nan]), np.array([1.0])) is None


def test_phone_values_average_the_frames_that_count():
    phones = timed_phones(["m", " ", "æ", "s"], [2, 3, 4, 5])
    values = np.arange(9.0)
    valid = np.array([True, True, True, True, True, False, True, True, False])
    np.testing.assert_allclose(phone_values(values, valid, phones), [0.5, 6.5, np.nan])
    voiced = np.array([True, False, False, False, False, False, False, True, False])
    np.testing.assert_allclose(phone_values(values, voiced, phones), [0.0, 7.0, np.nan])
    np.testing.assert_allclose(phone_values(values, voiced, phones, 0.5), [0.0, np.nan, np.nan])


def test_told_durations_are_scaled_to_our_frames():
    told = {"symbols": ["m", ",", "æ"], "durations_frames": [4, 2, 6]}
    phones = told_phones(told | {"hop_samples": 480, "rate_hz": 24_000})
    assert phones.symbols == ("m", "æ")
    np.testing.assert_allclose(phones.starts, [0.0, 6 * 1.6])
    np.testing.assert_allclose(phones.durations, [4 * 1.6, 6 * 1.6])
    np.testing.assert_allclose(told_phones(told).durations, [4, 6])
    assert told_phones({}) is None
    with pytest.raises(TextError, match="3 symbols with 1 durations"):
        told_phones(told | {"durations_frames": [4]})


def test_frame_energy_of_a_sine_is_its_level_and_of_silence_the_floor():
    sine = 0.5 * np.sin(2 * np.pi * 200 * np.arange(16_000) / 16_000)
    levels = frame_energy_db(np.concatenate([sine, np.zeros(4_000)]))
    assert len(levels) == 100
    np.testing.assert_allclose(levels[2:78], 10 * np.log10(0.125), atol=0.01)
    assert levels[-1] == pytest.approx(-100.0)


def test_warped_frames_stretch_inside_phones_and_skip_what_one_side_lacks():
    first = timed_phones(["m", "æ", " ", "s"], [2, 0, 5, 3])
    second = timed_phones(["m", "æ", " ", "s"], [4, 3, 1, 1])
    mine, theirs = warped_frames(first, second)
    assert mine.tolist() == [0, 0, 1, 1, 8]
    assert theirs.tolist() == [0, 1, 2, 3, 8]
    same, also = warped_frames(first, first)
    assert same.tolist() == also.tolist() == [0, 1, 7, 8, 9]
    assert [len(side) for side in warped_frames(timed_phones([], []), timed_phones([], []))] == [
        0,
        0,
    ]


def test_stress_contrast_leaves_secondary_stress_and_consonants_out():
    symbols = ("ˈæ", "ˌiː", "ə", "s", "ɪ")
    assert stress_contrast(np.array([9.0, 50.0, 2.0, 99.0, 4.0]), symbols) == pytest.approx(6.0)
    assert stress_contrast(np.array([np.nan, 50.0, 2.0, 99.0, 4.0]), symbols) is None
    assert stress_contrast(np.array([1.0, 2.0]), ("ˈæ", "s")) is None


def test_identical_audio_differs_in_nothing_and_correlates_fully():
    speech = reading(MINE)
    values, judgement = judged(speech, reference=speech, prompt=speech)
    every = {quantity.key for quantity in Prosody(StepAligner).quantities}
    assert set(values) == every
    for key, value in values.items():
        assert value == pytest.approx(1.0 if "correlation" in key else 0.0, abs=1e-9), key
    assert judgement.values["duration_correlation"][1] == 8
    assert judgement.values["pitch_correlation"][1] == 7
    assert judgement.notes == {"phones": 8, "durations": "aligned"}


def test_known_differences_come_back_in_their_units():
    louder_higher_slower = [(2 * hertz, 2 * frames) for hertz, frames in MINE]
    values, _ = judged(reading(louder_higher_slower, gain=2.0), reference=reading(MINE))
    voiced = np.array([hertz for hertz in PITCH if hertz], dtype=float)
    frames = np.array(FRAMES, dtype=float)
    assert values["pitch_mean_reference"] == pytest.approx(voiced.mean(), rel=0.02)
    assert values["pitch_std_reference"] == pytest.approx(voiced.std(), rel=0.05)
    assert values["pitch_semitones_reference"] == pytest.approx(12.0, abs=0.2)
    assert values["pitch_rmse"] == pytest.approx(np.sqrt(np.mean(voiced**2)), rel=0.02)
    assert values["duration_mean_reference"] == pytest.approx(frames.mean())
    assert values["duration_std_reference"] == pytest.approx(frames.std())
    assert values["duration_kurtosis_reference"] == pytest.approx(0.0, abs=1e-9)
    assert values["duration_rmse"] == pytest.approx(np.sqrt(np.mean(frames**2)))
    assert values["duration_correlation"] == pytest.approx(1.0)
    assert values["pitch_correlation"] > 0.99
    assert values["contour_correlation"] > 0.95
    assert values["energy_mean_reference"] == pytest.approx(20 * np.log10(2.0), abs=0.3)
    assert values["voicing_error"] < 0.1
    assert values["stress_pitch"] == pytest.approx(0.0, abs=0.1)
    assert values["stress_duration"] == pytest.approx(15.0 - 6.5)


def test_a_whispered_phone_is_a_voicing_error_and_no_pitch():
    whispered = [(0 if place == 1 else hertz, frames) for place, (hertz, frames) in enumerate(MINE)]
    values, judgement = judged(reading(whispered), reference=reading(MINE))
    assert values["voicing_error"] == pytest.approx(16 / sum(FRAMES), abs=0.04)
    assert judgement.values["pitch_correlation"][1] == 6


def test_flat_stress_is_told_from_marked_stress():
    flat = [(120, 10) if hertz else (0, 10) for hertz, _ in MINE]
    values, _ = judged(reading(flat), reference=reading(MINE))
    contrast = 12 * np.log2(155 / 120) + 6 * np.log2(120 / 115) - 6 * np.log2(155**2 / (150 * 160))
    assert values["stress_pitch"] == pytest.approx(contrast, abs=0.1)
    assert values["stress_duration"] == pytest.approx(15.0 - 6.5)


def test_a_monotone_has_no_pitch_correlation_and_no_skewness():
    values, _ = judged(reading([(120, frames) for frames in FRAMES]), reference=reading(MINE))
    assert not {"pitch_correlation", "contour_correlation", "pitch_skewness_reference"} & {*values}
    assert {"pitch_rmse", "pitch_std_reference", "duration_correlation"} <= {*values}


def test_without_voice_only_pitch_is_left_out():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values, _ = judged(reading([(0, n) for n in FRAMES]), reference=reading(MINE))
    assert not [key for key in values if "pitch" in key or "contour" in key]
    assert values["voicing_error"] == pytest.approx(1 - 10 / sum(FRAMES), abs=0.05)
    assert values["duration_rmse"] == 0.0


def test_one_phone_has_a_mean_and_nothing_that_needs_more():
    speech = reading([(120, 20)])
    values, _ = judged(speech, reference=speech, details={"symbols": ["æ"]})
    assert values["pitch_mean_reference"] == values["duration_rmse"] == 0.0
    by_phone = ("skewness", "kurtosis", "pitch_corr", "duration_corr", "contour", "stress")
    assert not [key for key in values if any(part in key for part in by_phone)]


@pytest.mark.parametrize("by", ["berta", ""])
def test_another_speakers_reading_is_not_compared(by):
    speech = reading(MINE)
    values, _ = judged(speech, reference=speech, prompt=speech, by=by)
    assert values
    assert all(key.endswith("_prompt") for key in values)


def test_human_quantities_compare_reading_and_prompt():
    prompt = reading([(hertz + 20, frames) for hertz, frames in MINE if hertz])
    values, _ = judged(reading(MINE), reference=reading(MINE), prompt=prompt)
    keys = {quantity.key: quantity for quantity in Prosody(StepAligner).quantities}
    assert keys["pitch_mean_prompt"].human == "pitch_mean_prompt_human"
    assert keys["pitch_mean_reference"].human is None
    assert values["pitch_mean_prompt"] == pytest.approx(20.0, abs=0.5)
    assert values["pitch_mean_prompt_human"] == values["pitch_mean_prompt"]
    assert all(quantity.human in keys for quantity in keys.values() if quantity.human)


def test_told_durations_win_unless_the_aligner_is_asked_for():
    told = {"symbols": [" ", *SYMBOLS, " "], "durations_frames": [32, *FRAMES[::-1], 32]}
    one = sample(reading(MINE), reference=reading(MINE), details=told)
    trusting = Prosody(StepAligner).judge(one)
    aligning = Prosody(StepAligner, trust_system=False).judge(one)
    assert trusting.notes["durations"] == "told"
    assert trusting.values["duration_rmse"][0] > 8.0
    assert aligning.notes["durations"] == "aligned"
    assert aligning.values["duration_rmse"][0] == 0.0


def test_the_judge_names_the_aligner_and_what_it_judges():
    trusting = Prosody(StepAligner, "steps").quantities
    aligning = Prosody(StepAligner, "steps", trust_system=False).quantities
    assert all(quantity.judge.endswith("system, else by steps") for quantity in trusting)
    assert all(quantity.judge.endswith("phones by steps") for quantity in aligning)


def test_without_a_text_the_phones_are_heard():
    values, judgement = judged(reading(MINE), prompt=reading(MINE[:5]), details={}, text=None)
    assert judgement.notes["phones"] == 8
    expected = abs(np.mean(FRAMES) - np.mean(FRAMES[:5]))
    assert values["duration_mean_prompt"] == pytest.approx(expected)


def test_a_recording_that_cannot_be_aligned_says_so():
    with pytest.raises(AudioError, match="silent"):
        judged(np.zeros(16_000, dtype=np.float32), reference=reading(MINE))
    with pytest.raises(TextError, match="too short"):
        PhoneFinder(StepAligner).find(reading(MINE[:3]), SYMBOLS)


def test_the_measure_can_be_sent_to_a_process_and_loads_nothing_before():
    def fail():
        raise AssertionError("loaded too early")

    Prosody(fail)
    copy = pickle.loads(pickle.dumps(Prosody(functools.partial(StepAligner))))
    assert copy.judge(sample(reading(MINE), prompt=reading(MINE))).values
    assert copy.conclude([]) == []


def test_the_released_aligner_finds_no_difference_between_equal_recordings():
    speech = read_recording(Recording(path=example_prompt()))
    one = sample(speech, reference=speech, prompt=speech, details={}, text=None)
    judgement = Prosody(load_aligner).judge(one)
    assert judgement.notes["phones"] > 20
    for key in ("pitch_mean_prompt", "duration_kurtosis_reference", "duration_rmse", "pitch_rmse"):
        assert judgement.values[key][0] == 0.0
    for key in ("pitch_correlation", "duration_correlation", "contour_correlation"):
        top, bottom = judgement.values[key]
        assert top == pytest.approx(bottom)
        assert bottom > 10
