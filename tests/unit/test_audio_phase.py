"""The phase of the fundamental: measured, integrated, and the two held together."""

import math

import pytest
import torch

from parlando.audio.phase import integrated_phase, measured_phase

RATE, HOP = 16_000, 200


def _difference(first, second):
    return torch.atan2((first - second).sin(), (first - second).cos())


@pytest.mark.parametrize("hertz", [90.0, 150.0, 260.0])
def test_the_phase_of_a_harmonic_sound_is_that_of_its_fundamental_at_the_frame_centre(hertz):
    time = torch.arange(RATE, dtype=torch.float64) / RATE
    sound = torch.cos(2 * math.pi * hertz * time + 0.3) + 0.4 * torch.cos(
        4 * math.pi * hertz * time + 1.0
    )
    found = measured_phase(sound.float()[None], torch.full((1, 80), hertz), RATE, HOP)[0]
    centre = (torch.arange(80, dtype=torch.float64) * HOP + (HOP - 1) / 2) / RATE
    expected = 2 * math.pi * hertz * centre + 0.3
    assert _difference(found.double(), expected)[2:-2].abs().max() < 0.05


def test_the_integral_of_a_glide_follows_what_is_measured():
    time = torch.arange(RATE, dtype=torch.float64) / RATE
    # F0 rises from 120 to 200 Hz within a second.
    sound = torch.cos(2 * math.pi * (120.0 * time + 40.0 * time.square()))
    centre = (torch.arange(80) * HOP + (HOP - 1) / 2) / RATE
    f0_hz = (120.0 + 80.0 * centre)[None]
    measured = measured_phase(sound.float()[None], f0_hz, RATE, HOP)[0]
    integrated = integrated_phase(f0_hz, RATE, HOP)[0]
    drift = _difference(measured, integrated)[3:-3]
    assert _difference(drift, drift[:1]).abs().max() < 0.05


def test_the_integral_of_an_hour_stays_exact():
    f0_hz = torch.full((1, 288_000), 160.0)
    # 160 Hz turns exactly twice in a frame of 12.5 ms.
    assert _difference(integrated_phase(f0_hz, RATE, HOP), torch.zeros(1)).abs().max() < 1e-3
