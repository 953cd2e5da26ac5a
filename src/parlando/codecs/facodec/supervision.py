"""What makes each attribute tell its own and no other: supervision, and reversed gradients.

Source: NaturalSpeech 3 (arXiv 2403.03100), section 3.2, "Disentanglement", and appendix.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from parlando.nn.gradients import gradient_reversal
from parlando.nn.heads import FrameHead, PooledHead

UNKNOWN_PHONE = 0
"""Frames of this class train nothing: padding, or no alignment."""

_WEIGHTS = {
    "pitch": "pitch",
    "phone": "phone",
    "speaker": "speaker",
    "prosody_phone": "reversed_phone",
    "content_pitch": "reversed_pitch",
    "detail_phone": "reversed_phone",
    "detail_pitch": "reversed_pitch",
    "sum_speaker": "reversed_speaker",
}


@dataclass(frozen=True, kw_only=True)
class AttributeWeights:
    """Weights of the losses; 0 removes a loss and its network."""

    pitch: float = 0.0
    """F0 and voicing from prosody."""
    phone: float = 0.0
    """Phones from content."""
    speaker: float = 0.0
    """The speaker from timbre."""
    reversed_pitch: float = 0.0
    """F0 and voicing from content and from detail, reversed."""
    reversed_phone: float = 0.0
    """Phones from prosody and from detail, reversed."""
    reversed_speaker: float = 0.0
    """The speaker from the sum of the attributes, reversed."""


class AttributeReaders(nn.Module):
    """Networks that read phones, pitch and speaker off attributes, and what their success costs.

    Readers named after what they read alone help each other's attribute; those named
    ``attribute_what`` are adversaries, and learn what the attribute is then made to hide. Phones
    and F0 are known frame by frame; a speaker is read off the mean over time.

    Args:
        latent_width: width D of the attributes.
        timbre_width: width W of the timbre.
        hidden_width: channels of the networks.
        phones: number of phone classes.
        speakers: number of speakers.
        weights: of the losses.
    """

    def __init__(
        self,
        *,
        latent_width: int,
        timbre_width: int,
        hidden_width: int,
        phones: int,
        speakers: int,
        weights: AttributeWeights,
    ):
        super().__init__()
        self.weights = {name: getattr(weights, kind) for name, kind in _WEIGHTS.items()}
        self.readers = nn.ModuleDict()
        for name, weight in self.weights.items():
            if not weight or name == "pitch":  # the codec keeps that one, for synthesis
                continue
            if name == "speaker":
                self.readers[name] = nn.Linear(timbre_width, speakers)
            elif name == "sum_speaker":
                self.readers[name] = PooledHead(latent_width, hidden_width, speakers)
            else:
                outputs = phones if name.endswith("phone") else 2
                self.readers[name] = FrameHead(latent_width, hidden_width, outputs)

    def forward(
        self,
        latents: Mapping[str, Tensor],
        timbre: Tensor,
        pitch: Tensor,
        batch: Mapping[str, Any],
        reversal_scale: float,
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Compute weighted losses, and how well each reader reads.

        Args:
            latents: of ``prosody``, ``content`` and ``detail``, each ``(B, T, D)``.
            timbre: ``(B, W)``.
            pitch: ``(B, T, 2)`` what the codec's own head read off prosody.
            batch: ``phones`` ``(B, T)`` int64 (0: unknown), ``pitch`` ``(B, T)`` normalised
                log-F0, ``voiced`` and ``frame_mask`` ``(B, T)`` bool, ``speaker`` ``(B,)`` int64.
            reversal_scale: of the reversed gradients.

        Returns:
            losses by name, and accuracies (shares) and errors (deviations of log-F0) by name.
        """
        losses: dict[str, Tensor] = {}
        figures: dict[str, Tensor] = {}
        hidden = {name: gradient_reversal(z, reversal_scale) for name, z in latents.items()}
        hidden["sum"] = gradient_reversal(
            torch.stack(list(latents.values())).sum(0), reversal_scale
        )
        for name, weight in self.weights.items():
            if not weight:
                continue
            place, _, what = name.rpartition("_")
            if what == "pitch":
                read = self.readers[name](hidden[place]) if place else pitch
                loss, found = pitch_loss(read, batch)
            elif what == "phone":
                read = self.readers[name](hidden[place] if place else latents["content"])
                loss, found = phone_loss(read, batch)
            else:
                loss, found = self._speaker_loss(name, timbre, hidden["sum"], batch)
            losses[name if not place else f"reversed_{name}"] = weight * loss
            figures |= {(f"{place}/{key}" if place else key): v for key, v in found.items()}
        if not figures:
            return losses, {}
        # One read for all: each makes the host wait for an accelerator.
        read_off = torch.stack(list(figures.values())).tolist()
        return losses, dict(zip(figures, read_off, strict=True))

    def _speaker_loss(
        self, name: str, timbre: Tensor, total: Tensor, batch: Mapping[str, Any]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        reader = self.readers[name]
        read = reader(timbre) if name == "speaker" else reader(total, batch["frame_mask"])
        logits = cast(Tensor, read).float()
        right = logits.argmax(-1) == batch["speaker"]
        loss = F.cross_entropy(logits, batch["speaker"])
        return loss, {"speaker_accuracy": right.float().mean()}


def pitch_loss(read: Tensor, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute the loss of pitch and voicing ``(B, T, 2)``, and the errors of both.

    Smooth L1 on voiced frames: an adversary's error may grow, but not its pull.
    """
    height, voicing = read.float().unbind(-1)
    mask, voiced = batch["frame_mask"], batch["voiced"] & batch["frame_mask"]
    wanted = batch["pitch"]
    error = _mean(F.smooth_l1_loss(height, wanted, reduction="none"), voiced)
    uncertainty = F.binary_cross_entropy_with_logits(
        voicing, batch["voiced"].float(), reduction="none"
    )
    found = {
        "pitch_error": _mean((height.detach() - wanted).abs(), voiced),
        "voicing_accuracy": _mean(((voicing > 0.0) == batch["voiced"]).float(), mask),
    }
    return error + _mean(uncertainty, mask), found


def phone_loss(read: Tensor, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute the cross-entropy of phones ``(B, T, C)`` on frames whose phone is known."""
    known = (batch["phones"] != UNKNOWN_PHONE) & batch["frame_mask"]
    loss = F.cross_entropy(read.float().transpose(1, 2), batch["phones"], reduction="none")
    right = (read.argmax(-1) == batch["phones"]).float()
    return _mean(loss, known), {"phone_accuracy": _mean(right, known)}


def _mean(values: Tensor, where: Tensor) -> Tensor:
    return (values * where).sum() / where.sum().clamp_min(1)
