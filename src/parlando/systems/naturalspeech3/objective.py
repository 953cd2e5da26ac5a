"""What NaturalSpeech 3 learns.

Source: NaturalSpeech 3, section 3.3: cross-entropy of the hidden codes of one level of frames, of
the prosody of phones, and of their durations; prompts are never hidden, and sometimes absent.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from parlando.contracts import ConfigError, PhaseResult
from parlando.generative.masking import code_loss, draw_levels, mask_codes
from parlando.systems.naturalspeech3.config import NaturalSpeech3ObjectiveConfig
from parlando.systems.naturalspeech3.model import DURATION, PROSODY, NaturalSpeech3
from parlando.systems.naturalspeech3.sequences import Joined, join, phone_prosody

# Both processes of phones are seen half hidden, frames at three times.
_VALIDATION_TIMES = (0.25, 0.5, 0.9)


class NaturalSpeech3Objective(nn.Module):
    """Train all networks on a frozen codec's codes.

    Args:
        model: the networks.
        config: weights and probabilities.
        prosody_entries: ``(K, C)``, the codec's prosody codebook, all of one length; none where the
            model draws no prosody of phones.
        level_names: of the levels of frames, for figures; none: ``level_1`` and so on.
    """

    phases = ("all",)
    prosody_entries: Tensor | None

    def __init__(
        self,
        model: NaturalSpeech3,
        config: NaturalSpeech3ObjectiveConfig,
        prosody_entries: Tensor | None = None,
        level_names: Sequence[str] = (),
    ):
        super().__init__()
        if model.config.phone_prosody and prosody_entries is None:
            raise ConfigError(
                "the model draws the prosody of phones, which needs a codec with a prosody "
                "codebook; set phone_prosody = false in the recipe's [model]"
            )
        self.model = model
        self.config = config
        levels = model.config.levels
        if config.level_weights and len(config.level_weights) != levels:
            raise ConfigError(
                f"level_weights has {len(config.level_weights)} weights, the model has {levels} "
                "levels; give one each"
            )
        self.level_names = tuple(level_names[:levels]) or tuple(
            f"level_{number}" for number in range(1, levels + 1)
        )
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
        joined = self._join(batch)
        chances = torch.rand((2, len(joined.symbols)), device=joined.symbols.device)
        if self.config.edit_share:
            joined = joined.around(chances[1] < self.config.edit_share)
        joined = joined.without_prompt(chances[0] < self.config.drop_prompt)
        states = self.model.encode_symbols(joined.symbols, joined.symbol_mask)
        levels = draw_levels(
            len(states), self.model.config.levels, weights=self.config.level_weights or None
        )
        found = self._phones(states, joined)
        found["frames"] = self._frames(states, joined, levels)
        weights = {
            "phone_prosody": self.config.phone_prosody_weight,
            "duration": self.config.duration_weight,
            "frames": 1.0,
        }
        # One read for all: each makes the host wait for an accelerator.
        right = torch.stack([accuracy for _, accuracy in found.values()])
        return PhaseResult(
            {name: weights[name] * loss for name, (loss, _) in found.items()},
            dict(zip((f"{name}_accuracy" for name in found), right.tolist(), strict=True)),
        )

    @torch.no_grad()
    def validate(self, batch: Mapping[str, Any]) -> dict[str, float]:
        """Measure cross-entropies (nats) and accuracies at fixed times and hidden places.

        Returns:
            ``phone_prosody``, ``duration`` and each level of frames by its name, each with
            ``_accuracy``; ``frames`` the mean over levels. The same with ``_without_prompt`` and
            ``_without_text``: for the phones, and the mean of frames, where the model is told less.
        """
        joined = self._join(batch)
        everyone = torch.ones(len(joined.symbols), dtype=torch.bool, device=joined.symbols.device)
        alone = joined.without_prompt(everyone)
        states = self.model.encode_symbols(joined.symbols, joined.symbol_mask)
        unprompted = self.model.encode_symbols(alone.symbols, alone.symbol_mask)
        half = torch.full((len(states),), 0.5)
        figures: dict[str, float] = {}
        for suffix, said, given in (
            ("", states, joined),
            ("_without_prompt", unprompted, alone),
            ("_without_text", torch.zeros_like(states), joined),
        ):
            for name, (loss, accuracy) in self._phones(said, given, half, _fixed(0)).items():
                figures |= {f"{name}{suffix}": float(loss)}
                if not suffix:
                    figures |= {f"{name}_accuracy": float(accuracy)}
            found = [self._level(said, given, level) for level in range(len(self.level_names))]
            figures[f"frames{suffix}"] = sum(loss for loss, _ in found) / len(found)
            if not suffix:
                for name, (mean, right) in zip(self.level_names, found, strict=True):
                    figures |= {name: mean, f"{name}_accuracy": right}
        return figures

    def _join(self, batch: Mapping[str, Any]) -> Joined:
        config = self.model.config
        return join(batch, config.levels, config.longest_phone_frames)

    def _level(self, states: Tensor, joined: Joined, level: int) -> tuple[float, float]:
        """Return loss and accuracy of one level, the mean over the times of validation."""
        levels = torch.full((len(states),), level)
        each = []
        for number, time in enumerate(_VALIDATION_TIMES):
            t = torch.full((len(states),), time)
            each.append(torch.stack(self._frames(states, joined, levels, t, _fixed(number))))
        loss, accuracy = torch.stack(each).mean(0).tolist()
        return loss, accuracy

    def _phones(
        self,
        states: Tensor,
        joined: Joined,
        t: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Return loss and accuracy of what the network for phones draws."""
        prosody = torch.zeros_like(joined.durations)
        found = {}
        if self.prosody_entries is not None:
            prosody = phone_prosody(
                joined.codes[:, 0], joined.durations, joined.frame_mask, self.prosody_entries
            )
            codes = torch.stack([prosody, joined.durations], dim=1)
            found["phone_prosody"] = self._task(states, joined, codes, PROSODY, t, generator)
        codes = torch.stack([prosody, joined.durations], dim=1)
        if not self.model.config.duration_reads_prompt:
            joined = joined.without_prompt(torch.ones_like(joined.symbol_mask[:, 0]))
            states = self.model.encode_symbols(joined.symbols, joined.symbol_mask)
        if self.model.config.duration_objective == "regression":
            t = torch.ones(len(states))
        found["duration"] = self._task(states, joined, codes, DURATION, t, generator)
        return found

    def _task(
        self,
        states: Tensor,
        joined: Joined,
        codes: Tensor,
        task: int,
        t: Tensor | None,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor]:
        hidden = mask_codes(
            codes,
            joined.symbol_mask & ~joined.symbol_prompt,
            joined.symbol_mask,
            schedule=self.config.schedule,
            level=torch.full((len(codes),), task),
            t=t,
            generator=generator,
        )
        told = self.model.read_phones(
            states, hidden.codes, hidden.visible, task, hidden.t, joined.symbol_mask
        )
        learnt = hidden.learnt.nonzero(as_tuple=True)
        told, labels = told[learnt], hidden.labels[learnt]
        if task == DURATION and self.model.config.duration_objective == "regression":
            estimate = self.model.regress_durations(told).float()
            error = functional.mse_loss(estimate, labels.float().log1p(), reduction="sum")
            right = (estimate.detach().expm1().round() == labels).sum()
            return error / max(len(labels), 1), right / max(len(labels), 1)
        return code_loss(self.model.phones.logits(told, task), labels)

    def _frames(
        self,
        states: Tensor,
        joined: Joined,
        levels: Tensor,
        t: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return loss and accuracy of frames, each item at a level of its own, ``(B,)``."""
        hidden = mask_codes(
            joined.codes,
            joined.frame_mask & ~joined.frame_prompt,
            joined.frame_mask,
            schedule=self.config.schedule,
            level=levels,
            t=t,
            generator=generator,
        )
        expanded = self.model.expand(states, joined.durations, joined.frame_mask)
        told = self.model.read_frames(
            expanded, hidden.codes, hidden.visible, hidden.level, hidden.t, joined.frame_mask
        )
        # Only what is hidden is said: output weights are a good part of the work. It is sorted by
        # levels at once, because an accelerator makes the host wait for the size of each part.
        item, place = hidden.learnt.nonzero(as_tuple=True)
        order = hidden.level[item].argsort(stable=True)
        item, place = item[order], place[order]
        counts = hidden.level.new_zeros(joined.codes.shape[1])
        counts.index_add_(0, hidden.level, hidden.learnt.sum(1))
        parts = told[item, place].split(counts.tolist())
        logits = [self.model.frames.logits(parts[k], k) for k in levels.unique().tolist()]
        return code_loss(torch.cat(logits), hidden.labels[item, place])


def _fixed(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)
