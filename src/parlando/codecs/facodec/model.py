"""The ``facodec`` codec: encoder, a quantizer for each attribute, timbre, decoder.

Source: NaturalSpeech 3 (arXiv 2403.03100), section 3.2. Prosody, content and detail are codes of
every frame; timbre is one vector of the whole recording, which the decoder is told of by a
conditional layer norm on its input.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from parlando.audio.spectrogram import log_mel
from parlando.codecs.facodec.config import FACodecConfig
from parlando.codecs.seanet import SEANetDecoder, SEANetEncoder
from parlando.codecs.spectral import SpectralDecoder, SpectralEncoder
from parlando.contracts import ConfigError
from parlando.nn.convolution import ConvNeXtBlock
from parlando.nn.factorized import FactorizedQuantizer
from parlando.nn.heads import FrameHead, pooled
from parlando.nn.transformer import TransformerEncoder

ATTRIBUTES = ("prosody", "content", "detail")
"""What codes tell of a frame, in the order of the levels."""

_MEL_WINDOW = 1024
_MEL_BANDS = 80
_PROSODY_BANDS = 20


class Features(NamedTuple):
    """What the encoder makes of a waveform, before any bottleneck; both ``(B, T, D)``."""

    hidden: Tensor
    """What content, detail and timbre are read off."""
    prosody: Tensor
    """What prosody is read off; ``hidden`` again, or what the lowest mel bands say."""


class Factors(NamedTuple):
    """A waveform in its attributes."""

    latents: dict[str, Tensor]
    """For each attribute ``(B, T, D)``; the gradient passes straight through quantizers."""
    codes: Tensor | None
    """``(B, Q, T)``; none where noise took the place of quantizers."""
    commitment: Tensor
    """Mean squared distance of the vectors from their entries."""


class MelProsody(nn.Module):
    """Read prosody off the lowest mel bands, which hold the pitch and little of words and voice.

    Source: NaturalSpeech 3, section 3.2 and table 4. Choice: ConvNeXt blocks for the published
    code's transformer: what prosody is at a frame does not depend on frames far away.

    Args:
        rate_hz: sampling rate.
        hop_samples: samples per frame.
        width: channels.
        layers: ConvNeXt blocks.
        latent_width: width D of the result.
    """

    def __init__(
        self, *, rate_hz: int, hop_samples: int, width: int, layers: int, latent_width: int
    ):
        super().__init__()
        self.rate_hz = rate_hz
        self.hop_samples = hop_samples
        self.input = nn.Linear(_PROSODY_BANDS, width)
        self.blocks = nn.Sequential(*[ConvNeXtBlock(width) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, latent_width)

    def forward(self, waveform: Tensor) -> Tensor:
        """Map ``(B, S)`` to ``(B, T, D)``."""
        with torch.autocast(waveform.device.type, enabled=False):
            mel = log_mel(waveform.float(), self.rate_hz, _MEL_WINDOW, self.hop_samples, _MEL_BANDS)
        # From about 0 to -11 to about unit size.
        x = self.blocks(self.input(0.3 * mel[..., :_PROSODY_BANDS] + 1.5))
        latent: Tensor = self.output(self.norm(x))
        return latent


class TimbreExtractor(nn.Module):
    """One vector of a recording: transformer layers, and the mean over time.

    Source: NaturalSpeech 3, section 3.2. Choice: transformer layers with convolutional
    feed-forward networks, as in the published code, for the paper's Conformer.

    Args:
        latent_width: width D of what comes in.
        width: width W of the layers and of the vector.
        layers: transformer layers.
        heads: attention heads.
        filter_width: inner width of the feed-forward networks.
    """

    def __init__(
        self, *, latent_width: int, width: int, layers: int, heads: int, filter_width: int
    ):
        super().__init__()
        self.input = nn.Linear(latent_width, width)
        self.layers = TransformerEncoder(
            width=width,
            layers=layers,
            heads=heads,
            filter_width=filter_width,
            kernel=5,
            dropout=0.0,
        )
        self.output = nn.Linear(width, width)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Map ``(B, T, D)`` with ``mask`` ``(B, T)``, True = real, to ``(B, W)``."""
        timbre: Tensor = self.output(pooled(self.layers(self.input(hidden), mask), mask))
        return timbre


class ConditionalLayerNorm(nn.Module):
    """Layer norm whose scale and bias a vector decides.

    Source: Chen et al. 2021 (AdaSpeech), section 2.3. It starts as a plain layer norm.

    Args:
        width: channels D.
        condition_width: width W of the vector.
    """

    def __init__(self, width: int, condition_width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.projection = nn.Linear(condition_width, 2 * width)
        nn.init.zeros_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Normalise ``(B, T, D)`` as ``condition`` ``(B, W)`` says."""
        scale, bias = self.projection(condition)[:, None].chunk(2, dim=-1)
        y: Tensor = self.norm(x) * (1.0 + scale) + bias
        return y


class FACodec(nn.Module):
    """Waveform to codes of three attributes and a timbre vector, and back.

    Args:
        encoder: ``(B, S)`` to ``(B, T, D)``.
        prosody_encoder: ``(B, S)`` to what prosody is read off, ``(B, T, D)``; none: the encoder's.
        quantizers: one for each of ``ATTRIBUTES``.
        timbre_extractor: ``(B, T, D)`` and a mask to ``(B, W)``.
        conditioning: the latent and the timbre to what the decoder reads.
        decoder: ``(B, T, D)`` to ``(B, T * hop_samples)``.
        pitch_head: prosody ``(B, T, D)`` to normalised log-F0 and the logit of voicing
            ``(B, T, 2)``.
        rate_hz: sampling rate.
        hop_samples: samples per frame.
    """

    def __init__(
        self,
        encoder: nn.Module,
        prosody_encoder: nn.Module | None,
        quantizers: Mapping[str, FactorizedQuantizer],
        timbre_extractor: TimbreExtractor,
        conditioning: ConditionalLayerNorm,
        decoder: nn.Module,
        pitch_head: nn.Module,
        *,
        rate_hz: int,
        hop_samples: int,
    ):
        super().__init__()
        self.encoder = encoder
        self.prosody_encoder = prosody_encoder
        self.quantizers = nn.ModuleDict(quantizers)
        self.timbre_extractor = timbre_extractor
        self.conditioning = conditioning
        self.decoder = decoder
        self.pitch_head = pitch_head
        self.rate_hz = rate_hz
        self.hop_samples = hop_samples
        self.levels_of: dict[str, slice] = {}
        first = 0
        for name in ATTRIBUTES:
            last = first + self.quantizer(name).levels
            self.levels_of[name], first = slice(first, last), last

    def quantizer(self, attribute: str) -> FactorizedQuantizer:
        """Return the quantizer of one of ``ATTRIBUTES``.

        Raises:
            ConfigError: there is no such attribute.
        """
        if attribute not in self.quantizers:
            raise ConfigError(f"there is no attribute {attribute!r}; choose of {ATTRIBUTES}")
        return cast(FactorizedQuantizer, self.quantizers[attribute])

    @property
    def levels(self) -> int:
        """Number of codes Q of a frame."""
        return self.levels_of[ATTRIBUTES[-1]].stop

    @property
    def codebook_size(self) -> int:
        """Entries K of each codebook."""
        return self.quantizer("prosody").codebooks.shape[1]

    @property
    def latent_width(self) -> int:
        """Width D of the latent."""
        return self.quantizer("prosody").up[0].out_features  # type: ignore[return-value]

    @property
    def timbre_width(self) -> int:
        """Width W of the timbre vector."""
        return self.timbre_extractor.output.out_features

    @property
    def phase_hz(self) -> float:
        """Frequency below which the encoder sees phases; it sees all unless it tells of a limit."""
        return float(getattr(self.encoder, "phase_hz", math.inf))

    @property
    def bits_per_second(self) -> float:
        """Bit rate of the codes of all attributes."""
        bits = torch.log2(torch.tensor(float(self.codebook_size))).item()
        return self.levels * bits * self.rate_hz / self.hop_samples

    def encode(self, waveform: Tensor) -> Tensor:
        """Map ``(B, S)``, S a multiple of the hop, to codes ``(B, Q, T)`` int64."""
        features = self.features(waveform)
        parts = {
            name: self.quantizer(name).encode(source)
            for name, source in (("prosody", features.prosody), ("content", features.hidden))
        }
        told = sum(self.embed_attribute(codes, name) for name, codes in parts.items())
        parts["detail"] = self.quantizer("detail").encode(features.hidden.float() - told)
        return torch.cat([parts[name] for name in ATTRIBUTES], dim=1)

    def timbre(self, waveform: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map ``(B, S)`` to one vector each, ``(B, W)``.

        Args:
            waveform: S a multiple of the hop.
            mask: ``(B, T)``, True = real; all when None.
        """
        return self.timbre_of(self.features(waveform), mask)

    def embed(self, codes: Tensor, *, without: Sequence[str] = ()) -> Tensor:
        """Sum the entries of the attributes, not of the timbre: ``(B, Q, T)`` to ``(B, T, D)``.

        Args:
            codes: of all attributes.
            without: attributes to leave out.

        Raises:
            ConfigError: there is no such attribute, or none is left.
        """
        kept = [name for name in ATTRIBUTES if name not in without]
        if not kept or set(without) - set(ATTRIBUTES):
            raise ConfigError(f"without is {tuple(without)}; name one or two of {ATTRIBUTES}")
        parts = [self.embed_attribute(codes[:, self.levels_of[name]], name) for name in kept]
        return torch.stack(parts).sum(0)

    def embed_attribute(self, codes: Tensor, attribute: str) -> Tensor:
        """Sum the entries of the first levels of one attribute: ``(B, Q', T)`` to ``(B, T, D)``."""
        return self.quantizer(attribute).embed(codes)

    def decode(self, latent: Tensor, timbre: Tensor) -> Tensor:
        """Map the latent ``(B, T, D)`` and timbre ``(B, W)`` to a waveform ``(B, T * hop)``."""
        return cast(Tensor, self.decoder(self.conditioning(latent, timbre)))

    def reconstruct(self, waveform: Tensor, *, without: Sequence[str] = ()) -> Tensor:
        """Encode ``(B, S)`` and decode it with its own timbre.

        Args:
            waveform: S a multiple of the hop.
            without: attributes to leave out.

        Returns:
            ``(B, S)``.

        Raises:
            ConfigError: there is no such attribute, or none is left.
        """
        latent = self.embed(self.encode(waveform), without=without)
        return self.decode(latent, self.timbre(waveform))

    def codebook_vectors(self, level: int) -> Tensor:
        """Return the entries of a level, 0 to Q - 1, as :meth:`embed` sums them: ``(K, D)``."""
        for name, levels in self.levels_of.items():
            if levels.start <= level < levels.stop:
                return self.quantizer(name).entries(level - levels.start)
        raise ConfigError(f"there is no level {level}; give 0 to {self.levels - 1}")

    def features(self, waveform: Tensor) -> Features:
        """Run the encoder, and that of prosody where there is one, on ``(B, S)``."""
        hidden = self.encoder(waveform)
        prosody = hidden if self.prosody_encoder is None else self.prosody_encoder(waveform)
        return Features(hidden, prosody)

    def timbre_of(self, features: Features, mask: Tensor | None = None) -> Tensor:
        """Extract the timbre ``(B, W)`` of encoded waveforms; ``mask`` as for :meth:`timbre`."""
        hidden = features.hidden
        if mask is None:
            mask = torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
        return cast(Tensor, self.timbre_extractor(hidden, mask))

    def factorize(self, features: Features, noise_bits: float | None = None) -> Factors:
        """Part encoded waveforms into attributes, for training.

        Args:
            features: what :meth:`features` returned.
            noise_bits: put noise that leaves so many bits a level in the place of quantizers.
        """
        hidden = features.hidden.float()
        latents: dict[str, Tensor] = {}
        codes, commitment = [], hidden.new_zeros(())
        for name in ATTRIBUTES:
            source = features.prosody.float() if name == "prosody" else hidden
            if name == "detail":
                # Detail is what the others leave over; they do not move to leave it more.
                source = hidden - (latents["prosody"] + latents["content"]).detach()
            quantizer = self.quantizer(name)
            if noise_bits is not None:
                latents[name] = quantizer.disturb(source, noise_bits)
                continue
            quantized = quantizer(source)
            latents[name] = quantized.latent
            codes.append(quantized.codes)
            commitment = commitment + quantized.commitment
        return Factors(latents, torch.cat(codes, dim=1) if codes else None, commitment)

    @torch.no_grad()
    def fit(self, waveforms: Iterable[Tensor]) -> dict[str, list[float]]:
        """Fit the codebooks to the encoder's output by k-means.

        Args:
            waveforms: batches ``(B, S)``, with more frames in all than a codebook has entries.

        Returns:
            for each attribute and level the mean cosine of the vectors with their entries.
        """
        hidden, prosody = self._sample(waveforms)
        cosines = {"prosody": self.quantizer("prosody").fit(prosody)}
        cosines["content"] = self.quantizer("content").fit(hidden)
        told = self._told(hidden, "content") + self._told(prosody, "prosody")
        cosines["detail"] = self.quantizer("detail").fit(hidden - told)
        return cosines

    @torch.no_grad()
    def start_from(
        self, encoder: nn.Module, decoder: nn.Module, waveforms: Iterable[Tensor], bits: float
    ) -> None:
        """Take over a trained encoder and decoder of the same shape, as a start.

        Content looks first at the main directions of their latents, prosody at the next ones,
        detail at the main ones of what is left; the decoder's input has the scale it is used to.

        Args:
            encoder: of an unfactorized codec.
            decoder: of the same.
            waveforms: batches ``(B, S)`` to measure the latents of.
            bits: of the noise that training will put in the place of quantizers.

        Raises:
            ConfigError: they are of another shape.
        """
        for part, own, given in (
            ("encoder", self.encoder, encoder),
            ("decoder", self.decoder, decoder),
        ):
            shapes, others = (
                {(name, tuple(tensor.shape)) for name, tensor in module.state_dict().items()}
                for module in (own, given)
            )
            if shapes != others:
                raise ConfigError(
                    f"cannot start from that codec: {len(shapes ^ others)} tensors of the {part} "
                    "differ in name or shape; choose one of the same backbone, widths and layers"
                )
            own.load_state_dict(given.state_dict())
        hidden, _ = self._sample(waveforms)
        content = self.quantizer("content")
        left = content.span(hidden, bits)
        if self.prosody_encoder is None:
            taken = content.levels * content.codebooks.shape[-1]
            left = left + self.quantizer("prosody").span(hidden, bits, skip=taken) - hidden
        self.quantizer("detail").span(left, bits)
        scale, bias = self.conditioning.projection.bias.chunk(2)
        scale.fill_(float(hidden.var(0).mean().sqrt()) - 1.0)
        bias.copy_(hidden.mean(0))

    def restart_statistics(self) -> None:
        """Restart the moving averages of all codebooks (after loading)."""
        for name in ATTRIBUTES:
            self.quantizer(name).restart_statistics()

    def _sample(self, waveforms: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
        device = self.conditioning.projection.weight.device
        parts = [self.features(waveform.to(device)) for waveform in waveforms]
        hidden = torch.cat([part.hidden.flatten(0, 1) for part in parts]).float()
        return hidden, torch.cat([part.prosody.flatten(0, 1) for part in parts]).float()

    def _told(self, sample: Tensor, attribute: str) -> Tensor:
        quantizer = self.quantizer(attribute)
        return quantizer.embed(quantizer.encode(sample[None]))[0]


def build_facodec(config: FACodecConfig) -> FACodec:
    """Build a codec of random weights from its configuration."""
    width = config.latent_width
    if config.backbone == "spectral":
        encoder: nn.Module = SpectralEncoder(
            rate_hz=config.rate_hz,
            hop_samples=config.hop_samples,
            fft_samples=config.fft_samples,
            phase_hz=config.phase_hz,
            width=config.encoder_width,
            layers=config.encoder_layers,
            latent_width=width,
        )
        decoder: nn.Module = SpectralDecoder(
            hop_samples=config.hop_samples,
            fft_samples=config.fft_samples,
            width=config.decoder_width,
            layers=config.decoder_layers,
            latent_width=width,
        )
    else:
        encoder = SEANetEncoder(
            width=config.encoder_width, strides=config.strides, latent_width=width
        )
        decoder = SEANetDecoder(
            width=config.decoder_width, strides=config.strides, latent_width=width
        )
    prosody_encoder = None
    if config.prosody_input == "mel":
        prosody_encoder = MelProsody(
            rate_hz=config.rate_hz,
            hop_samples=config.hop_samples,
            width=config.prosody_width,
            layers=config.prosody_layers,
            latent_width=width,
        )
    counts = (config.prosody_levels, config.content_levels, config.detail_levels)
    return FACodec(
        encoder,
        prosody_encoder,
        {
            name: FactorizedQuantizer(count, config.codebook_size, width, config.code_width)
            for name, count in zip(ATTRIBUTES, counts, strict=True)
        },
        TimbreExtractor(
            latent_width=width,
            width=config.timbre_width,
            layers=config.timbre_layers,
            heads=config.timbre_heads,
            filter_width=config.timbre_filter_width,
        ),
        ConditionalLayerNorm(width, config.timbre_width),
        decoder,
        FrameHead(width, config.prosody_width, 2),
        rate_hz=config.rate_hz,
        hop_samples=config.hop_samples,
    )
