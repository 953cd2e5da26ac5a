"""Transformer whose norms follow a condition, such as the time of a diffusion."""

from typing import cast

from torch import Tensor, nn

from parlando.nn.attention import Attention
from parlando.nn.transformer import ConvolutionalFeedForward


class AdaptiveLayerNorm(nn.Module):
    """Layer norm whose scale and bias are computed from one vector for each item.

    Source: NaturalSpeech 3, section 3.3 (conditional layer norm). The projection starts at zero,
    so that the norm starts as a plain one.

    Args:
        width: channels that are normalised.
        condition_width: channels of the condition.
    """

    def __init__(self, width: int, condition_width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.projection = nn.Linear(condition_width, 2 * width)
        nn.init.zeros_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Normalise ``x`` ``(B, T, D)`` as ``condition`` ``(B, C)`` asks."""
        scale, bias = self.projection(condition)[:, None].chunk(2, dim=-1)
        return cast(Tensor, self.norm(x) * (1.0 + scale) + bias)


class AdaptiveTransformerLayer(nn.Module):
    """Self-attention and convolutional feed-forward under adaptive norms, each with a residual."""

    def __init__(self, width: int, heads: int, filter_width: int, kernel: int, dropout: float):
        super().__init__()
        self.attention_norm = AdaptiveLayerNorm(width, width)
        self.attention = Attention(width, heads, rotary_positions=True, dropout=dropout)
        self.feed_forward_norm = AdaptiveLayerNorm(width, width)
        self.feed_forward = ConvolutionalFeedForward(width, filter_width, kernel, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor, condition: Tensor) -> Tensor:
        """Map ``(B, T, D)`` to ``(B, T, D)`` with ``mask`` ``(B, T)``, ``condition`` ``(B, D)``."""
        real = mask[..., None]
        y = self.attention_norm(x, condition)
        x = x + self.dropout(self.attention(y, y, mask))
        # The convolution must see zeros, as at the edge of an unpadded sequence.
        y = self.feed_forward(self.feed_forward_norm(x, condition) * real)
        return cast(Tensor, (x + self.dropout(y)) * real)


class AdaptiveTransformer(nn.Module):
    """A stack of such layers with a final adaptive norm.

    Args:
        width: channels D, of the condition too.
        layers: number of layers.
        heads: attention heads.
        filter_width: inner width of the feed-forward networks.
        kernel: odd kernel of their first convolution.
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
            AdaptiveTransformerLayer(width, heads, filter_width, kernel, dropout)
            for _ in range(layers)
        )
        self.norm = AdaptiveLayerNorm(width, width)

    def forward(self, x: Tensor, mask: Tensor, condition: Tensor) -> Tensor:
        """Map ``(B, T, D)`` to ``(B, T, D)``; positions outside ``mask`` ``(B, T)`` give zeros."""
        x = x * mask[..., None]
        for layer in self.layers:
            x = layer(x, mask, condition)
        return cast(Tensor, self.norm(x, condition) * mask[..., None])
