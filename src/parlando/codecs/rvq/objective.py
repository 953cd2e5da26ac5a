"""What the ``rvq`` codec learns, in three stages: autoencoder, quantizers with it, decoder alone.

A quantizer that is learnt from the start sees latents that move faster than its codebooks and
leaves most levels unused. So the autoencoder comes first, on latents that are disturbed as
quantization will disturb them; the codebooks are then fitted to it and trained on jointly; at
last the decoder alone may train on, which leaves codes and latents, and every model that was
built on them, valid.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from parlando.codecs.reconstruction import (
    Reconstruction,
    adversarial_losses,
    discriminate,
    distances,
    sampled_distances,
)
from parlando.codecs.rvq.config import RVQObjectiveConfig
from parlando.codecs.rvq.model import RVQCodec
from parlando.contracts import ConfigError, PhaseResult
from parlando.nn.discriminators import Critics

_NOISE_STRENGTHS = (0.5, 1.2)
_RATE_WEIGHT = 0.01
_CENTRE_WEIGHT = 1e-4
# Of the quantizer: moving averages that training resumes with and a released codec does without.
_STATISTICS = ("counts", "sums")


class RVQObjective(nn.Module):
    """Train one stage of the codec, with critics or without.

    The loop may run ``forward`` under autocast: networks follow it, while spectra, quantizers and
    losses keep full precision. Batches hold ``waveform`` ``(B, S)``.

    Args:
        codec: what is trained; the stage ``decoder`` freezes its encoder and quantizers.
        critics: judges of the reconstruction; without them there is no discriminator phase.
        stage: which parts learn, and what disturbs the latent.
        target_bits: bits per frame above which the stage ``autoencoder`` penalises the rate.
        complex_weight: weight of the compressed complex distance; the mel distance has 1.
        commitment_weight: weight of the commitment loss of the stage ``joint``.
        fewer_levels_share: share of items that use a random number of levels.
        critic_start_step: before this step critics neither learn nor count.
        adversarial_weight: weight of the adversarial loss.
        feature_weight: weight of the feature-matching loss.
    """

    def __init__(
        self,
        codec: RVQCodec,
        critics: Critics | None = None,
        *,
        stage: Literal["autoencoder", "joint", "decoder"] = "autoencoder",
        target_bits: float = 110.0,
        complex_weight: float = 6.0,
        commitment_weight: float = 1.0,
        fewer_levels_share: float = 0.5,
        critic_start_step: int = 0,
        adversarial_weight: float = 1 / 15,
        feature_weight: float = 2 / 15,
    ):
        super().__init__()
        self.codec = codec
        self.critics = critics
        self.stage = stage
        self.target_bits = target_bits
        self.complex_weight = complex_weight
        self.commitment_weight = commitment_weight
        self.fewer_levels_share = fewer_levels_share
        self.critic_start_step = critic_start_step
        self.adversarial_weight = adversarial_weight
        self.feature_weight = feature_weight
        self.phases: tuple[str, ...] = ("generator",)
        if critics is not None:
            self.phases = ("generator", "discriminator")
        codec.encoder.requires_grad_(stage != "decoder")
        self.train()

    def train(self, mode: bool = True) -> "RVQObjective":
        """Switch to training, except for what the stage ``decoder`` freezes."""
        super().train(mode)
        if self.stage == "decoder":
            self.codec.encoder.eval()
            # In training mode the codebooks would follow their data.
            self.codec.quantizer.eval()
        return self

    def parameters_of(self, phase: str) -> list[nn.Parameter]:
        """Return what ``generator`` (the parts of the codec that learn) or ``discriminator`` steps.

        Raises:
            ConfigError: if the objective has no such phase.
        """
        if phase not in self.phases:
            raise ConfigError(f"there is no phase {phase!r}; this objective has {self.phases}")
        module = self.codec if phase == "generator" else self.critics
        assert module is not None
        return [parameter for parameter in module.parameters() if parameter.requires_grad]

    def trained(self) -> RVQCodec:
        """Return the codec."""
        return self.codec

    def forward(
        self, phase: str, batch: Mapping[str, Any], step: int, carry: Any = None
    ) -> PhaseResult:
        """Compute the losses of one phase.

        Args:
            phase: ``generator`` or ``discriminator``.
            batch: ``waveform`` ``(B, S)`` at the codec's rate.
            step: step of this stage, from 0.
            carry: for ``discriminator``, what ``generator`` returned at this step.

        Returns:
            weighted losses; before ``critic_start_step`` the discriminator's is zero.
        """
        listens = self.critics is not None and step >= self.critic_start_step
        if phase == "generator":
            return self._generate(self._whole_frames(batch["waveform"]), listens)
        assert self.critics is not None
        return discriminate(self.critics, carry, listens)

    @torch.no_grad()
    def validate(self, batch: Mapping[str, Any]) -> dict[str, float]:
        """Measure the codec as it is released, with all windows.

        Waveforms are not compared sample by sample: the codec does not keep the phases of the
        upper harmonics.

        Returns:
            ``mel`` (nepers) and ``complex`` of the reconstruction. In the stage ``autoencoder``
            also ``rate_bits`` per frame, and ``mel_noisy`` behind unit noise, which foretells the
            quantized codec. In the others also both distances by number of levels,
            ``mel/levels_01`` and so on.
        """
        waveform = self._whole_frames(batch["waveform"])
        with torch.autocast(waveform.device.type, enabled=False):
            if self.stage != "autoencoder":
                return self._validate_levels(waveform)
            latent = self.codec.encoder(waveform)
            generator = torch.Generator(latent.device).manual_seed(0)
            noise = torch.randn(latent.shape, generator=generator, device=latent.device)
            figures = self._distances(self.codec.decode(latent), waveform)
            noisy = self._distances(self.codec.decode(latent + noise), waveform)
            return figures | {"rate_bits": float(_rate(latent)), "mel_noisy": noisy["mel"]}

    @torch.no_grad()
    def audio(self, batch: Mapping[str, Any]) -> dict[str, tuple[np.ndarray, int]]:
        """Return ``reference`` and ``reconstruction`` of the first item: samples and their rate."""
        waveform = self._whole_frames(batch["waveform"][:1])
        with torch.autocast(waveform.device.type, enabled=False):
            if self.stage == "autoencoder":
                latent = self.codec.encoder(waveform)
            else:
                latent = self.codec.embed(self.codec.encode(waveform))
            sounds = {"reference": waveform, "reconstruction": self.codec.decode(latent)}
        return {name: (wave[0].cpu().numpy(), self.codec.rate_hz) for name, wave in sounds.items()}

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name in _STATISTICS:
            destination[f"{prefix}quantizer_{name}"] = getattr(self.codec.quantizer, name).detach()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in _STATISTICS:
            getattr(self.codec.quantizer, name).copy_(state_dict.pop(f"{prefix}quantizer_{name}"))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _generate(self, waveform: Tensor, listens: bool) -> PhaseResult:
        latent, losses, logs = self._disturbed_latent(waveform)
        produced = self.codec.decode(latent).float()
        mel, fine = sampled_distances(
            produced, waveform, self.codec.rate_hz, phase_hz=self.codec.phase_hz
        )
        losses |= {"mel": mel, "complex": self.complex_weight * fine}
        if listens:
            assert self.critics is not None
            adversarial, feature = adversarial_losses(self.critics, produced, waveform)
            losses["adversarial"] = self.adversarial_weight * adversarial
            losses["feature"] = self.feature_weight * feature
        return PhaseResult(losses, logs, Reconstruction(produced.detach(), waveform))

    def _disturbed_latent(
        self, waveform: Tensor
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, float]]:
        """Return what the decoder reads, the losses of the latent, and figures to record."""
        with torch.set_grad_enabled(self.stage != "decoder"):
            latent = self.codec.encoder(waveform)
        with torch.autocast(waveform.device.type, enabled=False):
            latent = latent.float()
            if self.stage == "autoencoder":
                return self._noisy_latent(latent)
            quantized = self.codec.quantizer(latent, self._draw_levels(len(latent), latent.device))
        if self.stage == "decoder":
            return quantized.latent, {}, {}
        self.codec.observe(self.codec.embed(quantized.codes))
        losses = {"commitment": self.commitment_weight * quantized.commitment}
        return quantized.latent, losses, {}

    def _noisy_latent(self, latent: Tensor) -> tuple[Tensor, dict[str, Tensor], dict[str, float]]:
        """Disturb the latent as quantizers will: unit noise, and a limit of the rate behind it.

        Noise of a fixed power makes the encoder spread what matters over the noise, and the
        penalty on the rate that a Gaussian channel would carry makes it drop what does not pay
        for its bits; so variance concentrates in few dimensions and survives quantization at that
        rate. The strength varies, since the error of a quantizer varies with its levels.
        """
        low, high = _NOISE_STRENGTHS
        strength = low + (high - low) * torch.rand(len(latent), 1, 1, device=latent.device)
        rate = _rate(latent)
        losses = {
            "rate": _RATE_WEIGHT * (rate - self.target_bits).relu(),
            # The mean costs no rate: nothing else holds it near zero.
            "centre": _CENTRE_WEIGHT * latent.mean(dim=(0, 1)).square().sum(),
        }
        noisy = latent + strength * torch.randn_like(latent)
        return noisy, losses, {"rate_bits": float(rate.detach())}

    def _draw_levels(self, items: int, device: torch.device) -> Tensor:
        levels = self.codec.quantizer.levels
        fewer = torch.rand(items, device=device) < self.fewer_levels_share
        return torch.randint(1, levels + 1, (items,), device=device).where(fewer, levels)

    def _validate_levels(self, waveform: Tensor) -> dict[str, float]:
        codes = self.codec.encode(waveform)
        figures: dict[str, float] = {}
        for count in range(1, codes.shape[1] + 1):
            produced = self.codec.decode(self.codec.embed(codes[:, :count]))
            found = self._distances(produced, waveform)
            figures |= {f"{name}/levels_{count:02d}": far for name, far in found.items()}
        return figures | found

    def _distances(self, produced: Tensor, waveform: Tensor) -> dict[str, float]:
        return distances(produced, waveform, self.codec.rate_hz, phase_hz=self.codec.phase_hz)

    def _whole_frames(self, waveform: Tensor) -> Tensor:
        hop = self.codec.hop_samples
        return waveform[:, : waveform.shape[1] // hop * hop]


def build_rvq_objective(codec: RVQCodec, config: RVQObjectiveConfig) -> RVQObjective:
    """Build one stage of training, with critics where the configuration names any."""
    critics = None
    if config.critic_windows or config.critic_periods:
        critics = Critics(config.critic_windows, config.critic_width, config.critic_periods)
    return RVQObjective(
        codec,
        critics,
        stage=config.stage,
        target_bits=config.target_bits,
        complex_weight=config.complex_weight,
        commitment_weight=config.commitment_weight,
        fewer_levels_share=config.fewer_levels_share,
        critic_start_step=config.critic_start_step,
        adversarial_weight=config.adversarial_weight,
        feature_weight=config.feature_weight,
    )


def _rate(latent: Tensor) -> Tensor:
    """Compute the bits per frame of a Gaussian channel with unit noise, ``(B, T, D)`` to scalar."""
    return 0.5 * (1.0 + latent.flatten(0, 1).var(dim=0)).log2().sum()
