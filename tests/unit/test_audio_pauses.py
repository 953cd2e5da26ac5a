import numpy as np
import pytest
from speechlike import padded, speechlike

from parlando.audio.pauses import quiet_pauses
from parlando.audio.waveform import voice_activity

RATE = 16_000


def level_db(samples):
    return 10.0 * np.log10(np.mean(np.square(samples)))


def sound(hiss):
    """Return a second of speech between two of pause, with noise of a standard deviation."""
    noise = np.random.default_rng(0).standard_normal(3 * RATE).astype(np.float32)
    return padded(speechlike(1.0), 1.0, 1.0) + np.float32(hiss) * noise


@pytest.mark.parametrize("gain", [0.3, 1.0])
def test_pauses_become_as_quiet_beside_the_speech_as_in_the_other(gain):
    like, loud = sound(0.001), gain * sound(0.004)
    made = quiet_pauses(loud, like, RATE)
    assert made.shape == loud.shape
    assert made.dtype == np.float32
    inner = slice(2_000, 12_000)
    lowered = level_db(loud[inner]) - level_db(made[inner])
    assert lowered == pytest.approx(20.0 * np.log10(4.0), abs=1.5)
    speaks = np.repeat(voice_activity(like, RATE), 160)
    np.testing.assert_array_equal(made[speaks], loud[speaks].astype(np.float32))
    # No step: from sample to sample the gain changes by less than 0.3 dB.
    gains_db = 20.0 * np.log10(np.maximum(np.abs(made), 1e-9) / np.maximum(np.abs(loud), 1e-9))
    clear = np.abs(loud) > 1e-4
    assert np.abs(np.diff(gains_db[clear])).max() < 0.3


def test_quiet_pauses_stay_as_they_are():
    for samples, like in (
        (sound(0.001), sound(0.004)),
        (sound(0.004), np.zeros(3 * RATE, np.float32)),
        (np.zeros(3 * RATE, np.float32), sound(0.004)),
        (sound(0.0), sound(0.001)),
    ):
        np.testing.assert_array_equal(quiet_pauses(samples, like, RATE), samples)
