"""The ``rvq`` codec: encoder, residual quantizer, decoder.

Source: NaturalSpeech 2, section 3.1. The continuous latent of a frame is the sum of its codebook
vectors; it is what latent diffusion generates and what the decoder reads.
"""

import math
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from parlando.codecs.rvq.config import RVQConfig
from parlando.codecs.seanet import SEANetDecoder, SEANetEncoder
from parlando.codecs.spectral import SpectralDecoder, SpectralEncoder
from parlando.nn.quantization import ResidualVectorQuantizer


class RVQCodec(nn.Module):
    """Waveform to code stacks and latents, and back.

    Args:
        encoder: ``(B, S)`` to ``(B, T, D)``.
        quantizer: the codebooks.
        decoder: ``(B, T, D)`` to ``(B, T * hop_samples)``.
        rate_hz: sampling rate.
        hop_samples: samples per frame.

    The buffers ``latent_mean`` and ``latent_std``, each ``(D,)``, normalise the quantized latents
    for diffusion. Choice: the mean is that of each dimension, the scale is one for all, the root
    mean variance. The encoder leaves dimensions it does not need with little variance; scaling
    those up would make a diffusion model spend its capacity on what the decoder ignores, and
    would change which codeword is nearest.
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        quantizer: ResidualVectorQuantizer,
        decoder: nn.Module,
        *,
        rate_hz: int,
        hop_samples: int,
    ):
        super().__init__()
        self.encoder = encoder
        self.quantizer = quantizer
        self.decoder = decoder
        self.rate_hz = rate_hz
        self.hop_samples = hop_samples
        width = quantizer.codebooks.shape[-1]
        self.register_buffer("latent_mean", torch.zeros(width))
        self.register_buffer("latent_std", torch.ones(width))

    def encode(self, waveform: Tensor) -> Tensor:
        """Map ``(B, S)``, S a multiple of the hop, to codes ``(B, Q, T)`` int64."""
        return self.quantizer.encode(self.encoder(waveform))

    def embed(self, codes: Tensor) -> Tensor:
        """Sum codebook vectors: ``(B, Q', T)``, ``Q' <= Q``, to the latent ``(B, T, D)``."""
        return self.quantizer.embed(codes)

    def decode(self, latent: Tensor) -> Tensor:
        """Map the latent ``(B, T, D)`` to a waveform ``(B, T * hop)``."""
        return cast(Tensor, self.decoder(latent))

    def normalize(self, latent: Tensor) -> Tensor:
        """Shift and scale the latent to zero mean and unit mean variance."""
        return (latent - self.latent_mean) / self.latent_std

    def denormalize(self, latent: Tensor) -> Tensor:
        """Undo :meth:`normalize`."""
        return latent * self.latent_std + self.latent_mean

    @torch.no_grad()
    def fit(self, waveforms: Iterable[Tensor]) -> list[float]:
        """Fit the codebooks to the encoder's latents, and set the latent statistics.

        Args:
            waveforms: batches ``(B, S)``, with more frames in all than a codebook has entries.

        Returns:
            signal-to-noise ratio of the quantized latent in dB after each level.
        """
        device = self.latent_mean.device
        parts = [self.encoder(waveform.to(device)).flatten(0, 1) for waveform in waveforms]
        latents = torch.cat(parts)
        gains = self.quantizer.fit(latents)
        self.latent_mean.copy_(latents.mean(0))
        self.latent_std.fill_(float(latents.var(0).mean().sqrt()))
        return gains

    @torch.no_grad()
    def observe(self, latent: Tensor, decay: float = 0.995) -> None:
        """Move the latent statistics towards those of quantized latents ``(B, T, D)``."""
        flat = latent.detach().flatten(0, 1).float()
        mean = self.latent_mean.lerp(flat.mean(0), 1.0 - decay)
        variance = (flat - mean).square().mean()
        self.latent_std.copy_(self.latent_std.square().lerp(variance, 1.0 - decay).sqrt())
        self.latent_mean.copy_(mean)

    @property
    def phase_hz(self) -> float:
        """Frequency below which the encoder sees phases; it sees all unless it tells of a limit."""
        return float(getattr(self.encoder, "phase_hz", math.inf))

    @property
    def bits_per_second(self) -> float:
        """Bit rate with all levels."""
        size = self.quantizer.codebooks.shape[1]
        bits = torch.log2(torch.tensor(float(size))).item()
        return self.quantizer.levels * bits * self.rate_hz / self.hop_samples


def build_rvq(config: RVQConfig) -> RVQCodec:
    """Build a codec of random weights from its configuration."""
    if config.backbone == "spectral":
        encoder: nn.Module = SpectralEncoder(
            rate_hz=config.rate_hz,
            hop_samples=config.hop_samples,
            fft_samples=config.fft_samples,
            phase_hz=config.phase_hz,
            width=config.encoder_width,
            layers=config.encoder_layers,
            latent_width=config.latent_width,
        )
        decoder: nn.Module = SpectralDecoder(
            hop_samples=config.hop_samples,
            fft_samples=config.fft_samples,
            width=config.decoder_width,
            layers=config.decoder_layers,
            latent_width=config.latent_width,
        )
    else:
        encoder = SEANetEncoder(
            width=config.encoder_width, strides=config.strides, latent_width=config.latent_width
        )
        decoder = SEANetDecoder(
            width=config.decoder_width, strides=config.strides, latent_width=config.latent_width
        )
    quantizer = ResidualVectorQuantizer(config.levels, config.codebook_size, config.latent_width)
    return RVQCodec(
        encoder, quantizer, decoder, rate_hz=config.rate_hz, hop_samples=config.hop_samples
    )
