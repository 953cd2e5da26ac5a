import numpy as np
import pytest
from speechlike import median_pitch, speechlike

from parlando.data.augment import (
    Voice,
    change_voice,
    disguise,
    equalize,
    voices_of,
)

RATE = 16_000


def test_voices_belong_to_the_speaker_and_differ_audibly():
    voices = voices_of("kathleen", 4)
    assert voices == voices_of("kathleen", 4)
    assert voices[:2] == voices_of("kathleen", 2)
    assert voices != voices_of("p239", 4)
    assert len({voice.name for voice in voices}) == 4
    for voice in voices:
        assert 0.85 <= voice.factor <= 1.18
        assert abs(voice.factor - 1.0) >= 0.06
        assert 0.92 <= voice.tempo <= 1.08
    assert {voice.factor > 1.0 for voice in voices[:2]} == {True, False}
    assert voices_of("kathleen", 0) == []


@pytest.mark.parametrize("factor", [0.85, 1.1, 1.18])
@pytest.mark.parametrize("tempo", [0.92, 1.0, 1.08])
def test_pitch_follows_the_factor_and_length_the_tempo(factor, tempo):
    speech = speechlike(2.0, pitch_hz=140.0)
    changed = change_voice(speech, RATE, Voice(name="v1", factor=factor, tempo=tempo))
    assert changed.dtype == np.float32
    assert len(changed) == pytest.approx(len(speech) / tempo, abs=2)
    assert median_pitch(changed) == pytest.approx(140.0 * factor, rel=0.01)


def test_formants_follow_the_factor():
    # One resonance at 1,500 Hz, whatever the pitch.
    noise = np.random.default_rng(0).standard_normal(2 * RATE)
    band = np.fft.rfft(noise)
    hertz = np.fft.rfftfreq(len(noise), 1 / RATE)
    sound = np.fft.irfft(band * np.exp(-(((hertz - 1500.0) / 100.0) ** 2))).astype(np.float32)
    changed = change_voice(sound, RATE, Voice(name="v1", factor=1.15, tempo=1.0))
    power = np.abs(np.fft.rfft(changed)) ** 2
    centre = (power * np.fft.rfftfreq(len(changed), 1 / RATE)).sum() / power.sum()
    assert centre == pytest.approx(1500.0 * 1.15, rel=0.01)


def test_colouring_gives_each_frequency_its_gain_and_moves_nothing():
    time = np.arange(RATE) / RATE
    points = np.geomspace(60.0, RATE / 2, 5)
    tones = [np.sin(2 * np.pi * hertz * time) for hertz in points[1:4]]
    gains_db = np.array([0.0, 6.0, -8.0, 3.0, 0.0])
    for tone, gain_db in zip(tones, gains_db[1:4], strict=True):
        inner = slice(2000, -2000)
        expected = tone * 10.0 ** (gain_db / 20.0)
        np.testing.assert_allclose(
            equalize(tone, RATE, gains_db)[inner], expected[inner], atol=0.02
        )
    click = np.zeros(4000)
    click[-1] = 1.0
    assert np.abs(equalize(click, RATE, gains_db)[:2000]).max() < 1e-3  # nothing wraps around


def test_a_disguise_keeps_time_and_level_and_changes_pitch_and_colour():
    speech = speechlike(2.0, pitch_hz=140.0)
    rng = np.random.default_rng(3)
    for _ in range(5):
        hidden = disguise(speech, RATE, rng)
        assert hidden.shape == speech.shape
        assert hidden.dtype == np.float32
        assert np.mean(hidden**2) == pytest.approx(np.mean(speech**2), rel=1e-4)
        assert 0.74 < median_pitch(hidden) / 140.0 < 1.35
        envelopes = [
            np.abs(np.fft.rfft(x))[100:8000].reshape(100, -1).mean(1) for x in (speech, hidden)
        ]
        change_db = 20.0 * np.log10(envelopes[1] / envelopes[0])
        assert np.ptp(change_db) > 6.0
    assert np.isfinite(disguise(np.zeros(12_800, np.float32), RATE, rng)).all()
