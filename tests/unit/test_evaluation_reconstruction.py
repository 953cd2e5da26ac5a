import numpy as np
import pytest

from parlando.contracts import AudioError
from parlando.evaluation.reconstruction import (
    bits_per_second,
    perplexity,
    short_time_intelligibility,
    wideband_pesq,
)


@pytest.fixture(scope="module")
def clean():
    time = np.arange(32_000) / 16_000
    generator = np.random.default_rng(0)
    voice = sum(np.sin(2 * np.pi * 130 * k * time + k) / k for k in range(1, 30))
    swell = np.clip(np.sin(2 * np.pi * 2.5 * time), 0, None)
    hiss = 0.3 * generator.standard_normal(32_000) * np.clip(-np.sin(2 * np.pi * 2.5 * time), 0, 1)
    return (0.1 * (swell * voice + 0.3 * hiss)).astype(np.float32)


def noised(clean, level):
    return clean + level * np.random.default_rng(1).standard_normal(len(clean)).astype(np.float32)


def test_identical_sound_is_perfect(clean):
    assert wideband_pesq(clean, clean, 16_000) == pytest.approx(4.644, abs=0.01)
    assert short_time_intelligibility(clean, clean, 16_000) == pytest.approx(1.0, abs=1e-4)


def test_more_noise_is_worse(clean):
    levels = (0.001, 0.01, 0.1)
    quality = [wideband_pesq(clean, noised(clean, level), 16_000) for level in levels]
    clarity = [short_time_intelligibility(clean, noised(clean, level), 16_000) for level in levels]
    assert quality == sorted(quality, reverse=True)
    assert clarity == sorted(clarity, reverse=True)
    assert quality[-1] < 1.5
    assert clarity[-1] < 0.9


def test_level_alone_costs_nothing(clean):
    assert wideband_pesq(clean, 0.5 * clean, 16_000) > 4.5


@pytest.mark.parametrize("judge", [wideband_pesq, short_time_intelligibility])
def test_another_length_is_refused_not_cut(judge, clean):
    with pytest.raises(AudioError, match=r"\(32000,\) and \(31999,\)"):
        judge(clean, clean[:-1], 16_000)


def test_pesq_refuses_other_rates_and_silence(clean):
    with pytest.raises(AudioError, match="8000 Hz"):
        wideband_pesq(clean, clean, 8_000)
    with pytest.raises(AudioError, match="no speech"):
        wideband_pesq(clean[:1000], clean[:1000], 16_000)


def test_bit_rate_of_the_small_codec():
    assert bits_per_second(12, 1024, 16_000, 200) == 9600.0
    assert bits_per_second(1, 2, 16_000, 200) == 80.0


def test_perplexity_counts_entries_that_carry_information():
    assert perplexity(np.array([8] * 8)) == pytest.approx(8.0)
    assert 1.0 < perplexity(np.array([63, 1])) < 1.2
    assert perplexity(np.array([64, 0])) == pytest.approx(1.0)
