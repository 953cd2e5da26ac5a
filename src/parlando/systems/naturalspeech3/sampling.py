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
from parlando.systems.naturalspeech3.sequences import phone_of_frame


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

    What an edit keeps is a prompt on both sides of what is drawn: seen at all levels, never
    changed, and absent, with its phones, where guidance asks for what is said without a prompt.

    Args:
        model: the networks.
        symbols: ``(B, N)`` ids.
        mask: ``(B, N)``, True where real, padded at the end.
        settings: steps, randomness, guidance.
        generators: one of each item, on the CPU.
        kept: ``(B, N)``, True for symbols whose sound an edit keeps; none: all are drawn.
    """

    def __init__(
        self,
        model: NaturalSpeech3,
        symbols: Tensor,
        mask: Tensor,
        settings: Settings,
        generators: Sequence[Generator],
        kept: Tensor | None = None,
    ):
        self.model = model
        self.symbols = symbols
        self.mask = mask
        self.settings = settings
        self.generators = generators
        self.kept = torch.zeros_like(mask) if kept is None else kept & mask
        self._states: dict[tuple[NaturalSpeech3Voice | None, bool], Tensor] = {}

    def draw_prosody(
        self, voice: NaturalSpeech3Voice | None, given: Tensor | None = None
    ) -> Tensor:
        """Draw the prosody of phones.

        Args:
            voice: what the network reads before.
            given: ``(B, 2, N)`` prosody and durations of what an edit keeps.

        Returns:
            ``(B, N)``.
        """
        if given is None:
            given = torch.stack([torch.zeros_like(self.symbols)] * 2, dim=1)

        def reader(alone: bool) -> MaskedPredictor:
            def visible(codes: Tensor, masked: Tensor) -> tuple[Tensor, Tensor]:
                seen = torch.stack([~masked, self.kept], dim=1)
                return torch.stack([codes, given[:, 1]], dim=1), seen

            return self._read_phones(PROSODY, None if alone else voice, visible, alone)

        return self._draw(reader, voice, given[:, 0], self.kept, self.mask, self.settings.sampling)

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
            given: ``(B, N)`` frames, looked at where they are decided.
            decided: ``(B, N)``, True where they are: of what an edit keeps, and more.

        Returns:
            ``(B, N)``, 0 where padded.
        """
        fixed = torch.zeros_like(self.symbols) if given is None else given
        decided = torch.zeros_like(self.mask) if decided is None else decided
        config = self.model.config
        alone = not config.duration_reads_prompt
        # Longer ones have no class; what is decided is put back below.
        readable = fixed.clamp_max(config.longest_phone_frames)

        def visible(codes: Tensor, masked: Tensor) -> tuple[Tensor, Tensor]:
            seen = torch.stack([torch.ones_like(masked), ~masked], dim=1)
            return torch.stack([prosody, codes], dim=1), seen

        voice = None if alone else voice
        if config.duration_objective == "regression":
            told = self._told(DURATION, voice, visible, alone)(
                readable, self.mask & ~decided, torch.ones(len(fixed), device=fixed.device)
            )
            estimate = self.model.regress_durations(told).expm1().round().long()
            drawn = estimate.maximum(least).minimum(longest)
        else:
            reader = self._read_phones(DURATION, voice, visible, alone)
            classes = torch.arange(config.longest_phone_frames + 1, device=fixed.device)
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
        return torch.where(decided, fixed, drawn) * self.mask

    def draw_level(
        self,
        level: int,
        voice: NaturalSpeech3Voice | None,
        durations: Tensor,
        codes: Tensor,
        mask: Tensor,
    ) -> Tensor:
        """Draw one level of the codes of frames.

        Args:
            level: which; those below it are known.
            voice: what the network reads before.
            durations: ``(B, N)`` frames of phones.
            codes: ``(B, Q, T)``, the levels below it, and all levels of what an edit keeps.
            mask: ``(B, T)``, True where real.

        Returns:
            ``(B, T)``.
        """
        kept = self.kept_frames(durations, mask)
        index = torch.arange(codes.shape[1], device=codes.device)[None, :, None]

        def reader(alone: bool) -> MaskedPredictor:
            real = mask & ~kept if alone else mask
            known = ((index < level) | kept[:, None]) & real[:, None]
            lengths, whole, first = durations, codes.clone(), 0
            if voice is not None and not alone:
                lengths = self._after(voice.durations, durations)
                whole = self._after(voice.codes, codes)
                first = whole.shape[2] - codes.shape[2]
            led, visible = _led(real, first), _led(known, first)
            states = self._said(None if alone else voice, alone)
            states = self.model.expand(states, lengths, led)
            levels = torch.full((len(codes),), level, device=codes.device)

            def predict(drawn: Tensor, masked: Tensor, t: Tensor) -> Tensor:
                whole[:, level, first:] = drawn
                visible[:, level, first:] = real & ~masked
                told = self.model.read_frames(states, whole, visible, levels, t, led)
                return self.model.frames.logits(told[:, first:], level)

            return predict

        return self._draw(reader, voice, codes[:, level], kept, mask, self.settings.sampling)

    def kept_frames(self, durations: Tensor, mask: Tensor) -> Tensor:
        """Mark the frames that an edit keeps: ``(B, N)`` durations and ``(B, T)`` to ``(B, T)``."""
        return self.kept.gather(1, phone_of_frame(durations, mask.shape[1])) & mask

    def _draw(
        self,
        reader: Callable[[bool], MaskedPredictor],
        voice: NaturalSpeech3Voice | None,
        codes: Tensor,
        decided: Tensor,
        mask: Tensor,
        sampling: MaskedSampling,
    ) -> Tensor:
        """Draw codes, guided where there is a prompt to be guided by."""
        predict = reader(False)
        prompted = voice is not None or bool(self.kept.any())
        if prompted and self.settings.guidance > 0.0:
            predict = self._guided(predict, reader(True))
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
        alone: bool,
    ) -> MaskedPredictor:
        told = self._told(task, voice, visible, alone)
        return lambda codes, masked, t: self.model.phones.logits(told(codes, masked, t), task)

    def _told(
        self,
        task: int,
        voice: NaturalSpeech3Voice | None,
        visible: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
        alone: bool,
    ) -> MaskedPredictor:
        """Bind text and prompt to the network for phones; ``visible`` tells codes, and which."""
        states = self._said(voice, alone)
        first = states.shape[1] - self.mask.shape[1]
        real = self._real(alone)
        mask = _led(real, first)

        def tell(codes: Tensor, masked: Tensor, t: Tensor) -> Tensor:
            both, seen = visible(codes, masked)
            seen = _led(seen & real[:, None], first)
            if voice is not None:
                both = self._after(torch.stack([voice.prosody, voice.durations]), both)
            return self.model.read_phones(states, both, seen, task, t, mask)[:, first:]

        return tell

    def _said(self, voice: NaturalSpeech3Voice | None, alone: bool) -> Tensor:
        """Encode what a prompt says and what is to be said: ``(B, M + N, P)``."""
        if (voice, alone) not in self._states:
            symbols, mask = self.symbols, self._real(alone)
            if voice is not None:
                symbols = self._after(voice.symbols, symbols)
                mask = _led(mask, len(voice.symbols))
            self._states[voice, alone] = self.model.encode_symbols(symbols, mask)
        return self._states[voice, alone]

    def _real(self, alone: bool) -> Tensor:
        """Mark the symbols that are read: all, or ``alone`` those that are drawn."""
        return self.mask & ~self.kept if alone else self.mask

    def _after(self, prompt: Tensor, target: Tensor) -> Tensor:
        """Put one prompt ``(..., M)`` before all items ``(B, ..., N)``."""
        return torch.cat([prompt.expand(len(target), *prompt.shape), target], dim=-1)


def _led(mask: Tensor, count: int) -> Tensor:
    """Put a prompt of ``count`` real positions before ``(B, ..., N)``."""
    return functional.pad(mask, (count, 0), value=True)
