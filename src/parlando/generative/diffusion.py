"""Diffusion with a variance-preserving SDE: the process, its losses and its solvers.

The network is an argument throughout: a :data:`Denoiser` maps a noisy latent and its time to an
estimate of the clean latent. Time runs from 0 (data) to 1 (noise). Losses and schedule compute in
float32 whatever the network's precision: the weights span ten orders of magnitude.

Source: NaturalSpeech 2 (arXiv 2304.09116), section 3.2.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Generator, Tensor
from torch.nn import functional

from parlando.contracts import ConfigError

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""Estimates ``z_0 (B, T, D)`` from ``z_t (B, T, D)`` and times ``t (B,)``."""

Progress = Callable[[int, int], None]
"""Is told, after each network evaluation, how many are done and how many there will be."""

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
        loss = residual.sum() * 0.0
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


class Solver(Protocol):
    """Carries a latent from noise to data with one network evaluation per step."""

    def __call__(
        self,
        denoiser: Denoiser,
        noise: Tensor,
        schedule: VPSchedule,
        steps: int,
        *,
        generator: Generator | None = None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Return ``z_0 (B, T, D)`` for the latent ``noise (B, T, D)`` at time 1.

        ``steps`` is at least 1; ``generator`` feeds stochastic solvers only.
        """


def euler_ode(
    denoiser: Denoiser,
    noise: Tensor,
    schedule: VPSchedule,
    steps: int = 150,
    *,
    generator: Generator | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Integrate the probability-flow ODE from time 1 to 0 with uniform Euler steps.

    Source: NaturalSpeech 2, section 3.2: ``dz = -(z + score) beta / 2 dt``, 150 steps. See
    :class:`Solver` for the arguments.
    """
    times = torch.linspace(1.0, 0.0, steps + 1, dtype=torch.float64)
    return _follow_euler(_counted(denoiser, steps, progress), noise, schedule, times)


def reverse_sde(
    denoiser: Denoiser,
    noise: Tensor,
    schedule: VPSchedule,
    steps: int = 150,
    *,
    generator: Generator | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Integrate the reverse SDE from time 1 to 0 with uniform Euler-Maruyama steps.

    Source: NaturalSpeech 2, section 3.2: ``dz = -(z/2 + score) beta dt + sqrt(beta) dw``. Choice:
    the last step adds no noise, since nothing after it would remove it. See :class:`Solver` for
    the arguments.
    """
    denoiser = _counted(denoiser, steps, progress)
    width = 1.0 / steps
    z = noise
    for step in range(steps, 0, -1):
        t = _times(step * width, z)
        score = schedule.score(denoiser(z, t), z, t)
        rate = schedule.beta(t)[:, None, None] * width
        z = z + rate * (0.5 * z + score)
        if step > 1:
            z = z + rate.sqrt() * _draw_normal(z.shape, generator, z.device)
    return z


def dpm_solver_plus_plus(
    denoiser: Denoiser,
    noise: Tensor,
    schedule: VPSchedule,
    steps: int = 12,
    *,
    generator: Generator | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Integrate the probability-flow ODE with the exponential multistep method DPM-Solver++(2M).

    Source: Lu et al. 2022 (arXiv 2211.01095), algorithm 2, on the times of :func:`_exponential
    _grid`. The last step, to time 0, returns the network's estimate. See :class:`Solver` for the
    arguments.
    """
    times = _exponential_grid(schedule, steps)
    return _follow_exponential(_counted(denoiser, steps, progress), noise, schedule, times)


SOLVERS: Mapping[str, Solver] = MappingProxyType(
    {"dpm": dpm_solver_plus_plus, "euler": euler_ode, "sde": reverse_sde}
)
"""The solvers by the names that users type."""


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    shape: Sequence[int],
    schedule: VPSchedule,
    *,
    solver: str = "dpm",
    steps: int = 12,
    temperature: float = 1.0 / 1.2,
    generator: Generator | None = None,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Tensor:
    """Draw noise and carry it to data.

    Args:
        denoiser: the network with its condition bound.
        shape: ``(B, T, D)``.
        schedule: the process that the network was trained on.
        solver: a key of :data:`SOLVERS`.
        steps: network evaluations, at least 1.
        temperature: standard deviation of the initial noise; NaturalSpeech 2 takes 1/1.2.
        generator: draws the noise, on its own device, so that a seed means the same everywhere.
        device: where to sample.
        progress: is told after each network evaluation.

    Returns:
        ``(B, T, D)`` float32.

    Raises:
        ConfigError: the solver is unknown, or ``steps`` is below 1.
    """
    if solver not in SOLVERS:
        raise ConfigError(f"solver is {solver!r}; use one of {', '.join(SOLVERS)}")
    _check_steps(steps)
    noise = temperature * _draw_normal(shape, generator, device)
    return SOLVERS[solver](denoiser, noise, schedule, steps, generator=generator, progress=progress)


@torch.no_grad()
def encode_ode(
    denoiser: Denoiser,
    z0: Tensor,
    schedule: VPSchedule,
    *,
    steps: int = 150,
    solver: str = "dpm",
    progress: Progress | None = None,
) -> Tensor:
    """Integrate the probability-flow ODE from data to noise: which noise would yield ``z0``?

    The same solver at the same number of steps takes the result back to ``z0``, up to its error.

    Source: NaturalSpeech 2, section 4.3 and appendix (voice conversion), which uses ``euler``.

    Args:
        denoiser: the network with the *source* condition bound.
        z0: ``(B, T, D)``.
        schedule: the process that the network was trained on.
        steps: network evaluations, at least 1.
        solver: ``dpm`` or ``euler``; an SDE has no way back.
        progress: is told after each network evaluation.

    Returns:
        ``(B, T, D)``, ``z_1``.

    Raises:
        ConfigError: the solver is neither of these, or ``steps`` is below 1.
    """
    _check_steps(steps)
    denoiser = _counted(denoiser, steps, progress)
    if solver == "euler":
        times = torch.linspace(0.0, 1.0, steps + 1, dtype=torch.float64)
        return _follow_euler(denoiser, z0, schedule, times)
    if solver == "dpm":
        # The first of these intervals, next to the data, costs no evaluation.
        times = _exponential_grid(schedule, steps + 1).flip(0)
        return _follow_exponential(denoiser, z0, schedule, times)
    raise ConfigError(f"solver is {solver!r}; encoding can use 'dpm' or 'euler'")


def _follow_euler(denoiser: Denoiser, z: Tensor, schedule: VPSchedule, times: Tensor) -> Tensor:
    """Take Euler steps of the probability-flow ODE along ``times``, up or down."""
    for start, end in pairwise(times.tolist()):
        # The noisier end of the interval, either way: the score is singular at time 0, and
        # encoding then retraces the very steps of decoding.
        t = _times(max(start, end), z)
        score = schedule.score(denoiser(z, t), z, t)
        z = z - 0.5 * (end - start) * schedule.beta(t)[:, None, None] * (z + score)
    return z


def _exponential_grid(schedule: VPSchedule, steps: int) -> Tensor:
    """Return ``steps + 1`` times from 1 to 0, uniform in log-SNR but for the last interval.

    Log-SNR is infinite at 0. The last interval starts at ``1 / steps^2``, where replacing the
    flow by the network's estimate costs an error proportional to the variance, thus of second
    order in ``steps`` like the method's own.
    """
    ends = schedule.clip(torch.tensor([1.0, steps**-2.0], dtype=torch.float64))
    first, last = schedule.log_snr(ends).tolist()
    grid = schedule.time_of_log_snr(torch.linspace(first, last, steps, dtype=torch.float64))
    return torch.cat([grid, grid.new_zeros(1)])


def _follow_exponential(
    denoiser: Denoiser, z: Tensor, schedule: VPSchedule, times: Tensor
) -> Tensor:
    """Take DPM-Solver++(2M) steps of the probability-flow ODE along ``times``, up or down."""
    rho = schedule.mean_scale(times).tolist()
    sigma = schedule.standard_deviation(times).tolist()
    # Half the log-SNR is the variable in which the linear part of the flow is exact.
    half_log_snr = (0.5 * schedule.log_snr(times)).tolist()
    previous = None
    width_before = 0.0
    for index, (start, end) in enumerate(pairwise(times.tolist())):
        if start == 0.0:
            continue  # Nothing to follow: the flow leaves the data unchanged to first order.
        estimate = denoiser(z, _times(start, z))
        width = half_log_snr[index + 1] - half_log_snr[index]
        target = estimate
        if previous is not None and end > 0.0:
            target = estimate + 0.5 * width / width_before * (estimate - previous)
        shrink = sigma[index + 1] / sigma[index]
        z = shrink * z + (rho[index + 1] - rho[index] * shrink) * target
        previous, width_before = estimate, width
    return z


def _counted(denoiser: Denoiser, steps: int, progress: Progress | None) -> Denoiser:
    """Wrap a denoiser to report each evaluation out of ``steps``."""
    if progress is None:
        return denoiser
    done = 0

    def evaluate(z_t: Tensor, t: Tensor) -> Tensor:
        nonlocal done
        estimate = denoiser(z_t, t)
        done += 1
        progress(done, steps)
        return estimate

    return evaluate


def _times(t: float, z: Tensor) -> Tensor:
    """Return ``t``, clipped, for every item of ``z``: ``(B,)``."""
    clipped = min(max(t, EARLIEST_TIME), 1.0 - EARLIEST_TIME)
    return z.new_full((z.shape[0],), clipped)


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise ConfigError(f"steps is {steps}; use at least 1")


def _draw_normal(
    shape: Sequence[int], generator: Generator | None, device: torch.device | str
) -> Tensor:
    """Draw float32 standard normal noise where the generator lives, and move it."""
    source = device if generator is None else generator.device
    return torch.randn(tuple(shape), generator=generator, device=source).to(device)


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
