"""Operations that change the gradient and leave the value."""

from typing import Any

import torch
from torch import Tensor


class _Reversal(torch.autograd.Function):
    """Identity whose gradient is multiplied by a negative number."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        return -ctx.scale * gradients[0], None


def gradient_reversal(x: Tensor, scale: float = 1.0) -> Tensor:
    """Return ``x``; on the way back, turn its gradient round.

    A classifier behind it learns its task, while what lies before it learns to be of no use.

    Source: Ganin and Lempitsky 2015, equation 10; NaturalSpeech 3 (arXiv 2403.03100), section 3.2,
    with a scale of 1.

    Args:
        x: features of any shape.
        scale: 0 or more, the weight of the reversed gradient; 0 stops it.

    Returns:
        ``x`` itself, in value.
    """
    reversed_: Tensor = _Reversal.apply(x, scale)
    return reversed_
