"""Laws of diffusion by transition matrices; dense matrices are built here and nowhere else."""

import itertools

import pytest
import torch

from parlando.contracts import ConfigError
from parlando.generative.masking import MASK_SCHEDULES
from parlando.generative.transitions import (
    TransitionProcess,
    autoregressive_process,
    bert_process,
    mixed_process,
)

K, STEPS = 4, 6
CASES = [(0.0, "linear"), (0.3, "sine"), (0.9, "linear"), (1.0, "linear"), (1.0, "cubic")]
PROBABILITIES = torch.tensor([0.1, 0.5, 0.25, 0.15], dtype=torch.float64)


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def case(request):
    return request.param


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def times(*values):
    return torch.tensor(values)


def chi_square(codes, probabilities):
    """Sum of squared deviations over expected counts; 99.9 % stay below 24.4 for up to 8 codes."""
    counts = torch.bincount(codes, minlength=len(probabilities)).double()
    expected = probabilities.double() * len(codes)
    assert (counts[expected == 0] == 0).all()
    possible = expected > 0
    return float(((counts - expected)[possible].square() / expected[possible]).sum())


def dense(case):
    """Build the matrices of each step, rows "from", as the papers define them."""
    rate, schedule = case
    share = MASK_SCHEDULES[schedule](torch.linspace(0.0, 1.0, STEPS + 1, dtype=torch.float64))
    kept, masked = (1.0 - share).tolist(), (rate * share).tolist()
    matrices = []
    for step in range(1, STEPS + 1):
        alpha = kept[step] / kept[step - 1]
        gamma = 1.0 - (1.0 - masked[step]) / (1.0 - masked[step - 1])
        beta = 1.0 - alpha - gamma
        matrix = torch.zeros(K + 1, K + 1, dtype=torch.float64)
        matrix[:K, :K] = beta / K + alpha * torch.eye(K, dtype=torch.float64)
        matrix[:K, K] = gamma
        matrix[K, K] = 1.0
        matrices.append(matrix)
    return matrices


def product(matrices):
    total = torch.eye(K + 1, dtype=torch.float64)
    for matrix in matrices:
        total = total @ matrix
    return total


def test_matrices_are_those_of_the_uniform_and_the_masked_process():
    for step in range(STEPS):
        for rate in (0.0, 1.0):
            _, beta, gamma = mixed_process(K, STEPS, rate).step(times(step), times(step + 1))
            beta, gamma = float(beta), float(gamma)
            matrix = dense((rate, "linear"))[step]
            if rate == 0.0:
                uniform = torch.full((K, K), beta / K, dtype=torch.float64)
                uniform.fill_diagonal_(1.0 - (K - 1) / K * beta)
                torch.testing.assert_close(matrix[:K, :K], uniform)
                assert gamma == pytest.approx(0.0)
            else:
                absorbing = (1.0 - gamma) * torch.eye(K + 1, dtype=torch.float64)
                absorbing[:, K] += gamma
                torch.testing.assert_close(matrix, absorbing)
                assert beta == pytest.approx(0.0)


def test_the_mixed_schedule_is_the_published_one():
    process = mixed_process(K, 10)
    line = torch.arange(11, dtype=torch.float64)[:, None] / 10
    torch.testing.assert_close(process.kept, 1.0 - line)
    torch.testing.assert_close(process.masked, 0.9 * line)
    torch.testing.assert_close(process.spread, 0.1 * line)


def test_products_of_matrices_are_the_closed_marginals(case):
    process, matrices = mixed_process(K, STEPS, *case), dense(case)
    for t in range(STEPS + 1):
        total = product(matrices[:t])
        torch.testing.assert_close(total.sum(1), torch.ones(K + 1, dtype=torch.float64))
        found = process.marginal(torch.arange(K)[None], times(t))[0]
        torch.testing.assert_close(found, total[:K])


def test_a_leap_is_the_product_of_its_steps(case):
    process, matrices = mixed_process(K, STEPS, *case), dense(case)
    for start, end in itertools.combinations(range(STEPS + 1), 2):
        alpha, beta, gamma = (float(x) for x in process.step(times(start), times(end)))
        total = product(matrices[start:end])
        assert total[0, 0].item() == pytest.approx(alpha + beta / K)
        assert total[0, 1].item() == pytest.approx(beta / K)
        assert total[0, K].item() == pytest.approx(gamma)


def test_posteriors_are_those_of_bayes(case):
    process, matrices = mixed_process(K, STEPS, *case), dense(case)
    compared = 0
    for before, t in itertools.combinations(range(STEPS + 1), 2):
        first, leap = product(matrices[:before]), product(matrices[before:t])
        for x_0, x_t in itertools.product(range(K), range(K + 1)):
            joint = first[x_0] * leap[:, x_t]
            found = process.posterior(times(x_t)[None], times(x_0)[None], times(t), times(before))[
                0, 0
            ]
            if joint.sum() < 1e-12:
                assert found.sum().item() == pytest.approx(0.0, abs=1e-12)
                continue
            torch.testing.assert_close(found, joint / joint.sum())
            compared += 1
    assert compared >= 21 * K


def test_the_reverse_step_is_the_mean_of_the_posteriors(case):
    process, matrices = mixed_process(K, STEPS, *case), dense(case)
    logits = torch.randn(1, 1, K, generator=generator(), dtype=torch.float64)
    for before, t in itertools.combinations(range(STEPS + 1), 2):
        for x_t in range(K + 1):
            possible = product(matrices[:t])[:K, x_t] > 1e-12
            if not possible.any():
                continue
            posteriors = torch.stack(
                [
                    process.posterior(times(x_t)[None], times(x)[None], times(t), times(before))
                    for x in range(K)
                ]
            )[:, 0, 0]
            # What could not have been is left out.
            chances = logits[0, 0].softmax(-1) * possible
            expected = (chances[:, None] * posteriors).sum(0) / chances.sum()
            found = process.reverse(logits, times(x_t)[None], times(t), times(before))[0, 0]
            torch.testing.assert_close(found, expected)


def test_items_have_their_own_times(case):
    process = mixed_process(K, STEPS, *case)
    x_t, x_0, t = torch.tensor([[4, 4, 4], [4, 1, 2]]), torch.tensor([[0, 1, 3], [3, 1, 2]]), (5, 2)
    logits = torch.randn(2, 3, K, generator=generator())
    together = (
        process.marginal(x_0, times(*t)),
        process.posterior(x_t, x_0, times(*t)),
        process.reverse(logits, x_t, times(*t)),
        process.divergence(logits, x_t, x_0, times(*t)),
    )
    for item, time in enumerate(t):
        row = slice(item, item + 1)
        alone = (
            process.marginal(x_0[row], times(time)),
            process.posterior(x_t[row], x_0[row], times(time)),
            process.reverse(logits[row], x_t[row], times(time)),
            process.divergence(logits[row], x_t[row], x_0[row], times(time)),
        )
        for whole, single in zip(together, alone, strict=True):
            torch.testing.assert_close(whole[row], single)


def test_corruption_is_drawn_from_the_marginal(case):
    process = mixed_process(K, STEPS, *case)
    x_0 = torch.tensor([[1], [3]]).expand(2, 20_000)
    drawn = process.corrupt(x_0, times(2, 5), generator())
    for item in range(2):
        expected = process.marginal(x_0[item : item + 1, :1], times((2, 5)[item]))[0, 0]
        assert chi_square(drawn[item], expected) < 24.4
    assert torch.equal(process.corrupt(x_0, times(0, 0), generator()), x_0)


def test_bert_is_a_process_of_one_step():
    process = bert_process(K)
    found = process.marginal(torch.tensor([[2]]), times(1))[0, 0]
    # 15 % are chosen: of these 80 % are masked, 10 % are any code, 10 % stay.
    expected = torch.full((K + 1,), 0.15 * 0.1 / K, dtype=torch.float64)
    expected[2] += 0.85 + 0.15 * 0.1
    expected[K] = 0.15 * 0.8
    torch.testing.assert_close(found, expected)
    # Its bound is the cross-entropy of every code, changed or not.
    logits = torch.randn(1, 3, K, generator=generator(), dtype=torch.float64)
    x_0, x_t = torch.tensor([[2, 2, 2]]), torch.tensor([[4, 2, 0]])
    loss = process.divergence(logits, x_t, x_0, times(1))[0]
    torch.testing.assert_close(loss, -logits[0].log_softmax(-1)[:, 2])


def test_the_bound_of_a_masked_process_is_a_weighted_cross_entropy():
    for schedule in ("linear", "sine"):
        process = mixed_process(K, STEPS, 1.0, schedule)
        share = MASK_SCHEDULES[schedule](torch.linspace(0.0, 1.0, STEPS + 1, dtype=torch.float64))
        logits = torch.randn(1, 2, K, generator=generator(1), dtype=torch.float64)
        x_0, x_t = torch.tensor([[3, 1]]), torch.tensor([[K, 1]])
        cross_entropy = -logits[0, 0].log_softmax(-1)[3]
        for t in range(1, STEPS):
            found = process.divergence(logits, x_t, x_0, times(t))[0]
            weight = (share[t] - share[t - 1]) / share[t]
            torch.testing.assert_close(found[0], weight * cross_entropy)
            assert found[1].item() == pytest.approx(0.0, abs=1e-12)


def true_logits(process, x_t, t):
    """Return the log of the true ``p(x_0 | x_t)`` of independent codes."""
    marginals = torch.stack(
        [process.marginal(torch.full_like(x_t, code), t) for code in range(K)], dim=-2
    )
    index = x_t[..., None, None].expand(*x_t.shape, K, 1)
    likelihood = marginals.gather(-1, index)[..., 0]
    return (PROBABILITIES * likelihood).clamp_min(1e-90).log()


def test_the_bound_of_a_perfect_model_is_the_likelihood(case):
    process = mixed_process(K, STEPS, *case)
    x_0, x_t = torch.arange(K)[:, None].expand(K, K + 1), torch.arange(K + 1).expand(K, K + 1)
    bound = torch.zeros(K, dtype=torch.float64)
    for time in range(1, STEPS + 1):
        t = torch.full((K,), time)
        chances = process.marginal(x_0[:, :1], t)[:, 0]
        terms = process.divergence(true_logits(process, x_t, t), x_t, x_0, t)
        bound += torch.where(chances > 0.0, chances * terms, 0.0).sum(1)
    torch.testing.assert_close(bound, -PROBABILITIES.log())


@pytest.mark.parametrize("steps", [None, 1, 4])
def test_the_true_posterior_draws_the_true_distribution(case, steps):
    process = mixed_process(K, STEPS, *case)
    calls = []

    def predict(codes, masked, t):
        calls.append(float(t[0]))
        x_t = torch.where(masked, K, codes)
        return true_logits(process, x_t, (t * STEPS).round().long())

    everything = torch.ones(1, 20_000, dtype=torch.bool)
    found = process.sample(
        predict,
        torch.zeros(1, 20_000, dtype=torch.int64),
        ~everything,
        everything,
        generators=[generator(2)],
        steps=steps,
    )
    assert len(calls) == (steps or STEPS)
    assert calls[0] == 1.0
    assert chi_square(found[0], PROBABILITIES) < 24.4


def chain(seed=3, length=3):
    """Return a joint distribution of bits, ``(2,) * length``."""
    joint = torch.rand((2,) * length, generator=generator(seed), dtype=torch.float64) ** 2
    return joint / joint.sum()


def conditional_logits(joint, codes, masked):
    """Return the log of ``p(bit | what is seen)`` of every item and place, ``(B, T, 2)``."""
    words = torch.tensor(list(itertools.product((0, 1), repeat=joint.ndim)))
    agrees = ((words[None] == codes[:, None]) | masked[:, None]).all(-1)
    weights = agrees.double() * joint.flatten()
    ones = weights @ words.double()
    both = torch.stack([weights.sum(1, keepdim=True) - ones, ones], dim=-1)
    return both.clamp_min(1e-90).log()


def test_an_order_of_writing_is_a_process():
    process, joint = autoregressive_process(2, 3), chain()
    asked = []

    def predict(codes, masked, t):
        asked.append(masked[0].tolist())
        return conditional_logits(joint, codes, masked)

    count = 4000
    everything = torch.ones(count, 3, dtype=torch.bool)
    found = process.sample(
        predict,
        torch.zeros(count, 3, dtype=torch.int64),
        ~everything,
        everything,
        generators=[generator(seed) for seed in range(count)],
    )
    assert asked == [[True] * 3, [False, True, True], [False, False, True]]
    assert chi_square(found @ torch.tensor([4, 2, 1]), joint.flatten()) < 24.4


def test_the_bound_of_an_order_of_writing_is_the_chain_rule():
    process, joint = autoregressive_process(2, 3), chain()
    for word in itertools.product((0, 1), repeat=3):
        x_0 = torch.tensor([word])
        bound = 0.0
        for time in (1, 2, 3):
            t = times(time)
            x_t = process.corrupt(x_0, t, generator())
            assert (x_t == 2).sum() == time
            logits = conditional_logits(joint, x_t.where(x_t < 2, 0), x_t == 2)
            bound += float(process.divergence(logits, x_t, x_0, t).sum())
        assert bound == pytest.approx(-float(joint[word].log()))


@pytest.fixture
def batch():
    mask = torch.arange(7)[None] < torch.tensor([7, 4, 5])[:, None]
    decided = mask & (torch.arange(7)[None] < torch.tensor([2, 0, 5])[:, None])
    return torch.randint(K, (3, 7), generator=generator(1)), decided, mask


def wavering(codes, masked, t):
    """Expect other codes in every step; whole numbers, the same in every batch."""
    places = torch.arange(codes.shape[1])[:, None] + torch.arange(K) + codes[..., None]
    return ((places * 7 + (t * 60).long()[:, None, None]) % 5).double()


@pytest.mark.parametrize("rate", [0.0, 0.9, 1.0])
def test_what_is_given_stays_and_padding_changes_nothing(batch, rate):
    codes, decided, mask = batch
    process = mixed_process(K, STEPS, rate)
    junk = codes.where(decided, 99)
    found = process.sample(
        wavering, junk, decided, mask, generators=[generator(seed) for seed in range(3)]
    )
    assert torch.equal(found[decided], codes[decided])
    assert (found[~mask] == 0).all()
    assert found[mask].max() < K
    for item, length in enumerate((7, 4, 5)):
        part = (slice(item, item + 1), slice(length))
        alone = process.sample(
            wavering, codes[part], decided[part], mask[part], generators=[generator(item)]
        )
        assert torch.equal(alone[0], found[item, :length])


@pytest.mark.parametrize(("rate", "changes"), [(1.0, False), (0.7, True)])
def test_only_a_process_that_replaces_can_put_a_code_right(rate, changes):
    seen = []

    def predict(codes, masked, t):
        seen.append(torch.where(masked, K, codes))
        return wavering(codes, masked, t)

    everything = torch.ones(1, 500, dtype=torch.bool)
    mixed_process(K, STEPS, rate).sample(
        predict,
        torch.zeros(1, 500, dtype=torch.int64),
        ~everything,
        everything,
        generators=[generator()],
    )
    earlier, later = torch.cat(seen[:-1]), torch.cat(seen[1:])
    assert not ((earlier < K) & (later == K)).any()
    assert bool(((earlier < K) & (earlier != later)).any()) == changes


def test_the_loss_is_the_mean_bound_with_a_share_of_cross_entropy(batch):
    codes, _, mask = batch
    process, t = mixed_process(K, STEPS), times(1, 4, 6)
    x_t = process.corrupt(codes, t, generator())
    logits = torch.randn(3, 7, K, generator=generator(4))
    bound = STEPS * process.divergence(logits, x_t, codes, t)[mask].mean()
    direct = torch.nn.functional.cross_entropy(logits[mask].double(), codes[mask])
    poisoned = logits.masked_fill(~mask[..., None], torch.nan).requires_grad_()
    loss = process.loss(poisoned, x_t, codes, t, mask, cross_entropy_weight=0.2)
    torch.testing.assert_close(loss, bound + 0.2 * direct)
    (gradient,) = torch.autograd.grad(loss, poisoned)
    assert (gradient[~mask] == 0.0).all()
    assert gradient[mask].isfinite().all()
    assert process.loss(logits - gradient, x_t, codes, t, mask, 0.2) < loss


def test_extreme_logits_stay_finite(case):
    process = mixed_process(K, STEPS, *case)
    x_0 = torch.tensor([[0, 1, 2, 3, 0]])
    for time in range(1, STEPS + 1):
        x_t = process.corrupt(x_0, times(time), generator(time))
        logits = torch.full((1, 5, K), -1e4).index_fill_(-1, times(3), 1e4).requires_grad_()
        loss = process.divergence(logits, x_t, x_0, times(time)).sum()
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.isfinite()
        assert gradient.isfinite().all()
        chances = process.reverse(logits, x_t, times(time))
        torch.testing.assert_close(chances.sum(-1), torch.ones(1, 5, dtype=torch.float64))


@pytest.mark.parametrize(
    ("kept", "masked"),
    [
        ([0.9, 0.5], [0.0, 0.5]),
        ([1.0, 0.5, 0.6], [0.0, 0.1, 0.2]),
        ([1.0, 0.0, 0.0], [0.0, 1.0, 0.5]),
        ([1.0, 0.5], [0.0, 0.6]),
        ([1.0, 0.5, 0.5], [0.0, 0.1, 0.3]),
        ([1.0], [0.0]),
        ([1.0, 0.5], [0.0, 0.2, 0.3]),
    ],
)
def test_impossible_shares_are_refused(kept, masked):
    with pytest.raises(ConfigError, match="kept and masked"):
        TransitionProcess(K, torch.tensor(kept), torch.tensor(masked))


def test_sampling_is_checked(batch):
    codes, decided, mask = batch
    three = [generator(seed) for seed in range(3)]
    with pytest.raises(ConfigError, match="nothing tells where to start"):
        bert_process(K).sample(wavering, codes, decided, mask, generators=three)
    with pytest.raises(ConfigError, match="use 1 to 6"):
        mixed_process(K, STEPS).sample(wavering, codes, decided, mask, generators=three, steps=7)
    with pytest.raises(ConfigError, match="from 0 to 1"):
        mixed_process(K, STEPS, 1.1)
