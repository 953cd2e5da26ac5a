"""Configuration of the residual-vector-quantised codec."""

from dataclasses import dataclass
from typing import Literal

from parlando.contracts import ConfigError


@dataclass(frozen=True, kw_only=True)
class RVQConfig:
    """Shape of the ``rvq`` codec: 16 kHz waveform to continuous latents and code stacks."""

    backbone: Literal["spectral", "seanet"] = "spectral"
    """``spectral``: ConvNeXt between an STFT and its inverse; ``seanet``: strided convolutions."""
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


@dataclass(frozen=True, kw_only=True)
class RVQObjectiveConfig:
    """One stage of training the ``rvq`` codec, and its critics.

    The stages follow each other: ``autoencoder``, then fit the codebooks, ``joint``, ``decoder``.
    """

    stage: Literal["autoencoder", "joint", "decoder"] = "autoencoder"
    """``autoencoder``: noise for quantizers; ``joint``: all; ``decoder``: the rest is frozen."""
    target_bits: float = 110.0
    """Bits per frame that the noisy latents may carry: a little less than the codes will."""
    complex_weight: float = 6.0
    """Weight of the compressed complex distance beside the mel distance."""
    commitment_weight: float = 1.0
    """Weight of the distance of the residuals from their codebook vectors (``joint`` only)."""
    fewer_levels_share: float = 0.5
    """Share of items that a random number of levels codes; the others use all."""
    critic_windows: tuple[int, ...] = ()
    """STFT critics, by window length in samples; (1024, 512, 256) double the cost of a step."""
    critic_width: int = 8
    """Channels of the first layer of the STFT critics."""
    critic_periods: tuple[int, ...] = ()
    """Multi-period critics, 8M parameters each; published: (2, 3, 5, 7, 11)."""
    critic_start_step: int = 0
    """Step of this stage at which critics begin to learn and to be listened to."""
    adversarial_weight: float = 1 / 15
    """Weight of the adversarial loss; the default is DAC's ratio to the mel distance."""
    feature_weight: float = 2 / 15
    """Weight of the feature-matching loss; the default is DAC's ratio to the mel distance."""

    def __post_init__(self) -> None:
        if self.stage not in ("autoencoder", "joint", "decoder"):
            raise ConfigError(
                f"stage is {self.stage!r}; choose 'autoencoder', 'joint' or 'decoder'"
            )
        if not 0.0 <= self.fewer_levels_share <= 1.0:
            raise ConfigError(
                f"fewer_levels_share is {self.fewer_levels_share}; give a share between 0 and 1"
            )
        if any(window < 4 or window % 4 for window in self.critic_windows):
            raise ConfigError(
                f"critic_windows are {self.critic_windows}; give multiples of 4 samples"
            )


def paper() -> RVQConfig:
    """NaturalSpeech 2's codec: 16 × 1024 codes of 256 dimensions, 27 million parameters in all."""
    return RVQConfig(
        backbone="seanet", latent_width=256, levels=16, encoder_width=40, decoder_width=1024
    )


def small() -> RVQConfig:
    """The released codec: less than 8 million parameters, cheap on a CPU."""
    return RVQConfig()


def tiny() -> RVQConfig:
    """A spectral codec for tests."""
    return RVQConfig(
        latent_width=8,
        levels=4,
        codebook_size=16,
        encoder_width=16,
        encoder_layers=1,
        decoder_width=16,
        decoder_layers=1,
    )


def paper_objective(stage: Literal["autoencoder", "joint", "decoder"]) -> RVQObjectiveConfig:
    """One stage of training :func:`paper` on an accelerator, with DAC's set of critics."""
    return RVQObjectiveConfig(
        stage=stage,
        target_bits=150.0,
        critic_windows=(2048, 1024, 512),
        critic_width=32,
        critic_periods=(2, 3, 5, 7, 11),
    )
