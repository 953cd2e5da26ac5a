"""Diffusion with a variance-preserving SDE: the losses, and one door to process and solvers.

Losses compute in float32 whatever the network's precision: their weights span ten orders of
magnitude.

Source: NaturalSpeech 2 (arXiv 2304.09116), section 3.2.
"""

from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn import functional

from parlando.contracts import ConfigError
from parlando.generative.schedule import VPSchedule
from parlando.generative.solvers import SOLVERS, Denoiser, encode_ode, sample

__all__ = [
    "SOLVERS",
    "CodeLoss",
    "Denoiser",
    "VPSchedule",
    "Weighting",
    "ce_rvq_loss",
    "data_loss",
    "encode_ode",
    "normalized_codebooks",
    "sample",
    "score_loss",
]

Weighting = Literal["paper", "noise", "min_snr"]
"""How :func:`score_loss` weighs a time."""


def data_loss(z0_hat: Tensor, z0: Tensor, mask: Tensor) -> Tensor:
    """Average the squared error over real frames and dimensions.

    Source: NaturalSpeech 2, equation 8, first term.

    Args:
        z0_hat: ``(B, T, D)``.
        z0: ``(B, T, D)``.
        mask: ``(B, T)``, True where real.

    Returns:
        scalar float32; 0 if no frame is real.
    """
    return _squared_error(z0_hat, z0, mask).sum() / _elements(z0, mask)


def score_loss(
    z0_hat: Tensor,
    z0: Tensor,
    t: Tensor,
    schedule: VPSchedule,
    mask: Tensor,
    *,
    weighting: Weighting = "min_snr",
    cap: float = 5.0,
) -> Tensor:
    """Average the squared error of the score over real frames and dimensions.

    The true score of ``z_t`` given ``z_0`` is ``(rho z_0 - z_t) / Sigma`` and the estimated one
    ``(rho z0_hat - z_t) / Sigma``. ``z_t`` drops out of their difference,
    ``rho (z0_hat - z_0) / Sigma``, so each weighting is a factor on the squared data error:

    - ``paper``: the score itself, ``rho^2 / Sigma^2``. It reaches 1e12 as t falls to 0.
    - ``noise``: the score times ``-sqrt(Sigma)`` is the estimated noise; its error is weighted
      ``rho^2 / Sigma``, the signal-to-noise ratio (SNR).
    - ``min_snr``: ``min(SNR, cap)``, so that no time dominates the gradient.

    Source: NaturalSpeech 2, equation 8, second term; the cap is Hang et al. 2023 (min-SNR), for a
    network that predicts data. Deviation: ``min_snr`` is the default, not ``paper``.

    Args:
        z0_hat: ``(B, T, D)``.
        z0: ``(B, T, D)``.
        t: ``(B,)``, clipped as :meth:`VPSchedule.clip` says.
        schedule: the process that made ``z_t``.
        mask: ``(B, T)``, True where real.
        weighting: see above.
        cap: greatest weight of ``min_snr``, above 0.

    Returns:
        scalar float32; 0 if no frame is real.

    Raises:
        ConfigError: ``weighting`` is unknown.
    """
    t = schedule.clip(t.float())
    snr = schedule.log_snr(t).exp()
    if weighting == "paper":
        weight = snr / schedule.variance(t)
    elif weighting == "noise":
        weight = snr
    elif weighting == "min_snr":
        weight = snr.clamp_max(cap)
    else:
        raise ConfigError(f"score weighting is {weighting!r}; use 'paper', 'noise' or 'min_snr'")
    weighted = weight[:, None, None] * _squared_error(z0_hat, z0, mask)
    return weighted.sum() / _elements(z0, mask)


class CodeLoss(NamedTuple):
    """What :func:`ce_rvq_loss` returns."""

    loss: Tensor
    """Scalar float32, nats per code."""
    levels: tuple[int, ...]
    """The quantizer levels that were scored, ascending."""
    accuracy: Tensor
    """``(len(levels),)`` detached: share of frames whose stored code is the nearest."""


def ce_rvq_loss(
    z0_hat: Tensor,
    codes: Tensor,
    codebooks: Tensor,
    mask: Tensor,
    *,
    temperature: float = 1.0,
    level_count: int | None = None,
    generator: Generator | None = None,
) -> CodeLoss:
    """Classify each level's stored code from the distance of the residual to every codeword.

    The residual of level j is ``z0_hat`` less the codewords of the *stored* codes before j
    (teacher forcing); the logits are its negative squared distances over ``temperature``.

    Every level is right exactly where greedy encoding of ``z0_hat`` yields the stored codes. So
    accuracy is 1 at the encoder output that was coded; at its quantised sum the last level is
    right and earlier ones need not be, for their residual also holds the later codewords.

    Source: NaturalSpeech 2, section 3.2 and appendix (CE-RVQ). Choice: squared distance with a
    temperature; take one that starts the loss near ``log K``, as distances scale with the codec.

    Args:
        z0_hat: ``(B, T, D)`` in the space of ``codebooks``.
        codes: ``(B, Q, T)`` int64 as stored; any value where ``mask`` is False.
        codebooks: ``(Q, K, D)``; see :func:`normalized_codebooks`.
        mask: ``(B, T)``, True where real.
        temperature: squared distance per nat, above 0.
        level_count: how many random levels to score, to save memory; ``None`` scores all.
        generator: draws the levels.

    Returns:
        loss averaged over real frames and levels, the levels, and their accuracies.

    Raises:
        ConfigError: ``level_count`` is not between 1 and Q.
    """
    levels = _draw_levels(codebooks.shape[0], level_count, generator)
    # Distances are small differences of large products: too fine for autocast's bfloat16.
    with torch.autocast(z0_hat.device.type, enabled=False):
        codebooks = codebooks.float()
        real = mask.nonzero(as_tuple=True)
        residual = z0_hat[real].float()
        real_codes = codes.transpose(1, 2)[real]
        frames = max(len(residual), 1)
        loss = residual.new_zeros(())
        accuracies = []
        for level in range(levels[-1] + 1):
            book, target = codebooks[level], real_codes[:, level]
            if level in levels:
                # |r|^2 is the same for every codeword and leaves the softmax unchanged.
                offset = -book.square().sum(-1) / temperature
                logits = functional.linear(residual, 2.0 * book / temperature, offset)
                loss = loss + functional.cross_entropy(logits, target, reduction="sum")
                hits = logits.detach().argmax(-1) == target
                accuracies.append(hits.sum() / frames)
            residual = residual - functional.embedding(target, book)
    return CodeLoss(loss / (frames * len(levels)), levels, torch.stack(accuracies))


def normalized_codebooks(codebooks: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Move codebooks into the space of the normalised latent ``(z - mean) / std``.

    The shift goes into the first level only, so that the codewords of a frame still add up.

    Args:
        codebooks: ``(Q, K, D)``.
        mean: ``(D,)`` of the latent.
        std: ``(D,)`` of the latent, above 0. Where it differs between dimensions, so does their
            weight in the distance, and the nearest codeword may be another than the codec's.

    Returns:
        ``(Q, K, D)``.
    """
    scaled = codebooks / std
    return torch.cat([scaled[:1] - mean / std, scaled[1:]])


def _draw_levels(total: int, count: int | None, generator: Generator | None) -> tuple[int, ...]:
    """Choose ``count`` of ``total`` levels, ascending."""
    if count is None:
        return tuple(range(total))
    if not 1 <= count <= total:
        raise ConfigError(f"level_count is {count}; use 1 to {total}, the codec's levels")
    device = "cpu" if generator is None else generator.device
    chosen = torch.randperm(total, generator=generator, device=device)[:count]
    return tuple(sorted(chosen.tolist()))


def _squared_error(produced: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """Return the squared error in float32, zero where masked, without gradient there."""
    error = produced.float() - reference.float()
    # Masked before squaring: afterwards a non-finite padding would still poison the gradient.
    return error.masked_fill(~mask.unsqueeze(-1), 0.0).square()


def _elements(z0: Tensor, mask: Tensor) -> Tensor:
    """Count the real elements, at least 1."""
    return (mask.sum() * z0.shape[-1]).clamp_min(1)
