"""What NaturalSpeech 3 learns.

Source: NaturalSpeech 3, section 3.3: cross-entropy of the hidden codes of one level of frames, of
the prosody of phones, and of their durations; prompts are never hidden, and sometimes absent.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from parlando.contracts import ConfigError, PhaseResult
from parlando.generative.masking import draw_levels, mask_codes, masked_loss
from parlando.systems.naturalspeech3.config import NaturalSpeech3ObjectiveConfig
from parlando.systems.naturalspeech3.model import (
    DURATION,
    PROSODY,
    Joined,
    NaturalSpeech3,
    join,
    phone_of_frame,
)

# Both processes of phones are seen half hidden, frames at three times.
_VALIDATION_TIMES = (0.25, 0.5, 0.9)


def phone_prosody(codes: Tensor, durations: Tensor, mask: Tensor, entries: Tensor) -> Tensor:
    """Give every phone one prosody code: that of the mean over its frames.

    Source: NaturalSpeech 3, section 3.3. Deviation: the mean is taken of the frames' codebook
    entries and not of the vectors before quantization, so that codes suffice to train on.

    Args:
        codes: ``(B, T)`` prosody codes of frames.
        durations: ``(B, N)`` frames of each symbol, 0 where padded.
        mask: ``(B, T)``, True where real.
        entries: ``(K, C)``, the codec's prosody codebook, all of one length.

    Returns:
        ``(B, N)`` int64; 0 for symbols without frames.
    """
    vectors = entries[codes] * mask[..., None]
    phone = phone_of_frame(durations, codes.shape[1])
    total = vectors.new_zeros(*durations.shape, vectors.shape[-1])
    total.scatter_add_(1, phone[..., None].expand_as(vectors), vectors)
    # Entries lie on a sphere: the nearest one has the largest product, whatever the mean's length.
    return (total @ entries.T).argmax(-1)


class NaturalSpeech3Objective(nn.Module):
    """Train all networks on a frozen codec's codes.

    Args:
        model: the networks.
        config: weights and probabilities.
        prosody_entries: ``(K, C)``, the codec's prosody codebook; none where the model draws no
            prosody of phones.
    """

    phases = ("all",)
    prosody_entries: Tensor | None

    def __init__(
        self,
        model: NaturalSpeech3,
        config: NaturalSpeech3ObjectiveConfig,
        prosody_entries: Tensor | None = None,
    ):
        super().__init__()
        if model.config.phone_prosody and prosody_entries is None:
            raise ConfigError(
                "the model draws the prosody of phones, which needs a codec with a prosody "
                "codebook; set phone_prosody = false in the recipe's [model]"
            )
        self.model = model
        self.config = config
        entries = prosody_entries if model.config.phone_prosody else None
        self.register_buffer("prosody_entries", entries, persistent=False)

    def parameters_of(self, phase: str) -> list[nn.Parameter]:
        """Return the parameters of the networks; there is one phase, ``all``."""
        return list(self.model.parameters())

    def trained(self) -> NaturalSpeech3:
        """Return the networks."""
        return self.model

    def forward(
        self, phase: str, batch: Mapping[str, Any], step: int, carry: Any = None
    ) -> PhaseResult:
        """Compute the losses of a batch of :class:`~parlando.data.dataset.Utterances`."""
        joined = join(batch, self.model.config.levels)
        dropped = torch.rand(len(joined.symbols), device=joined.symbols.device)
        joined = joined.without_prompt(dropped < self.config.drop_prompt)
        states = self.model.encode_symbols(joined.symbols, joined.symbol_mask)
        level = draw_levels(1, self.model.config.levels, weights=self.config.level_weights or None)
        losses: dict[str, Tensor] = {}
        logs: dict[str, float] = {}
        for name, (loss, accuracy) in self._phones(states, joined).items():
            losses[name], logs[f"{name}_accuracy"] = self._weight(name) * loss, float(accuracy)
        loss, accuracy = self._frames(states, joined, int(level))
        losses["frames"], logs["frames_accuracy"] = loss, float(accuracy)
        return PhaseResult(losses, logs)

    @torch.no_grad()
    def validate(self, batch: Mapping[str, Any]) -> dict[str, float]:
        """Measure cross-entropies (nats) and accuracies at fixed times and hidden places.

        Returns:
            ``phone_prosody``, ``duration``, ``frames/level_1`` and so on, each with ``_accuracy``;
            ``frames`` their mean over levels, ``frames_without_prompt`` and
            ``frames_without_text`` the same where the model is told less.
        """
        joined = join(batch, self.model.config.levels)
        device = joined.symbols.device
        everyone = torch.ones(len(joined.symbols), dtype=torch.bool, device=device)
        states = self.model.encode_symbols(joined.symbols, joined.symbol_mask)
        figures: dict[str, float] = {}
        half = torch.full((len(states),), 0.5)
        for name, (loss, accuracy) in self._phones(states, joined, half, _fixed(0)).items():
            figures |= {name: float(loss), f"{name}_accuracy": float(accuracy)}
        told = self._by_level(states, joined)
        figures |= {f"frames/level_{at}": loss for at, (loss, _) in enumerate(told, 1)}
        figures |= {f"frames_accuracy/level_{at}": right for at, (_, right) in enumerate(told, 1)}
        alone = joined.without_prompt(everyone)
        unprompted = self.model.encode_symbols(alone.symbols, alone.symbol_mask)
        silent = torch.zeros_like(states)
        for name, levels in (
            ("frames", told),
            ("frames_without_prompt", self._by_level(unprompted, alone)),
            ("frames_without_text", self._by_level(silent, joined)),
        ):
            figures[name] = sum(loss for loss, _ in levels) / len(levels)
        return figures

    def _by_level(self, states: Tensor, joined: Joined) -> list[tuple[float, float]]:
        found = []
        for level in range(self.model.config.levels):
            each = []
            for number, time in enumerate(_VALIDATION_TIMES):
                t = torch.full((len(states),), time)
                each.append(self._frames(states, joined, level, t, _fixed(number)))
            found.append(
                (
                    float(torch.stack([loss for loss, _ in each]).mean()),
                    float(torch.stack([right for _, right in each]).mean()),
                )
            )
        return found

    def _weight(self, name: str) -> float:
        config = self.config
        return {
            "phone_prosody": config.phone_prosody_weight,
            "duration": config.duration_weight,
        }[name]

    def _phones(
        self,
        states: Tensor,
        joined: Joined,
        t: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Return loss and accuracy of what the network for phones draws."""
        durations = joined.durations.clamp_max(self.model.config.longest_phone_frames)
        prosody = torch.zeros_like(durations)
        tasks = {"duration": DURATION}
        if self.prosody_entries is not None:
            prosody = phone_prosody(
                joined.codes[:, 0], joined.durations, joined.frame_mask, self.prosody_entries
            )
            tasks = {"phone_prosody": PROSODY, "duration": DURATION}
        codes = torch.stack([prosody, durations], dim=1)
        target = joined.symbol_mask & ~joined.symbol_prompt
        found = {}
        for name, task in tasks.items():
            at = torch.full((len(codes),), task)
            hidden = mask_codes(
                codes,
                target,
                joined.symbol_mask,
                schedule=self.config.schedule,
                level=at,
                t=t,
                generator=generator,
            )
            visible = hidden.visible
            if "phone_prosody" not in tasks:
                visible = visible & torch.tensor([False, True], device=visible.device)[:, None]
            logits = self.model.predict_phones(
                states, hidden.codes, visible, task, hidden.t, joined.symbol_mask
            )
            found[name] = masked_loss(logits, hidden.labels, hidden.learnt)
        return found

    def _frames(
        self,
        states: Tensor,
        joined: Joined,
        level: int,
        t: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return loss and accuracy of one level of frames."""
        hidden = mask_codes(
            joined.codes,
            joined.frame_mask & ~joined.frame_prompt,
            joined.frame_mask,
            schedule=self.config.schedule,
            level=torch.full((len(states),), level),
            t=t,
            generator=generator,
        )
        expanded = self.model.expand(states, joined.durations, joined.frame_mask)
        logits = self.model.predict_frames(
            expanded, hidden.codes, hidden.visible, level, hidden.t, joined.frame_mask
        )
        return masked_loss(logits, hidden.labels, hidden.learnt)


def _fixed(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)
