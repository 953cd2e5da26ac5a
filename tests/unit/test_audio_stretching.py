import numpy as np
import pytest
from speechlike import median_pitch, speechlike

from parlando.audio.stretching import shift_voice, stretch_time

RATE = 16_000


@pytest.mark.parametrize("ratio", [0.7, 0.95, 1.0, 1.05, 1.4])
def test_stretching_keeps_pitch_level_and_rhythm(ratio):
    speech = speechlike(2.0)
    stretched = stretch_time(speech, RATE, ratio)
    assert len(stretched) == round(2.0 * RATE * ratio)
    assert median_pitch(stretched) == pytest.approx(120.0, rel=0.01)
    assert np.sqrt(np.mean(stretched**2)) == pytest.approx(np.sqrt(np.mean(speech**2)), rel=0.1)
    assert np.abs(np.diff(stretched)).max() < 1.5 * np.abs(np.diff(speech)).max()
    # The syllables (four a second) are where the ratio puts them.
    envelope = np.abs(stretched[: len(stretched) // 400 * 400]).reshape(-1, 400).mean(1)
    spectrum = np.abs(np.fft.rfft(envelope - envelope.mean()))
    rhythm = spectrum.argmax() / (len(envelope) * 400 / RATE)
    assert rhythm == pytest.approx(4.0 / ratio, rel=0.05)


def test_tiny_inputs_keep_their_length_rule():
    for samples in (0, 1, 500):
        assert len(stretch_time(np.ones(samples, np.float32), RATE, 1.1)) == round(samples * 1.1)


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.25])
def test_a_shifted_voice_keeps_its_time(factor):
    speech = speechlike(2.0, pitch_hz=140.0)
    shifted = shift_voice(speech, RATE, factor)
    assert shifted.shape == speech.shape
    assert shifted.dtype == np.float32
    assert median_pitch(shifted) == pytest.approx(140.0 * factor, rel=0.01)
    envelopes = [np.abs(x).reshape(-1, 400).mean(1) for x in (speech, shifted)]
    assert np.corrcoef(*envelopes)[0, 1] > 0.8


def test_a_factor_of_one_changes_nothing():
    speech = speechlike(0.5)
    assert np.array_equal(shift_voice(speech, RATE, 1.0), speech)
    assert shift_voice(np.zeros(0, np.float32), RATE, 1.1).shape == (0,)
