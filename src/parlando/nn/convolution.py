"""Convolutional blocks over ``(B, T, D)`` features."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, layer norm, and a pointwise bottleneck, with a scaled residual.

    Source: Liu et al. 2022, "A ConvNet for the 2020s"; in one dimension as in Vocos
    (Siuzdak 2023, section 3.2).

    Args:
        width: channels D.
        expansion: width of the inner layer in units of D.
        kernel: odd kernel length in frames.
        scale: initial value of the per-channel residual scale.
    """

    def __init__(self, width: int, expansion: int = 3, kernel: int = 7, scale: float = 0.2):
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, expansion * width)
        self.outer = nn.Linear(expansion * width, width)
        self.scale = nn.Parameter(torch.full((width,), scale))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, T, D)`` to ``(B, T, D)``."""
        y = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        y = self.outer(F.gelu(self.inner(self.norm(y)), approximate="tanh"))
        return x + self.scale * y
