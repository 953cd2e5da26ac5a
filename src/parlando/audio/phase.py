"""Phase of the fundamental: measured in recordings, integrated from F0 in synthesis."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def measured_phase(
    waveform: Tensor, f0_hz: Tensor, rate_hz: int, hop_samples: int, window_samples: int = 640
) -> Tensor:
    """Measure the phase of the fundamental at the centre of every frame.

    Each frame is demodulated at its own F0 under a Hann window; the angle of the sum is the phase.

    Args:
        waveform: ``(B, S)``, ``S = T * hop_samples``.
        f0_hz: ``(B, T)``; where it is zero the result means nothing.
        rate_hz: sampling rate.
        hop_samples: frame step.
        window_samples: length of the window, with ``window_samples - hop_samples`` even.

    Returns:
        ``(B, T)`` in radians, -pi to pi.
    """
    pad = (window_samples - hop_samples) // 2
    frames = F.pad(waveform, (pad, pad)).unfold(1, window_samples, hop_samples)
    offset = torch.arange(window_samples, device=waveform.device) - (window_samples - 1) / 2
    window = torch.hann_window(window_samples, periodic=False, device=waveform.device)
    angle = (2.0 * math.pi / rate_hz) * f0_hz[..., None] * offset
    windowed = frames * window
    return torch.atan2(-(windowed * angle.sin()).sum(-1), (windowed * angle.cos()).sum(-1))


def integrated_phase(f0_hz: Tensor, rate_hz: int, hop_samples: int) -> Tensor:
    """Integrate F0 over time by the trapezoidal rule, from phase zero at the first frame.

    Args:
        f0_hz: ``(B, T)``, finite everywhere.
        rate_hz: sampling rate.
        hop_samples: frame step.

    Returns:
        ``(B, T)`` in radians, 0 to two pi.
    """
    between = 0.5 * (f0_hz[:, 1:] + f0_hz[:, :-1])
    turns = F.pad(between.double(), (1, 0)).cumsum(1) * (hop_samples / rate_hz)
    return (2.0 * math.pi * turns.remainder(1.0)).to(f0_hz.dtype)
