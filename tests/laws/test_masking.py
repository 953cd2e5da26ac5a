"""Laws of masked diffusion: schedules, what training hides, what the sampler decides and when."""

import dataclasses
import itertools
import math

import pytest
import torch

from parlando.contracts import ConfigError
from parlando.generative.masking import (
    MASK_SCHEDULES,
    MaskedSampling,
    at_level,
    draw_levels,
    draw_times,
    hidden_count,
    mask_codes,
    mask_tokens,
    masked_bound,
    masked_loss,
    network_evaluations,
    sample_masked,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def generators(count, first=0):
    return [generator(first + item) for item in range(count)]


def real(lengths):
    return torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]


@pytest.mark.parametrize("name", MASK_SCHEDULES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_schedules_grow_from_exactly_nothing_to_exactly_all(name, dtype):
    share = MASK_SCHEDULES[name](torch.linspace(0.0, 1.0, 129, dtype=dtype))
    assert share[0] == 0.0
    assert share[-1] == 1.0
    assert (share.diff() > 0.0).all()


def test_schedules_are_those_of_maskgit_with_time_reversed():
    t = torch.linspace(0.0, 1.0, 21, dtype=torch.float64)
    progress = 1.0 - t
    expected = {
        "linear": 1.0 - progress,
        "cosine": (progress * math.pi / 2).cos(),
        "sine": (math.pi * t / 2).sin(),
        "square": 1.0 - progress**2,
        "cubic": 1.0 - progress**3,
        "square_root": 1.0 - progress**0.5,
    }
    for name, share in expected.items():
        torch.testing.assert_close(MASK_SCHEDULES[name](t), share, atol=1e-15, rtol=0)
    exponential, logarithmic = MASK_SCHEDULES["exponential"], MASK_SCHEDULES["logarithmic"]
    torch.testing.assert_close(exponential(t), (1.0 - 256.0**-t) * 256 / 255)
    torch.testing.assert_close(exponential(logarithmic(t)), t)


@pytest.mark.parametrize(
    ("name", "above"),
    [
        ("sine", True),
        ("square", True),
        ("cubic", True),
        ("exponential", True),
        ("square_root", False),
        ("logarithmic", False),
    ],
)
def test_concave_schedules_hide_more_than_linear_and_convex_ones_less(name, above):
    t = torch.linspace(0.0, 1.0, 101)[1:-1]
    assert ((MASK_SCHEDULES[name](t) > t) == above).all()


def test_what_is_hidden_is_counted_for_each_item_and_whole_products_stay_whole():
    length = torch.tensor([0, 1, 2, 10, 1000])
    assert hidden_count(length, 1.0, "sine").tolist() == [0, 1, 2, 10, 1000]
    assert hidden_count(length, 0.0, "sine").tolist() == [0] * 5
    # sin(pi / 6) in floating point is less than a half.
    assert hidden_count(length, 1 / 3, "sine").tolist() == [0, 0, 1, 5, 500]
    assert hidden_count(length, 0.999, "linear").tolist() == [0, 0, 1, 9, 999]


class Oracle:
    """Logits that depend on place, neighbours and what is decided; remembers how it was asked.

    Whole numbers over a power of two: sums are exact, whatever the size of the batch.
    """

    def __init__(self, size=40, seed=3):
        draw = generator(seed)
        self.place = torch.randint(-256, 256, (64, size), generator=draw) / 64
        self.table = torch.randint(-256, 256, (size + 1, size), generator=draw) / 64
        self.asked = []

    def __call__(self, codes, masked, t):
        self.asked.append((codes.clone(), masked.clone(), t.clone()))
        seen = torch.where(masked, len(self.table) - 1, codes)
        left = torch.nn.functional.pad(seen[:, :-1], (1, 0), value=0)
        return self.place[: codes.shape[1]] + self.table[left] + self.table[seen]


SIZES = [9, 13, 1, 6]
GIVEN = [2, 0, 0, 6]


@pytest.fixture
def batch():
    """Codes, decided and real positions of items of different lengths and prompts."""
    mask = real(SIZES)
    return (
        torch.randint(40, mask.shape, generator=generator(1)),
        real([*GIVEN, 13])[:4] & mask,
        mask,
    )


@pytest.mark.parametrize("steps", [1, 2, 4, 7])
@pytest.mark.parametrize("schedule", ["sine", "linear", "logarithmic"])
def test_each_step_hides_what_the_schedule_says_and_the_last_one_nothing(batch, steps, schedule):
    codes, decided, mask = batch
    oracle = Oracle()
    sampling = MaskedSampling(steps=steps, schedule=schedule)
    found = sample_masked(oracle, codes, decided, mask, sampling=sampling, generators=generators(4))
    assert len(oracle.asked) == steps
    counts = torch.tensor(SIZES) - torch.tensor(GIVEN)
    before = mask & ~decided
    for step, (given, masked, t) in enumerate(oracle.asked):
        time = 1.0 - step / steps
        assert t.tolist() == pytest.approx([time] * 4)
        share = float(MASK_SCHEDULES[schedule](torch.tensor(time, dtype=torch.float64)))
        assert masked.sum(1).tolist() == [math.floor(count * share) for count in counts.tolist()]
        # Nothing that was decided is hidden again, nor is it changed.
        assert (before | ~masked).all()
        assert torch.equal(given[mask & ~masked], found[mask & ~masked])
        assert (given[masked] == 0).all()
        before = masked
    assert torch.equal(found[decided], codes[decided])
    assert (found[~mask] == 0).all()


@pytest.mark.parametrize("steps", [1, 3, 4])
def test_an_item_is_alone_what_it_is_in_a_padded_batch(batch, steps):
    codes, decided, mask = batch
    sampling = MaskedSampling(steps=steps)
    found = sample_masked(
        Oracle(), codes, decided, mask, sampling=sampling, generators=generators(4)
    )
    for item, length in enumerate(SIZES):
        alone = sample_masked(
            Oracle(),
            codes[item : item + 1, :length],
            decided[item : item + 1, :length],
            mask[item : item + 1, :length],
            sampling=sampling,
            generators=generators(1, item),
        )
        assert torch.equal(alone[0], found[item, :length])


def test_padding_may_hold_anything(batch):
    codes, decided, mask = batch

    def poisoned(given, masked, t):
        return Oracle()(given, masked, t).masked_fill(~mask[..., None], math.nan)

    sampling = MaskedSampling()
    clean, found = (
        sample_masked(predict, codes, decided, mask, sampling=sampling, generators=generators(4))
        for predict in (Oracle(), poisoned)
    )
    assert torch.equal(found, clean)


def test_a_seed_means_the_same_again_and_another_something_else(batch):
    codes, decided, mask = batch
    sampling = MaskedSampling()
    first, again, other = (
        sample_masked(
            Oracle(), codes, decided, mask, sampling=sampling, generators=generators(4, seed)
        )
        for seed in (0, 0, 10)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_one_step_takes_the_likeliest_codes_whatever_the_seed(batch):
    codes, decided, mask = batch
    found = sample_masked(
        Oracle(), codes, decided, mask, sampling=MaskedSampling(steps=1), generators=generators(4)
    )
    target = mask & ~decided
    best = Oracle()(codes.masked_fill(~decided, 0), target, torch.ones(4)).argmax(-1)
    assert torch.equal(found[target], best[target])


def flat(logits):
    """Predict the same for every place, asked or not."""
    return lambda codes, _masked, _t: logits.expand(*codes.shape, -1)


def draw_first(sampling, logits, count=20_000):
    """Return what the first step of two decides, the surest half, in one item."""
    seen = []

    def predict(codes, masked, t):
        seen.append(codes[~masked])
        return flat(logits)(codes, masked, t)

    everything = torch.ones(1, count, dtype=torch.bool)
    sample_masked(
        predict,
        torch.zeros(1, count, dtype=torch.int64),
        ~everything,
        everything,
        sampling=sampling,
        generators=generators(1),
    )
    return seen[1]


def chi_square(codes, probabilities):
    """Sum of squared deviations over expected counts; 99.9 % of draws stay below 20 for 5 codes."""
    counts = torch.bincount(codes, minlength=len(probabilities)).double()
    expected = probabilities.double() * len(codes)
    assert (counts[expected == 0] == 0).all()
    possible = expected > 0
    return float(((counts - expected)[possible].square() / expected[possible]).sum())


PROBABILITIES = torch.tensor([0.05, 0.4, 0.3, 0.05, 0.2])


@pytest.mark.parametrize(("top_k", "temperature"), [(5, 1.0), (3, 1.0), (3, 1.5), (5, 0.6)])
def test_codes_are_drawn_from_the_likeliest_at_the_temperature(top_k, temperature):
    # So much noise decides which half is kept that the codes in it are still in proportion.
    sampling = MaskedSampling(
        steps=2, schedule="linear", top_k=top_k, temperature=temperature, gumbel=1e9
    )
    kept = PROBABILITIES.where(PROBABILITIES.sort().values[-top_k] <= PROBABILITIES, 0.0)
    expected = kept ** (1.0 / temperature)
    codes = draw_first(sampling, PROBABILITIES.log())
    assert len(codes) == 10_000
    assert chi_square(codes, expected / expected.sum()) < 20.0


def test_without_noise_the_surest_are_kept():
    sampling = MaskedSampling(steps=2, schedule="linear", temperature=1.0, gumbel=0.0, top_k=5)
    codes = draw_first(sampling, PROBABILITIES.log())
    # 40 % of the draws are of the surest code, and the half is filled up with the next.
    assert set(codes.tolist()) == {1, 2}
    assert (codes == 1).sum().item() == pytest.approx(8_000, abs=250)


def test_confidence_is_that_among_all_codes():
    """A code that is hardly likelier than many others is not sure for being alone in the top."""
    many = torch.zeros(200)
    many[7] = 0.1
    few = torch.full((200,), -20.0)
    few[[3, 9]] = torch.tensor([1.0, 0.9])
    logits = torch.stack([many, few])[None]
    asked = []

    def predict(codes, masked, t):
        asked.append(masked.clone())
        return logits

    sampling = MaskedSampling(steps=2, schedule="linear", top_k=1, gumbel=0.0)
    everything = torch.ones(1, 2, dtype=torch.bool)
    zeros = torch.zeros(1, 2, dtype=torch.int64)
    sample_masked(
        predict, zeros, ~everything, everything, sampling=sampling, generators=generators(1)
    )
    assert asked[1].tolist() == [[True, False]]


def test_forbidden_codes_are_never_drawn():
    logits = torch.full((6,), -torch.inf)
    logits[[2, 5]] = torch.tensor([0.0, 1.0])
    everything = torch.ones(1, 300, dtype=torch.bool)
    codes = sample_masked(
        flat(logits),
        torch.zeros(1, 300, dtype=torch.int64),
        ~everything,
        everything,
        sampling=MaskedSampling(steps=5, top_k=4),
        generators=generators(1),
    )
    assert set(codes[0].tolist()) == {2, 5}


def test_codes_within_an_edit_keep_what_is_around_them():
    decided = torch.tensor([[True, False, True, False, False, True]])
    codes = torch.tensor([[7, 1, 8, 1, 1, 9]])
    found = sample_masked(
        Oracle(),
        codes,
        decided,
        torch.ones_like(decided),
        sampling=MaskedSampling(),
        generators=generators(1),
    )
    assert found[decided].tolist() == [7, 8, 9]


def test_sampling_is_checked(batch):
    codes, decided, mask = batch
    for change in ({"steps": 0}, {"top_k": 0}, {"temperature": -1.0}, {"gumbel": math.nan}):
        with pytest.raises(ConfigError, match="use"):
            dataclasses.replace(MaskedSampling(), **change)
    with pytest.raises(ConfigError, match="'cosin'; use one of linear, cosine"):
        MaskedSampling(schedule="cosin")
    with pytest.raises(ConfigError, match="3 generators for 4 items"):
        sample_masked(
            Oracle(), codes, decided, mask, sampling=MaskedSampling(), generators=generators(3)
        )


@pytest.mark.parametrize(("steps", "total"), [(4, 60), (1, 15)])
def test_evaluations_are_the_papers(steps, total):
    parts = [
        network_evaluations(steps),
        network_evaluations(steps, guided=False),
        network_evaluations(steps, levels=6),
    ]
    assert sum(parts) == total
    if steps == 4:
        assert parts == [8, 4, 48]


def test_times_are_uniform_and_spread_over_the_batch():
    drawn = torch.stack([draw_times(5, generator(seed)) for seed in range(2000)])
    assert (drawn > 0.0).all()
    assert (drawn <= 1.0).all()
    torch.testing.assert_close(
        drawn.sort(1).values.diff(dim=1), torch.full((2000, 4), 0.2), atol=1e-6, rtol=0
    )
    for item in drawn.T:
        assert chi_square((item * 4.999).long(), torch.full((5,), 0.2)) < 20.0


def test_levels_are_drawn_by_their_weights_and_evenly_spread():
    for weights, shares in ((None, (1 / 3,) * 3), ((3.0, 0.0, 1.0), (0.75, 0.0, 0.25))):
        drawn = torch.stack([draw_levels(5, 3, generator(seed), weights) for seed in range(4000)])
        for item in drawn.T:
            assert chi_square(item, torch.tensor(shares)) < 20.0
        counts = torch.stack([(drawn == level).sum(1) for level in range(3)], dim=1)
        assert ((counts - 5 * torch.tensor(shares)).abs() < 1.0).all()
    with pytest.raises(ConfigError, match="2 weights for 3 levels"):
        draw_levels(1, 3, weights=(1.0, 2.0))


def test_codes_are_hidden_with_the_probability_of_their_time():
    target = torch.ones(4, 20_000, dtype=torch.bool)
    target[:, ::2] = False
    t = torch.tensor([0.0, 0.2, 0.5, 1.0])
    hidden = mask_tokens(target, t, "sine", generator())
    assert not (hidden & ~target).any()
    share = hidden.sum(1) / target.sum(1)
    expected = (t * math.pi / 2).sin()
    assert share[0] == 0.0
    assert share[3] == 1.0
    torch.testing.assert_close(share, expected, atol=0.015, rtol=0)


@pytest.fixture
def levels():
    """Codes of three levels, their targets behind prompts, and what is real."""
    mask = real([12, 8, 5])
    target = mask & ~real([4, 0, 3, 12])[:3]
    return 1 + torch.randint(30, (3, 3, 12), generator=generator(5)), target, mask


@pytest.mark.parametrize("level", [0, 1, 2])
def test_lower_levels_are_seen_and_higher_ones_are_not(levels, level):
    codes, target, mask = levels
    masked = mask_codes(
        codes,
        target,
        mask,
        level=torch.full((3,), level),
        t=torch.tensor([0.5, 0.4, 0.3]),
        generator=generator(2),
    )
    assert torch.equal(masked.visible[:, :level], mask[:, None].expand(-1, level, -1))
    assert not (masked.visible[:, level + 1 :] & target[:, None]).any()
    assert 0 < masked.learnt.sum() < target.sum()
    assert not (masked.learnt & ~target).any()
    assert torch.equal(masked.visible[:, level], mask & ~masked.learnt)
    assert torch.equal(masked.masked, masked.learnt)
    # The prompt is seen at all levels.
    assert masked.visible.transpose(1, 2)[mask & ~target].all()
    assert torch.equal(masked.codes, codes.masked_fill(~masked.visible, 0))
    assert torch.equal(masked.labels[mask], codes[:, level][mask])


def test_every_item_has_its_own_level(levels):
    codes, target, mask = levels
    level = torch.tensor([2, 0, 1])
    masked = mask_codes(codes, target, mask, level=level, t=torch.ones(3), generator=generator())
    assert torch.equal(masked.labels, at_level(codes, level).masked_fill(~mask, 0))
    seen = (masked.visible & target[:, None]).any(-1)
    assert seen.tolist() == [[True, True, False], [False] * 3, [True, False, False]]
    drawn = [
        tuple(mask_codes(codes, target, mask, generator=generator(seed)).level.tolist())
        for seed in range(30)
    ]
    # As many items as levels: each level once, in every order.
    assert set(drawn) == set(itertools.permutations(range(3)))


def test_some_of_what_is_learnt_may_be_replaced_instead_of_hidden():
    codes = torch.full((1, 1, 40_000), 3)
    target = torch.ones(1, 40_000, dtype=torch.bool)
    masked = mask_codes(
        codes, target, target, t=torch.ones(1), mask_rate=0.9, entries=5, generator=generator()
    )
    assert masked.learnt.all()
    assert masked.masked.float().mean().item() == pytest.approx(0.9, abs=0.006)
    replaced = masked.codes[0, 0][masked.visible[0, 0]]
    assert chi_square(replaced, torch.full((5,), 0.2)) < 20.0
    assert (masked.labels == 3).all()
    with pytest.raises(ConfigError, match="entries"):
        mask_codes(codes, target, target, mask_rate=0.9)


def test_the_loss_is_the_mean_over_what_is_hidden():
    logits = torch.randn(2, 5, 7, generator=generator()).requires_grad_()
    labels = torch.randint(7, (2, 5), generator=generator(1))
    learnt = torch.tensor([[True, False, True, False, False], [False, True, False, False, False]])
    loss, accuracy = masked_loss(logits, labels, learnt)
    picked = logits.log_softmax(-1).gather(-1, labels[..., None])[..., 0][learnt]
    torch.testing.assert_close(loss, -picked.mean())
    assert accuracy == (logits.argmax(-1) == labels)[learnt].float().mean()
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient[~learnt] == 0.0).all()
    assert (gradient[learnt] != 0.0).all()
    nothing, none_right = masked_loss(logits, labels, torch.zeros_like(learnt))
    assert nothing == 0.0
    assert none_right == 0.0


@pytest.mark.parametrize("schedule", ["linear", "sine", "square", "square_root"])
def test_the_bound_of_a_perfect_model_is_the_likelihood(schedule):
    """Over all times and all ways to hide, for a distribution of three dependent bits."""
    joint = torch.rand(8, generator=generator(4), dtype=torch.float64)
    joint /= joint.sum()
    words = torch.tensor(list(itertools.product((0, 1), repeat=3)))
    truth = 5
    log_probability = float(joint[truth].log())
    target = torch.ones(1, 3, dtype=torch.bool)
    steps = 4000
    times = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
    total = 0.0
    for hidden in itertools.product((False, True), repeat=3):
        learnt = torch.tensor([hidden])
        agrees = ((words == words[truth]) | learnt).all(1)
        logits = torch.stack(
            [
                torch.stack([joint[agrees & (words[:, place] == bit)].sum() for bit in (0, 1)])
                for place in range(3)
            ]
        ).log()[None]
        share = MASK_SCHEDULES[schedule](times)
        chance = share ** sum(hidden) * (1.0 - share) ** (3 - sum(hidden))
        bound = masked_bound(
            logits.expand(steps, -1, -1),
            words[truth].expand(steps, -1),
            learnt.expand(steps, -1),
            target.expand(steps, -1),
            times,
            schedule,
        )
        total += float((chance * bound.double()).mean()) * 3
    assert total == pytest.approx(-log_probability, rel=0.02)
