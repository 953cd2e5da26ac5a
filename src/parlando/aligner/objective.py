"""What the aligner learns: forward-sum alignment and CTC phone recognition."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from parlando.aligner.model import Aligner
from parlando.contracts import PhaseResult
from parlando.generative.monotonic import beta_binomial_log_prior, forward_sum
from parlando.text import vocabulary


class AlignerObjective(nn.Module):
    """Train aligner and recogniser together.

    The beta-binomial prior starts tight around the diagonal, which finds the right basin, and
    loosens over ``prior_steps``, since sentences with long pauses leave the diagonal.

    Args:
        aligner: the model.
        prior_steps: steps over which the prior loosens.
        recogniser_weight: weight of the CTC loss beside the forward-sum loss.
    """

    phases = ("all",)
    skippable_id: Tensor

    def __init__(
        self, aligner: Aligner, *, prior_steps: int = 1000, recogniser_weight: float = 1.0
    ):
        super().__init__()
        self.aligner = aligner
        self.prior_steps = prior_steps
        self.recogniser_weight = recogniser_weight
        skippable = [vocabulary.is_pause(symbol) for symbol in vocabulary.SYMBOLS]
        self.register_buffer("skippable_id", torch.tensor(skippable), persistent=False)

    def parameters_of(self, phase: str) -> list[nn.Parameter]:
        """Return all parameters: there is one phase."""
        return list(self.parameters())

    def trained(self) -> Aligner:
        """Return the aligner."""
        return self.aligner

    def forward(
        self, phase: str, batch: Mapping[str, Any], step: int, carry: Any = None
    ) -> PhaseResult:
        """Compute both losses on ``waveform, symbols, symbol_mask, frame_mask``."""
        mel = self.aligner.features(batch["waveform"])
        mel = _mask_spectrum(_add_noise(_warp_spectrum(mel)))
        tightness = max(0.2, 1.0 - step / self.prior_steps)
        losses = self._losses(mel, batch, tightness)
        return PhaseResult(
            losses={
                "alignment": losses["alignment"],
                "recognition": self.recogniser_weight * losses["recognition"],
            }
        )

    @torch.no_grad()
    def validate(self, batch: Mapping[str, Any]) -> dict[str, float]:
        """Return both losses and the phone error rate of the recogniser."""
        mel = self.aligner.features(batch["waveform"])
        losses = self._losses(mel, batch, tightness=0.2)
        encoded = self.aligner.encode(mel, batch["frame_mask"])
        best = self.aligner.phone_log_probabilities(encoded).argmax(-1)
        errors, total = 0, 0
        targets, lengths = self._targets(batch)
        for row, mask, target, length in zip(
            best, batch["frame_mask"], targets, lengths, strict=True
        ):
            merged = torch.unique_consecutive(row[mask])
            heard = merged[merged != 0].tolist()
            errors += edit_distance(heard, target[:length].tolist())
            total += int(length)
        return {
            "alignment": float(losses["alignment"]),
            "recognition": float(losses["recognition"]),
            "phone_error_rate": errors / max(total, 1),
        }

    def _losses(self, mel: Tensor, batch: Mapping[str, Any], tightness: float) -> dict[str, Tensor]:
        symbols, symbol_mask = batch["symbols"], batch["symbol_mask"]
        frame_mask = batch["frame_mask"]
        frames, counts = frame_mask.sum(1), symbol_mask.sum(1)
        encoded = self.aligner.encode(mel, frame_mask)
        with torch.autocast(mel.device.type, enabled=False):
            emission = self.aligner.match(encoded.float(), symbols, symbol_mask)
            prior = beta_binomial_log_prior(frames, counts, scale=tightness)
            skippable = self.skippable_id[symbols] & symbol_mask
            likelihood = forward_sum(emission + prior, frames, counts, skippable)
            log_probabilities = self.aligner.phone_log_probabilities(encoded.float())
            targets, lengths = self._targets(batch)
            recognition = F.ctc_loss(
                log_probabilities.transpose(0, 1), targets, frames, lengths, zero_infinity=True
            )
        # Items whose text cannot fit into their frames carry no information.
        possible = frames >= lengths
        alignment = -(likelihood / frames)[possible].sum() / possible.sum().clamp_min(1)
        return {"alignment": alignment, "recognition": recognition}

    def _targets(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        spoken = batch["symbol_mask"] & ~self.skippable_id[batch["symbols"]]
        lengths = spoken.sum(1)
        targets = torch.zeros_like(batch["symbols"])
        for row, (ids, keep) in enumerate(zip(batch["symbols"], spoken, strict=True)):
            targets[row, : int(lengths[row])] = self.aligner.phone_class[ids[keep]]
        return targets[:, : int(lengths.max())], lengths


def edit_distance(first: list[int], second: list[int]) -> int:
    """Count the insertions, deletions and substitutions between two sequences (Levenshtein)."""
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        previous, row[0] = row[0], i
        for j, b in enumerate(second, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]


def _warp_spectrum(mel: Tensor, strength: float = 0.18) -> Tensor:
    """Stretch the mel axis of each item by a random factor: other vocal tracts, same phones."""
    batch, frames, bands = mel.shape
    factor = 1.0 + strength * (2.0 * torch.rand(batch, device=mel.device) - 1.0)
    grid = torch.linspace(0.0, bands - 1.0, bands, device=mel.device)
    position = (grid[None] * factor[:, None]).clamp(max=bands - 1.001)
    low = position.floor().long()
    share = (position - low)[:, None]
    index = low[:, None].expand(batch, frames, bands)
    return mel.gather(2, index) * (1.0 - share) + mel.gather(2, index + 1) * share


def _add_noise(mel: Tensor, share: float = 0.5, tilt: float = 0.7) -> Tensor:
    """Lay steady noise of a random level and colour under a share of the items."""
    batch, _, bands = mel.shape
    below = 3.5 + 5.5 * torch.rand(batch, 1, 1, device=mel.device)
    colour = tilt * torch.randn(batch, 1, 6, device=mel.device)
    colour = F.interpolate(colour, size=bands, mode="linear", align_corners=True)
    level = mel.amax(dim=(1, 2), keepdim=True) - below + colour
    noisy = torch.logaddexp(mel, level + 0.4 * torch.randn_like(mel))
    return torch.where(torch.rand(batch, 1, 1, device=mel.device) < share, noisy, mel)


def _mask_spectrum(mel: Tensor, bands: int = 10, frames: int = 8) -> Tensor:
    """Hide two bands and two short stretches of each item (SpecAugment, Park et al. 2019)."""
    fill = mel.mean(dim=(1, 2), keepdim=True)
    for axis, widest in ((2, bands), (2, bands), (1, frames), (1, frames)):
        size = mel.shape[axis]
        width = torch.rand(len(mel), 1, device=mel.device) * widest
        start = torch.rand(len(mel), 1, device=mel.device) * (size - widest)
        place = torch.arange(size, device=mel.device)[None]
        hidden = (place >= start) & (place < start + width)
        hidden = hidden[:, None] if axis == 2 else hidden[:, :, None]
        mel = torch.where(hidden, fill, mel)
    return mel
