"""Multi-head attention with rotary positions, over ``(B, T, D)`` features."""

import functools
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def rotary(x: Tensor, base: float = 10_000.0) -> Tensor:
    """Rotate pairs of channels by angles that grow with the position.

    Source: Su et al. 2021, "RoFormer", section 3.2.2.

    Args:
        x: ``(B, H, T, d)``, d even; position is the third axis.
        base: wavelength base.
    """
    half = x.shape[-1] // 2
    cosine, sine = _turns(x.shape[-2], half, base, str(x.device), x.dtype)
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)


@functools.lru_cache(maxsize=16)
@torch.inference_mode(False)
def _turns(
    length: int, half: int, base: float, device: str, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    # Kept, because all layers of a network turn alike: ten small kernels each on an accelerator.
    frequency = base ** (-torch.arange(half, device=device, dtype=torch.float32) / half)
    position = torch.arange(length, device=device, dtype=torch.float32)
    angle = position[:, None] * frequency
    return angle.cos().to(dtype), angle.sin().to(dtype)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    mask: Tensor | None = None,
    dropout: float = 0.0,
    causal: bool = False,
) -> Tensor:
    """Scaled dot-product attention; in bfloat16 on a CPU that asks for gradients, in float32.

    CPUs compute its gradient in bfloat16 at a third of the speed of float32.

    Args:
        query: ``(B, H, T, d)``.
        key: ``(B, H, M, d)``.
        value: ``(B, H, M, d)``.
        mask: bool, to be broadcast to ``(B, H, T, M)``; True = attended.
        dropout: on the attention weights.
        causal: whether each query sees the keys up to its own place only.

    Returns:
        ``(B, H, T, d)`` of the queries' type.
    """
    dtype = query.dtype
    slow = dtype == torch.bfloat16 and query.device.type == "cpu" and torch.is_grad_enabled()
    if slow:
        query, key, value = query.float(), key.float(), value.float()
    with torch.autocast("cpu", enabled=False) if slow else nullcontext():
        attended = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=dropout, is_causal=causal
        )
    return attended.to(dtype)


class Attention(nn.Module):
    """Scaled dot-product attention of queries to keys and values.

    Args:
        width: channels D, a multiple of twice the heads.
        heads: number of heads H.
        rotary_positions: rotate queries and keys (self-attention over one sequence).
        dropout: on the attention weights.
    """

    def __init__(
        self, width: int, heads: int, *, rotary_positions: bool = False, dropout: float = 0.0
    ):
        super().__init__()
        self.heads = heads
        self.rotary_positions = rotary_positions
        self.dropout = dropout
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor, memory: Tensor, memory_mask: Tensor | None = None) -> Tensor:
        """Attend from ``x`` to ``memory``.

        Args:
            x: ``(B, T, D)`` queries.
            memory: ``(B, M, D)`` keys and values; ``x`` itself for self-attention.
            memory_mask: ``(B, M)`` bool, True = real; at least one True in every item.

        Returns:
            ``(B, T, D)``.
        """
        query = self._split(self.query(x))
        key, value = (self._split(part) for part in self.key_value(memory).chunk(2, dim=-1))
        if self.rotary_positions:
            query, key = rotary(query), rotary(key)
        mask = None if memory_mask is None else memory_mask[:, None, None, :]
        dropout = self.dropout if self.training else 0.0
        attended = attend(query, key, value, mask=mask, dropout=dropout)
        merged = attended.transpose(1, 2).flatten(2)
        output: Tensor = self.output(merged)
        return output

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
