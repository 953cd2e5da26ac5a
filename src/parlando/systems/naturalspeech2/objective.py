"""What NaturalSpeech 2 learns.

Source: sections 3.2 and 3.3. ``L = L_diffusion + L_duration + L_pitch`` with unit weights; the
diffusion loss has three terms: data, score, and 0.1 times CE-RVQ.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from parlando.audio.phase import measured_phase
from parlando.contracts import ConfigError, PhaseResult
from parlando.generative.diffusion import (
    VPSchedule,
    ce_rvq_loss,
    data_loss,
    normalized_codebooks,
    score_loss,
)
from parlando.systems.naturalspeech2.config import NaturalSpeech2ObjectiveConfig
from parlando.systems.naturalspeech2.model import (
    NaturalSpeech2,
    PromptStates,
    standardized_mel,
)


class LatentCodec(Protocol):
    """What the objective needs of a codec: the statistics of its latents, both ``(D,)``."""

    latent_mean: Tensor
    latent_std: Tensor


class CosineClassifier(nn.Module):
    """Tell classes apart by the angle alone, with a margin for the right one.

    Source: Wang et al. 2018, "Additive Margin Softmax for Face Verification", equation 6.

    Args:
        width: size D of the input.
        classes: their number C.
        scale: of the cosines.
        margin: by which the right cosine must win.
    """

    def __init__(self, width: int, classes: int, scale: float = 20.0, margin: float = 0.1):
        super().__init__()
        self.directions = nn.Parameter(torch.randn(classes, width))
        self.scale, self.margin = scale, margin

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Return logits ``(B, C)`` of ``(B, D)``; those of ``labels`` ``(B,)`` bear the margin."""
        cosines = F.normalize(x.float(), dim=-1) @ F.normalize(self.directions, dim=-1).T
        penalty = self.margin * F.one_hot(labels, len(self.directions))
        return self.scale * (cosines - penalty)


class NaturalSpeech2Objective(nn.Module):
    """Train all networks of NaturalSpeech 2 on a frozen codec's codes.

    A batch holds ``symbols, symbol_mask, durations`` ``(B, N)``, ``codes`` ``(B, Q, T)``, ``f0``,
    ``voiced, frame_mask`` ``(B, T)`` and ``prompt_codes`` ``(B, Q, P)``, ``prompt_mask``
    ``(B, P)``, ``prompt_log_f0`` ``(B,)``.

    Args:
        model: the networks.
        codec: gives the scale of latents; not trained.
        codebooks: ``(Q, K, D)`` of that codec.
        config: weights.
        schedule: the diffusion process.
        speakers: number of speakers in the training data, for ``speaker_weight``; the batch then
            holds ``speaker`` ``(B,)`` as well.

    Raises:
        ConfigError: ``speaker_weight`` without speakers or without ``global_prompt``.
    """

    phases = ("all",)
    codebooks: Tensor

    def __init__(
        self,
        model: NaturalSpeech2,
        codec: LatentCodec,
        codebooks: Tensor,
        config: NaturalSpeech2ObjectiveConfig,
        schedule: VPSchedule,
        speakers: int = 0,
    ):
        super().__init__()
        self.model = model
        self.config = config
        self.schedule = schedule
        normalized = normalized_codebooks(codebooks, codec.latent_mean, codec.latent_std)
        self.register_buffer("codebooks", normalized.clone(), persistent=False)
        self.speaker_head: CosineClassifier | None = None
        if config.speaker_weight > 0.0:
            if model.prompt_vector is None or speakers < 2:
                raise ConfigError(
                    f"speaker_weight is {config.speaker_weight}, which needs a model with "
                    f"global_prompt and two speakers or more; got {speakers}"
                )
            self.speaker_head = CosineClassifier(model.prompt_vector.out_features, speakers)

    def parameters_of(self, phase: str) -> list[nn.Parameter]:
        """Return the parameters of all networks: there is one phase."""
        return list(self.parameters())

    def trained(self) -> NaturalSpeech2:
        """Return the networks."""
        return self.model

    def latent(self, codes: Tensor) -> Tensor:
        """Return the normalised latent ``(B, T, D)`` of codes ``(B, Q, T)``."""
        total = self.codebooks[0][codes[:, 0]]
        for level in range(1, codes.shape[1]):
            total = total + self.codebooks[level][codes[:, level]]
        return total

    def forward(
        self, phase: str, batch: Mapping[str, Any], step: int, carry: Any = None
    ) -> PhaseResult:
        """Compute all loss terms of one batch."""
        t = self.schedule.clip(torch.rand(len(batch["codes"]), device=batch["codes"].device))
        dropped = torch.rand_like(t) < self.config.drop_prompt
        only_mel = torch.rand_like(t) < self.config.only_mel
        losses, logs = self._losses(batch, t, dropped, only_mel)
        return PhaseResult(losses=losses, logs=logs)

    @torch.no_grad()
    def validate(self, batch: Mapping[str, Any]) -> dict[str, float]:
        """Return the loss terms at evenly spread times, and the data loss without text or prompt.

        The two ablated figures must exceed ``data``: else a condition is not used. With the mel
        only, it lies between ``data`` and that without prompt.
        """
        count = len(batch["codes"])
        t = (torch.arange(count, device=batch["codes"].device) + 0.5) / count
        kept = torch.zeros_like(t, dtype=torch.bool)
        figures: dict[str, float] = {}
        silent = dict(batch, symbols=torch.ones_like(batch["symbols"]))
        for name, variant, dropped, only_mel in (
            ("", batch, kept, kept),
            ("_without_prompt", batch, ~kept, kept),
            ("_without_text", silent, kept, kept),
            ("_with_mel_only", batch, kept, ~kept),
        ):
            # The same noise for all, and none of it for the training that goes on.
            with torch.random.fork_rng():
                torch.manual_seed(0)
                losses, logs = self._losses(variant, t, dropped, only_mel)
            if not name:
                figures |= {key: float(value) for key, value in losses.items()} | logs
            figures[f"data{name}"] = float(losses["data"])
        return figures

    def _losses(
        self, batch: Mapping[str, Any], t: Tensor, dropped: Tensor, only_mel: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        model, mask = self.model, batch["frame_mask"]
        prompt = model.encode_prompt(
            self.latent(batch["prompt_codes"]), batch["prompt_mask"], batch["prompt_log_f0"]
        )
        hidden = model.encode_symbols(batch["symbols"], batch["symbol_mask"])
        losses = {"duration": self._duration_loss(batch, hidden, prompt)}
        expanded, _ = model.expand(hidden, batch["durations"], mask.shape[1])
        log_f0 = batch["f0"].clamp_min(40.0).log()
        losses |= self._pitch_losses(batch, expanded, prompt, log_f0)
        condition = model.condition(expanded, log_f0, batch["voiced"], self._phase(batch))
        z0 = self.latent(batch["codes"])
        z_t = self.schedule.diffuse(z0, t, torch.randn_like(z0))
        prompt = model.predict_mel(condition, mask, prompt)
        if prompt.mel is not None:
            losses["mel"] = self._mel_loss(batch, prompt.mel)
        heard = model.drop_prompt(prompt, dropped)
        heard = model.drop_prompt(heard, only_mel, keep_mel=True)
        told = model.tell(condition, heard)
        z0_hat = model.denoise(z_t, t, told, heard, mask, self.schedule.mean_scale(t))
        losses["data"] = data_loss(z0_hat, z0, mask)
        losses["score"] = score_loss(
            z0_hat, z0, t, self.schedule, mask, weighting=self.config.score_weighting
        )
        logs: dict[str, float] = {}
        if self.config.ce_rvq_weight > 0.0:
            codes = ce_rvq_loss(
                z0_hat,
                batch["codes"],
                self.codebooks,
                mask,
                temperature=self.config.ce_rvq_temperature,
                level_count=self.config.ce_rvq_levels,
            )
            losses["ce_rvq"] = self.config.ce_rvq_weight * codes.loss
            logs["code_accuracy"] = float(codes.accuracy.mean())
        if self.speaker_head is not None and prompt.vector is not None:
            logits = self.speaker_head(prompt.vector, batch["speaker"])
            named = F.cross_entropy(logits, batch["speaker"])
            losses["speaker"] = self.config.speaker_weight * named
            logs["speaker_accuracy"] = float((logits.argmax(-1) == batch["speaker"]).float().mean())
        return losses, logs

    def _phase(self, batch: Mapping[str, Any]) -> Tensor | None:
        if not self.model.pitch_phases:
            return None
        waveform, rate_hz, hop = self._waveform(batch)
        return measured_phase(waveform, batch["f0"], rate_hz, hop)

    def _mel_loss(self, batch: Mapping[str, Any], predicted: Tensor) -> Tensor:
        waveform, rate_hz, hop = self._waveform(batch)
        with torch.autocast(waveform.device.type, enabled=False):
            mel = standardized_mel(waveform.float(), rate_hz, hop, predicted.shape[-1])
        real = batch["frame_mask"].nonzero(as_tuple=True)  # once: the host waits for its size
        return F.l1_loss(predicted.float()[real], mel[real])

    def _waveform(self, batch: Mapping[str, Any]) -> tuple[Tensor, int, int]:
        """Return the waveforms, their rate and the hop."""
        if "waveform" not in batch:
            raise ConfigError(
                "the model reads the phase of the fundamental or the mel spectrogram, which are "
                "measured in waveforms; set waveform = true in the recipe's [data]"
            )
        hop = batch["waveform"].shape[1] // batch["f0"].shape[1]
        return batch["waveform"], round(self.model.frame_rate_hz * hop), hop

    def _duration_loss(
        self, batch: Mapping[str, Any], hidden: Tensor, prompt: PromptStates
    ) -> Tensor:
        mask = batch["symbol_mask"]
        predicted = self.model.predict_durations(hidden, mask, prompt)
        real = mask.nonzero(as_tuple=True)
        return F.l1_loss(predicted[real], batch["durations"][real].float().log1p())

    def _pitch_losses(
        self, batch: Mapping[str, Any], expanded: Tensor, prompt: PromptStates, log_f0: Tensor
    ) -> dict[str, Tensor]:
        mask, voiced = batch["frame_mask"], batch["voiced"]
        predicted, voicing = self.model.predict_pitch(expanded, mask, prompt)
        known = mask.nonzero(as_tuple=True)
        real = (mask & voiced).float()
        # Choice: log-F0 errors are tenths; five times brings them to the scale of the others.
        error = 5.0 * ((predicted - log_f0).abs() * real).sum() / real.sum().clamp_min(1.0)
        uv = F.binary_cross_entropy_with_logits(voicing[known], voiced[known].float())
        return {"pitch": error, "voicing": uv}
