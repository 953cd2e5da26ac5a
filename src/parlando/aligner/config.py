"""Configuration of the aligner and phone recogniser."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class AlignerConfig:
    """Shape of the aligner: mel frames against symbols, and a phone recogniser on one encoder."""

    rate_hz: int = 16_000
    """Sampling rate of the waveform."""
    hop_samples: int = 200
    """Samples per frame, as the codec's."""
    fft_samples: int = 512
    """Window of the mel spectrum."""
    mel_bands: int = 80
    """Mel bands M."""
    width: int = 192
    """Channels of the encoder."""
    layers: int = 8
    """ConvNeXt blocks of the encoder."""
    kernel: int = 11
    """Kernel of their depthwise convolutions, frames."""
    match_width: int = 64
    """Dimensions in which frames and symbols are compared."""
    dropout: float = 0.1
    """Dropout in the blocks and before the heads."""


def small() -> AlignerConfig:
    """Return the released shape, about two million parameters."""
    return AlignerConfig()


def tiny() -> AlignerConfig:
    """Return a shape for tests."""
    return AlignerConfig(width=16, layers=1, kernel=3, match_width=8, mel_bands=20)
