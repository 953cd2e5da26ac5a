"""Solvers that carry noise to data, and back, along a variance-preserving diffusion.

The network is an argument: a :data:`Denoiser` maps a noisy latent and its time to an estimate of
the clean latent. Each solver evaluates it exactly once per step.

Source: NaturalSpeech 2 (arXiv 2304.09116), section 3.2.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Protocol

import torch
from torch import Generator, Tensor

from parlando.contracts import ConfigError
from parlando.generative.schedule import VPSchedule

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""Estimates ``z_0 (B, T, D)`` from ``z_t (B, T, D)`` and times ``t (B,)``, above 0 up to 1."""

Progress = Callable[[int, int], None]
"""Is told, after each network evaluation, how many are done and how many there will be."""


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
    """Integrate the probability-flow ODE with an exponential multistep method of second order.

    With ``rho = cos(angle)`` and ``sqrt(Sigma) = sin(angle)`` the flow is
    ``d(z / sin) = z0_hat d(cot)``: its linear part is solved exactly, and ``z0_hat`` follows the
    line through its last two values. The last step returns the network's estimate.

    Source: Lu et al. 2022 (arXiv 2211.01095), DPM-Solver++(2M). Deviation: the line is straight
    in the angle, not in the log-SNR, and so are the steps (to a power): on closed-form mixtures
    that makes 12 to 16 steps several times as exact. See :class:`Solver` for the arguments.
    """
    angles = _angle_grid(schedule, steps)
    return _follow_exponential(_counted(denoiser, steps, progress), noise, schedule, angles)


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
        angles = _angle_grid(schedule, steps + 1).flip(0)
        return _follow_exponential(denoiser, z0, schedule, angles)
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


def _angle_grid(schedule: VPSchedule, steps: int) -> Tensor:
    """Return ``steps + 1`` angles from noise to 0, denser towards 0.

    Choice: of the powers 1.25 to 2 and of grids in time and in log-SNR, 1.75 was the best
    compromise at 12 and 16 steps over Gaussians of deviation 0.05 to 1 and mixtures of them.
    """
    most = schedule.mean_scale(torch.ones((), dtype=torch.float64)).acos()
    return most * torch.linspace(1.0, 0.0, steps + 1, dtype=torch.float64) ** 1.75


def _follow_exponential(
    denoiser: Denoiser, z: Tensor, schedule: VPSchedule, angles: Tensor
) -> Tensor:
    """Take exponential two-step steps of the probability-flow ODE along ``angles``, up or down."""
    times = schedule.time_of_log_snr(-2.0 * angles.tan().log()).tolist()
    previous, width_before = None, 0.0
    for time, (start, end) in zip(times, pairwise(angles.tolist()), strict=False):
        if start == 0.0:
            continue  # Beside the data the flow moves nothing to first order.
        estimate = denoiser(z, _times(time, z))
        width = end - start
        shrink = math.sin(end) / math.sin(start)
        z = shrink * z + (math.cos(end) - math.cos(start) * shrink) * estimate
        # To angle 0 the line would only extrapolate the network's noise: there it is short.
        if previous is not None and end > 0.0:
            weight = width * math.cos(end) - math.sin(end) * math.log(shrink)
            z = z + weight / width_before * (estimate - previous)
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
    """Return ``t`` for every item of ``z``: ``(B,)``."""
    return z.new_full((z.shape[0],), t)


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise ConfigError(f"steps is {steps}; use at least 1")


def _draw_normal(
    shape: Sequence[int], generator: Generator | None, device: torch.device | str
) -> Tensor:
    """Draw float32 standard normal noise where the generator lives, and move it."""
    source = device if generator is None else generator.device
    return torch.randn(tuple(shape), generator=generator, device=source).to(device)
