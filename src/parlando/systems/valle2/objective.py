"""What VALL-E 2 learns.

Source: VALL-E 2, section 3 (training): cross-entropy of the first level from what is before it, and
of one random further level from all levels below and the acoustic condition.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from parlando.contracts import ConfigError, PhaseResult
from parlando.nn.decoder import pack
from parlando.systems.valle2.config import VALLE2ObjectiveConfig
from parlando.systems.valle2.model import GRID, VALLE2
from parlando.text.vocabulary import BOUNDARY, encode


@dataclass(frozen=True)
class Joined:
    """A prompt and what follows it as one utterance, padded at the end.

    ``symbols`` and ``durations`` ``(B, N)`` with ``symbol_mask``; ``codes`` ``(B, Q, T)`` with
    ``code_mask`` ``(B, T)``; ``condition`` ``(B, T)`` is True in the prompt. ``trimmed`` ``(B,)``
    frames at the front, fewer than a group, have symbols but no codes. N and T are multiples of
    :data:`parlando.systems.valle2.model.GRID` where the batch has room, and the model positions.
    """

    symbols: Tensor
    symbol_mask: Tensor
    durations: Tensor
    codes: Tensor
    code_mask: Tensor
    condition: Tensor
    trimmed: Tensor


def join(batch: Mapping[str, Any], group: int, longest_frames: int, longest_symbols: int) -> Joined:
    """Put prompts before their targets.

    Source: VALL-E 2, section 3: a few leading codes go, so that groups begin with the target.
    Choice: a prompt loses as many leading symbols, with their frames, as the model cannot read.

    Args:
        batch: ``symbols, durations, codes, symbol_mask, frame_mask`` and the same of prompts.
        group: codes G of a group.
        longest_frames: frames that the model reads, which both have room in.
        longest_symbols: symbols that it reads; a target has no more.

    Raises:
        ConfigError: the batch has no symbols of prompts.
    """
    if "prompt_symbols" not in batch:
        raise ConfigError(
            "the model reads what is said in prompts; set symbols = true in the recipe's "
            "[data.prompts]"
        )
    prompt_mask, prompt_symbol_mask = batch["prompt_mask"], batch["prompt_symbol_mask"]
    symbols = prompt_symbol_mask.sum(1) + batch["symbol_mask"].sum(1)
    read = _from(prompt_symbol_mask, symbols - longest_symbols)
    gone = torch.where(prompt_symbol_mask & ~read, batch["prompt_durations"], 0).sum(1)
    trimmed = (prompt_mask.sum(1) - gone) % group
    kept = _from(prompt_mask, gone + trimmed)
    both = torch.cat([batch["prompt_codes"], batch["codes"]], dim=2)
    codes, code_mask, _ = pack(
        both.transpose(1, 2),
        torch.cat([kept, batch["frame_mask"]], dim=1),
        grid=GRID,
        limit=longest_frames,
    )
    place = torch.arange(code_mask.shape[1], device=code_mask.device)
    texts = [
        torch.cat([batch[f"prompt_{name}"], batch[name]], dim=1)
        for name in ("symbols", "durations")
    ]
    packed, symbol_mask, _ = pack(
        torch.stack(texts, dim=-1),
        torch.cat([read, batch["symbol_mask"]], dim=1),
        grid=GRID,
        limit=longest_symbols,
    )
    return Joined(
        symbols=packed[..., 0],
        symbol_mask=symbol_mask,
        durations=packed[..., 1],
        codes=codes.transpose(1, 2),
        code_mask=code_mask,
        condition=place[None] < kept.sum(1)[:, None],
        trimmed=trimmed,
    )


def _from(mask: Tensor, first: Tensor) -> Tensor:
    """Leave the first so many ``(B,)`` positions of a mask ``(B, T)`` out."""
    return mask & (torch.arange(mask.shape[1], device=mask.device) >= first[:, None])


def with_ends(codes: Tensor, mask: Tensor, group: int, end: int) -> tuple[Tensor, Tensor]:
    """Close first-level codes with ends up to whole groups, one end at least.

    Args:
        codes: ``(B, T)``.
        mask: ``(B, T)``, padding at the end.
        group: codes G of a group.
        end: the code that ends.

    Returns:
        ``(B, L)``, L the multiple of G above T, and its mask, which covers each item's ends.
    """
    lengths = mask.sum(1)
    closed = (lengths // group + 1) * group
    count = (codes.shape[1] // group + 1) * group
    place = torch.arange(count, device=codes.device)[None]
    padded = F.pad(codes, (0, count - codes.shape[1]))
    return torch.where(place < lengths[:, None], padded, end), place < closed[:, None]


class VALLE2Objective(nn.Module):
    """Train both networks on a frozen codec's codes.

    Args:
        model: both networks.
        config: weights and probabilities.
    """

    phases = ("all",)

    def __init__(self, model: VALLE2, config: VALLE2ObjectiveConfig):
        super().__init__()
        if config.alignment_weight > 0.0 and not model.autoregressive.watched_layers:
            raise ConfigError(
                f"alignment_weight is {config.alignment_weight}, which needs a model with "
                "watched_layers; set them in the recipe's [model]"
            )
        self.model = model
        self.config = config

    def parameters_of(self, phase: str) -> list[nn.Parameter]:
        """Return the parameters of both networks: there is one phase."""
        return list(self.parameters())

    def trained(self) -> VALLE2:
        """Return the networks."""
        return self.model

    def forward(
        self, phase: str, batch: Mapping[str, Any], step: int, carry: Any = None
    ) -> PhaseResult:
        """Compute the losses of one batch, at one random level for each item."""
        config, joined = self.config, self._join(batch)
        count, device = len(joined.codes), joined.codes.device
        losses: dict[str, Tensor] = {}
        logged: dict[str, Tensor] = {}
        if config.autoregressive_weight > 0.0:
            dropped = torch.rand(count, device=device) < config.drop_text
            first, logged = self._autoregressive(joined, dropped, config.prompt_weight)
            losses = {name: config.autoregressive_weight * loss for name, loss in first.items()}
        if config.nonautoregressive_weight > 0.0:
            level = torch.randint(1, self.model.levels, (count,), device=device)
            loss, accuracy = self._nonautoregressive(joined, level)
            losses["nonautoregressive"] = config.nonautoregressive_weight * loss
            logged["nonautoregressive_accuracy"] = accuracy
        # One read for all: each makes the host wait for an accelerator.
        read = torch.stack(list(logged.values())).tolist()
        return PhaseResult(losses=losses, logs=dict(zip(logged, read, strict=True)))

    @torch.no_grad()
    def validate(self, batch: Mapping[str, Any]) -> dict[str, float]:
        """Return losses in nats per code and accuracies, also without text and without prompt.

        The ablated losses must exceed the others: else a condition is not used.
        """
        silent = dict(batch)
        for name in ("symbols", "prompt_symbols"):
            silent[name] = torch.full_like(batch[name], encode([BOUNDARY])[0])
        alone = dict(batch)
        for name in ("prompt_mask", "prompt_symbol_mask"):
            alone[name] = torch.zeros_like(batch[name])
        figures: dict[str, float] = {}
        for suffix, variant in (
            ("", batch),
            ("_without_text", silent),
            ("_without_prompt", alone),
        ):
            joined = self._join(variant)
            count, device = len(joined.codes), joined.codes.device
            hidden = torch.full((count,), suffix == "_without_text", device=device)
            losses, logged = self._autoregressive(joined, hidden, 0.0)
            found = {name: float(value) for name, value in (losses | logged).items()}
            total = 0.0
            for level in range(1, self.model.levels):
                chosen = torch.full((count,), level, device=device)
                loss, accuracy = self._nonautoregressive(joined, chosen)
                total += float(loss) / (self.model.levels - 1)
                found |= {
                    f"nonautoregressive_{level + 1:02d}": float(loss),
                    f"nonautoregressive_accuracy_{level + 1:02d}": float(accuracy),
                }
            found["nonautoregressive"] = total
            figures |= {f"{name}{suffix}": value for name, value in found.items()}
        return figures

    def _join(self, batch: Mapping[str, Any]) -> Joined:
        model, given = self.model, dict(batch)
        if (levels := batch["codes"].shape[1]) < model.levels:
            raise ConfigError(
                f"the corpus holds codes of {levels} levels, the model has {model.levels}; set "
                "levels in the recipe's [model], or prepare the codes with that codec"
            )
        for name in ("codes", "prompt_codes"):
            if name in batch:
                given[name] = model.ordered(batch[name])
        return join(given, model.group, model.longest_frames, model.longest_symbols)

    def _autoregressive(
        self, joined: Joined, dropped: Tensor, prompt_weight: float
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        model = self.model.autoregressive
        codes, mask = with_ends(joined.codes[:, 0], joined.code_mask, model.group, model.end)
        logits, looks = model(joined.symbols, joined.symbol_mask, codes, mask, dropped)
        prompt = F.pad(joined.condition, (0, codes.shape[1]))[:, : codes.shape[1]]
        weight = torch.where(prompt, prompt_weight, 1.0) * mask
        loss, accuracy = self._cross_entropy(logits, codes, weight, mask & ~prompt)
        losses = {"autoregressive": loss}
        if looks is not None and self.config.alignment_weight > 0.0:
            group_mask = mask[:, :: model.group] & ~dropped[:, None]
            aligned = alignment_loss(looks, joined, group_mask, model.group)
            losses["alignment"] = self.config.alignment_weight * aligned
        return losses, {"autoregressive_accuracy": accuracy}

    def _nonautoregressive(self, joined: Joined, level: Tensor) -> tuple[Tensor, Tensor]:
        target = joined.code_mask & ~joined.condition
        logits = self.model.nonautoregressive(
            joined.symbols,
            joined.symbol_mask,
            joined.codes,
            joined.code_mask,
            joined.condition,
            level,
        )
        index = level[:, None, None].expand(-1, 1, joined.codes.shape[2])
        codes = joined.codes.gather(1, index)[:, 0]
        return self._cross_entropy(logits, codes, target.float(), target)

    def _cross_entropy(
        self, logits: Tensor, codes: Tensor, weight: Tensor, counted: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Average over ``weight`` ``(B, T)``; the accuracy is that of what is ``counted``."""
        logits = logits.float()
        smoothing = self.config.label_smoothing if self.training else 0.0
        each = F.cross_entropy(
            logits.flatten(0, 1), codes.flatten(), reduction="none", label_smoothing=smoothing
        ).view_as(weight)
        loss = (each * weight).sum() / weight.sum().clamp_min(1.0)
        right = (logits.detach().argmax(-1) == codes) & counted
        return loss, right.sum() / counted.sum().clamp_min(1)


def alignment_loss(looks: Tensor, joined: Joined, group_mask: Tensor, group: int) -> Tensor:
    """Ask that each group be predicted while looking at its own first phone, and nowhere else.

    Args:
        looks: ``(W, B, L / G, M)`` before the softmax, the text and its end first; -inf in what
            is not seen.
        joined: the text's symbols with their durations.
        group_mask: ``(B, L / G)`` groups that count.
        group: codes G of a group.
    """
    counts = joined.symbol_mask.sum(1, keepdim=True)
    ends = torch.where(joined.symbol_mask, joined.durations, 0).cumsum(1)
    first = torch.arange(looks.shape[2], device=looks.device) * group
    frames = first[None] + joined.trimmed[:, None]
    symbol = torch.searchsorted(ends, frames, right=True).minimum(counts)
    weight = group_mask.float().expand(looks.shape[:3])
    each = F.cross_entropy(
        looks.float().flatten(0, 2),
        symbol.expand(looks.shape[:3]).flatten(),
        reduction="none",
    ).view_as(weight)
    return (each * weight).sum() / weight.sum().clamp_min(1.0)
