import numpy as np
import pytest

from parlando.contracts import AudioError
from parlando.evaluation.similarity import cosine, drift_of, halves_similarity, rank_one
from parlando.evaluation.speaker_encoders import ResemblyzerEncoder


def vowel(f0_hz, formants_hz, seconds=2.0, rate_hz=16_000):
    """A buzzing source through resonances: enough of a voice for a speaker encoder."""
    time = np.arange(int(seconds * rate_hz)) / rate_hz
    sound = np.zeros_like(time)
    for harmonic in range(1, int(4000 / f0_hz)):
        frequency = harmonic * f0_hz
        gain = sum(1 / (1 + ((frequency - formant) / 80) ** 2) for formant in formants_hz)
        sound += gain * np.sin(2 * np.pi * frequency * time)
    swell = 0.2 + 0.8 * np.sin(2 * np.pi * 2 * time) ** 2
    return (0.3 * swell * sound / np.abs(sound).max()).astype(np.float32)


@pytest.fixture(scope="module")
def encoder():
    return ResemblyzerEncoder()


def test_cosine_ignores_length_and_knows_opposites():
    vector = np.array([1.0, 2.0, -1.0])
    assert cosine(vector, 3 * vector) == pytest.approx(1.0)
    assert cosine(vector, -vector) == pytest.approx(-1.0)
    assert cosine(np.array([1.0, 0.0]), np.array([0.0, 2.0])) == 0.0


def test_rounding_takes_no_cosine_beyond_that_of_an_angle():
    vectors = np.random.default_rng(0).normal(size=(200, 256)).astype(np.float32)
    assert max(cosine(vector, vector) for vector in vectors) <= 1.0
    assert min(cosine(vector, -vector) for vector in vectors) >= -1.0


def test_rank_one_looks_only_inside_the_group_and_states_chance():
    gallery = {
        "anna": np.array([1.0, 0.0, 0.0]),
        "berta": np.array([0.8, 0.6, 0.0]),
        "carl": np.array([0.0, 0.0, 1.0]),
    }
    groups = {"anna": "female", "berta": "female", "carl": "male"}
    outputs = [np.array([1.0, 0.1, 0.0]), np.array([1.0, 0.1, 0.0]), np.array([1.0, 0.0, 0.1])]
    found = rank_one(outputs, ["anna", "berta", "carl"], gallery, groups)
    assert found.nearest == ("anna", "anna", "carl")
    assert found.hits == (True, False, True)
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.chance == pytest.approx((0.5 + 0.5 + 1.0) / 3)
    voiceless = rank_one([np.zeros(3)], ["carl"], gallery, groups)
    assert (voiceless.accuracy, voiceless.nearest) == (0.0, ("",))
    with pytest.raises(ValueError, match="1 outputs and 0 owners"):
        rank_one(outputs[:1], [], gallery, groups)


def test_resemblyzer_finds_a_voice_like_itself_and_not_like_another(encoder):
    low, high = vowel(100, (500, 1500, 2500)), vowel(260, (800, 1200, 3100))
    first, second = encoder.embed(low, 16_000), encoder.embed(high, 16_000)
    assert first.shape == (256,)
    assert np.linalg.norm(first) == pytest.approx(1.0, abs=1e-5)
    assert cosine(first, encoder.embed(low, 16_000)) == pytest.approx(1.0)
    # Quiet speech is brought up to one level, so that how quiet it was does not count.
    quiet, faint = encoder.embed(0.02 * low, 16_000), encoder.embed(0.01 * low, 16_000)
    assert cosine(quiet, faint) > 0.99
    assert halves_similarity(low, 16_000, encoder) > cosine(first, second) + 0.1


def test_silence_has_no_voice(encoder):
    with pytest.raises(AudioError, match="no voice"):
        encoder.embed(np.zeros(16_000, dtype=np.float32), 16_000)


def test_drift_is_the_slope_per_minute():
    assert drift_of([0.9, 0.8, 0.7, 0.6], window_seconds=20.0) == pytest.approx(-0.3)
    assert drift_of([0.5, 0.5, 0.5]) == pytest.approx(0.0)
