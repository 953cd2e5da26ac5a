"""Voices are told from noise, however noisy they are."""

import numpy as np
import pytest
from speechlike import padded, speechlike

from parlando.audio.voicing import has_voice

RATES = [8_000, 16_000, 44_100]


def coloured(seconds, rate_hz, slope, seed):
    """Noise whose power falls with frequency to ``slope``: white 0, pink 1."""
    count = round(seconds * rate_hz)
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(count))
    noise = np.fft.irfft(spectrum * np.arange(1, len(spectrum) + 1) ** (-slope / 2), count)
    return (0.1 * noise / noise.std()).astype(np.float32)


@pytest.mark.parametrize("rate_hz", RATES)
@pytest.mark.parametrize("pitch_hz", [80.0, 120.0, 220.0, 350.0])
def test_voices_of_any_pitch_are_heard_in_noise_as_loud(pitch_hz, rate_hz):
    voice = padded(speechlike(3.0, rate_hz, pitch_hz), 1.0, 1.0, rate_hz)
    assert has_voice(voice, rate_hz)
    noise = coloured(5.0, rate_hz, 0, 0)[: len(voice)]
    assert has_voice(voice + noise * (voice.std() / noise.std()), rate_hz)


@pytest.mark.parametrize("rate_hz", RATES)
@pytest.mark.parametrize("slope", [0, 1])
def test_noise_has_no_voice(slope, rate_hz):
    for seed in range(10):
        assert not has_voice(coloured(1.0 + seed, rate_hz, slope, seed), rate_hz)


def test_nothing_has_no_voice():
    for samples in (np.zeros(0), np.zeros(10), np.zeros(48_000), np.full(48_000, 0.5)):
        assert not has_voice(samples.astype(np.float32), 16_000)


def test_a_voice_long_after_the_beginning_is_heard():
    late = np.concatenate([coloured(35.0, 16_000, 0, 0), speechlike(3.0)])
    assert has_voice(late, 16_000)
