"""Laws of monotonic alignment, against enumeration of every path."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import betabinom

from parlando.generative.monotonic import (
    IMPOSSIBLE,
    beta_binomial_log_prior,
    forward_sum,
    viterbi,
)

# Skippable symbols of each case; frames run from too few to more than enough.
SKIPPABLE = [
    (False,),
    (True,),
    (False, False),
    (True, False),
    (False, True),
    (True, False, True),
    (False, True, False),
    (True, False, False, True, False),
    (True, False, True, False, True),
]
CASES = [(frames, skips) for skips in SKIPPABLE for frames in (1, 2, 3, 4, 6)]


def _emission(frames, places, seed=0):
    random = np.random.default_rng([seed, frames, places])
    logits = random.normal(size=(frames, places), scale=2.0)
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def _all_durations(frames, skippable):
    """Every assignment of whole durations that sums to the frames."""
    ranges = [range(0 if skip else 1, frames + 1) for skip in skippable]
    return [found for found in itertools.product(*ranges) if sum(found) == frames]


def _score(emission, durations):
    path = np.repeat(np.arange(len(durations)), durations)
    return float(emission[np.arange(len(path)), path].sum())


def _forward_sum_of_one(emission, skippable):
    found = forward_sum(
        torch.from_numpy(emission)[None],
        torch.tensor([emission.shape[0]]),
        torch.tensor([emission.shape[1]]),
        torch.tensor([skippable]),
    )
    return float(found[0])


@pytest.mark.parametrize(("frames", "skippable"), CASES)
def test_forward_sum_adds_up_every_path(frames, skippable):
    emission = _emission(frames, len(skippable))
    scores = [_score(emission, durations) for durations in _all_durations(frames, skippable)]
    found = _forward_sum_of_one(emission, skippable)
    if scores:
        assert found == pytest.approx(np.logaddexp.reduce(scores), abs=1e-9)
    else:
        assert found < IMPOSSIBLE / 2


@pytest.mark.parametrize(("frames", "skippable"), CASES)
def test_viterbi_finds_the_best_path(frames, skippable):
    emission = _emission(frames, len(skippable), seed=1)
    paths = _all_durations(frames, skippable)
    durations, score = viterbi(emission, np.array(skippable))
    if not paths:
        assert score == -math.inf
        assert durations == [0] * len(skippable)
        return
    best = max(paths, key=lambda path: _score(emission, path))
    assert tuple(durations) == best
    assert score == pytest.approx(_score(emission, best) / frames)


def test_durations_fill_the_frames_and_skip_pauses_only():
    skippable = np.arange(41) % 5 == 0
    durations, score = viterbi(_emission(300, 41), skippable)
    assert sum(durations) == 300
    assert min(np.array(durations)[~skippable]) >= 1
    assert math.isfinite(score)


def test_an_item_alone_and_padded_have_one_likelihood():
    shapes = [(7, 3), (4, 5), (9, 4)]
    skips = [(True, False, True), (False, True, False, False, True), (False, False, True, False)]
    emission = torch.full((3, 9, 5), 7.0, dtype=torch.float64)
    skippable = torch.ones(3, 5, dtype=torch.bool)
    alone = []
    for row, ((frames, places), skip) in enumerate(zip(shapes, skips, strict=True)):
        one = _emission(frames, places, seed=row)
        emission[row, :frames, :places] = torch.from_numpy(one)
        skippable[row, :places] = torch.tensor(skip)
        alone.append(_forward_sum_of_one(one, skip))
    together = forward_sum(emission, torch.tensor([7, 4, 9]), torch.tensor([3, 5, 4]), skippable)
    assert together.tolist() == pytest.approx(alone, abs=1e-9)


def test_gradients_are_occupancies():
    """The gradient for one symbol at one frame is the probability of being there."""
    emission = torch.from_numpy(_emission(6, 4))[None].requires_grad_()
    skips = (True, False, False, True)
    forward_sum(
        emission, torch.tensor([6]), torch.tensor([4]), torch.tensor([skips])
    ).sum().backward()
    torch.testing.assert_close(emission.grad.sum(2), torch.ones(1, 6, dtype=torch.float64))
    values = emission.detach().numpy()[0]
    paths = _all_durations(6, skips)
    weights = np.exp([_score(values, path) for path in paths])
    there = np.zeros((6, 4))
    for path, weight in zip(paths, weights / weights.sum(), strict=True):
        there[np.arange(6), np.repeat(np.arange(4), path)] += weight
    np.testing.assert_allclose(emission.grad.numpy()[0], there, atol=1e-9)


def test_padding_gets_no_gradient_and_impossible_items_a_finite_one():
    emission = torch.zeros(2, 5, 6, requires_grad=True)
    frames, symbols = torch.tensor([4, 2]), torch.tensor([3, 6])
    forward_sum(emission, frames, symbols, torch.zeros(2, 6, dtype=torch.bool)).sum().backward()
    assert emission.grad[0, 4:].abs().sum() == 0.0
    assert emission.grad[0, :, 3:].abs().sum() == 0.0
    assert emission.grad[1, 2:].abs().sum() == 0.0
    assert emission.grad.isfinite().all()


@pytest.mark.parametrize("scale", [1.0, 0.2])
def test_the_prior_is_beta_binomial(scale):
    frames, symbols = torch.tensor([9, 5, 3]), torch.tensor([4, 6, 1])
    prior = beta_binomial_log_prior(frames, symbols, scale)
    assert prior.shape == (3, 9, 6)
    for row, (length, count) in enumerate(zip(frames.tolist(), symbols.tolist(), strict=True)):
        total = prior[row, :length, :count].exp().sum(1)
        torch.testing.assert_close(total, torch.ones(length), rtol=1e-4, atol=1e-4)
        for t in range(length):
            expected = betabinom.logpmf(
                np.arange(count), count - 1, scale * (t + 1), scale * (length - t)
            )
            np.testing.assert_allclose(prior[row, t, :count], expected, rtol=1e-3, atol=1e-4)
        assert (prior[row, length:] == IMPOSSIBLE).all()
        assert (prior[row, :, count:] == IMPOSSIBLE).all()


def test_the_prior_follows_the_diagonal():
    prior = beta_binomial_log_prior(torch.tensor([60]), torch.tensor([20]))[0]
    place = (prior.exp() * torch.arange(20.0)).sum(1)
    expected = 19.0 * torch.arange(1.0, 61.0) / 61.0
    torch.testing.assert_close(place, expected, rtol=1e-3, atol=1e-3)
