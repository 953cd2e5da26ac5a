"""Laws of the diffusion process and of its losses; no network is trained."""

import math

import pytest
import torch

from parlando.contracts import ConfigError
from parlando.generative.diffusion import (
    VPSchedule,
    ce_rvq_loss,
    data_loss,
    normalized_codebooks,
    score_loss,
)

SCHEDULES = [VPSchedule(), VPSchedule(beta_start=3.0, beta_end=3.0)]


def _normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture
def batch():
    """Estimate, truth and mask of a batch whose second item is padded."""
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    return _normal(2, 5, 3, seed=1), _normal(2, 5, 3, seed=2), mask


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_integral_is_the_integral_of_the_rate(schedule):
    for end in (0.1, 0.5, 1.0):
        times = torch.linspace(0, end, 4001, dtype=torch.float64)
        numerical = torch.trapezoid(schedule.beta(times), times)
        assert schedule.integral(times[-1]).item() == pytest.approx(numerical.item(), rel=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_process_preserves_unit_variance(schedule):
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    power = schedule.mean_scale(t).square() + schedule.standard_deviation(t).square()
    torch.testing.assert_close(power, torch.ones_like(t))


def test_the_default_rates_leave_little_signal():
    assert VPSchedule().mean_scale(torch.tensor(1.0)).item() == pytest.approx(0.0067, abs=1e-4)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("dtype", "relative"), [(torch.float64, 1e-7), (torch.float32, 1e-4)])
def test_time_of_log_snr_inverts_log_snr(schedule, dtype, relative):
    t = torch.cat([torch.logspace(-5, -2, 20), torch.linspace(0.02, 1, 50)]).to(dtype)
    log_snr = schedule.log_snr(t)
    assert (log_snr.diff() < 0).all()
    torch.testing.assert_close(schedule.time_of_log_snr(log_snr), t, rtol=relative, atol=0)


def test_rates_are_checked():
    with pytest.raises(ConfigError, match="0 < beta_start <= beta_end"):
        VPSchedule(beta_start=2.0, beta_end=1.0)


def test_the_true_score_of_a_diffused_latent_is_its_scaled_noise():
    schedule, t = VPSchedule(), torch.tensor([0.02, 0.9], dtype=torch.float64)
    z0, noise = (_normal(2, 4, 3, seed=seed, dtype=torch.float64) for seed in (3, 4))
    score = schedule.score(z0, schedule.diffuse(z0, t, noise), t)
    torch.testing.assert_close(score, -noise / schedule.standard_deviation(t)[:, None, None])


def test_the_score_is_the_gradient_of_the_log_density():
    schedule, t = VPSchedule(), torch.tensor([0.3], dtype=torch.float64)
    z0 = _normal(1, 4, 3, seed=5, dtype=torch.float64)
    z_t = _normal(1, 4, 3, seed=6, dtype=torch.float64).requires_grad_()
    density = torch.distributions.Normal(
        schedule.mean_scale(t) * z0, schedule.standard_deviation(t)
    )
    (gradient,) = torch.autograd.grad(density.log_prob(z_t).sum(), z_t)
    torch.testing.assert_close(schedule.score(z0, z_t, t).detach(), gradient)


def test_everything_is_finite_in_float32_at_both_ends():
    schedule, t = VPSchedule(), torch.tensor([0.0, 1.0])
    z0, z_t = _normal(2, 4, 3, seed=7), _normal(2, 4, 3, seed=8)
    assert schedule.score(z0, z_t, t).isfinite().all()
    mask = torch.ones(2, 4, dtype=torch.bool)
    for weighting in ("paper", "noise", "min_snr"):
        assert score_loss(z_t, z0, t, schedule, mask, weighting=weighting).isfinite()


def test_data_loss_is_the_mean_over_real_elements(batch):
    z0_hat, z0, mask = batch
    assert data_loss(z0_hat, z0, mask).item() == pytest.approx(
        (z0_hat - z0)[mask].square().mean().item(), rel=1e-6
    )


def _score_error(schedule, z0_hat, z0, t, noise):
    """Return the paper's term as it is written: estimated less true score of one ``z_t``."""
    z_t = schedule.diffuse(z0, t, noise)
    return schedule.score(z0_hat, z_t, t) - schedule.score(z0, z_t, t)


@pytest.mark.parametrize("weighting", ["paper", "noise"])
def test_score_loss_equals_its_derivation(batch, weighting):
    z0_hat, z0, mask = batch
    schedule, t = VPSchedule(), torch.tensor([0.05, 0.6])
    doubles = (value.double() for value in (z0_hat, z0, t, _normal(2, 5, 3, seed=9)))
    error = _score_error(schedule, *doubles)
    if weighting == "noise":
        error = error * schedule.standard_deviation(t.double())[:, None, None]
    loss = score_loss(z0_hat, z0, t, schedule, mask, weighting=weighting)
    assert loss.item() == pytest.approx(error[mask].square().mean().item(), rel=1e-4)


def test_min_snr_is_the_noise_form_with_a_ceiling(batch):
    z0_hat, z0, mask = batch
    schedule = VPSchedule()
    late, early = torch.tensor([0.8, 0.9]), torch.tensor([1e-4, 1e-3])
    torch.testing.assert_close(
        score_loss(z0_hat, z0, late, schedule, mask),
        score_loss(z0_hat, z0, late, schedule, mask, weighting="noise"),
    )
    torch.testing.assert_close(
        score_loss(z0_hat, z0, early, schedule, mask, cap=7.0), 7.0 * data_loss(z0_hat, z0, mask)
    )


def test_unknown_weighting_is_refused(batch):
    with pytest.raises(ConfigError, match="'paper', 'noise' or 'min_snr'"):
        score_loss(*batch[:2], torch.ones(2), VPSchedule(), batch[2], weighting="snr")


@pytest.fixture
def coded():
    """Encoder output, greedy codes, codebooks and mask of a residual quantizer."""
    levels, size, width = 4, 16, 3
    codebooks = _normal(levels, size, width, seed=10) * 0.6 ** torch.arange(levels)[:, None, None]
    encoded = _normal(2, 40, width, seed=11)
    mask = torch.ones(2, 40, dtype=torch.bool)
    mask[1, 30:] = False
    return encoded, _encode_greedily(encoded, codebooks), codebooks, mask


def _encode_greedily(latent, codebooks):
    residual, codes = latent, []
    for book in codebooks:
        codes.append(torch.cdist(residual, book.expand(len(latent), -1, -1)).argmin(-1))
        residual = residual - book[codes[-1]]
    return torch.stack(codes, 1)


def _embed(codes, codebooks):
    return sum(book[codes[:, level]] for level, book in enumerate(codebooks))


def test_ce_rvq_is_right_everywhere_at_what_was_coded(coded):
    result = ce_rvq_loss(*coded)
    assert result.levels == (0, 1, 2, 3)
    assert result.accuracy.tolist() == [1.0] * 4
    assert ce_rvq_loss(*coded, temperature=1e-4).loss.item() < 0.01


def test_ce_rvq_is_right_exactly_where_greedy_encoding_agrees(coded):
    _, codes, codebooks, mask = coded
    quantized = _embed(codes, codebooks)
    again = _encode_greedily(quantized, codebooks)
    result = ce_rvq_loss(quantized, codes, codebooks, mask)
    # The sum of the codewords is not what was coded: some frames re-encode otherwise ...
    same = (again == codes).all(1) & mask
    assert 0 < same.sum() < mask.sum()
    assert result.accuracy[:-1].min() < 1.0
    # ... yet at the last level, and in every frame that re-encodes alike, all is right.
    assert result.accuracy[-1] == 1.0
    assert ce_rvq_loss(quantized, codes, codebooks, same).accuracy.tolist() == [1.0] * 4
    for item, frame in (mask & ~same).nonzero().tolist():
        alone = torch.zeros_like(mask)
        alone[item, frame] = True
        assert ce_rvq_loss(quantized, codes, codebooks, alone).accuracy.min() == 0.0


def test_ce_rvq_equals_the_textbook_form(coded):
    latent, codes, codebooks, mask = coded
    z0_hat = latent + 0.3 * _normal(*latent.shape, seed=12)
    residual, losses = z0_hat, []
    for level, book in enumerate(codebooks):
        logits = -(residual[:, :, None] - book).square().sum(-1) / 0.7
        picked = logits.log_softmax(-1).gather(-1, codes[:, level, :, None])[..., 0]
        losses.append(-picked[mask].mean())
        residual = residual - book[codes[:, level]]
    result = ce_rvq_loss(z0_hat, codes, codebooks, mask, temperature=0.7)
    assert result.loss.item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)


def test_ce_rvq_tends_to_log_k_as_temperature_grows(coded):
    assert ce_rvq_loss(*coded, temperature=1e6).loss.item() == pytest.approx(math.log(16), abs=1e-4)


def test_ce_rvq_pulls_towards_what_was_coded(coded):
    latent, codes, codebooks, mask = coded
    z0_hat = torch.zeros_like(latent, requires_grad=True)
    first = ce_rvq_loss(z0_hat, codes, codebooks, mask)
    (gradient,) = torch.autograd.grad(first.loss, z0_hat)
    assert (gradient[mask].norm(dim=-1) > 0).all()
    assert (gradient[~mask] == 0).all()
    assert ce_rvq_loss(-gradient, codes, codebooks, mask).loss < first.loss


def test_ce_rvq_draws_levels_from_the_generator(coded):
    every = [
        ce_rvq_loss(*coded, level_count=1, generator=torch.Generator().manual_seed(seed))
        for seed in range(20)
    ]
    loss_of = {result.levels: result.loss for result in every}
    assert sorted(loss_of) == [(0,), (1,), (2,), (3,)]
    torch.testing.assert_close(torch.stack(list(loss_of.values())).mean(), ce_rvq_loss(*coded).loss)
    draws = [
        ce_rvq_loss(*coded, level_count=2, generator=torch.Generator().manual_seed(7))
        for _ in range(2)
    ]
    assert draws[0].levels == draws[1].levels
    assert draws[0].loss == draws[1].loss
    for count in (0, 5):
        with pytest.raises(ConfigError, match="use 1 to 4"):
            ce_rvq_loss(*coded, level_count=count)


def test_ce_rvq_keeps_float32_under_autocast(coded):
    plain = ce_rvq_loss(*coded)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = ce_rvq_loss(*coded)
    assert cast.loss.dtype == torch.float32
    assert cast.loss == plain.loss


def _losses(z0_hat, z0, mask, codes, codebooks):
    t = torch.tensor([0.2, 0.7])
    yield data_loss(z0_hat, z0, mask)
    yield score_loss(z0_hat, z0, t, VPSchedule(), mask)
    yield ce_rvq_loss(z0_hat, codes, codebooks, mask).loss


def test_padding_changes_no_loss_and_gets_no_gradient(coded):
    latent, codes, codebooks, mask = coded
    produced = latent + 0.1
    poisoned = produced.masked_fill(~mask[..., None], math.nan).requires_grad_()
    junk = codes.masked_fill(~mask[:, None], -1)
    clean = _losses(produced, latent, mask, codes, codebooks)
    for expected, got in zip(clean, _losses(poisoned, latent, mask, junk, codebooks), strict=True):
        assert got == expected
        (gradient,) = torch.autograd.grad(got, poisoned)
        assert (gradient[~mask] == 0).all()
        assert gradient[mask].isfinite().all()
        assert (gradient[mask] != 0).any()


def test_a_batch_without_real_frames_costs_nothing(coded):
    latent, codes, codebooks, mask = coded
    none = torch.zeros_like(mask)
    z0_hat = latent.clone().requires_grad_()
    for loss in _losses(z0_hat, latent + 1, none, codes, codebooks):
        assert loss == 0.0
        loss.backward()
    assert (z0_hat.grad == 0).all()


def test_normalized_codebooks_add_up_to_the_normalized_latent(coded):
    _, codes, codebooks, _ = coded
    mean, std = torch.tensor([0.5, -1.0, 2.0]), torch.tensor([0.5, 2.0, 3.0])
    torch.testing.assert_close(
        _embed(codes, normalized_codebooks(codebooks, mean, std)),
        (_embed(codes, codebooks) - mean) / std,
    )


def test_one_scale_for_all_dimensions_keeps_the_nearest_codewords(coded):
    latent, codes, codebooks, mask = coded
    mean, std = torch.tensor([0.5, -1.0, 2.0]), torch.full((3,), 2.5)
    books = normalized_codebooks(codebooks, mean, std)
    assert ce_rvq_loss((latent - mean) / std, codes, books, mask).accuracy.tolist() == [1.0] * 4
