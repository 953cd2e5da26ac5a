"""The levels after the first, and sound of a piece whose first level is still being drawn."""

from collections.abc import Callable

import torch
from torch import Tensor

from parlando.systems.valle2.model import NonAutoregressiveModel

FIRST_CHUNK_FRAMES = 24
LOOKAHEAD_FRAMES = 20
"""Frames that a chunk waits for: what the codec's decoder sees to the right."""
PAST_FRAMES = 80
"""Frames of earlier chunks that the next one reads with all their levels, beside the prompt."""


def finer_levels(
    network: NonAutoregressiveModel,
    ids: Tensor,
    mask: Tensor,
    codes: Tensor,
    frames: Tensor,
    condition: Tensor,
    place: Tensor,
) -> Tensor:
    """Take the likeliest codes of all levels after the first, outside the condition.

    Args:
        network: one evaluation for each level.
        ids: ``(B, N)`` symbols of prompt and target.
        mask: ``(B, N)``.
        codes: ``(B, Q, T)``, all levels in the condition, the first elsewhere.
        frames: ``(B, T)`` bool, True = real.
        condition: ``(B, T)`` bool, True for frames whose codes are known.
        place: ``(B, T)`` or ``(T,)`` positions of frames.

    Returns:
        ``(B, Q, T)``.
    """
    codes = codes.clone()
    for index in range(1, codes.shape[1]):
        level = torch.full((len(codes),), index, device=codes.device)
        positions = place.expand_as(frames)
        best = network(ids, mask, codes, frames, condition, level, positions).argmax(-1)
        codes[:, index] = torch.where(condition, codes[:, index], best)
    return codes


class Chunks:
    """First-level codes that come in, and sound that goes out, of one piece.

    Args:
        network: of the levels after the first.
        decode: makes the sound, ``(Q, T)`` to ``(T * hop,)`` in [-1, 1].
        hop_samples: samples of a frame.
        ids: ``(1, N)``, the prompt's symbols included.
        mask: ``(1, N)``.
        prompt: ``(Q, P)`` codes of the prompt.
    """

    def __init__(
        self,
        network: NonAutoregressiveModel,
        decode: Callable[[Tensor], Tensor],
        hop_samples: int,
        ids: Tensor,
        mask: Tensor,
        prompt: Tensor,
    ):
        self._network, self._decode, self._hop_samples = network, decode, hop_samples
        self._ids, self._mask, self._prompt = ids, mask, prompt
        self.first = [prompt.new_zeros(0)]
        self._known = prompt[:, :0]
        self._tail: Tensor | None = None

    @property
    def waiting(self) -> int:
        """First-level codes of which no sound was made yet."""
        return sum(len(part) for part in self.first) - self._known.shape[1]

    def add(self, codes: Tensor) -> None:
        """Take further codes ``(n,)``."""
        self.first.append(codes.to(self._prompt))

    def take(self, count: int) -> Tensor:
        """Make the sound ``(S,)`` of the next ``count`` frames; the rest is looked at."""
        hop = self._hop_samples
        first = torch.cat(self.first)
        self.first = [first]
        begin = self._known.shape[1]
        end = min(len(first), begin + count + LOOKAHEAD_FRAMES)
        past = max(0, begin - PAST_FRAMES)
        new = first.new_zeros(len(self._prompt), end - begin)
        new[0] = first[begin:end]
        heard = self._prompt.shape[1]
        codes = torch.cat([self._prompt, self._known[:, past:], new], dim=1)[None]
        place = torch.cat([torch.arange(heard), heard + torch.arange(past, end)])[None]
        place = place.to(codes.device)
        condition = place < heard + begin
        filled = finer_levels(
            self._network,
            self._ids,
            self._mask,
            codes,
            torch.ones_like(condition),
            condition,
            place,
        )[:, :, -(end - begin) :]
        left = max(0, begin - LOOKAHEAD_FRAMES)
        near = torch.cat([self._known[:, left:], filled[0]], dim=1)
        sound = self._decode(near)[(begin - left) * hop :]
        if self._tail is not None:
            # What the chunk before thought of this first frame, and what it became, are blended.
            share = torch.linspace(0.0, 1.0, hop, device=sound.device)
            sound[:hop] = torch.lerp(self._tail, sound[:hop], share)
        self._tail = sound[count * hop : (count + 1) * hop] if end > begin + count else None
        self._known = torch.cat([self._known, filled[0, :, :count]], dim=1)
        return sound[: count * hop]
