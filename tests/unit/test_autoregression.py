"""Sampling of codes: distributions, the boundary of repetition, ends and limits of length."""

import math

import pytest
import torch

from parlando.contracts import ConfigError
from parlando.generative.autoregression import (
    NOTHING,
    Sampling,
    choose,
    decode,
    nucleus,
    recent_codes,
    repetition_aware,
    sample_group,
)

PROBABILITIES = torch.tensor([0.4, 0.05, 0.3, 0.05, 0.2])
LOGITS = PROBABILITIES.log()
END = 4


def uniforms(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def chi_square(codes, probabilities):
    """Sum of squared deviations over expected counts; 99.9 % of draws stay below 20 for 5 codes."""
    counts = torch.bincount(codes, minlength=len(probabilities)).double()
    expected = probabilities.double() * len(codes)
    assert (counts[expected == 0] == 0).all()
    possible = expected > 0
    return float(((counts - expected)[possible].square() / expected[possible]).sum())


def none_before(count, window=10):
    return torch.full((count, window), NOTHING)


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [
        (0.0, [0]),
        (0.39, [0]),
        (0.41, [0, 2]),
        (0.69, [0, 2]),
        (0.71, [0, 2, 4]),
        (0.92, [0, 1, 2, 4]),
        (1.0, [0, 1, 2, 3, 4]),
    ],
)
def test_the_nucleus_is_the_smallest_set_that_reaches_its_mass(top_p, kept):
    shown = nucleus(LOGITS.expand(2, 3, 5), top_p)
    for row in shown.flatten(0, 1):
        assert row.isfinite().nonzero().flatten().tolist() == kept
        assert torch.equal(row[kept], LOGITS[kept])


@pytest.mark.parametrize("top_p", [0.0, 0.5, 0.8, 1.0])
def test_codes_are_drawn_in_proportion_to_the_nucleus(top_p):
    shown = nucleus(LOGITS, top_p)
    codes = choose(shown.expand(20_000, -1), uniforms(20_000))
    assert chi_square(codes, shown.softmax(-1)) < 20.0


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1.0 - 2**-53])
def test_what_is_impossible_is_never_drawn(uniform):
    logits = torch.tensor([[-torch.inf, 0.3, -torch.inf, 0.1, -torch.inf]])
    assert int(choose(logits, torch.tensor([uniform], dtype=torch.float64))) in (1, 3)


@pytest.mark.parametrize(
    ("earlier", "distance", "replaced"),
    [(0, 1, False), (1, 1, True), (1, 10, True), (1, 11, False)],
)
def test_one_occurrence_in_the_window_is_enough_and_none_is_not(earlier, distance, replaced):
    history = torch.full((1, 11), 3)
    if earlier:
        history[0, 11 - distance] = 0
    sampling = Sampling(top_p=0.0)
    for number in range(20):
        code, repeated = repetition_aware(
            LOGITS[None], history, uniforms(1, 2, seed=number), sampling
        )
        assert bool(repeated) is replaced
        assert replaced or int(code) == 0


@pytest.mark.parametrize(
    ("threshold", "needed"), [(0.0, 0), (0.1, 1), (0.2, 2), (0.3, 3), (0.7, 7)]
)
def test_the_threshold_counts_the_candidate_itself(threshold, needed):
    sampling = Sampling(top_p=0.0, repetition_threshold=threshold)
    for earlier in range(10):
        history = torch.tensor([[0] * earlier + [NOTHING] * (10 - earlier)])
        _, repeated = repetition_aware(LOGITS[None], history, uniforms(1, 2), sampling)
        assert bool(repeated) is (earlier >= needed)


def test_a_repeated_candidate_is_replaced_by_a_draw_from_all_codes():
    history = none_before(20_000)
    history[:, 3] = 0
    codes, repeated = repetition_aware(
        LOGITS.expand(20_000, -1), history, uniforms(20_000, 2), Sampling(top_p=0.0)
    )
    assert repeated.all()
    assert chi_square(codes, PROBABILITIES) < 20.0


def test_the_repeated_code_can_be_excluded():
    history = none_before(20_000)
    history[:, 9] = 0
    sampling = Sampling(top_p=0.0, exclude_repeated=True)
    codes, _ = repetition_aware(LOGITS.expand(20_000, -1), history, uniforms(20_000, 2), sampling)
    others = PROBABILITIES.clone()
    others[0] = 0.0
    assert chi_square(codes, others / others.sum()) < 20.0


def test_the_only_possible_code_is_kept_even_where_it_is_excluded():
    logits = torch.full((1, 5), -torch.inf)
    logits[0, 2] = 0.0
    sampling = Sampling(exclude_repeated=True)
    code, repeated = repetition_aware(logits, torch.full((1, 10), 2), uniforms(1, 2), sampling)
    assert (int(code), bool(repeated)) == (2, False)


def test_without_a_window_it_is_plain_nucleus_sampling():
    history = torch.zeros(5_000, 10, dtype=torch.int64)
    sampling = Sampling(top_p=0.8, repetition_window=0)
    codes, repeated = repetition_aware(
        LOGITS.expand(5_000, -1), history, uniforms(5_000, 2), sampling
    )
    assert not repeated.any()
    assert torch.equal(
        codes, choose(nucleus(LOGITS, 0.8).expand(5_000, -1), uniforms(5_000, 2)[:, 0])
    )


def test_temperature_sharpens_before_the_nucleus():
    sampling = Sampling(top_p=1.0, temperature=0.5, repetition_window=0)
    codes, _ = repetition_aware(
        LOGITS.expand(20_000, -1), none_before(20_000), uniforms(20_000, 2), sampling
    )
    assert chi_square(codes, (2.0 * LOGITS).softmax(-1)) < 20.0


def test_a_slot_is_history_for_the_next_of_its_group():
    logits = LOGITS.expand(1, 3, 5)
    _, repeated, history = sample_group(
        logits, none_before(1), uniforms(1, 3, 2), Sampling(top_p=0.0)
    )
    assert repeated[0, :2].tolist() == [False, True]
    assert history[0, :7].tolist() == [NOTHING] * 7
    assert int(history[0, 7]) == 0


def test_recent_codes_are_padded_at_the_front():
    codes = [torch.tensor([5, 6, 7]), torch.arange(12), torch.tensor([], dtype=torch.int64)]
    assert recent_codes(codes, 4).tolist() == [
        [NOTHING, 5, 6, 7],
        [8, 9, 10, 11],
        [NOTHING] * 4,
    ]
    assert recent_codes(codes, 0).shape == (3, 0)


class Table:
    """A network whose logits depend on the last code of each item: a chain of random rows."""

    def __init__(self, rows, group, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.table = torch.randn(rows, END + 1, group, END + 1, generator=generator)
        self.rows, self.group = rows, group

    def of(self, *which):
        part = Table.__new__(Table)
        part.table, part.group, part.rows = self.table[list(which)], self.group, len(which)
        return part

    def first(self):
        return self.table[:, 0]

    def __call__(self, codes):
        assert codes.shape == (self.rows, self.group)
        return self.table[torch.arange(self.rows), codes[:, -1]]


def run(table, seeds, shortest=1, longest=50, **options):
    count = table.rows
    steps = list(
        decode(
            table,
            table.first(),
            none_before(count, 10),
            [torch.Generator().manual_seed(seed) for seed in seeds],
            end=END,
            shortest=torch.full((count,), shortest),
            longest=torch.full((count,), longest),
            sampling=Sampling(**options),
        )
    )
    codes = torch.cat([step.codes for step in steps], dim=1)
    real = torch.cat([step.real for step in steps], dim=1)
    ended = torch.stack([step.ended for step in steps]).sum(0)
    cut = torch.stack([step.cut for step in steps]).sum(0)
    assert torch.equal(ended + cut, torch.ones(count, dtype=torch.int64))
    return [row[mask].tolist() for row, mask in zip(codes, real, strict=True)], cut.bool().tolist()


@pytest.mark.parametrize("group", [1, 2, 3, 8])
def test_an_item_of_a_batch_is_what_it_would_be_alone(group):
    table = Table(4, group)
    together, cut = run(table, range(4))
    assert len({len(codes) for codes in together}) > 1
    for row in range(4):
        alone, alone_cut = run(table.of(row), [row])
        assert (alone[0], alone_cut[0]) == (together[row], cut[row])


@pytest.mark.parametrize("group", [1, 2, 5])
@pytest.mark.parametrize("shortest", [1, 7, 12])
def test_no_item_is_shorter_or_longer_than_allowed(group, shortest):
    table = Table(6, group)
    table.table[..., END] += 6.0  # eager to end
    codes, cut = run(table, range(6), shortest=shortest, longest=13)
    assert all(shortest <= len(item) <= 13 for item in codes)
    assert not any(END in item for item in codes)
    table.table[..., END] = -torch.inf  # never ends by itself
    codes, cut = run(table, range(6), shortest=shortest, longest=13)
    assert [len(item) for item in codes] == [13] * 6
    assert all(cut)


def test_an_unlikely_end_is_hidden_and_a_likely_one_is_not():
    table = Table(40, 2)
    table.table.zero_()
    table.table[..., END] = math.log(4 * 0.3 / 0.7)  # 30 % beside four equal codes
    plain, _ = run(table, range(40), top_p=1.0, repetition_window=0)
    as_likely, _ = run(table, range(40), top_p=1.0, repetition_window=0, end_threshold=0.29)
    less, cut = run(table, range(40), top_p=1.0, repetition_window=0, end_threshold=0.31)
    assert plain == as_likely
    assert max(map(len, plain)) < min(map(len, less))
    assert all(cut)


def test_what_follows_an_end_in_its_group_is_dropped():
    logits = torch.full((1, 4, 5), -torch.inf)
    for slot, code in enumerate([2, 3, END, 1]):
        logits[0, slot, code] = 0.0
    (step,) = decode(
        lambda codes: logits,
        logits,
        none_before(1),
        [torch.Generator()],
        end=END,
        shortest=torch.tensor([1]),
        longest=torch.tensor([9]),
        sampling=Sampling(),
    )
    assert step.codes.tolist() == [[2, 3, 0, 0]]
    assert step.real.tolist() == [[True, True, False, False]]
    assert (step.ended.tolist(), step.cut.tolist()) == ([True], [False])


def test_repetition_awareness_ends_a_loop_in_which_greedy_sampling_stays():
    """A chain that likes to stay where it is: greedily it never ends."""
    table = Table(8, 1)
    table.table = 3.0 * torch.eye(5)[None, :, None].repeat(8, 1, 1, 1)
    _, stuck = run(table, range(8), top_p=0.0, repetition_window=0, longest=200)
    _, aware = run(table, range(8), top_p=0.0, longest=200)
    assert all(stuck)
    assert not any(aware)


def test_logits_of_the_caller_stay_what_they_are():
    table = Table(2, 2)
    before = table.table.clone()
    run(table, range(2), shortest=9)
    assert torch.equal(table.table, before)


@pytest.mark.parametrize(("shortest", "longest"), [(0, 5), (6, 5)])
def test_impossible_lengths_are_refused(shortest, longest):
    with pytest.raises(ConfigError, match="expected 1 or more"):
        run(Table(1, 1), [0], shortest=shortest, longest=longest)


@pytest.mark.parametrize(
    "options",
    [
        {"top_p": 1.1},
        {"temperature": 0.0},
        {"repetition_window": -1},
        {"repetition_threshold": 2.0},
        {"end_threshold": 1.5},
    ],
)
def test_impossible_options_are_refused(options):
    with pytest.raises(ConfigError, match="expected"):
        Sampling(**options)
