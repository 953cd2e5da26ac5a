"""Residual vector quantization with codebooks learned by exponential moving averages."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed
from torch import Tensor, nn


@dataclass(frozen=True)
class Quantized:
    """Result of quantizing latents.

    Args:
        latent: ``(B, T, D)`` sum of the chosen codebook vectors; the gradient passes straight
            through to the input.
        codes: ``(B, Q, T)`` int64, all levels, also those left out of ``latent``.
        commitment: scalar, mean squared distance of each level's residual to its chosen vector.
    """

    latent: Tensor
    codes: Tensor
    commitment: Tensor


class ResidualVectorQuantizer(nn.Module):
    """Q codebooks, each quantizing what the ones before it left over.

    Codebooks follow their data by moving averages (van den Oord et al. 2017, appendix A.1), entries
    that no vector chooses any more restart on a random residual, and each item of a training
    batch may use only its first few levels, so that every prefix of the levels is a codec of its
    own (Zeghidour et al. 2021, SoundStream, sections III-C and III-D).

    Args:
        levels: number of codebooks Q.
        size: entries of each, K.
        width: dimensions D.
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
        decay: float = 0.99,
        restart_below: float = 0.02,
    ):
        super().__init__()
        self.decay = decay
        self.restart_below = restart_below
        initial = torch.randn(levels, size, width) * 0.5 ** torch.arange(levels)[:, None, None]
        self.register_buffer("codebooks", initial)
        # Not released: only training needs the running statistics.
        self.register_buffer("counts", torch.ones(levels, size), persistent=False)
        self.register_buffer("sums", initial.clone(), persistent=False)

    @property
    def levels(self) -> int:
        """Number of codebooks Q."""
        return self.codebooks.shape[0]

    def nearest(self, vectors: Tensor, level: int) -> Tensor:
        """Return the index of the nearest entry of one codebook: ``(M, D)`` to ``(M,)``."""
        book = self.codebooks[level]
        # The squared norm of the vector itself does not change which entry is nearest.
        return (book.square().sum(1)[None] - 2.0 * vectors @ book.T).argmin(1)

    @torch.no_grad()
    def encode(self, latent: Tensor) -> Tensor:
        """Choose codes greedily, level by level: ``(B, T, D)`` to ``(B, Q, T)`` int64."""
        batch, frames, width = latent.shape
        residual = latent.reshape(-1, width).float()
        codes = []
        for level in range(self.levels):
            index = self.nearest(residual, level)
            residual = residual - self.codebooks[level][index]
            codes.append(index.view(batch, frames))
        return torch.stack(codes, dim=1)

    def embed(self, codes: Tensor) -> Tensor:
        """Sum the codebook vectors of the first ``codes.shape[1]`` levels.

        Args:
            codes: ``(B, Q', T)`` int64, ``1 <= Q' <= Q``.

        Returns:
            ``(B, T, D)``.
        """
        total = self.codebooks[0][codes[:, 0]]
        for level in range(1, codes.shape[1]):
            total = total + self.codebooks[level][codes[:, level]]
        return total

    def forward(self, latent: Tensor, levels: Tensor | None = None) -> Quantized:
        """Quantize, and in training mode move the codebooks.

        Args:
            latent: ``(B, T, D)``.
            levels: ``(B,)`` number of levels each item uses, 1 to Q; all when None.
        """
        batch, frames, width = latent.shape
        latent = latent.float()
        residual = latent.reshape(-1, width)
        total = torch.zeros_like(residual)
        commitment = latent.new_zeros(())
        active_items = latent.new_full((batch,), self.levels) if levels is None else levels
        used = latent.new_zeros(())
        codes = []
        for level in range(self.levels):
            active = (active_items > level).to(latent).repeat_interleave(frames)[:, None]
            target = residual.detach()
            index = self.nearest(target, level)
            chosen = self.codebooks[level][index]
            if self.training:
                follow(
                    self.codebooks[level],
                    self.counts[level],
                    self.sums[level],
                    target,
                    index,
                    decay=self.decay,
                    restart_below=self.restart_below,
                )
            commitment = commitment + ((residual - chosen).square() * active).sum()
            used = used + active.sum() * width
            residual = residual - chosen
            total = total + chosen * active
            codes.append(index.view(batch, frames))
        quantized = total.view(batch, frames, width)
        return Quantized(
            latent=latent + (quantized - latent).detach(),
            codes=torch.stack(codes, dim=1),
            commitment=commitment / used.clamp_min(1.0),
        )

    @torch.no_grad()
    def fit(self, vectors: Tensor, iterations: int = 10) -> list[float]:
        """Fit all codebooks to a sample of latents by k-means, level after level.

        Args:
            vectors: ``(M, D)``, M at least the codebook size.
            iterations: Lloyd steps of each level.

        Returns:
            signal-to-noise ratio in dB after each level.
        """
        residual = vectors.float().clone()
        power = residual.square().sum()
        gains = []
        for level in range(self.levels):
            k_means(
                self.codebooks[level],
                residual,
                functools.partial(self.nearest, level=level),
                iterations,
            )
            index = torch.cat([self.nearest(part, level) for part in residual.split(16384)])
            residual = residual - self.codebooks[level][index]
            gains.append(float(10.0 * torch.log10(power / residual.square().sum())))
        self.restart_statistics()
        return gains

    @torch.no_grad()
    def restart_statistics(self) -> None:
        """Restart the moving averages at the present codebooks (after fitting or loading)."""
        self.counts.fill_(1.0)
        self.sums.copy_(self.codebooks)


@torch.no_grad()
def follow(
    codebook: Tensor,
    counts: Tensor,
    sums: Tensor,
    vectors: Tensor,
    index: Tensor,
    *,
    decay: float,
    restart_below: float,
) -> None:
    """Move a codebook towards the vectors that chose its entries; restart those without any.

    Source: van den Oord et al. 2017, appendix A.1.

    Args:
        codebook: ``(K, D)``, changed in place as are the averages.
        counts: ``(K,)`` moving average of how many vectors a step chose an entry.
        sums: ``(K, D)`` the same of their sum.
        vectors: ``(M, D)`` of this step, of this process.
        index: ``(M,)`` which entry each chose.
        decay: of the averages.
        restart_below: an entry restarts on a random vector when its count falls below this.
    """
    new_counts = torch.zeros_like(counts)
    new_counts.index_add_(0, index, torch.ones_like(index, dtype=counts.dtype))
    new_sums = torch.zeros_like(sums).index_add_(0, index, vectors)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(new_counts)
        torch.distributed.all_reduce(new_sums)
    counts.lerp_(new_counts, 1.0 - decay)
    sums.lerp_(new_sums, 1.0 - decay)
    dead = counts < restart_below
    # On an accelerator all draw a vector: asking which need one would make the host wait.
    asks = dead.device.type == "cpu"
    if not asks or bool(dead.any()):
        count = int(dead.sum()) if asks else len(dead)
        fresh = vectors[torch.randint(len(vectors), (count,), device=vectors.device)]
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.broadcast(fresh, 0)
        if asks:
            sums[dead] = fresh
        else:
            sums.copy_(torch.where(dead[:, None], fresh, sums))
        counts.masked_fill_(dead, 1.0)
    codebook.copy_(sums / counts[:, None].clamp_min(1e-5))


@torch.no_grad()
def k_means(
    codebook: Tensor, vectors: Tensor, nearest: Callable[[Tensor], Tensor], iterations: int
) -> None:
    """Fit a codebook ``(K, D)`` to vectors ``(M, D)`` in place, M at least K, by Lloyd steps.

    Args:
        codebook: starts anew, on vectors picked at random.
        vectors: the sample.
        nearest: names the entry of the present codebook that each of ``(m, D)`` chooses.
        iterations: number of steps; entries that none chooses restart on a random vector.
    """
    codebook.copy_(vectors[torch.randperm(len(vectors), device=vectors.device)[: len(codebook)]])
    for _ in range(iterations):
        index = torch.cat([nearest(part) for part in vectors.split(16384)])
        counts = torch.zeros(len(codebook), device=vectors.device)
        counts.index_add_(0, index, torch.ones(len(index), device=vectors.device))
        sums = torch.zeros_like(codebook).index_add_(0, index, vectors)
        empty = counts == 0
        sums[empty] = vectors[
            torch.randint(len(vectors), (int(empty.sum()),), device=vectors.device)
        ]
        codebook.copy_(sums / counts.clamp_min(1.0)[:, None])
