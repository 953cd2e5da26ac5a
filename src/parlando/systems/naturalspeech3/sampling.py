"""One process after the other: prosody and durations of phones, then each level of frames.

Source: NaturalSpeech 3, section 3.3. Every process reads a prompt of its own, and is guided by what
the network says without it; durations are not guided.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor
from torch.nn import functional

from parlando.generative.guidance import guided_logits
from parlando.generative.masking import MaskedPredictor, MaskedSampling, sample_masked
from parlando.systems.naturalspeech3.model import DURATION, PROSODY, NaturalSpeech3


@dataclass(frozen=True, eq=False)
class NaturalSpeech3Voice:
    """A prompt as the networks read it: M symbols over P frames.

    ``symbols``, ``durations`` and ``prosody`` ``(M,)`` int64, ``codes`` ``(Q, P)``; ``timbre``
    ``(1, W)``, none where the codec has none.
    """

    symbols: Tensor
    durations: Tensor
    prosody: Tensor
    codes: Tensor
    timbre: Tensor | None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How codes are drawn in one call."""

    sampling: MaskedSampling
    """Steps and randomness of each process."""
    duration_steps: int
    """Steps of durations."""
    guidance: float
    """Strength of guidance; 0 switches it off."""
    rescale: float
    """Share of the rescaled logits."""


class Sampler:
    """Draw what a text sounds like; each item as it would be by itself with its generator.

    Args:
        model: the networks.
        symbols: ``(B, N)`` ids.
        mask: ``(B, N)``, True where real, padded at the end.
        settings: steps, randomness, guidance.
        generators: one of each item, on the CPU.
    """

    def __init__(
        self,
        model: NaturalSpeech3,
        symbols: Tensor,
        mask: Tensor,
        settings: Settings,
        generators: Sequence[Generator],
    ):
        self.model = model
        self.symbols = symbols
        self.mask = mask
        self.settings = settings
        self.generators = generators
        self._states: dict[NaturalSpeech3Voice | None, Tensor] = {}

    def draw_prosody(
        self,
        voice: NaturalSpeech3Voice | None,
        given: Tensor | None = None,
        decided: Tensor | None = None,
    ) -> Tensor:
        """Draw the prosody of phones.

        Args:
            voice: what the network reads before.
            given: ``(B, 2, N)`` prosody and durations of what an edit keeps.
            decided: ``(B, N)``, True where it keeps them.

        Returns:
            ``(B, N)``.
        """
        kept, decided = self._kept(given, decided)

        def reader(voice: NaturalSpeech3Voice | None) -> MaskedPredictor:
            def visible(codes: Tensor, masked: Tensor) -> tuple[Tensor, Tensor]:
                seen = torch.stack([~masked, decided], dim=1)
                return torch.stack([codes, kept[:, 1]], dim=1), seen

            return self._read_phones(PROSODY, voice, visible)

        return self._draw(reader, voice, kept[:, 0], decided, self.mask, self.settings.sampling)

    def draw_durations(
        self,
        voice: NaturalSpeech3Voice | None,
        prosody: Tensor,
        least: Tensor,
        longest: Tensor,
        given: Tensor | None = None,
        decided: Tensor | None = None,
    ) -> Tensor:
        """Draw, or estimate, the frames of phones.

        Args:
            voice: what the network reads before.
            prosody: ``(B, N)`` from :meth:`draw_prosody`.
            least: ``(B, N)`` frames.
            longest: ``(B, N)`` frames, up to the longest that has a class.
            given: ``(B, N)`` frames of what an edit keeps.
            decided: ``(B, N)``, True where it keeps them.

        Returns:
            ``(B, N)``, 0 where padded.
        """
        kept = torch.zeros_like(self.symbols) if given is None else given
        decided = torch.zeros_like(self.mask) if decided is None else decided
        config = self.model.config
        voice = voice if config.duration_reads_prompt else None
        # Longer ones have no class; what an edit keeps is put back below.
        readable = kept.clamp_max(config.longest_phone_frames)

        def visible(codes: Tensor, masked: Tensor) -> tuple[Tensor, Tensor]:
            seen = torch.stack([torch.ones_like(masked), ~masked], dim=1)
            return torch.stack([prosody, codes], dim=1), seen

        if config.duration_objective == "regression":
            told = self._told(DURATION, voice, visible)(
                readable, self.mask & ~decided, torch.ones(len(kept), device=kept.device)
            )
            estimate = self.model.regress_durations(told).expm1().round().long()
            drawn = estimate.maximum(least).minimum(longest)
        else:
            reader = self._read_phones(DURATION, voice, visible)
            classes = torch.arange(config.longest_phone_frames + 1, device=kept.device)
            wrong = (classes < least[..., None]) | (classes > longest[..., None])

            def allowed(codes: Tensor, masked: Tensor, t: Tensor) -> Tensor:
                return reader(codes, masked, t).masked_fill(wrong, -torch.inf)

            drawn = sample_masked(
                allowed,
                readable,
                decided,
                self.mask,
                sampling=replace(self.settings.sampling, steps=self.settings.duration_steps),
                generators=self.generators,
            )
        return torch.where(decided, kept, drawn) * self.mask

    def draw_level(
        self,
        level: int,
        voice: NaturalSpeech3Voice | None,
        durations: Tensor,
        codes: Tensor,
        mask: Tensor,
        decided: Tensor | None = None,
    ) -> Tensor:
        """Draw one level of the codes of frames.

        Args:
            level: which; those below it are known.
            voice: what the network reads before.
            durations: ``(B, N)`` frames of phones.
            codes: ``(B, Q, T)``, the levels below it, and all levels of what an edit keeps.
            mask: ``(B, T)``, True where real.
            decided: ``(B, T)``, True where an edit keeps them.

        Returns:
            ``(B, T)``.
        """
        kept = torch.zeros_like(mask) if decided is None else decided
        index = torch.arange(codes.shape[1], device=codes.device)[None, :, None]
        known = ((index < level) | kept[:, None]) & mask[:, None]

        def reader(voice: NaturalSpeech3Voice | None) -> MaskedPredictor:
            lengths, whole = durations, codes.clone()
            if voice is not None:
                lengths = self._after(voice.durations, durations)
                whole = self._after(voice.codes, codes)
            first = whole.shape[2] - codes.shape[2]
            real, visible = _led(mask, first), _led(known, first)
            states = self.model.expand(self._said(voice), lengths, real)
            levels = torch.full((len(codes),), level, device=codes.device)

            def predict(drawn: Tensor, masked: Tensor, t: Tensor) -> Tensor:
                whole[:, level, first:] = drawn
                visible[:, level, first:] = mask & ~masked
                told = self.model.read_frames(states, whole, visible, levels, t, real)
                return self.model.frames.logits(told[:, first:], level)

            return predict

        return self._draw(reader, voice, codes[:, level], kept, mask, self.settings.sampling)

    def _draw(
        self,
        reader: Callable[[NaturalSpeech3Voice | None], MaskedPredictor],
        voice: NaturalSpeech3Voice | None,
        codes: Tensor,
        decided: Tensor,
        mask: Tensor,
        sampling: MaskedSampling,
    ) -> Tensor:
        """Draw codes, guided where there is a prompt to be guided by."""
        predict = reader(voice)
        if voice is not None and self.settings.guidance > 0.0:
            predict = self._guided(predict, reader(None))
        return sample_masked(
            predict, codes, decided, mask, sampling=sampling, generators=self.generators
        )

    def _guided(self, told: MaskedPredictor, alone: MaskedPredictor) -> MaskedPredictor:
        strength, rescale = self.settings.guidance, self.settings.rescale

        def predict(codes: Tensor, masked: Tensor, t: Tensor) -> Tensor:
            return guided_logits(told(codes, masked, t), alone(codes, masked, t), strength, rescale)

        return predict

    def _read_phones(
        self,
        task: int,
        voice: NaturalSpeech3Voice | None,
        visible: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    ) -> MaskedPredictor:
        told = self._told(task, voice, visible)
        return lambda codes, masked, t: self.model.phones.logits(told(codes, masked, t), task)

    def _told(
        self,
        task: int,
        voice: NaturalSpeech3Voice | None,
        visible: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    ) -> MaskedPredictor:
        """Bind text and prompt to the network for phones; ``visible`` tells codes, and which."""
        states = self._said(voice)
        first = states.shape[1] - self.mask.shape[1]
        mask = _led(self.mask, first)

        def tell(codes: Tensor, masked: Tensor, t: Tensor) -> Tensor:
            both, seen = visible(codes, masked)
            seen = _led(seen & self.mask[:, None], first)
            if voice is not None:
                both = self._after(torch.stack([voice.prosody, voice.durations]), both)
            return self.model.read_phones(states, both, seen, task, t, mask)[:, first:]

        return tell

    def _said(self, voice: NaturalSpeech3Voice | None) -> Tensor:
        """Encode what a prompt says and what is to be said: ``(B, M + N, P)``."""
        if voice not in self._states:
            symbols, mask = self.symbols, self.mask
            if voice is not None:
                symbols = self._after(voice.symbols, symbols)
                mask = _led(mask, len(voice.symbols))
            self._states[voice] = self.model.encode_symbols(symbols, mask)
        return self._states[voice]

    def _after(self, prompt: Tensor, target: Tensor) -> Tensor:
        """Put one prompt ``(..., M)`` before all items ``(B, ..., N)``."""
        return torch.cat([prompt.expand(len(target), *prompt.shape), target], dim=-1)

    def _kept(self, given: Tensor | None, decided: Tensor | None) -> tuple[Tensor, Tensor]:
        if given is None or decided is None:
            nothing = torch.zeros_like(self.symbols)
            return torch.stack([nothing, nothing], dim=1), torch.zeros_like(self.mask)
        return given, decided


def _led(mask: Tensor, count: int) -> Tensor:
    """Put a prompt of ``count`` real positions before ``(B, ..., N)``."""
    return functional.pad(mask, (count, 0), value=True)
