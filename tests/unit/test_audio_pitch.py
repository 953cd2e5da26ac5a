import numpy as np
import pytest
from speechlike import speechlike

from parlando.audio.pitch import f0

RATE, HOP = 16_000, 200


def glide(seconds: float, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Harmonics whose pitch moves linearly, and that pitch at every sample."""
    pitch = np.linspace(low, high, round(seconds * RATE))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    return sum(np.sin(k * phase) / k for k in range(1, 10)) * 0.1, pitch


@pytest.mark.parametrize("samples", [0, 1, 99, 199, 200, 399, 1000, 16_001])
def test_there_is_one_frame_for_each_whole_hop(samples):
    hertz, voiced = f0(speechlike(2.0)[:samples], RATE, HOP)
    assert hertz.shape == voiced.shape == (samples // HOP,)
    assert hertz.dtype == np.float32
    assert np.array_equal(voiced, hertz > 0.0)


@pytest.mark.parametrize("pitch_hz", [80.0, 120.0, 220.0, 400.0])
@pytest.mark.parametrize(("rate_hz", "hop"), [(16_000, 200), (24_000, 300)])
def test_the_pitch_of_harmonics_is_found(pitch_hz, rate_hz, hop):
    hertz, voiced = f0(speechlike(1.0, rate_hz, pitch_hz), rate_hz, hop)
    assert voiced.mean() > 0.8
    assert np.median(hertz[voiced]) == pytest.approx(pitch_hz, rel=0.01)


def test_frames_are_centred_half_a_hop_after_they_begin():
    sound, pitch = glide(1.0, 100.0, 300.0)
    hertz, voiced = f0(sound, RATE, HOP)
    centres = pitch[HOP // 2 :: HOP][: len(hertz)]
    inner = voiced & (np.arange(len(hertz)) > 8) & (np.arange(len(hertz)) < 72)
    assert inner.sum() > 50
    # Half a hop off would be 1.25 Hz here.
    assert abs(np.mean(hertz[inner] - centres[inner])) < 0.5


def test_silence_and_noise_are_unvoiced():
    hertz, voiced = f0(np.zeros(RATE, np.float32), RATE, HOP)
    assert not voiced.any()
    assert not hertz.any()
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE)
    assert f0(noise, RATE, HOP)[1].mean() < 0.2
