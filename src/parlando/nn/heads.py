"""Small networks that read an attribute off features: frame by frame, or once for all frames."""

from torch import Tensor, nn

from parlando.nn.convolution import ConvNeXtBlock


class FrameHead(nn.Module):
    """Read something off each frame and its neighbours, three on each side.

    Args:
        width: channels D of the features.
        hidden: channels inside.
        outputs: numbers O for each frame.
    """

    def __init__(self, width: int, hidden: int, outputs: int):
        super().__init__()
        self.input = nn.Linear(width, hidden)
        self.block = ConvNeXtBlock(hidden, expansion=2)
        self.norm = nn.LayerNorm(hidden)
        self.output = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, T, D)`` to ``(B, T, O)``."""
        outputs: Tensor = self.output(self.norm(self.block(self.input(x))))
        return outputs


class PooledHead(nn.Module):
    """Read something off all frames together: the mean of what each says, and a layer on top.

    Args:
        width: channels D of the features.
        hidden: channels inside.
        outputs: numbers O for each item.
    """

    def __init__(self, width: int, hidden: int, outputs: int):
        super().__init__()
        self.frames = FrameHead(width, hidden, hidden)
        self.output = nn.Sequential(nn.GELU(), nn.Linear(hidden, outputs))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map ``(B, T, D)`` with ``mask`` ``(B, T)``, True = real, to ``(B, O)``."""
        outputs: Tensor = self.output(pooled(self.frames(x), mask))
        return outputs


def pooled(x: Tensor, mask: Tensor) -> Tensor:
    """Average ``(B, T, D)`` over the frames of ``mask`` ``(B, T)``: ``(B, D)``."""
    real = mask[..., None].to(x)
    return (x * real).sum(1) / real.sum(1).clamp_min(1.0)
