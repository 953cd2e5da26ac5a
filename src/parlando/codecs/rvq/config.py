"""Configuration of the residual-vector-quantised codec."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class RVQConfig:
    """Shape of the ``rvq`` codec: 16 kHz waveform to continuous latents and code stacks."""

    backbone: Literal["spectral", "seanet"] = "spectral"
    """``spectral``: ConvNeXt between an STFT and an inverse STFT; ``seanet``: strided convolutions."""
    rate_hz: int = 16_000
    """Sampling rate of the waveform."""
    hop_samples: int = 200
    """Samples per latent frame; for ``seanet`` the product of the strides."""
    latent_width: int = 64
    """Width D of the latent, and of every codebook vector."""
    levels: int = 12
    """Number Q of residual quantizers."""
    codebook_size: int = 1024
    """Entries per codebook."""
    encoder_width: int = 256
    """Channels of the encoder (``seanet``: of its first layer)."""
    encoder_layers: int = 5
    """ConvNeXt blocks of the encoder (``spectral`` only)."""
    decoder_width: int = 384
    """Channels of the decoder (``seanet``: of its first layer)."""
    decoder_layers: int = 5
    """ConvNeXt blocks of the decoder (``spectral`` only)."""
    strides: tuple[int, ...] = (2, 4, 5, 5)
    """Down-sampling factors (``seanet`` only)."""
    fft_samples: int = 640
    """STFT length (``spectral`` only)."""
    phase_hz: float = 600.0
    """The encoder sees phases below this frequency only (``spectral`` only)."""
