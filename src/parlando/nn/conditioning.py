"""Ways to tell a network something: time embedding, feature-wise modulation."""

import torch
from torch import Tensor, nn


class TimeEmbedding(nn.Module):
    """Sinusoids of the diffusion time, and a two-layer network.

    Choice: time in [0, 1] is scaled by 1000 first; unscaled, most channels of a base-10000
    sinusoid would hardly move over the whole range.

    Args:
        width: channels D of the result; the sinusoids have as many.
    """

    def __init__(self, width: int):
        super().__init__()
        self.width = width
        self.network = nn.Sequential(
            nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width)
        )

    def forward(self, t: Tensor) -> Tensor:
        """Map ``(B,)`` times in [0, 1] to ``(B, D)``."""
        half = self.width // 2
        index = torch.arange(half, device=t.device, dtype=torch.float32)
        angle = 1000.0 * t.float()[:, None] * 10_000.0 ** (-index / half)
        embedding: Tensor = self.network(torch.cat([angle.sin(), angle.cos()], dim=-1))
        return embedding


class FiLM(nn.Module):
    """Feature-wise scale and bias computed from a condition of the same length.

    Source: Perez et al. 2018. The projection starts at zero, so that the layer starts as the
    identity.

    Args:
        condition_width: channels of the condition.
        width: channels that are modulated.
    """

    def __init__(self, condition_width: int, width: int):
        super().__init__()
        self.projection = nn.Linear(condition_width, 2 * width)
        nn.init.zeros_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Modulate ``x`` ``(B, T, D)`` by ``condition`` ``(B, T, C)``."""
        scale, bias = self.projection(condition).chunk(2, dim=-1)
        return x * (1.0 + scale) + bias
