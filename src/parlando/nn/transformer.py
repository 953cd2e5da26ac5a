"""Transformer encoder with a convolutional feed-forward network."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from parlando.nn.attention import Attention


class ConvolutionalFeedForward(nn.Module):
    """Convolution to ``filter_width``, GELU, pointwise projection back.

    Source: FastSpeech (Ren et al. 2019), section 3.1; NaturalSpeech 2, Table 11. Choice: the
    second convolution has kernel 1, which is what Table 11's parameter counts imply.
    """

    def __init__(self, width: int, filter_width: int, kernel: int, dropout: float):
        super().__init__()
        self.inner = nn.Conv1d(width, filter_width, kernel, padding=kernel // 2)
        self.outer = nn.Linear(filter_width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, T, D)`` to ``(B, T, D)``."""
        # CPUs train convolutions in bf16 at half the speed of the matrix product that they are.
        slow = self.training and x.device.type == "cpu"
        y = self._product(x) if slow else self.inner(x.transpose(1, 2)).transpose(1, 2)
        output: Tensor = self.outer(self.dropout(F.gelu(y)))
        return output

    def _product(self, x: Tensor) -> Tensor:
        """Convolve as a product of shifted copies, side by side, with all weights."""
        weight, count = self.inner.weight, x.shape[1]
        size = weight.shape[-1]
        padded = F.pad(x, (0, 0, size // 2, size // 2))
        copies = torch.cat([padded[:, shift : shift + count] for shift in range(size)], dim=-1)
        return F.linear(copies, weight.transpose(1, 2).flatten(1), self.inner.bias)


class TransformerLayer(nn.Module):
    """Self-attention and convolutional feed-forward, each with pre-norm and a residual."""

    def __init__(self, width: int, heads: int, filter_width: int, kernel: int, dropout: float):
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, rotary_positions=True, dropout=dropout)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = ConvolutionalFeedForward(width, filter_width, kernel, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map ``(B, T, D)`` to ``(B, T, D)`` with ``mask`` ``(B, T)``, True = real."""
        real = mask[..., None]
        y = self.attention_norm(x)
        x = x + self.dropout(self.attention(y, y, mask))
        # The convolution must see zeros, as at the edge of an unpadded sequence.
        x = x + self.dropout(self.feed_forward(self.feed_forward_norm(x) * real))
        return x * real


class TransformerEncoder(nn.Module):
    """A stack of layers with a final norm.

    Args:
        width: channels D.
        layers: number of layers.
        heads: attention heads.
        filter_width: inner width of the feed-forward network.
        kernel: odd kernel of its first convolution.
        dropout: after attention, inside and after the feed-forward network.
    """

    def __init__(
        self,
        *,
        width: int,
        layers: int,
        heads: int,
        filter_width: int,
        kernel: int,
        dropout: float,
    ):
        super().__init__()
        self.layers = nn.ModuleList(
            [TransformerLayer(width, heads, filter_width, kernel, dropout) for _ in range(layers)]
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map ``(B, T, D)`` to ``(B, T, D)``; positions outside ``mask`` ``(B, T)`` give zeros."""
        x = x * mask[..., None]
        for layer in self.layers:
            x = layer(x, mask)
        return self.norm(x) * mask[..., None]
