"""Factorized vector quantization: codes of few dimensions between two projections.

A codebook of eight dimensions is used to the full where one of 256 leaves most entries idle, and
what does not fit through eight dimensions cannot leak into an attribute's codes.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from parlando.nn.quantization import Quantized, follow, k_means


class FactorizedQuantizer(nn.Module):
    """Q levels: each projects what is left down to a sphere, quantizes there, and projects up.

    Source: Yu et al. 2022, "Vector-quantized Image Modeling with Improved VQGAN", section 3.2, for
    factorized codes and L2-normalised look-up; Kumar et al. 2023 (DAC), section 3.2, for the
    residual form; NaturalSpeech 3 (arXiv 2403.03100), section 3.2. Deviations: entries follow their
    data by moving averages, which the loss on codebooks approximates; entries are read as
    normalised as they are looked up, so that noise on the same sphere foretells them.

    Vectors on the sphere have a mean square of 1 a dimension.

    Args:
        levels: number of codebooks Q.
        size: entries of each, K.
        width: dimensions D of what comes in and goes out.
        code_width: dimensions C of codes.
        decay: of the moving averages.
        restart_below: an entry restarts when its average count per step falls below this.
    """

    codebooks: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(
        self,
        levels: int,
        size: int,
        width: int,
        code_width: int = 8,
        decay: float = 0.99,
        restart_below: float = 0.02,
    ):
        super().__init__()
        self.decay = decay
        self.restart_below = restart_below
        self.down = nn.ModuleList([nn.Linear(width, code_width) for _ in range(levels)])
        self.up = nn.ModuleList([nn.Linear(code_width, width, bias=False) for _ in range(levels)])
        initial = sphere(torch.randn(levels, size, code_width))
        self.register_buffer("codebooks", initial)
        # Not released: only training needs the running statistics.
        self.register_buffer("counts", torch.ones(levels, size), persistent=False)
        self.register_buffer("sums", initial.clone(), persistent=False)

    @property
    def levels(self) -> int:
        """Number of codebooks Q."""
        return self.codebooks.shape[0]

    def vectors(self, x: Tensor, level: int = 0) -> Tensor:
        """Project ``(..., D)``, what is left at a level, to ``(..., C)`` on the sphere."""
        return sphere(self.down[level](x))

    def nearest(self, vectors: Tensor, level: int) -> Tensor:
        """Return the index of the entry of the nearest direction: ``(..., C)`` to ``(...)``."""
        return (vectors @ sphere(self.codebooks[level]).T).argmax(-1)

    def entries(self, level: int) -> Tensor:
        """Return the entries of one codebook as they are decoded: ``(K, D)``."""
        entries: Tensor = self.up[level](sphere(self.codebooks[level]))
        return entries

    def embed(self, codes: Tensor) -> Tensor:
        """Sum the entries of the first levels: ``(B, Q', T)``, ``Q' <= Q``, to ``(B, T, D)``."""
        parts = [F.embedding(codes[:, i], self.entries(i)) for i in range(codes.shape[1])]
        return torch.stack(parts).sum(0)

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Choose codes level by level: ``(B, T, D)`` to ``(B, Q, T)`` int64."""
        left, codes = x.float(), []
        for level in range(self.levels):
            index = self.nearest(self.vectors(left, level), level)
            left = left - F.embedding(index, self.entries(level))
            codes.append(index)
        return torch.stack(codes, dim=1)

    def forward(self, x: Tensor) -> Quantized:
        """Quantize ``(B, T, D)``, and in training mode move the codebooks.

        The gradient of a level passes straight through to its own projection; what it leaves to
        the next is taken as given.
        """
        x = x.float()
        left, total = x, torch.zeros_like(x)
        commitment, codes = x.new_zeros(()), []
        for level in range(self.levels):
            vectors = self.vectors(left, level)
            index = self.nearest(vectors.detach(), level)
            chosen = F.embedding(index, sphere(self.codebooks[level]))
            if self.training:
                self._follow(level, vectors.detach(), index)
            commitment = commitment + (vectors - chosen).square().mean() / self.levels
            decoded = self.up[level](vectors + (chosen - vectors).detach())
            left, total = left - decoded.detach(), total + decoded
            codes.append(index)
        return Quantized(latent=total, codes=torch.stack(codes, dim=1), commitment=commitment)

    def disturb(self, x: Tensor, bits: float) -> Tensor:
        """Put noise in the place of the quantizers: ``(B, T, D)`` to ``(B, T, D)``.

        Gaussian noise of the power that lets a channel of C dimensions carry ``bits``, and back
        onto the sphere, whose radius is the limit of the power that such a channel needs.

        Args:
            x: what comes in.
            bits: what each level may carry of a frame; 9.25 errs as 1024 entries do.
        """
        x = x.float()
        strength = noise_strength(bits, self.codebooks.shape[-1])
        left, total = x, torch.zeros_like(x)
        for level in range(self.levels):
            vectors = self.vectors(left, level)
            decoded = self.up[level](sphere(vectors + strength * torch.randn_like(vectors)))
            left, total = left - decoded.detach(), total + decoded
        return total

    @torch.no_grad()
    def span(self, x: Tensor, bits: float, skip: int = 0) -> Tensor:
        """Point the projections at the main directions of a sample, level after level.

        Args:
            x: ``(M, D)``, M well above D.
            bits: of the noise that the projections up allow for.
            skip: main directions to pass over at each level; at most D - C are.

        Returns:
            ``(M, D)`` what is left of the sample.
        """
        left = x.float()
        strength = noise_strength(bits, self.codebooks.shape[-1])
        for level in range(self.levels):
            mean = left.mean(0)
            powers, directions = torch.linalg.eigh((left - mean).T.cov())
            count = self.codebooks.shape[-1]
            end = max(count, len(powers) - skip)  # the powers ascend
            chosen = slice(end - count, end)
            whitening = directions[:, chosen] / powers[chosen].clamp_min(1e-8).sqrt()
            down, up = cast(nn.Linear, self.down[level]), cast(nn.Linear, self.up[level])
            down.weight.copy_(whitening.T)
            down.bias.copy_(-mean @ whitening)
            vectors = self.vectors(left, level)
            vectors = sphere(vectors + strength * torch.randn_like(vectors))
            up.weight.copy_(torch.linalg.lstsq(vectors, left).solution.T)
            left = left - up(vectors)
        return left

    @torch.no_grad()
    def fit(self, x: Tensor, iterations: int = 10) -> list[float]:
        """Fit all codebooks to a sample by k-means on the sphere, level after level.

        Args:
            x: ``(M, D)``, M at least the codebook size.
            iterations: Lloyd steps of each level.

        Returns:
            mean cosine of the vectors with their entries, one for each level.
        """
        left, cosines = x.float(), []
        for level in range(self.levels):
            vectors = self.vectors(left, level)

            def nearest(part: Tensor, level: int = level) -> Tensor:
                return self.nearest(part, level)

            k_means(self.codebooks[level], vectors, nearest, iterations)
            index = torch.cat([self.nearest(part, level) for part in vectors.split(16384)])
            chosen = sphere(self.codebooks[level])[index]
            cosines.append(float(F.cosine_similarity(vectors, chosen, dim=-1).mean()))
            left = left - self.up[level](chosen)
        self.restart_statistics()
        return cosines

    @torch.no_grad()
    def restart_statistics(self) -> None:
        """Restart the moving averages at the present codebooks (after fitting or loading)."""
        self.counts.fill_(1.0)
        self.sums.copy_(self.codebooks)

    def _follow(self, level: int, vectors: Tensor, index: Tensor) -> None:
        follow(
            self.codebooks[level],
            self.counts[level],
            self.sums[level],
            vectors.flatten(0, -2),
            index.flatten(),
            decay=self.decay,
            restart_below=self.restart_below,
        )


def sphere(vectors: Tensor) -> Tensor:
    """Scale ``(..., C)`` to a mean square of 1."""
    return F.normalize(vectors, dim=-1) * vectors.shape[-1] ** 0.5


def noise_strength(bits: float, width: int) -> float:
    """Return the standard deviation of noise beside which unit power carries so many bits.

    Source: Shannon 1948, ``bits = width / 2 * log2(1 + 1 / strength²)``.
    """
    return float((2.0 ** (2.0 * bits / width) - 1.0) ** -0.5)
