"""Differentiable distances between waveforms, measured on spectra."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from parlando.audio.spectrogram import compress, mel_filterbank_like, stft


def multi_resolution_mel_distance(
    produced: Tensor,
    reference: Tensor,
    rate_hz: int,
    windows: Sequence[int] = (256, 512, 1024, 2048),
    mels: Sequence[int] = (20, 40, 80, 160),
) -> Tensor:
    """Average the L1 distance of log-mel spectra over several window lengths.

    Source: Kumar et al. 2023 (DAC), section 3.3, with fewer windows.

    Args:
        produced: ``(B, S)``.
        reference: ``(B, S)``.
        rate_hz: sampling rate of both.
        windows: STFT lengths in samples, each a multiple of four; the hop is a quarter.
        mels: mel bands for each window.

    Returns:
        scalar, in nepers (1 neper is 8.7 dB).
    """
    total = produced.new_zeros(())
    for window, count in zip(windows, mels, strict=True):
        bank = mel_filterbank_like(produced, rate_hz, window, count)
        first, second = (
            (bank @ _quarter_hop_stft(wave, window).abs()).clamp_min(1e-4).log()
            for wave in (produced, reference)
        )
        total = total + (first - second).abs().mean()
    return total / len(windows)


def compressed_complex_distance(
    produced: Tensor,
    reference: Tensor,
    windows: Sequence[int] = (320, 640),
    power: float = 0.3,
    *,
    phase_share: float = 1.0,
    phases: Tensor | None = None,
) -> Tensor:
    """Average the L1 distance of power-compressed complex spectra: phase and magnitude both count.

    Source: the compressed loss of Ephrat et al. 2018, with L1 for L2.

    Where nothing foretells a phase, this is least for a magnitude that is too small, and what is
    trained by it speaks 2 to 3 dB too softly there. So phases may count for a part alone; elsewhere
    magnitudes are compared, at the same weight.

    Args:
        produced: ``(B, S)``.
        reference: ``(B, S)``.
        windows: STFT lengths in samples; the hop is a quarter.
        power: magnitude exponent.
        phase_share: share of the band, from 0 Hz up, in which phases count.
        phases: ``(B,)`` items in which they do; none: all.

    Returns:
        scalar.
    """
    total = produced.new_zeros(())
    for window in windows:
        first, second = (
            compress(_quarter_hop_stft(wave, window), power) for wave in (produced, reference)
        )
        known = round(phase_share * first.shape[1])
        fine = (first[:, :known] - second[:, :known]).abs().mean(-1)
        if phases is not None:
            coarse = _magnitude_distance(first[:, :known], second[:, :known])
            fine = torch.where(phases[:, None, None], fine, coarse)
        coarse = _magnitude_distance(first[:, known:], second[:, known:])
        total = total + torch.cat([fine, coarse], dim=1).mean()
    return total / len(windows)


def _magnitude_distance(first: Tensor, second: Tensor) -> Tensor:
    """Compare the magnitudes of ``(..., 2)`` complex numbers.

    A difference of magnitude alone is, on average over phases, 2/pi of itself in each part.
    """
    # The root has no gradient at 0.
    one, other = ((value.square().sum(-1) + 1e-6).sqrt() for value in (first, second))
    return (one - other).abs() * (2.0 / math.pi)


def _quarter_hop_stft(waveform: Tensor, window: int) -> Tensor:
    hop = window // 4
    whole = waveform[..., : waveform.shape[-1] // hop * hop]
    return stft(whole, window, hop) * (2.0 / window)
