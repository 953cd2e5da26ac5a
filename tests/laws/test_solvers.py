"""Laws of the solvers, on data whose denoiser and flow are known in closed form."""

import math
from itertools import pairwise

import pytest
import torch
from torchdiffeq import odeint

from parlando.contracts import ConfigError
from parlando.generative.schedule import VPSchedule
from parlando.generative.solvers import SOLVERS, dpm_solver_plus_plus, encode_ode, euler_ode, sample

SCHEDULE = VPSchedule()
MEAN = 0.7
ODE_SOLVERS = ("euler", "dpm")


def _normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def gaussian_denoiser(deviation):
    """Return the posterior mean of ``z_0`` when data is N(MEAN, deviation^2)."""

    def denoise(z_t, t):
        t = t[:, None, None]
        rho, variance = SCHEDULE.mean_scale(t), SCHEDULE.variance(t)
        gain = deviation**2 * rho / (rho.square() * deviation**2 + variance)
        return MEAN + gain * (z_t - rho * MEAN)

    return denoise


def gaussian_flow(z1, deviation):
    """Carry ``z_1`` to data exactly: the flow keeps each quantile."""
    one = torch.ones((), dtype=z1.dtype)
    rho, variance = SCHEDULE.mean_scale(one), SCHEDULE.variance(one)
    return MEAN + deviation * (z1 - rho * MEAN) / (rho**2 * deviation**2 + variance).sqrt()


def mixture_denoiser(z_t, t):
    """Return the posterior mean when data is a mixture of three narrow Gaussians."""
    t = t[:, None, None, None]
    rho, variance = SCHEDULE.mean_scale(t), SCHEDULE.variance(t)
    centres = torch.tensor([-1.2, 0.3, 1.1], dtype=z_t.dtype)
    spread = 0.3**2 * rho.square() + variance
    away = z_t[..., None] - rho * centres
    share = (-away.square() / (2 * spread)).softmax(-1)
    return (share * (centres + 0.3**2 * rho / spread * away)).sum(-1)


def _error(produced, expected):
    return (produced - expected).square().mean().sqrt().item()


def _orders(errors):
    return [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]


@pytest.mark.parametrize(("solver", "order", "counts"), [
    ("euler", 1, (100, 200, 400, 800)),
    ("dpm", 2, (64, 128, 256, 512)),
])  # fmt: skip
@pytest.mark.parametrize("deviation", [0.2, 0.5])
def test_ode_solvers_converge_at_their_order(solver, order, counts, deviation):
    z1 = _normal(2, 16, 3)
    exact = gaussian_flow(z1, deviation)
    denoiser = gaussian_denoiser(deviation)
    errors = [_error(SOLVERS[solver](denoiser, z1, SCHEDULE, count), exact) for count in counts]
    assert _orders(errors) == pytest.approx([order] * 3, abs=0.2)
    assert errors[-1] < 1e-3


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("dpm", 2)])
def test_encoding_converges_at_its_order(solver, order):
    z1 = _normal(2, 16, 3)
    z0 = gaussian_flow(z1, 0.5)
    errors = [
        _error(encode_ode(gaussian_denoiser(0.5), z0, SCHEDULE, steps=count, solver=solver), z1)
        for count in (64, 128, 256)
    ]
    assert _orders(errors) == pytest.approx([order] * 2, abs=0.2)


@pytest.mark.parametrize("deviation", [0.05, 0.2, 0.5, 0.7])
def test_sixteen_exponential_steps_beat_the_papers_150(deviation):
    z1 = _normal(2, 64, 3)
    exact = gaussian_flow(z1, deviation)
    denoiser = gaussian_denoiser(deviation)
    dpm = _error(dpm_solver_plus_plus(denoiser, z1, SCHEDULE, 16), exact)
    assert dpm < _error(euler_ode(denoiser, z1, SCHEDULE, 150), exact)


@pytest.fixture(scope="module")
def mixture_reference():
    """Noise and the flow of the mixture from it, by an adaptive fifth-order solver."""
    z1 = _normal(2, 64, 3)

    def slope(t, z):
        t = t.expand(2)
        score = SCHEDULE.score(mixture_denoiser(z, t), z, t)
        return -0.5 * SCHEDULE.beta(t)[:, None, None] * (z + score)

    times = torch.tensor([1.0, 1e-5], dtype=torch.float64)
    return z1, odeint(slope, z1, times, method="dopri5", rtol=1e-8, atol=1e-8)[-1]


def test_ode_solvers_agree_with_an_independent_one(mixture_reference):
    z1, reference = mixture_reference
    assert _error(euler_ode(mixture_denoiser, z1, SCHEDULE, 1000), reference) < 5e-4
    assert _error(dpm_solver_plus_plus(mixture_denoiser, z1, SCHEDULE, 128), reference) < 2e-4


def test_few_exponential_steps_are_several_times_as_exact_as_euler(mixture_reference):
    z1, reference = mixture_reference
    euler, dpm = (
        _error(SOLVERS[solver](mixture_denoiser, z1, SCHEDULE, 16), reference)
        for solver in ODE_SOLVERS
    )
    assert dpm < 0.3 * euler


def test_the_sde_reaches_the_distribution_of_the_data():
    generator = torch.Generator().manual_seed(1)
    z0 = sample(
        gaussian_denoiser(0.5), (64, 125, 1), SCHEDULE,
        solver="sde", steps=200, temperature=1.0, generator=generator,
    )  # fmt: skip
    assert z0.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert z0.std().item() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(("solver", "steps", "tolerance"), [
    ("dpm", 1, 1e-6), ("dpm", 8, 1e-6), ("euler", 150, 0.05), ("sde", 150, 0.1),
])  # fmt: skip
def test_an_oracle_gets_what_it_knows(solver, steps, tolerance):
    z0 = _normal(2, 9, 3, seed=5)
    produced = SOLVERS[solver](
        lambda z_t, t: z0, _normal(2, 9, 3), SCHEDULE, steps,
        generator=torch.Generator().manual_seed(2),
    )  # fmt: skip
    torch.testing.assert_close(produced, z0, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("solver", "steps", "tolerance"), [("euler", 400, 0.01), ("dpm", 24, 0.01)]
)
@pytest.mark.parametrize("deviation", [0.2, 0.5])
def test_encoding_then_sampling_returns_the_data(solver, steps, tolerance, deviation):
    z0 = MEAN + deviation * _normal(2, 16, 3, seed=6)
    denoiser = gaussian_denoiser(deviation)
    z1 = encode_ode(denoiser, z0, SCHEDULE, steps=steps, solver=solver)
    assert z1.std().item() == pytest.approx(1.0, abs=0.2)
    assert _error(SOLVERS[solver](denoiser, z1, SCHEDULE, steps), z0) < tolerance


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("solver", [*SOLVERS, "encode euler", "encode dpm"])
def test_each_step_costs_one_evaluation_at_a_legal_time(solver, steps):
    times, reports = [], []
    denoise = gaussian_denoiser(0.5)

    def watched(z_t, t):
        assert t.shape == (2,)
        times.append(t[0].item())
        return denoise(z_t, t)

    def report(done, total):
        reports.append((done, total))

    way, _, name = solver.rpartition(" ")
    if way:
        z = encode_ode(
            watched, _normal(2, 4, 3), SCHEDULE, steps=steps, solver=name, progress=report
        )
    else:
        z = sample(watched, (2, 4, 3), SCHEDULE, solver=name, steps=steps, progress=report)
    assert z.isfinite().all()
    assert reports == [(done, steps) for done in range(1, steps + 1)]
    assert times == sorted(times, reverse=not way)
    assert len(times) == steps
    assert 0.0 < min(times) <= max(times) <= 1.0


@pytest.mark.parametrize("solver", ODE_SOLVERS)
def test_single_precision_is_enough(solver):
    z1 = _normal(2, 16, 3)
    steps = {"euler": 150, "dpm": 16}[solver]
    double, single = (
        SOLVERS[solver](gaussian_denoiser(0.2), noise, SCHEDULE, steps)
        for noise in (z1, z1.float())
    )
    assert single.dtype == torch.float32
    assert _error(single, double) < 1e-4


@pytest.mark.parametrize("solver", ODE_SOLVERS)
def test_padding_and_neighbours_change_nothing(solver):
    z1 = _normal(3, 8, 2)
    denoiser = gaussian_denoiser(0.3)
    whole = SOLVERS[solver](denoiser, z1, SCHEDULE, 6)
    alone = SOLVERS[solver](denoiser, z1[1:2, :5], SCHEDULE, 6)
    torch.testing.assert_close(whole[1:2, :5], alone)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_seed_decides_everything(solver):
    def draw(seed):
        generator = torch.Generator().manual_seed(seed)
        return sample(
            mixture_denoiser, (1, 5, 2), SCHEDULE, solver=solver, steps=4, generator=generator
        )

    assert torch.equal(draw(3), draw(3))
    assert not torch.equal(draw(3), draw(4))


def test_temperature_is_the_deviation_of_the_first_latent():
    seen = []

    def spy(z_t, t):
        seen.append(z_t)
        return z_t

    sample(spy, (4, 500, 8), SCHEDULE, steps=1, generator=torch.Generator().manual_seed(0))
    assert seen[0].std().item() == pytest.approx(1 / 1.2, rel=0.02)


def test_bad_options_are_refused_with_the_good_ones():
    with pytest.raises(ConfigError, match="dpm, euler, sde"):
        sample(mixture_denoiser, (1, 2, 3), SCHEDULE, solver="ddim")
    with pytest.raises(ConfigError, match="at least 1"):
        sample(mixture_denoiser, (1, 2, 3), SCHEDULE, steps=0)
    with pytest.raises(ConfigError, match="'dpm' or 'euler'"):
        encode_ode(mixture_denoiser, _normal(1, 2, 3), SCHEDULE, solver="sde")
    with pytest.raises(ConfigError, match="at least 1"):
        encode_ode(mixture_denoiser, _normal(1, 2, 3), SCHEDULE, steps=0)
