"""Pieces of sound joined: what is not near a joint is what it was, and no joint is a step."""

import numpy as np
import pytest

from parlando.audio.splice import Piece, splice

RATE = 16_000
FADE = 160


def tone(seconds, hertz=200.0):
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(
        np.float32
    )


def noise(seconds, seed=0):
    return np.random.default_rng(seed).uniform(-0.3, 0.3, round(seconds * RATE)).astype(np.float32)


def test_outside_the_spans_every_sample_is_that_of_its_piece():
    old, made = noise(1.0), noise(1.5, seed=1)
    pieces = [
        Piece(old, 0, 5_000, made=False),
        Piece(made, 4_000, 9_001, made=True),
        Piece(old, 7_000, 16_000, made=False),
    ]
    joined, spans = splice(pieces, FADE)
    assert len(joined) == 5_000 + 5_001 + 9_000
    # The fades lie where the recording stays, and so beside what was made.
    assert spans == ((5_000 - FADE, 10_001 + FADE),)
    assert np.array_equal(joined[: 5_000 - FADE], old[: 5_000 - FADE])
    assert np.array_equal(joined[5_000:10_001], made[4_000:9_001])
    assert np.array_equal(joined[10_001 + FADE :], old[7_000 + FADE :])
    assert joined.dtype == np.float32


def test_a_cut_without_anything_new_fades_half_on_either_side():
    old = noise(1.0)
    joined, spans = splice([Piece(old, 0, 4_000, False), Piece(old, 6_000, 16_000, False)], FADE)
    assert spans == ((4_000 - FADE // 2, 4_000 + FADE // 2),)
    assert np.array_equal(joined[: spans[0][0]], old[: spans[0][0]])
    assert np.array_equal(joined[spans[0][1] :], old[spans[0][1] + 2_000 :])


def test_what_says_the_same_beyond_its_ends_is_joined_without_a_trace():
    sound = tone(1.0)
    pieces = [Piece(sound, 0, 5_000, False), Piece(sound, 5_000, 9_000, True)]
    joined, _ = splice([*pieces, Piece(sound, 9_000, 16_000, False)], FADE)
    np.testing.assert_allclose(joined, sound, atol=1e-6)


@pytest.mark.parametrize("likeness", [0.0, 1.0])
def test_power_stays_even_through_a_fade(likeness):
    left = noise(4.0)
    right = left if likeness else noise(4.0, seed=1)
    joined, spans = splice(
        [Piece(left, 0, 32_000, False), Piece(right, 32_000, 64_000, True)], 8000
    )
    ((start, _),) = spans
    power = float(np.square(joined[start : start + 8_000]).mean())
    assert power == pytest.approx(0.03, rel=0.05)


def test_short_pieces_have_short_fades():
    old, made = noise(1.0), noise(1.0, seed=1)
    pieces = [
        Piece(made, 0, 1_000, True),
        Piece(old, 1_000, 1_100, False),
        Piece(made, 2_000, 3_000, True),
        Piece(old, 3_000, 3_001, False),
    ]
    joined, spans = splice(pieces, FADE)
    assert len(joined) == 2_101
    assert spans == ((0, 2_100),)
    # One piece alone, and one at the beginning of its sound, have nothing to fade into.
    assert splice([Piece(old, 3, 9, False)], FADE)[1] == ()
    _, spans = splice([Piece(old, 0, 500, False), Piece(made, 0, 500, True)], FADE)
    assert spans == ((500, 1_000),)
