"""WaveNet with cross-attention and FiLM, the diffusion network of NaturalSpeech 2."""

import math
from collections.abc import Iterable, Iterator
from typing import cast

import torch
from torch import Tensor, nn

from parlando.nn.attention import Attention
from parlando.nn.conditioning import FiLM


class WaveNetBlock(nn.Module):
    """One gated dilated convolution, conditioned frame by frame and, optionally, on a summary.

    Source: NaturalSpeech 2, Figure 3 and Table 11. The time embedding is added before the
    convolution, the condition after it; FiLM acts on the pre-activation of the gate.

    Args:
        width: channels D.
        kernel: odd kernel length in frames.
        dilation: step between its taps in frames.
        heads: of the attention to the summary.
        attends: whether this block attends to the summary.
        dropout: on the input of the convolution.
    """

    def __init__(
        self, width: int, kernel: int, dilation: int, heads: int, attends: bool, dropout: float
    ):
        super().__init__()
        self.time = nn.Linear(width, width)
        self.convolution = nn.Conv1d(
            width, 2 * width, kernel, dilation=dilation, padding=dilation * (kernel // 2)
        )
        self.condition = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, 2 * width)
        self.dropout = nn.Dropout(dropout)
        self.attention: Attention | None = None
        if attends:
            self.attention_norm = nn.LayerNorm(width)
            self.attention = Attention(width, heads)
            self.film = FiLM(width, 2 * width)

    def forward(
        self,
        x: Tensor,
        time: Tensor,
        told: Tensor,
        summary: Tensor | None,
        mask: Tensor,
        summary_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the residual stream and the skip output, both ``(B, T, D)``.

        Args:
            x: ``(B, T, D)``.
            time: ``(B, D)`` time embedding.
            told: ``(B, T, 2D)``, what ``self.condition`` made of the condition.
            summary: ``(B, m, D)`` prompt summary, or None to leave the prompt out.
            mask: ``(B, T, 1)`` real frames.
            summary_mask: ``(B, m)`` bool, True = real; None when all are.
        """
        y = self.dropout(x + self.time(time)[:, None]) * mask
        gate = self.convolution(y.transpose(1, 2)).transpose(1, 2) + told
        if self.attention is not None and summary is not None:
            gate = self.film(gate, self.attention(self.attention_norm(x), summary, summary_mask))
        signal, switch = gate.chunk(2, dim=-1)
        # Of numbers that do not lie side by side, a CPU takes tanh seven times as slowly.
        gated = torch.tanh(signal.contiguous()) * torch.sigmoid(switch)
        residual, skip = self.output(gated).chunk(2, dim=-1)
        return (x + residual) * math.sqrt(0.5), skip


class WaveNet(nn.Module):
    """A stack of blocks whose skip outputs are summed and projected.

    Args:
        input_width: channels of the input and the output.
        width: channels D inside.
        layers: number of blocks.
        kernel: odd kernel length.
        dilations: dilation of the blocks, cycled through.
        heads: attention heads.
        attend_every: blocks 0, n, 2n, … attend to the summary; 0: none does.
        dropout: on the input of each convolution.
    """

    def __init__(
        self,
        *,
        input_width: int,
        width: int,
        layers: int,
        kernel: int,
        dilations: tuple[int, ...],
        heads: int,
        attend_every: int,
        dropout: float,
    ):
        super().__init__()
        self.input = nn.Linear(input_width, width)
        self.blocks = nn.ModuleList(
            [
                WaveNetBlock(
                    width,
                    kernel,
                    dilations[index % len(dilations)],
                    heads,
                    attend_every > 0 and index % attend_every == 0,
                    dropout,
                )
                for index in range(layers)
            ]
        )
        self.skip = nn.Linear(width, width)
        self.output = nn.Linear(width, input_width)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def tell(self, condition: Tensor) -> Iterator[Tensor]:
        """Project a condition for each block, when it is asked for; keep it for many times.

        Args:
            condition: ``(B, T, D)``.

        Yields:
            ``(B, T, 2D)`` for each block.
        """
        for block in self.blocks:
            yield cast(WaveNetBlock, block).condition(condition)

    def forward(
        self,
        x: Tensor,
        time: Tensor,
        told: Iterable[Tensor],
        summary: Tensor | None,
        mask: Tensor,
        summary_mask: Tensor | None = None,
    ) -> Tensor:
        """Map ``(B, T, input_width)`` to the same shape.

        Args:
            x: noisy input.
            time: ``(B, D)``.
            told: the condition, by :meth:`tell`.
            summary: ``(B, m, D)`` or None.
            mask: ``(B, T)`` bool, True = real.
            summary_mask: ``(B, m)`` bool or None.
        """
        real = mask[..., None].to(x)
        x = torch.relu(self.input(x))
        total = torch.zeros_like(x)
        for block, own in zip(self.blocks, told, strict=True):
            x, skip = block(x, time, own, summary, real, summary_mask)
            total = total + skip
        total = total / math.sqrt(len(self.blocks))
        output: Tensor = self.output(torch.relu(self.skip(torch.relu(total))))
        return output * real
