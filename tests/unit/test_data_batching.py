import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parlando.contracts import ConfigError
from parlando.data.batching import (
    BatchPlan,
    bucket,
    epoch_order,
    mask_of,
    pad,
    source_weights_of,
)


@settings(max_examples=40, deadline=None)
@given(
    weights=st.lists(st.floats(0.0, 3.0), min_size=1, max_size=30).filter(lambda w: sum(w) > 0.6),
    seed=st.integers(0, 99),
    epoch=st.integers(0, 9),
)
def test_an_epoch_holds_each_entry_as_often_as_its_weight(weights, seed, epoch):
    weights = np.array(weights)
    shards = np.arange(len(weights)) // 3
    order = epoch_order(weights, shards, seed, epoch)
    assert np.array_equal(order, epoch_order(weights, shards, seed, epoch))
    assert len(order) == round(weights.sum())
    exact = weights * len(order) / weights.sum()
    counts = np.bincount(order, minlength=len(weights))
    assert (counts >= np.floor(exact - 1e-6)).all()
    assert (counts <= np.ceil(exact + 1e-6)).all()


def test_epochs_and_seeds_differ_and_fractions_average_out():
    weights, shards = np.full(40, 0.25), np.zeros(40, int)
    orders = [epoch_order(weights, shards, 0, epoch) for epoch in range(200)]
    counts = np.bincount(np.concatenate(orders), minlength=40)
    assert counts.min() > 25
    assert counts.max() < 75
    full = np.ones(40)
    assert not np.array_equal(epoch_order(full, shards, 0, 0), epoch_order(full, shards, 0, 1))
    assert not np.array_equal(epoch_order(full, shards, 0, 0), epoch_order(full, shards, 1, 0))


def test_shards_are_read_window_by_window():
    shards = np.arange(1000) // 10
    order = shards[epoch_order(np.ones(1000), shards, 3, 0, window=4)]
    for start in range(0, 1000, 40):
        assert len(set(order[start : start + 40])) == 4
    assert len(set(order[:10])) > 1
    assert sorted(order) == sorted(shards)


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(1, 50), min_size=1, max_size=60), seed=st.integers(0, 99))
def test_buckets_keep_the_budget_and_lose_nothing(lengths, seed):
    rng = np.random.default_rng(seed)
    lengths = np.array(lengths)
    batches = bucket(rng.permutation(len(lengths)), lengths, 60, rng, pool=16)
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    for entries in batches:
        assert len(entries) * lengths[entries].max() <= 60


def test_a_plan_counts_through_the_epochs_in_any_order():
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 40, size=50)
    arguments = (np.ones(50), np.arange(50) // 20, lengths, 100, 7)
    forward = [BatchPlan(*arguments).entries(number).tolist() for number in range(60)]
    plan = BatchPlan(*arguments)
    backward = [plan.entries(number).tolist() for number in reversed(range(60))]
    assert forward == backward[::-1]
    seen: list[int] = []
    number = 0
    while len(seen) < 50:
        seen += forward[number]
        number += 1
    assert sorted(seen) == list(range(50))


def test_an_utterance_longer_than_a_batch_is_refused():
    with pytest.raises(ConfigError, match="has 30 frames, a batch only 20"):
        BatchPlan(np.ones(2), np.zeros(2, int), np.array([3, 30]), 20, 0)


def test_source_weights_multiply_with_those_of_voices():
    rows = [{"source": "a"}, {"source": "b", "voice": None}, {"source": "b", "voice": {"f": 1}}]
    weights = source_weights_of(rows, {"b": 0.5}, voice_weight=0.25)
    assert weights.tolist() == [1.0, 0.5, 0.125]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"z": 1.0}, "names z; the corpus has a"),
        ({"a": -1.0}, "negative"),
        ({"a": 0.0}, "no utterance"),
    ],
)
def test_impossible_weights_are_refused(weights, message):
    with pytest.raises(ConfigError, match=message):
        source_weights_of([{"source": "a"}], weights)


def test_padding_is_zero_and_masks_say_what_is_real():
    parts = [torch.ones(2, 3), 2 * torch.ones(2, 5)]
    padded = pad(parts)
    assert padded.shape == (2, 2, 5)
    assert padded[0, :, 3:].abs().sum() == 0
    assert pad(parts, 7).shape == (2, 2, 7)
    assert mask_of([3, 5]).sum(1).tolist() == [3, 5]
    assert mask_of([3, 0])[1].any().item() is False
