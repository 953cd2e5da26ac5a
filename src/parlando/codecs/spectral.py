"""The cheap backbone of codecs: ConvNeXt blocks between an STFT and its inverse.

Everything runs at the frame rate, so a second of audio costs 80 positions instead of 16,000.
The encoder sees magnitudes at every frequency but phases only below ``phase_hz``: the phase of the
fundamental tells the decoder where the glottal pulses are, while the phases of the upper
harmonics, which a generative model would have to invent frame by frame, never enter the latent.
"""

import torch
from torch import Tensor, nn

from parlando.audio.spectrogram import compress, istft, stft
from parlando.nn.convolution import ConvNeXtBlock


class SpectralEncoder(nn.Module):
    """Waveform to latents.

    Args:
        rate_hz: sampling rate.
        hop_samples: samples per frame.
        fft_samples: STFT length.
        phase_hz: phases below this frequency enter, those above do not.
        width: channels.
        layers: ConvNeXt blocks.
        latent_width: width D of the latent.
    """

    def __init__(
        self,
        *,
        rate_hz: int,
        hop_samples: int,
        fft_samples: int,
        phase_hz: float,
        width: int,
        layers: int,
        latent_width: int,
    ):
        super().__init__()
        self.hop_samples = hop_samples
        self.fft_samples = fft_samples
        self.phase_hz = phase_hz
        self.phase_bins = int(phase_hz * fft_samples / rate_hz)
        bins = fft_samples // 2 + 1
        self.input = nn.Linear(bins + 2 * self.phase_bins, width)
        self.norm = nn.LayerNorm(width)
        self.blocks = nn.Sequential(*[ConvNeXtBlock(width) for _ in range(layers)])
        self.output_norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, latent_width)

    def forward(self, waveform: Tensor) -> Tensor:
        """Map ``(B, S)`` to ``(B, T, D)``, ``T = S // hop_samples``."""
        spectrum = stft(waveform, self.fft_samples, self.hop_samples) * (2.0 / self.fft_samples)
        magnitude = (spectrum.abs() + 1e-4).log() * 0.25 + 1.0
        phases = compress(spectrum[:, : self.phase_bins]).movedim(-1, 1).flatten(1, 2) * 4.0
        features = torch.cat([magnitude, phases], dim=1).transpose(1, 2)
        x = self.blocks(self.norm(self.input(features)))
        latent: Tensor = self.output(self.output_norm(x))
        return latent


class SpectralDecoder(nn.Module):
    """Latents to waveform, by log-magnitude and direction of each STFT bin.

    Source: Siuzdak 2023 (Vocos), section 3.2. Deviation: the phase comes as a normalised
    two-dimensional direction, which is continuous where an angle would wrap.

    Args:
        hop_samples: samples per frame.
        fft_samples: STFT length.
        width: channels.
        layers: ConvNeXt blocks.
        latent_width: width D of the latent.
    """

    def __init__(
        self, *, hop_samples: int, fft_samples: int, width: int, layers: int, latent_width: int
    ):
        super().__init__()
        self.hop_samples = hop_samples
        self.fft_samples = fft_samples
        self.input = nn.Conv1d(latent_width, width, 7, padding=3)
        self.norm = nn.LayerNorm(width)
        self.blocks = nn.Sequential(*[ConvNeXtBlock(width) for _ in range(layers)])
        self.output_norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, 3 * (fft_samples // 2 + 1))

    def forward(self, latent: Tensor) -> Tensor:
        """Map ``(B, T, D)`` to ``(B, T * hop_samples)``."""
        x = self.input(latent.transpose(1, 2)).transpose(1, 2)
        x = self.output_norm(self.blocks(self.norm(x)))
        # The inverse STFT needs full precision: phases of loud bins must cancel.
        level, real, imaginary = self.output(x).float().transpose(1, 2).chunk(3, dim=1)
        magnitude = (level - 4.0).clamp(max=4.0).exp() * (self.fft_samples / 2.0)
        scale = magnitude * (real.square() + imaginary.square() + 1e-6).rsqrt()
        return istft(
            torch.complex(real * scale, imaginary * scale), self.fft_samples, self.hop_samples
        )
