"""The spectrum of other speech: found again, without delay, within limits."""

from itertools import pairwise

import numpy as np
import pytest
from speechlike import speechlike

from parlando.audio import equalization
from parlando.audio.equalization import PASS_LIMIT_DB, _frames, match_timbre
from parlando.audio.waveform import resample

RATE = 16_000


def _broad(seconds, **options):
    """Return a voice with breath: something at every frequency."""
    sound = speechlike(seconds, **options)
    return sound + 0.02 * np.random.default_rng(0).standard_normal(len(sound), dtype=np.float32)


def _levels_db(sound, edges_hz):
    power = np.abs(np.fft.rfft(sound)) ** 2
    bins = np.fft.rfftfreq(len(sound), 1 / RATE)
    parts = [power[(bins >= a) & (bins < b)] for a, b in pairwise(edges_hz)]
    return np.array([10 * np.log10(part.sum()) for part in parts])


def _bent(sound, slope_db):
    """Tilt a spectrum by so many dB from 0 Hz to the highest."""
    spectrum = np.fft.rfft(sound)
    tilt = np.linspace(0.0, slope_db, len(spectrum))
    return np.fft.irfft(spectrum * 10 ** (tilt / 20), len(sound)).astype(np.float32)


@pytest.mark.parametrize("slope_db", [-12.0, 12.0])
def test_a_tilt_is_undone(slope_db):
    sound = _broad(5.0)
    edges = np.array([200, 500, 1000, 2000, 4000, 7000])
    made = match_timbre(_bent(sound, slope_db), sound, RATE)
    before = _levels_db(_bent(sound, slope_db), edges) - _levels_db(sound, edges)
    after = _levels_db(made, edges) - _levels_db(sound, edges)
    assert np.ptp(before) > 7.0
    assert np.ptp(after) < 1.0


@pytest.mark.parametrize("rate_hz", [RATE, 22_050])
def test_speech_like_itself_stays_as_it_is_and_where_it_is(rate_hz):
    sound = _broad(1.237)
    made = match_timbre(sound, sound, rate_hz)
    assert made.shape == sound.shape
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, sound, atol=1e-5)


@pytest.mark.parametrize("passes", [0, 1, 2])
def test_no_band_moves_further_in_a_pass_than_its_limit(passes):
    sound = _broad(2.0)
    made = match_timbre(sound, _bent(sound, 80.0), RATE, passes=passes)
    edges = np.arange(200, 7400, 400)
    moved = np.abs(_levels_db(made, edges) - _levels_db(sound, edges)).max()
    assert passes * (PASS_LIMIT_DB - 1.0) <= moved < passes * PASS_LIMIT_DB + 0.5


def test_a_prompt_from_a_telephone_does_not_take_what_it_does_not_hold():
    sound = _broad(2.0)
    low = resample(resample(_bent(sound, -6.0), RATE, 8_000), 8_000, RATE)
    made = match_timbre(sound, low, RATE)
    above = np.array([4500, 7500])
    assert abs(float((_levels_db(made, above) - _levels_db(sound, above))[0])) < 6.0


def test_a_long_recording_is_filtered_as_a_short_one():
    sound, other = _broad(2.0), _bent(_broad(2.0, pitch_hz=180.0), -9.0)
    once, often = (match_timbre(np.tile(sound, n), other, RATE) for n in (4, 40))
    assert len(often) == 40 * len(sound)
    np.testing.assert_allclose(often[: 3 * len(sound)], once[: 3 * len(sound)], atol=0.01)
    assert np.ptp(once) > 0.5


@pytest.mark.parametrize("silent", ["samples", "like"])
def test_silence_has_no_spectrum_to_be_matched(silent):
    sounds = {"samples": _broad(1.0), "like": _broad(1.0)}
    sounds[silent] = np.zeros(RATE, np.float32)
    assert np.array_equal(match_timbre(**sounds, rate_hz=RATE), sounds["samples"])


def test_sounds_without_a_band_in_common_are_left_alone():
    time = np.arange(RATE) / RATE
    low, high = (np.sin(2 * np.pi * f * time).astype(np.float32) for f in (300.0, 6000.0))
    assert np.array_equal(match_timbre(low, high, RATE), low)


def test_the_level_of_either_does_not_matter_to_the_shape():
    sound, other = _broad(1.5), _bent(_broad(1.5, pitch_hz=200.0), -9.0)
    made = match_timbre(sound, other, RATE)
    np.testing.assert_allclose(match_timbre(0.1 * sound, 3 * other, RATE), 0.1 * made, atol=1e-5)


def _hum(seconds):
    """Return what is loud below 1 kHz."""
    return 0.3 * _bent(_noise(seconds), -30.0)


def _hiss(seconds):
    """Return what is loud at the top."""
    return 0.1 * _bent(_noise(seconds)[::-1], 25.0)


def _noise(seconds):
    return np.random.default_rng(1).standard_normal(round(seconds * RATE)).astype(np.float32)


def test_each_kind_of_sound_gets_the_spectrum_that_it_has_in_other_speech():
    own = np.concatenate([_hum(2.0), _hiss(1.2), _hum(2.0), _hiss(1.2)])
    # In another order and share, its hum is brighter and its hiss darker: on average, neither.
    like = np.concatenate([_bent(_hiss(3.0), -8.0), _bent(_hum(3.0), 8.0)])
    edges = np.array([500, 1500, 3000, 5000, 7000])
    hum, hiss = slice(3200, 28800), slice(35200, 48000)

    def missing_db(made):
        targets = (
            _levels_db(_bent(_hum(1.6), 8.0), edges),
            _levels_db(_bent(_hiss(0.8), -8.0), edges),
        )
        found = _levels_db(made[hum], edges), _levels_db(made[hiss], edges)
        return [float(np.ptp(a - b)) for a, b in zip(targets, found, strict=True)]

    assert min(missing_db(own)) > 4.0
    assert max(missing_db(match_timbre(own, like, RATE))) < 2.5


def test_how_loud_a_kind_is_beside_the_others_stays():
    own = np.concatenate([_hum(1.0), _hiss(1.0)] * 3)
    like = np.concatenate([_hum(2.0), 10 ** (10 / 20) * _hiss(2.0)])
    made = match_timbre(own, like, RATE)
    hum, hiss = slice(3200, 12800), slice(19200, 28800)
    changes = [20 * np.log10(np.std(made[part]) / np.std(own[part])) for part in (hum, hiss)]
    assert abs(changes[0] - changes[1]) < 2.5


@pytest.mark.parametrize("samples", [1, 200, 1000])
def test_a_moment_of_sound_can_be_filtered(samples):
    sound = _broad(1.0)[4000 : 4000 + samples]
    made = match_timbre(sound, _bent(_broad(2.0), 12.0), RATE)
    assert made.shape == sound.shape
    np.testing.assert_allclose(made, sound, atol=0.1)


def test_the_less_is_heard_the_less_is_changed():
    sound, other = _broad(3.0), _bent(_broad(3.0), 12.0)
    edges, changes = np.array([300, 1000, 4000, 7500]), []
    for seconds in (0.1, 0.5, 3.0):
        part = sound[: round(seconds * RATE)]
        made = match_timbre(part, other, RATE)
        changes.append(np.ptp(_levels_db(made, edges) - _levels_db(part, edges)))
    assert changes[0] < 0.6 * changes[2]
    assert changes[0] < changes[1] < changes[2]


# The last block has 1, 2, 3 or 4 frames: fewer than the fade of filters spans.
@pytest.mark.parametrize("frames", [1, 2, 3, 4])
def test_blocks_leave_no_seam(monkeypatch, frames):
    count = len(_frames(np.zeros(16_000, np.float32), 512))
    sound = _broad(1.5)[: 16_000 + (frames - count % 64) % 64 * 128]
    other = _bent(_broad(1.5, pitch_hz=180.0), -9.0)
    whole = match_timbre(sound, other, RATE)
    monkeypatch.setattr(equalization, "_BLOCK_FRAMES", 64)
    assert len(_frames(sound, 512)) % 64 == frames
    np.testing.assert_allclose(match_timbre(sound, other, RATE), whole, atol=1e-6)


def test_pauses_stay_as_loud_beside_speech():
    noise = 0.1 * np.random.default_rng(2).standard_normal(3 * RATE).astype(np.float32)
    sound = np.concatenate([noise, 0.001 * noise[:RATE]])
    dynamic = noise * 10 ** (-1.5 * np.abs(np.sin(np.arange(len(noise)) / RATE * 9.0)))
    made = match_timbre(sound, dynamic.astype(np.float32), RATE)
    speech, pause = slice(RATE, 2 * RATE), slice(round(3.1 * RATE), round(3.9 * RATE))
    changes = [20 * np.log10(np.std(made[part]) / np.std(sound[part])) for part in (speech, pause)]
    assert abs(changes[0] - changes[1]) < 1.0


def test_an_offset_is_no_speech():
    noise = 0.1 * np.random.default_rng(2).standard_normal(2 * RATE).astype(np.float32)
    sound = np.concatenate([noise, 0.0001 * noise])
    other = _bent(_broad(2.0), 12.0)
    pause = slice(round(2.2 * RATE), round(3.8 * RATE))
    plain, offset = (match_timbre(each, other, RATE)[pause] for each in (sound, sound + 0.01))
    np.testing.assert_allclose(np.std(offset), np.std(plain), rtol=0.5)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_no_sound_is_left_alone(wrong):
    sound = _broad(1.0)
    bad = sound.copy()
    bad[100] = wrong
    assert np.array_equal(match_timbre(sound, bad, RATE), sound)
    assert np.array_equal(match_timbre(bad, sound, RATE), bad, equal_nan=True)
