"""Compare mask schedules over numbers of steps: ``python -m benchmarks.schedules``.

Codes follow a known Markov chain, and what a hidden code may be, given those that are seen, is
computed: the predictor is perfect, and only what is decided independently, at one time, goes wrong.
Two tables, over as many sequences as asked for: the total variation between the pairs of
neighbours that are drawn and those of the chain, and the mean negative log likelihood of a code:
more than that of the chain is wrong, less is dull. The last row is as good as it gets, as many
sequences drawn from the chain itself. What an imperfect network gets wrong is not in these figures.
"""

from dataclasses import dataclass

import torch
import tyro
from torch import Tensor

from parlando.generative.masking import MASK_SCHEDULES, MaskedSampling, sample_masked


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to compare."""

    entries: int = 16
    """Codes of the chain."""
    length: int = 48
    """Codes of a sequence."""
    sequences: int = 400
    """Sequences drawn for each cell."""
    steps: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Numbers of steps."""
    gumbel: float = 1.0
    """Noise on the confidence."""
    seed: int = 0
    """Of the chain and of what it draws."""


class Chain:
    """A stationary Markov chain ``matrix`` ``(V, V)``, rows "from", and its predictor."""

    def __init__(self, entries: int, seed: int):
        generator = torch.Generator().manual_seed(seed)
        likes = 2.0 * torch.randn(entries, entries, generator=generator, dtype=torch.float64)
        self.matrix = likes.softmax(-1)
        self.start = torch.linalg.matrix_power(self.matrix, 1000)[0]
        self.pairs = self.start[:, None] * self.matrix

    def predict(self, codes: Tensor, masked: Tensor, t: Tensor) -> Tensor:
        """Return the log of ``p(code | seen codes)``, ``(B, T, V)``, by sums forward and back."""
        eye = torch.eye(len(self.start), dtype=torch.float64)
        seen = torch.where(masked[..., None], 1.0, eye[codes])
        ahead, back = [self.start.expand(len(codes), -1)], [torch.ones_like(eye[codes[:, 0]])]
        for place in range(codes.shape[1] - 1):
            after = (ahead[-1] * seen[:, place]) @ self.matrix
            ahead.append(after / after.sum(-1, keepdim=True))
            before = (back[-1] * seen[:, -1 - place]) @ self.matrix.T
            back.append(before / before.sum(-1, keepdim=True))
        return (torch.stack(ahead, 1) * torch.stack(back[::-1], 1)).clamp_min(1e-90).log()

    def draw(self, options: Options, schedule: str, steps: int) -> Tensor:
        """Draw sequences by the sampler, ``(B, T)``."""
        sampling = MaskedSampling(steps=steps, schedule=schedule, gumbel=options.gumbel)
        none = torch.zeros(options.sequences, options.length, dtype=torch.bool)
        codes, own = none.long(), [torch.Generator().manual_seed(n) for n in range(len(none))]
        return sample_masked(self.predict, codes, none, ~none, sampling=sampling, generators=own)

    def follow(self, options: Options) -> Tensor:
        """Draw sequences of the chain itself, in order, ``(B, T)``."""
        generator = torch.Generator().manual_seed(options.seed)
        chances, codes = self.start.expand(options.sequences, -1), []
        for _ in range(options.length):
            codes.append(chances.multinomial(1, generator=generator)[:, 0])
            chances = self.matrix[codes[-1]]
        return torch.stack(codes, 1)

    def judge(self, codes: Tensor) -> tuple[float, float]:
        """Return the total variation of pairs, and nats a code after the first."""
        size = len(self.start)
        pairs = codes[:, :-1] * size + codes[:, 1:]
        counts = torch.bincount(pairs.flatten(), minlength=size * size).double()
        variation = 0.5 * (counts / counts.sum() - self.pairs.flatten()).abs().sum()
        return float(variation), -float(self.matrix.flatten()[pairs].log().mean())


def main(options: Options) -> None:
    """Print both tables."""
    chain = Chain(options.entries, options.seed)
    rows = {
        name: [chain.judge(chain.draw(options, name, steps)) for steps in options.steps]
        for name in MASK_SCHEDULES
    }
    rows["the chain"] = [chain.judge(chain.follow(options))] * len(options.steps)
    for which, title in enumerate(("variation of pairs", "nats a code")):
        print(f"{title:20}" + "".join(f"{steps:8}" for steps in options.steps))
        for name, cells in rows.items():
            print(f"{name:20}" + "".join(f"{cell[which]:8.3f}" for cell in cells))


if __name__ == "__main__":
    main(tyro.cli(Options))
