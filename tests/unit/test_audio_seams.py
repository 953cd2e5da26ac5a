"""Pieces of speech that can follow one another."""

import numpy as np
import pytest
from sines import RATE, babble

from parlando.audio.seams import LEVEL_TOLERANCE_DB, limit_peaks, prepare_piece
from parlando.audio.waveform import LOUDNESS_DB, active_level_db


@pytest.mark.parametrize("level", [0.01, 0.02, 0.08, 0.5, 3.0])
def test_level_comes_within_the_tolerance(level):
    piece = prepare_piece(babble(2.0, level), RATE)
    assert abs(active_level_db(piece, RATE) - LOUDNESS_DB) <= LEVEL_TOLERANCE_DB + 0.05


def test_piece_at_the_level_keeps_its_samples_but_for_its_ends():
    samples = babble(2.0)
    samples *= 10.0 ** ((LOUDNESS_DB + 0.3 - active_level_db(samples, RATE)) / 20.0)
    piece = prepare_piece(samples, RATE)
    fade = RATE // 200
    assert np.array_equal(piece[fade:-fade], samples[fade:-fade])
    assert piece[0] == 0.0
    assert abs(piece[-1]) < 1e-4


def test_input_is_left_as_it_is():
    samples = np.ones(1000, dtype=np.float32)
    prepare_piece(samples, RATE)
    assert (samples == 1.0).all()


@pytest.mark.parametrize("count", [0, 1, 2, 7, 500])
def test_silence_and_scraps_stay_finite(count):
    assert np.array_equal(prepare_piece(np.zeros(count), RATE), np.zeros(count))
    scrap = prepare_piece(np.full(count, 1e-4), RATE)
    assert np.isfinite(scrap).all()
    assert len(scrap) == count


def test_near_silence_is_not_raised_to_the_level_of_speech():
    hiss = 1e-4 * np.random.default_rng(0).standard_normal(RATE)
    assert np.sqrt(np.mean(prepare_piece(hiss, RATE) ** 2)) < 2e-3


def test_limiter_is_smooth_monotone_and_odd():
    line = np.linspace(-4.0, 4.0, 80_001, dtype=np.float32)
    bent = limit_peaks(line)
    assert np.abs(bent).max() <= 0.99
    assert (np.diff(bent) >= 0.0).all()
    assert np.allclose(bent, -bent[::-1])
    assert np.array_equal(bent[np.abs(line) <= 0.9], line[np.abs(line) <= 0.9])
    slopes = np.diff(bent) / np.diff(line)
    assert np.abs(np.diff(slopes)).max() < 0.02
