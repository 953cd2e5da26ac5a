"""A prompt and what follows it, as one sequence of phones and one of frames."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from parlando.contracts import ConfigError
from parlando.nn.decoder import pack

_GRID = 32
"""Sequences are padded to multiples: a GPU chooses its convolutions anew for every shape."""


@dataclass(frozen=True)
class Joined:
    """A prompt and what follows it as one sequence of phones and one of frames, padded at the end.

    ``symbols`` and ``durations`` ``(B, N)`` with ``symbol_mask``; ``codes`` ``(B, Q, T)`` with
    ``frame_mask`` ``(B, T)``. ``symbol_prompt`` ``(B, N)`` and ``frame_prompt`` ``(B, T)`` are
    True in the prompt. An item's durations sum to its frames.
    """

    symbols: Tensor
    symbol_mask: Tensor
    symbol_prompt: Tensor
    durations: Tensor
    codes: Tensor
    frame_mask: Tensor
    frame_prompt: Tensor

    def without_prompt(self, dropped: Tensor) -> "Joined":
        """Hide the prompts of some items, ``dropped`` ``(B,)``, as guidance asks for."""
        gone = dropped[:, None]
        return Joined(
            self.symbols,
            self.symbol_mask & ~(self.symbol_prompt & gone),
            self.symbol_prompt & ~gone,
            self.durations,
            self.codes,
            self.frame_mask & ~(self.frame_prompt & gone),
            self.frame_prompt & ~gone,
        )

    def around(self, chosen: Tensor, generator: torch.Generator | None = None) -> "Joined":
        """Leave some items, ``chosen`` ``(B,)``, one span of symbols to draw; all else is prompt.

        That is what an edit asks for: codes are given before the span and after it. The span is a
        random part of what was to be drawn, a fifth to two thirds of its symbols.
        """
        target = self.symbol_mask & ~self.symbol_prompt
        count = target.sum(1, keepdim=True)
        device = "cpu" if generator is None else generator.device
        draw = torch.rand((2, len(count), 1), generator=generator, device=device).to(count.device)
        length = ((0.2 + 0.47 * draw[0]) * count).ceil()
        start = (draw[1] * (count - length + 1)).floor()
        place = target.cumsum(1) - 1
        inside = target & (place >= start) & (place < start + length)
        symbol_prompt = torch.where(chosen[:, None], self.symbol_mask & ~inside, self.symbol_prompt)
        phone = phone_of_frame(self.durations, self.codes.shape[2])
        frame_prompt = symbol_prompt.gather(1, phone) & self.frame_mask
        return replace(
            self,
            symbol_prompt=symbol_prompt,
            frame_prompt=torch.where(chosen[:, None], frame_prompt, self.frame_prompt),
        )


def join(batch: Mapping[str, Any], levels: int, longest_frames: int) -> Joined:
    """Put prompts before their targets.

    Args:
        batch: ``symbols, durations, codes, symbol_mask, frame_mask`` and the same of prompts.
        levels: how many levels the codes have.
        longest_frames: longest duration that has a class; longer symbols become several.

    Raises:
        ConfigError: the batch has no symbols of prompts, or codes of other levels.
    """
    if "prompt_symbols" not in batch:
        raise ConfigError(
            "the model reads what is said in prompts; set symbols = true in the recipe's "
            "[data.prompts]"
        )
    if batch["codes"].shape[1] < levels:
        raise ConfigError(
            f"the corpus holds codes of {batch['codes'].shape[1]} levels, the model has {levels}; "
            "prepare the codes with its codec"
        )
    codes = torch.cat([batch["prompt_codes"][:, :levels], batch["codes"][:, :levels]], dim=2)
    is_prompt = _first(batch["prompt_mask"], batch["frame_mask"])
    frames, frame_mask, _ = pack(
        torch.cat([codes.transpose(1, 2), is_prompt[..., None].long()], dim=-1),
        torch.cat([batch["prompt_mask"], batch["frame_mask"]], dim=1),
        grid=_GRID,
    )
    texts = [
        torch.cat([batch[f"prompt_{name}"], batch[name]], dim=1)
        for name in ("symbols", "durations")
    ]
    texts.append(_first(batch["prompt_symbol_mask"], batch["symbol_mask"]).long())
    phones, symbol_mask, _ = pack(
        torch.stack(texts, dim=-1),
        torch.cat([batch["prompt_symbol_mask"], batch["symbol_mask"]], dim=1),
    )
    source, durations, symbol_mask = (
        functional.pad(each, (0, -each.shape[1] % _GRID))
        for each in split_long(phones[..., 1], symbol_mask, longest_frames)
    )
    return Joined(
        symbols=phones[..., 0].gather(1, source),
        symbol_mask=symbol_mask,
        symbol_prompt=phones[..., 2].gather(1, source).bool() & symbol_mask,
        durations=durations,
        codes=frames[..., :-1].transpose(1, 2),
        frame_mask=frame_mask,
        frame_prompt=frames[..., -1].bool() & frame_mask,
    )


def split_long(durations: Tensor, mask: Tensor, longest: int) -> tuple[Tensor, Tensor, Tensor]:
    """Make several symbols, about equally long, of each that is longer than ``longest`` frames.

    Args:
        durations: ``(B, N)``.
        mask: ``(B, N)``, True where real, padded at the end.
        longest: frames, 1 or more.

    Returns:
        the index of each new symbol among the old ones ``(B, M)``, its duration ``(B, M)``, 0 where
        padded, and the mask ``(B, M)``.
    """
    durations = durations * mask
    counts = (-(-durations // longest)).clamp_min(1) * mask
    size = int(counts.sum(1).max())
    source = phone_of_frame(counts, size)
    place = torch.arange(size, device=counts.device)[None]
    number = place - (counts.cumsum(1) - counts).gather(1, source)
    length, pieces = durations.gather(1, source), counts.gather(1, source).clamp_min(1)
    real = place < counts.sum(1, keepdim=True)
    parts = length // pieces + (number < length % pieces)
    return source, parts * real, real


def phone_of_frame(durations: Tensor, frames: int) -> Tensor:
    """Tell which symbol every frame belongs to: ``(B, N)`` durations to ``(B, frames)`` int64.

    Frames beyond the last symbol are given to it.
    """
    ends = durations.cumsum(1)
    place = torch.arange(frames, device=durations.device).expand(len(durations), -1).contiguous()
    return torch.searchsorted(ends, place, right=True).clamp_max(durations.shape[1] - 1)


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
    vectors = entries[codes].float() * mask[..., None]
    phone = phone_of_frame(durations, codes.shape[1])
    total = vectors.new_zeros(*durations.shape, vectors.shape[-1])
    total.scatter_add_(1, phone[..., None].expand_as(vectors), vectors)
    # Entries lie on a sphere: the nearest one has the largest product, whatever the mean's length.
    with torch.autocast(total.device.type, enabled=False):
        return (total @ entries.float().T).argmax(-1)


def _first(prompt: Tensor, target: Tensor) -> Tensor:
    """Mark the prompt in prompt and target, one after the other: ``(B, P + T)``."""
    return torch.cat([torch.ones_like(prompt), torch.zeros_like(target)], dim=1)
