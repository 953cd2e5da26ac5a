"""Configuration of the factorized codec."""

from dataclasses import dataclass
from typing import Literal, get_args

from parlando.contracts import ConfigError

Stage = Literal["autoencoder", "joint", "detail", "decoder"]
"""Stages of training."""


@dataclass(frozen=True, kw_only=True)
class FACodecConfig:
    """Shape of the ``facodec`` codec: 16 kHz waveform to codes of three attributes and a timbre."""

    backbone: Literal["spectral", "seanet"] = "spectral"
    """``spectral``: ConvNeXt between an STFT and its inverse; ``seanet``: strided convolutions."""
    rate_hz: int = 16_000
    """Sampling rate of the waveform."""
    hop_samples: int = 200
    """Samples per frame; for ``seanet`` the product of the strides."""
    latent_width: int = 64
    """Width D of the latent."""
    prosody_levels: int = 1
    """Residual quantizers of prosody."""
    content_levels: int = 2
    """Residual quantizers of content."""
    detail_levels: int = 3
    """Residual quantizers of acoustic detail."""
    codebook_size: int = 1024
    """Entries per codebook."""
    code_width: int = 8
    """Dimensions of an entry; ``latent_width`` removes the information bottleneck."""
    prosody_input: Literal["encoder", "mel"] = "encoder"
    """Prosody is read off the encoder's output, or off the lowest 20 of 80 mel bands."""
    prosody_width: int = 64
    """Channels of the head that tells F0 from prosody, and of the network on the mel bands."""
    prosody_layers: int = 4
    """ConvNeXt blocks of the network on the mel bands."""
    timbre_width: int = 128
    """Width W of the timbre vector, and of the layers that extract it."""
    timbre_layers: int = 2
    """Transformer layers of the timbre extractor."""
    timbre_heads: int = 4
    """Attention heads of each."""
    timbre_filter_width: int = 256
    """Inner width of its feed-forward networks."""
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

    def __post_init__(self) -> None:
        for name in ("prosody_levels", "content_levels", "detail_levels"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; give 1 or more")
        if not 2 <= self.code_width <= self.latent_width:
            raise ConfigError(
                f"code_width is {self.code_width}; give 2 to latent_width, {self.latent_width}"
            )


@dataclass(frozen=True, kw_only=True)
class FACodecObjectiveConfig:
    """One stage of training the ``facodec`` codec, its means of disentanglement and its critics.

    The stages follow each other: ``autoencoder``, then fit the codebooks, ``joint``, ``decoder``.
    Between the last two, in ``detail``, that learns what the reconstruction lacks.
    The fourth means, the information bottleneck, is ``code_width`` of the model. Weights are the
    paper's, those of the speaker and of the complex distance apart, which it does not give.
    """

    stage: Stage = "autoencoder"
    """``autoencoder``: noise for quantizers; ``joint``: all; ``detail``: its quantizer and the
    decoder, ``decoder``: that alone, while the rest is frozen."""
    timbre_learns_on: bool = False
    """In the stages ``detail`` and ``decoder`` the timbre extractor trains too, as it does in the
    others: no code depends on it, so it makes none invalid."""
    level_bits: float = 9.0
    """Bits of a frame that each level carries through the noise: a little less than its codes."""
    supervision: bool = True
    """F0 and voicing from prosody, phones from content, the speaker from timbre."""
    reversal: bool = True
    """Hide phones from prosody, F0 from content, both from detail, the speaker from the sum."""
    reversal_scale: float = 1.0
    """What multiplies the reversed gradients, at last."""
    reversal_warmup_steps: int = 1000
    """Steps over which it rises from 0, so that the adversaries know something first; the weight of
    the exchange does too."""
    detail_dropout: float = 0.5
    """Share of items that are decoded without detail; 0 switches it off."""
    disguised_detail_dropout: float = 1.0
    """The same share of the items whose codes come of a disguised voice (``disguise_share`` of the
    data): detail says how the recording sounds, the voice that comes out is to be the timbre's."""
    exchange_weight: float = 0.0
    """Weight of hearing the other speaker where codes are decoded with another item's timbre
    (speaker consistency, not in the paper); 0 is off."""
    exchange_share: float = 0.5
    """Share of the items that are also decoded so, without detail."""
    exchange_strength: float = 1.0
    """The timbre goes up to so many times as far as the other item's lies, for conversions of that
    strength; 1 goes no farther."""
    reconstruct_detail_only: bool = False
    """The distance to the waveform trains detail alone, as in the published code."""
    mel_weight: float = 10.0
    """Weight of the mel distance."""
    complex_weight: float = 60.0
    """Weight of the compressed complex distance."""
    commitment_weight: float = 0.25
    """Weight of the distance of the vectors from their entries (``joint`` and ``detail``)."""
    pitch_weight: float = 5.0
    """Weight of F0 and voicing from prosody."""
    phone_weight: float = 5.0
    """Weight of phones from content."""
    speaker_weight: float = 1.0
    """Weight of the speaker from timbre."""
    reversed_pitch_weight: float = 5.0
    """Weight of F0 and voicing from content, and from detail, reversed."""
    reversed_phone_weight: float = 5.0
    """Weight of phones from prosody, and from detail, reversed."""
    reversed_speaker_weight: float = 1.0
    """Weight of the speaker from the sum of the attributes, reversed."""
    head_width: int = 96
    """Channels of the networks that read attributes for these losses."""
    critic_windows: tuple[int, ...] = ()
    """STFT critics, by window length in samples."""
    critic_width: int = 8
    """Channels of the first layer of the STFT critics."""
    critic_bands: bool = False
    """STFT critics judge five frequency bands apart, as published; else all frequencies at once."""
    critic_periods: tuple[int, ...] = ()
    """Multi-period critics, 8M parameters each; published: (2, 3, 5, 7, 11)."""
    critic_start_step: int = 0
    """Step of this stage at which critics begin to learn and to be listened to."""
    adversarial_weight: float = 2.0
    """Weight of the adversarial loss."""
    feature_weight: float = 2.0
    """Weight of the feature-matching loss."""

    def __post_init__(self) -> None:
        if self.stage not in get_args(Stage):
            raise ConfigError(f"stage is {self.stage!r}; choose of {', '.join(get_args(Stage))}")
        for name in ("detail_dropout", "disguised_detail_dropout", "exchange_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} is {getattr(self, name)}; give a share between 0 and 1")
        if self.exchange_strength < 1.0:
            raise ConfigError(f"exchange_strength is {self.exchange_strength}; give 1 or more")
        if self.level_bits <= 0.0:
            raise ConfigError(f"level_bits is {self.level_bits}; give more than 0")
        if any(window < 4 or window % 4 for window in self.critic_windows):
            raise ConfigError(
                f"critic_windows are {self.critic_windows}; give multiples of 4 samples"
            )


def paper() -> FACodecConfig:
    """NaturalSpeech 3's codec: Snake convolutions, 256 dimensions, 6 codebooks of 1024 × 8."""
    return FACodecConfig(
        backbone="seanet",
        latent_width=256,
        prosody_width=256,
        timbre_width=256,
        timbre_layers=4,
        timbre_filter_width=1024,
        encoder_width=32,
        decoder_width=1024,
    )


def small() -> FACodecConfig:
    """The codec to release: less than 8 million parameters, of ``rvq-small``'s shapes."""
    return FACodecConfig()


def tiny() -> FACodecConfig:
    """A spectral codec for tests."""
    return FACodecConfig(
        latent_width=12,
        codebook_size=16,
        prosody_width=8,
        prosody_layers=1,
        timbre_width=8,
        timbre_layers=1,
        timbre_heads=2,
        timbre_filter_width=16,
        encoder_width=16,
        encoder_layers=1,
        decoder_width=16,
        decoder_layers=1,
    )


def paper_objective(stage: Stage) -> FACodecObjectiveConfig:
    """One stage of training :func:`paper` on an accelerator, with the published critics."""
    return FACodecObjectiveConfig(
        stage=stage,
        detail_dropout=0.75,
        critic_windows=(2048, 1024, 512),
        critic_width=32,
        critic_bands=True,
        critic_periods=(2, 3, 5, 7, 11),
    )
