"""What the ``facodec`` codec learns, in stages: autoencoder, quantizers with it, detail, decoder.

The order is that of the ``rvq`` codec, for its reason: quantizers that learn from the start chase
latents that move faster than their codebooks. In the autoencoder's stage every level is
disturbed by noise of its own number of bits, so that supervision and reversal already shape what
each attribute tells.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from parlando.codecs.facodec.config import FACodecObjectiveConfig
from parlando.codecs.facodec.listening import SpeakerListener, exchange_loss, recognition_loss
from parlando.codecs.facodec.model import ATTRIBUTES, FACodec, Factors
from parlando.codecs.facodec.supervision import AttributeReaders, AttributeWeights
from parlando.codecs.reconstruction import (
    Reconstruction,
    adversarial_losses,
    discriminate,
    distances,
    sampled_distances,
)
from parlando.contracts import ConfigError, PhaseResult
from parlando.nn.discriminators import Critics

# Of the quantizers: moving averages that training resumes with and a released codec does without.
_STATISTICS = ("counts", "sums")


class FACodecObjective(nn.Module):
    """Train one stage of the codec, with critics or without.

    The loop may run ``forward`` under autocast: networks follow it, while spectra, quantizers and
    losses keep full precision. Batches hold ``waveform`` ``(B, S)``, and what
    :class:`AttributeReaders` needs unless all its losses are off: ``phones``, ``pitch``,
    ``voiced``, ``frame_mask`` ``(B, T)``, ``speaker`` ``(B,)``. With ``source`` ``(B, S)`` and
    ``disguised`` ``(B,)`` the codes are those of the source, which says the same in another voice
    where it is disguised; the timbre is the waveform's, which is to come out. So codes cannot tell
    the voice (information perturbation, Choi et al. 2021, section 3.1). Phases of another voice
    say nothing of the waveform's: there the complex distance compares magnitudes.

    Args:
        codec: what is trained; the stage ``decoder`` freezes all of it but the decoder, the stage
            ``detail`` all but that and the quantizer of detail; in both, timbre may learn on.
        config: stage and weights.
        phones: number of phone classes.
        speakers: number of speakers.
        critics: judges of the reconstruction; without them there is no discriminator phase.
    """

    def __init__(
        self,
        codec: FACodec,
        config: FACodecObjectiveConfig,
        *,
        phones: int,
        speakers: int,
        critics: Critics | None = None,
    ):
        super().__init__()
        self.codec = codec
        self.config = config
        self.critics = critics
        self.readers = AttributeReaders(
            latent_width=codec.latent_width,
            timbre_width=codec.timbre_width,
            hidden_width=config.head_width,
            phones=phones,
            speakers=speakers,
            weights=_weights(config),
        )
        self.listener = None
        if config.exchange_weight:
            self.listener = SpeakerListener(
                speakers, rate_hz=codec.rate_hz, hop_samples=codec.hop_samples
            )
        self.phases: tuple[str, ...] = ("generator",)
        if critics is not None:
            self.phases = ("generator", "discriminator")
        self._freezes = config.stage in ("detail", "decoder")
        if self._freezes:
            for module in self._frozen():
                module.requires_grad_(False)
        if not config.supervision or not config.pitch_weight:
            codec.pitch_head.requires_grad_(False)
        if config.supervision and config.speaker_weight and speakers < 2:
            raise ConfigError(
                f"speaker_weight is {config.speaker_weight} with {speakers} speaker in the data; "
                "set it and reversed_speaker_weight to 0"
            )
        self.train()

    def train(self, mode: bool = True) -> "FACodecObjective":
        """Switch to training, except for what the stages ``detail`` and ``decoder`` freeze."""
        super().train(mode)
        if self._freezes:
            for module in self._frozen():
                # In training mode the codebooks would follow their data.
                module.eval()
        return self

    def parameters_of(self, phase: str) -> list[nn.Parameter]:
        """Return what ``generator`` (codec, readers, listener) or ``discriminator`` steps.

        Raises:
            ConfigError: if the objective has no such phase.
        """
        if phase not in self.phases:
            raise ConfigError(f"there is no phase {phase!r}; this objective has {self.phases}")
        modules = (
            [self.codec, self.readers, self.listener] if phase == "generator" else [self.critics]
        )
        return [
            parameter
            for module in modules
            if module is not None
            for parameter in module.parameters()
            if parameter.requires_grad
        ]

    def trained(self) -> FACodec:
        """Return the codec."""
        return self.codec

    def forward(
        self, phase: str, batch: Mapping[str, Any], step: int, carry: Any = None
    ) -> PhaseResult:
        """Compute the losses of one phase.

        Args:
            phase: ``generator`` or ``discriminator``.
            batch: see the class.
            step: step of this stage, from 0.
            carry: for ``discriminator``, what ``generator`` returned at this step.

        Returns:
            weighted losses; before ``critic_start_step`` the discriminator's is zero.
        """
        listens = self.critics is not None and step >= self.config.critic_start_step
        if phase == "generator":
            return self._generate(batch, step, listens)
        assert self.critics is not None
        return discriminate(self.critics, carry, listens)

    @torch.no_grad()
    def validate(self, batch: Mapping[str, Any]) -> dict[str, float]:
        """Measure the codec as it is released; in the stage ``autoencoder``, behind its noise.

        Returns:
            ``mel`` (nepers) and ``complex`` of the reconstruction, and both ``_without_detail``;
            in the first two stages what each reader reads: ``phone_accuracy`` off content,
            ``pitch_error`` (of log-F0, in an utterance's deviations) and ``voicing_accuracy``
            off prosody, ``speaker_accuracy`` off timbre, and of the adversaries
            ``prosody/phone_accuracy`` and so on. With quantizers also ``entries/prosody`` and so
            on, the entries in use (perplexity), the mean over the levels.
        """
        waveform = self._whole_frames(batch["waveform"])
        with torch.autocast(waveform.device.type, enabled=False), torch.random.fork_rng():
            torch.manual_seed(0)  # the same noise each time, and none of training's
            factors, timbre = self._encode(waveform, batch)
            figures: dict[str, float] = {}
            for ending, names in (("", ATTRIBUTES), ("_without_detail", ATTRIBUTES[:-1])):
                latent = torch.stack([factors.latents[name] for name in names]).sum(0)
                produced = self.codec.decode(latent, timbre)
                found = distances(
                    produced, waveform, self.codec.rate_hz, phase_hz=self.codec.phase_hz
                )
                figures |= {name + ending: value for name, value in found.items()}
            if not self._freezes:
                figures |= self._read(factors, timbre, batch, 0.0)[1]
        if factors.codes is not None:
            for name, levels in self.codec.levels_of.items():
                used = [
                    _entries_in_use(level, self.codec.codebook_size)
                    for level in factors.codes[:, levels].unbind(1)
                ]
                figures[f"entries/{name}"] = sum(used) / len(used)
        return figures

    @torch.no_grad()
    def audio(self, batch: Mapping[str, Any]) -> dict[str, tuple[np.ndarray, int]]:
        """Return sounds and their rate.

        Returns:
            the first item as ``reference``, ``reconstruction`` and ``without_detail``, and with
            the timbre of the last item as ``other_timbre``.
        """
        waveform = self._whole_frames(batch["waveform"])[[0, -1]]
        few = {
            name: value[[0, -1]] for name, value in batch.items() if isinstance(value, torch.Tensor)
        }
        with torch.autocast(waveform.device.type, enabled=False), torch.random.fork_rng():
            torch.manual_seed(0)
            factors, timbre = self._encode(waveform, few)
            parts = [factors.latents[name][:1] for name in ATTRIBUTES]
            latent = torch.stack(parts).sum(0)
            sounds = {
                "reference": waveform[:1],
                "reconstruction": self.codec.decode(latent, timbre[:1]),
                "without_detail": self.codec.decode(latent - parts[-1], timbre[:1]),
                "other_timbre": self.codec.decode(latent, timbre[1:]),
            }
        return {name: (wave[0].cpu().numpy(), self.codec.rate_hz) for name, wave in sounds.items()}

    def take_readers(self, state: Mapping[str, Tensor]) -> bool:
        """Go on with the readers of an earlier stage, where they are of the same shapes.

        The listener begins anew: what satisfies one for long is not what others hear.

        Args:
            state: the state of an objective.

        Returns:
            whether they were.
        """
        prefix = "readers."
        found = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        own = self.readers.state_dict()
        if {k: v.shape for k, v in found.items()} != {k: v.shape for k, v in own.items()}:
            return False
        self.readers.load_state_dict(found)
        return True

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for attribute in ATTRIBUTES:
            for name in _STATISTICS:
                tensor = getattr(self.codec.quantizer(attribute), name).detach()
                destination[f"{prefix}{attribute}_{name}"] = tensor

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for attribute in ATTRIBUTES:
            for name in _STATISTICS:
                tensor = state_dict.pop(f"{prefix}{attribute}_{name}")
                getattr(self.codec.quantizer(attribute), name).copy_(tensor)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _generate(self, batch: Mapping[str, Any], step: int, listens: bool) -> PhaseResult:
        waveform, config = self._whole_frames(batch["waveform"]), self.config
        with torch.set_grad_enabled(config.stage != "decoder" or config.timbre_learns_on):
            factors, timbre = self._encode(waveform, batch)
        disguised = batch.get("disguised")
        produced = self.codec.decode(self._decoded_latent(factors, disguised), timbre).float()
        own = None if disguised is None else ~disguised
        mel, fine = sampled_distances(
            produced, waveform, self.codec.rate_hz, phase_hz=self.codec.phase_hz, phases=own
        )
        losses = {"mel": config.mel_weight * mel, "complex": config.complex_weight * fine}
        figures: dict[str, float] = {}
        steps = config.reversal_warmup_steps
        warm = min(1.0, step / steps) if steps else 1.0
        if not self._freezes:
            found, figures = self._read(factors, timbre, batch, warm * config.reversal_scale)
            losses |= found
        if config.stage in ("joint", "detail"):
            losses["commitment"] = config.commitment_weight * factors.commitment
        if self.listener is not None:
            found, heard = self._exchange(self.listener, factors, timbre, batch)
            losses |= found | {"exchange": warm * config.exchange_weight * found["exchange"]}
            figures |= heard
        if listens:
            assert self.critics is not None
            adversarial, feature = adversarial_losses(self.critics, produced, waveform)
            losses["adversarial"] = config.adversarial_weight * adversarial
            losses["feature"] = config.feature_weight * feature
        return PhaseResult(losses, figures, Reconstruction(produced.detach(), waveform))

    def _exchange(
        self,
        listener: SpeakerListener,
        factors: Factors,
        timbre: Tensor,
        batch: Mapping[str, Any],
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Decode the first items with the timbre of the next ones, and ask who is heard."""
        recognition, figures = recognition_loss(listener, batch)
        count = max(1, round(len(timbre) * self.config.exchange_share))
        said = torch.stack([factors.latents[name][:count] for name in ATTRIBUTES[:-1]]).sum(0)
        speaker, mask = batch["speaker"], batch["frame_mask"][:count]
        farther = self.config.exchange_strength - 1.0
        strength = 1.0 + farther * torch.rand(count, 1, device=timbre.device)
        produced = self.codec.decode(
            said, timbre[:count] + strength * (timbre.roll(-1, 0) - timbre)[:count]
        ).float()
        wanted, own = speaker.roll(-1)[:count], speaker[:count]
        exchange, heard = exchange_loss(listener, produced, mask, wanted, own)
        return {"listener": recognition, "exchange": exchange}, figures | heard

    def _encode(self, waveform: Tensor, batch: Mapping[str, Any]) -> tuple[Factors, Tensor]:
        features = self.codec.features(waveform)
        timbre = self.codec.timbre_of(features, batch.get("frame_mask"))
        if "source" in batch:
            features = self.codec.features(self._whole_frames(batch["source"]))
        noise = self.config.level_bits if self.config.stage == "autoencoder" else None
        with torch.autocast(waveform.device.type, enabled=False):
            return self.codec.factorize(features, noise), timbre

    def _decoded_latent(self, factors: Factors, disguised: Tensor | None) -> Tensor:
        """Sum the attributes, some items without detail, as the decoder will read them."""
        latents = dict(factors.latents)
        if self.config.reconstruct_detail_only:
            latents |= {name: latents[name].detach() for name in ATTRIBUTES[:-1]}
        detail, share = latents["detail"], self.config.detail_dropout
        shares = torch.full((len(detail),), share, device=detail.device)
        if disguised is not None:
            shares = shares.masked_fill(disguised, self.config.disguised_detail_dropout)
        kept = torch.rand(len(detail), device=detail.device) >= shares
        latents["detail"] = detail * kept[:, None, None]
        return torch.stack([latents[name] for name in ATTRIBUTES]).sum(0)

    def _read(
        self, factors: Factors, timbre: Tensor, batch: Mapping[str, Any], scale: float
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        if not any(self.readers.weights.values()):
            return {}, {}
        pitch = self.codec.pitch_head(factors.latents["prosody"])
        losses: dict[str, Tensor]
        losses, figures = self.readers(factors.latents, timbre, pitch, batch, scale)
        return losses, figures

    def _frozen(self) -> list[nn.Module]:
        codec = self.codec
        learning = ("detail",) if self.config.stage == "detail" else ()
        parts = (
            codec.encoder,
            codec.prosody_encoder,
            *(codec.quantizer(name) for name in ATTRIBUTES if name not in learning),
            None if self.config.timbre_learns_on else codec.timbre_extractor,
            codec.pitch_head,
            self.readers,
        )
        return [part for part in parts if part is not None]

    def _whole_frames(self, waveform: Tensor) -> Tensor:
        hop = self.codec.hop_samples
        return waveform[:, : waveform.shape[1] // hop * hop]


def build_facodec_objective(
    codec: FACodec, config: FACodecObjectiveConfig, *, phones: int, speakers: int
) -> FACodecObjective:
    """Build one stage of training, with critics where the configuration names any."""
    critics = None
    if config.critic_windows or config.critic_periods:
        critics = Critics(
            config.critic_windows,
            config.critic_width,
            config.critic_periods,
            bands=config.critic_bands,
        )
    return FACodecObjective(codec, config, phones=phones, speakers=speakers, critics=critics)


def _weights(config: FACodecObjectiveConfig) -> AttributeWeights:
    names = ("pitch", "phone", "speaker") if config.supervision else ()
    if config.reversal:
        names = (*names, "reversed_pitch", "reversed_phone", "reversed_speaker")
    return AttributeWeights(**{name: getattr(config, f"{name}_weight") for name in names})


def _entries_in_use(codes: Tensor, size: int) -> float:
    """Return the perplexity of codes: how many entries, used alike, would be as uncertain."""
    shares = torch.bincount(codes.flatten(), minlength=size).float() / codes.numel()
    return float(torch.special.entr(shares).sum().exp())
