"""Distances between recordings: what must be zero is zero, what is known is met."""

import pickle

import numpy as np
import pytest
from speechlike import padded, speechlike

from parlando.contracts import AudioError
from parlando.evaluation import distance
from parlando.evaluation.distance import (
    Distance,
    cepstral_distortion,
    mel_cepstra,
    spectral_distance,
    spoken_cepstra,
    warped_cepstral_distortion,
)
from parlando.evaluation.measure import Recording, Sample, Trial

RATE_HZ = 16_000


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE_HZ))).astype(
        np.float32
    )


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    return speechlike(1.5) + 0.01 * noise(1.5)


def sample(output, reference, *, prompted: bool = False, **details) -> Sample:
    prompt = (Recording(path="prompt.wav"),) if prompted else ()
    return Sample(
        trial=Trial(id="one", prompt=prompt), output=output, reference=reference, details=details
    )


def figures(output, reference, **more) -> dict[str, float]:
    values = Distance().judge(sample(output, reference, **more)).values
    return {key: top / bottom for key, (top, bottom) in values.items()}


def test_identical_sound_is_at_no_distance(voice: np.ndarray) -> None:
    found = figures(voice, voice)
    assert list(found) == ["mcd_dtw", "mcd", "mr_stft", "stoi", "pesq"]
    assert found["mcd"] == found["mcd_dtw"] == found["mr_stft"] == 0.0
    assert found["pesq"] == pytest.approx(4.644, abs=0.001)
    assert found["stoi"] == pytest.approx(1.0, abs=1e-4)


def test_level_is_no_cepstral_distance_and_a_known_spectral_one(voice: np.ndarray) -> None:
    half = np.float32(0.5) * voice
    found = figures(half, voice)
    assert found["mcd"] == pytest.approx(0.0, abs=1e-6)
    assert found["mcd_dtw"] == pytest.approx(0.0, abs=1e-6)
    # White noise lies above the floor everywhere: convergence 1/2, logarithm ln 2.
    hiss = noise(1.0)
    assert spectral_distance(hiss, np.float32(0.5) * hiss) == pytest.approx(
        0.5 + np.log(2.0), abs=2e-3
    )


def test_a_filter_of_known_cepstrum_is_at_its_known_distance() -> None:
    # ln|H| = 0.2 cos(w') + 0.1 cos(3 w') over the warped axis, applied to noise in the spectrum.
    hiss = noise(2.0).astype(np.float64)
    straight = np.linspace(0.0, np.pi, len(hiss) // 2 + 1)
    warped = straight + 2.0 * np.arctan2(0.42 * np.sin(straight), 1.0 - 0.42 * np.cos(straight))
    gain = np.exp(0.2 * np.cos(warped) + 0.1 * np.cos(3.0 * warped))
    filtered = np.fft.irfft(np.fft.rfft(hiss) * gain, len(hiss))
    first, second = mel_cepstra(hiss), mel_cepstra(filtered)
    shift = (second - first).mean(0)
    assert shift[1] == pytest.approx(0.2, abs=0.01)
    assert shift[3] == pytest.approx(0.1, abs=0.01)
    assert np.abs(shift[[2, *range(4, 25)]]).max() < 0.01
    expected = 10.0 / np.log(10.0) * np.sqrt(2.0 * (0.2**2 + 0.1**2))
    assert cepstral_distortion(first, second) == pytest.approx(expected, rel=0.05)


def test_the_formula_on_cepstra_that_are_given() -> None:
    first, second = np.zeros((3, 25)), np.zeros((3, 25))
    second[:, 0] = 5.0
    assert cepstral_distortion(first, second) == 0.0
    second[:, 7] = 1.0
    assert cepstral_distortion(first, second) == pytest.approx(6.141851463713754)
    assert warped_cepstral_distortion(first, second) == pytest.approx(6.141851463713754)


def test_more_noise_is_farther_by_every_measure(voice: np.ndarray) -> None:
    found = [figures(voice + level * noise(1.5, seed=1), voice) for level in (0.003, 0.03, 0.3)]
    for key, sign in (("mcd", 1), ("mcd_dtw", 1), ("mr_stft", 1), ("pesq", -1), ("stoi", -1)):
        values = [sign * one[key] for one in found]
        assert values == sorted(values), key
        assert values[0] < values[-1], key


def test_cepstral_distances_do_not_depend_on_the_order(voice: np.ndarray) -> None:
    other = speechlike(1.3, pitch_hz=170.0)
    first, second = mel_cepstra(voice), mel_cepstra(other)
    length = min(len(first), len(second))
    assert cepstral_distortion(first[:length], second[:length]) == cepstral_distortion(
        second[:length], first[:length]
    )
    there = warped_cepstral_distortion(first, second)
    assert there > 0.5
    assert there == pytest.approx(warped_cepstral_distortion(second, first), rel=1e-9)


def test_warping_undoes_slowness_and_waiting() -> None:
    generator = np.random.default_rng(0)
    spoken = np.repeat(generator.standard_normal((20, 25)), 2, axis=0)
    slow = np.repeat(spoken, 2, axis=0)
    assert warped_cepstral_distortion(spoken, slow) == 0.0
    voice = speechlike(1.0)
    early, late = padded(voice, 0.2, 0.8), padded(voice, 0.7, 0.3)
    assert cepstral_distortion(mel_cepstra(early), mel_cepstra(late)) > 5.0
    # What is left is the noise in the margins of a tenth of a second.
    trimmed = [spoken_cepstra(sound, "it") for sound in (early, late)]
    assert warped_cepstral_distortion(*trimmed) < 1.0


def test_what_is_not_in_step_is_left_out_not_cut(voice: np.ndarray) -> None:
    assert set(figures(voice[:-200], voice)) == {"mcd", "mcd_dtw", "mr_stft", "pesq", "stoi"}
    assert set(figures(voice[:-201], voice)) == {"mcd_dtw"}
    assert "mcd" in figures(voice[:-300], voice, hop_samples=320)
    # At 24 kHz a hop of 320 samples is 213 of ours.
    assert "mcd" in figures(voice[:-213], voice, hop_samples=320, rate_hz=24_000)
    assert "mcd" not in figures(voice[:-214], voice, hop_samples=320, rate_hz=24_000)
    judged = Distance().judge(sample(voice[:-201], voice))
    assert judged.notes["left_out"]["pesq"] == "-201 samples against the reference: not in step"


def test_speech_from_a_prompt_is_never_in_step_by_chance(voice: np.ndarray) -> None:
    judged = Distance().judge(sample(voice, voice, prompted=True))
    assert set(judged.values) == {"mcd_dtw"}
    assert judged.notes == {}
    assert "pesq" in figures(voice, voice, prompted=True, codes=[[0]])


def test_long_sound_is_not_warped(voice: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distance, "LONGEST_SECONDS", 1.0)
    judged = Distance().judge(sample(voice, voice))
    assert set(judged.values) == {"mcd", "mr_stft", "stoi"}
    assert judged.notes["left_out"] == {"mcd_dtw": "longer than 1 s", "pesq": "longer than 1 s"}


def test_too_little_speech_for_one_judge_leaves_the_others(voice: np.ndarray) -> None:
    brief = voice[:3600]
    judged = Distance().judge(sample(brief, brief))
    assert set(judged.values) == {"mcd", "mcd_dtw", "mr_stft"}
    assert judged.notes["left_out"]["stoi"] == "STOI finds too little speech in 0.23 s of sound"
    assert "PESQ finds no speech" in judged.notes["left_out"]["pesq"]


def test_without_a_reference_nothing_is_said(voice: np.ndarray) -> None:
    assert Distance().judge(sample(voice, None)).values == {}


@pytest.mark.parametrize("silent", [np.zeros(16_000, np.float32), np.zeros(0, np.float32)])
def test_silence_is_one_line(voice: np.ndarray, silent: np.ndarray) -> None:
    for output, reference, who in ((silent, voice, "output"), (voice, silent, "reference")):
        with pytest.raises(AudioError, match=f"^the {who} .*judges need") as caught:
            Distance().judge(sample(output, reference))
        assert "\n" not in str(caught.value)
    with pytest.raises(AudioError, match=r"0\.050 s"):
        mel_cepstra(voice[:800])


def test_it_travels_to_other_processes_and_names_what_it_measures(voice: np.ndarray) -> None:
    measure = pickle.loads(pickle.dumps(Distance()))
    measure.check()
    judged = measure.judge(sample(voice, voice))
    assert set(judged.values) == {quantity.key for quantity in measure.quantities}
    assert measure.conclude([]) == []
