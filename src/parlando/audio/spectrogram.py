"""Short-time spectra as PyTorch functions: framing, STFT, its inverse, and mel projections.

All transforms are frame-exact: a waveform of ``T * hop`` samples gives ``T`` frames, and back.
Frame ``t`` is centred on sample ``t * hop + hop / 2``, so that codec frames, F0 and phone
durations share one clock.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor


@functools.lru_cache(maxsize=32)
@torch.inference_mode(False)
def _hann(n_fft: int, device: str, dtype: torch.dtype) -> Tensor:
    # Kept for training too, which refuses tensors that were made in inference mode.
    return torch.hann_window(n_fft, device=device, dtype=dtype)


def stft(waveform: Tensor, n_fft: int, hop: int) -> Tensor:
    """Compute the complex short-time Fourier transform with exactly one frame per hop.

    Args:
        waveform: ``(B, S)`` real, ``S`` a multiple of ``hop``.
        n_fft: window and transform length in samples, at least ``hop``, with ``n_fft - hop`` even.
        hop: frame step in samples.

    Returns:
        ``(B, n_fft // 2 + 1, S // hop)`` complex.
    """
    pad = (n_fft - hop) // 2
    mode = "reflect" if waveform.shape[-1] > pad else "constant"
    padded = F.pad(waveform[:, None], (pad, n_fft - hop - pad), mode=mode)[:, 0]
    window = _hann(n_fft, str(waveform.device), waveform.dtype)
    return torch.stft(padded, n_fft, hop, window=window, center=False, return_complex=True)


def istft(spectrum: Tensor, n_fft: int, hop: int) -> Tensor:
    """Invert :func:`stft` by windowed overlap-add.

    Args:
        spectrum: ``(B, n_fft // 2 + 1, T)`` complex.
        n_fft: transform length in samples.
        hop: frame step in samples.

    Returns:
        ``(B, T * hop)`` real.
    """
    window = _hann(n_fft, str(spectrum.device), torch.float32)
    frames = torch.fft.irfft(spectrum, n=n_fft, dim=1) * window[None, :, None]
    count = spectrum.shape[-1]
    length = (count - 1) * hop + n_fft
    fold = functools.partial(
        F.fold, output_size=(1, length), kernel_size=(1, n_fft), stride=(1, hop)
    )
    signal = fold(frames)[:, 0, 0]
    envelope = fold(window.square()[None, :, None].expand(1, n_fft, count))[:, 0, 0]
    pad = (n_fft - hop) // 2
    end = pad + count * hop
    return signal[:, pad:end] / envelope[:, pad:end].clamp_min(1e-3)


def hertz_to_mel(hertz: Tensor) -> Tensor:
    """Convert hertz to the HTK mel scale, ``2595 log10(1 + f / 700)``."""
    return 2595.0 * torch.log10(1.0 + hertz / 700.0)


@functools.lru_cache(maxsize=32)
@torch.inference_mode(False)
def mel_filterbank(rate_hz: int, n_fft: int, n_mels: int, low_hz: float = 0.0) -> Tensor:
    """Build triangular mel filters on the HTK scale.

    Returns:
        ``(n_mels, n_fft // 2 + 1)`` float32, each row normalised to sum to one where it is not
        empty, so that a filter averages magnitudes.
    """
    high = hertz_to_mel(torch.tensor(rate_hz / 2.0)).item()
    low = hertz_to_mel(torch.tensor(low_hz)).item()
    mels = torch.linspace(low, high, n_mels + 2)
    edges = 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    bins = torch.linspace(0.0, rate_hz / 2.0, n_fft // 2 + 1)
    rising = (bins[None] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins[None]) / (edges[2:] - edges[1:-1])[:, None]
    bank = torch.minimum(rising, falling).clamp_min(0.0)
    # Narrow low filters may fall between two bins: give those the nearest bin.
    empty = bank.sum(1) == 0
    nearest = (bins[None] - edges[1:-1, None]).abs().argmin(1)
    bank[empty, nearest[empty]] = 1.0
    return bank / bank.sum(1, keepdim=True)


def mel_filterbank_like(
    spectrum: Tensor, rate_hz: int, n_fft: int, n_mels: int, low_hz: float = 0.0
) -> Tensor:
    """Return :func:`mel_filterbank` on the device and of the type of a spectrum's magnitudes."""
    return _kept_filterbank(rate_hz, n_fft, n_mels, low_hz, str(spectrum.device), spectrum.dtype)


@functools.lru_cache(maxsize=32)
@torch.inference_mode(False)
def _kept_filterbank(
    rate_hz: int, n_fft: int, n_mels: int, low_hz: float, device: str, dtype: torch.dtype
) -> Tensor:
    # Copied once: a copy to an accelerator makes the host wait.
    return mel_filterbank(rate_hz, n_fft, n_mels, low_hz).to(device, dtype)


def log_mel(waveform: Tensor, rate_hz: int, n_fft: int, hop: int, n_mels: int) -> Tensor:
    """Compute log-mel magnitudes, frame-exact.

    Args:
        waveform: ``(B, S)``.
        rate_hz: sampling rate.
        n_fft: window length in samples.
        hop: frame step in samples.
        n_mels: number of mel bands ``M``.

    Returns:
        ``(B, T, M)`` natural log of the filtered magnitude, floored at 1e-5.
    """
    magnitude = stft(waveform, n_fft, hop).abs() * (2.0 / n_fft)
    bank = mel_filterbank_like(magnitude, rate_hz, n_fft, n_mels)
    return (bank @ magnitude).clamp_min(1e-5).log().transpose(1, 2)


def compress(spectrum: Tensor, power: float = 0.3) -> Tensor:
    """Compress complex magnitudes by a power and keep their phase.

    Args:
        spectrum: complex tensor of any shape.
        power: exponent in (0, 1].

    Returns:
        real tensor with a trailing dimension of two (real, imaginary).
    """
    parts = torch.view_as_real(spectrum)
    energy = parts.square().sum(-1, keepdim=True) + 1e-8
    return parts * energy.pow((power - 1.0) / 2.0)
