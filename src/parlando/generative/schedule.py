"""The variance-preserving diffusion process; time runs from 0 (data) to 1 (noise).

Source: NaturalSpeech 2 (arXiv 2304.09116), section 3.2.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from parlando.contracts import ConfigError

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
