"""Schedules, parameter groups and the weight average."""

import pytest
import torch
from torch import nn

from parlando.contracts import ConfigError
from parlando.training.config import TrainConfig
from parlando.training.optimization import (
    WeightAverage,
    adamw,
    learning_rate,
    only_trainable,
    stepped_parameters,
)


def rates(config: TrainConfig) -> list[float]:
    return [learning_rate(config, step, step / config.steps) for step in range(config.steps)]


def test_inverse_square_root():
    got = rates(TrainConfig(steps=400, learning_rate=1.0, warmup_steps=100))
    assert got[0] == pytest.approx(0.01)
    assert got[49] == pytest.approx(0.5)
    assert max(got) == got[99] == pytest.approx(1.0)
    assert got[399] == pytest.approx(0.5)  # four times the warm-up


def test_cosine_reaches_zero():
    config = TrainConfig(steps=100, learning_rate=2.0, warmup_steps=0, schedule="cosine")
    got = rates(config)
    assert got[0] == pytest.approx(2.0)
    assert got[50] == pytest.approx(1.0)
    assert learning_rate(config, 100, 1.0) == pytest.approx(0.0)


def test_constant_with_cooldown_by_any_progress():
    config = TrainConfig(
        steps=100, learning_rate=2.0, warmup_steps=1, schedule="constant", cooldown_fraction=0.2
    )
    got = rates(config)
    assert got[:80] == [2.0] * 80
    assert got[90] == pytest.approx(1.0)
    # Few steps, but the clock says that nine tenths are over.
    assert learning_rate(config, 3, 0.9) == pytest.approx(1.0)
    assert learning_rate(config, 3, 1.0) == 0.0


def test_vectors_do_not_decay():
    model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    optimizer = adamw(model.parameters(), TrainConfig(weight_decay=0.3))
    decays = {
        tuple(p.shape): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]
    }
    assert decays == {(3, 2): 0.3, (3,): 0.0}
    assert len(stepped_parameters(optimizer)) == 4


def test_average_follows_its_law():
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, 0.0)
    average, expected = WeightAverage(module, decay=0.5), 0.0
    for update in range(1, 20):
        nn.init.constant_(module.weight, float(update))
        average.update()
        decay = min(0.5, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * update
    with average.applied():
        assert module.weight.item() == pytest.approx(expected, rel=1e-6)
    assert module.weight.item() == 19.0


def test_average_takes_buffers_as_they_are():
    module = nn.BatchNorm1d(2)
    average = WeightAverage(module, decay=0.9)
    module.running_mean.fill_(5.0)
    average.update()
    with average.applied():
        assert module.running_mean.tolist() == [5.0, 5.0]
        assert module.weight.tolist() == [1.0, 1.0]


def test_average_without_decay_is_the_weights():
    module = nn.Linear(3, 3)
    average = WeightAverage(module, decay=0.0)
    nn.init.normal_(module.weight)
    average.update()
    trained = module.weight.detach().clone()
    with average.applied():
        assert torch.equal(module.weight, trained)


def test_average_puts_weights_back_after_an_error():
    module = nn.Linear(1, 1)
    average = WeightAverage(module, decay=0.9)
    nn.init.constant_(module.weight, 7.0)
    with pytest.raises(KeyError), average.applied():
        raise KeyError
    assert module.weight.item() == 7.0


def test_average_refuses_another_module():
    state = WeightAverage(nn.Linear(1, 1), decay=0.9).state_dict()
    with pytest.raises(ValueError, match="another module"):
        WeightAverage(nn.Linear(1, 1, bias=False), decay=0.9).load_state_dict(state)


def test_only_trainable_shields_the_others():
    one, two = nn.Linear(1, 1), nn.Linear(1, 1)
    everything = [*one.parameters(), *two.parameters()]
    with only_trainable(list(one.parameters()), everything):
        two(one(torch.ones(1, 1))).sum().backward()
    assert one.weight.grad is not None
    assert two.weight.grad is None
    assert all(parameter.requires_grad for parameter in everything)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0}, {"max_minutes": 0.0}, {"gradient_clip": -1.0}, {"ema_decay": 1.0},
        {"cooldown_fraction": 1.5}, {"betas": (0.9, 1.0)}, {"warmup_steps": -1}, {"threads": 0},
        {"learning_rate": float("nan")},
    ],
)  # fmt: skip
def test_config_refuses(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        TrainConfig(**wrong)
