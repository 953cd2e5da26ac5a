"""Diffusion with a variance-preserving SDE: the process and the losses of a data predictor.

Time runs from 0 (data) to 1 (noise). Losses compute in float32 whatever the network's precision:
their weights span ten orders of magnitude.

Source: NaturalSpeech 2 (arXiv 2304.09116), section 3.2.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn import functional

from parlando.contracts import ConfigError

Weighting = Literal["paper", "noise", "min_snr"]
"""How :func:`score_loss` weighs a time."""

EARLIEST_TIME = 1e-5
"""Times are clipped to this distance from 0 and 1: at 0 the score divides by a zero variance."""


@dataclass(frozen=True, kw_only=True)
class VPSchedule:
    """The variance-preserving process ``dz = -beta/2 z dt + sqrt(beta) dw``, ``beta`` linear in t.

    ``z_t`` given ``z_0`` is normal with mean ``mean_scale(t) * z_0`` and ``variance(t)``. Every
    method takes times of any shape and returns that shape, unless it says otherwise.

    Source: Song et al. 2021, equations 11 and 32.
    Choice: NaturalSpeech 2 does not state its rates; these are Grad-TTS's, which leave 0.7 % of
    the signal's amplitude at time 1.
    """

    beta_start: float = 0.05
    """Noise rate at time 0, above 0."""
    beta_end: float = 20.0
    """Noise rate at time 1, at least ``beta_start``."""

    def __post_init__(self) -> None:
        if not 0.0 < self.beta_start <= self.beta_end:
            raise ConfigError(
                f"noise rates are {self.beta_start} to {self.beta_end}; "
                "use 0 < beta_start <= beta_end"
            )

    def beta(self, t: Tensor) -> Tensor:
        """Return the noise rate at ``t``."""
        return self.beta_start + (self.beta_end - self.beta_start) * t

    def integral(self, t: Tensor) -> Tensor:
        """Return the integral of the noise rate from 0 to ``t``."""
        return self.beta_start * t + 0.5 * (self.beta_end - self.beta_start) * t.square()

    def mean_scale(self, t: Tensor) -> Tensor:
        """Return the factor rho that is left of the signal at ``t``."""
        return (-0.5 * self.integral(t)).exp()

    def variance(self, t: Tensor) -> Tensor:
        """Return the noise variance Sigma at ``t``."""
        return -torch.expm1(-self.integral(t))

    def standard_deviation(self, t: Tensor) -> Tensor:
        """Return the noise standard deviation at ``t``."""
        return self.variance(t).sqrt()

    def log_snr(self, t: Tensor) -> Tensor:
        """Return ``log(rho^2 / Sigma)`` at ``t``; it falls as ``t`` grows."""
        return -self.integral(t) - self.variance(t).log()

    def time_of_log_snr(self, log_snr: Tensor) -> Tensor:
        """Invert :meth:`log_snr`."""
        integral = functional.softplus(-log_snr)
        # The textbook root of the quadratic cancels near time 0 and divides by zero at constant
        # rate; this form does neither.
        slope = self.beta_end - self.beta_start
        return 2 * integral / (self.beta_start + (self.beta_start**2 + 2 * slope * integral).sqrt())

    def clip(self, t: Tensor) -> Tensor:
        """Keep times within ``[1e-5, 1 - 1e-5]``, where every quantity is finite."""
        return t.clamp(EARLIEST_TIME, 1.0 - EARLIEST_TIME)

    def diffuse(self, z0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Draw ``z_t`` from ``z_0`` with the given standard normal noise.

        Args:
            z0: ``(B, T, D)``.
            t: ``(B,)``, 0 to 1.
            noise: ``(B, T, D)``.

        Returns:
            ``(B, T, D)``.
        """
        t = t[:, None, None]
        return self.mean_scale(t) * z0 + self.standard_deviation(t) * noise

    def score(self, z0_hat: Tensor, z_t: Tensor, t: Tensor) -> Tensor:
        """Turn a clean estimate into the gradient of the log density at ``z_t``.

        Args:
            z0_hat: ``(B, T, D)``.
            z_t: ``(B, T, D)``.
            t: ``(B,)``, clipped as :meth:`clip` says.

        Returns:
            ``(B, T, D)``, ``(rho z0_hat - z_t) / Sigma``.
        """
        t = self.clip(t)[:, None, None]
        return (self.mean_scale(t) * z0_hat - z_t) / self.variance(t)


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
        residual = z0_hat[mask].float()
        real_codes = codes.transpose(1, 2)[mask]
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
