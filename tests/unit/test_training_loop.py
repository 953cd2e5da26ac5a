"""The loop's laws, on objectives small enough to check by hand."""

import json
import os
import signal

import pytest
import torch
from torch import nn

from parlando.contracts import PhaseResult
from parlando.training.checkpoint import load_state, load_weights, read_card
from parlando.training.config import TrainConfig
from parlando.training.loop import DivergenceError, existing_checkpoints, train


class Regression(nn.Module):
    """One phase: a linear map with dropout, noise, a buffer and a frozen part."""

    phases = ("main",)

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(dropout), nn.Linear(4, 2))
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        self.model.register_buffer("calls", torch.tensor(0))
        self.frozen = nn.Linear(2, 2)
        nn.init.eye_(self.frozen.weight)
        nn.init.zeros_(self.frozen.bias)
        self.noise = dropout

    def parameters_of(self, phase):
        return list(self.model.parameters())

    def trained(self):
        return self.model

    def forward(self, phase, batch, step, carry):
        self.model.calls += 1
        got = self.frozen(self.model(batch["x"]))
        got = got + self.noise * torch.randn_like(got)
        return PhaseResult({"square": (got - batch["y"]).square().mean()}, {"step": float(step)})

    def validate(self, batch):
        assert not self.training
        return {"square": float((self.model(batch["x"]) - batch["y"]).square().mean())}

    def audio(self, batch):
        return {"tone": (torch.linspace(-1, 1, 160), 16_000)}


class Source:
    """Each step has one joint batch of four rows, shared out evenly."""

    def batch(self, step, rank, world):
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(4, 3, generator=generator)
        return {"x": x.chunk(world)[rank], "y": x.flip(1)[:, :2].chunk(world)[rank]}

    def validation(self):
        yield self.batch(10_000, 0, 1)
        yield self.batch(10_001, 0, 1)


class Stopper(Source):
    """Sends this process a signal while the batch of one step is made."""

    def __init__(self, step: int, number: int) -> None:
        self.step, self.number = step, number

    def batch(self, step, rank, world):
        if step == self.step:
            os.kill(os.getpid(), self.number)
        return super().batch(step, rank, world)


def settings(**changes) -> TrainConfig:
    plain = {
        "steps": 6,
        "learning_rate": 0.05,
        "warmup_steps": 2,
        "ema_decay": 0.9,
        "device": "cpu",
        "validate_every": 4,
        "log_every": 1,
    }
    return TrainConfig(**{**plain, **changes})


def run(folder, objective=None, source=None, **changes):
    objective = objective or Regression()
    result = train(objective, source or Source(), settings(**changes), folder, "toy", {"width": 4})
    return objective, result


def same(one, other) -> bool:
    """Compare nested states exactly."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def state_of(result) -> dict:
    state = load_state(result.checkpoint)
    del state["seconds"]
    return state


@pytest.mark.parametrize(
    ("kind", "number", "changes"),
    [
        ("Regression", signal.SIGTERM, {"cooldown_fraction": 0.5}),
        ("Regression", signal.SIGINT, {"precision": "bf16"}),
        ("Adversarial", signal.SIGTERM, {"accumulate": 2, "schedule": "cosine"}),
    ],
)
def test_resumes_bit_for_bit(tmp_path, kind, number, changes):
    made = globals()[kind]
    _, whole = run(tmp_path / "whole", made(), **changes)
    # A signal in the middle stands for a kill; the rest is another objective, made anew.
    _, part = run(tmp_path / "parts", made(), Stopper(3, number), **changes)
    assert part.reason == "signal"
    assert part.step in (3, 4)
    _, rest = run(tmp_path / "parts", made(), **changes)
    assert (whole.step, rest.step) == (6, 6)
    assert same(state_of(whole), state_of(rest))
    one, other = made().trained(), made().trained()
    load_weights(whole.checkpoint, one)
    load_weights(rest.checkpoint, other)
    assert same(one.state_dict(), other.state_dict())
    assert whole.numbers == rest.numbers


@pytest.mark.parametrize(("capability", "precision"), [("AVX2", "fp32"), ("AVX512", "bf16")])
def test_bf16_only_where_the_processor_has_it(tmp_path, monkeypatch, capsys, capability, precision):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    seen = []

    class Looks(Regression):
        def forward(self, *arguments):
            seen.append(torch.is_autocast_enabled("cpu"))
            return super().forward(*arguments)

    run(tmp_path, Looks(), precision="bf16", steps=2)
    assert set(seen) == {precision == "bf16"}
    assert ("training in fp32" in capsys.readouterr().err) == (precision == "fp32")


def test_metrics_are_one_line_per_step_also_after_resuming(tmp_path):
    run(tmp_path, steps=5, checkpoint_every=3, keep_checkpoints=9)
    # Lose the last checkpoint, as a kill between two would.
    last = existing_checkpoints(tmp_path)[-1]
    for file in last.iterdir():
        file.unlink()
    last.rmdir()
    with (tmp_path / "metrics.jsonl").open("a") as lines:
        lines.write('{"step": 5, "min')
    run(tmp_path, steps=5)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "train/square" in line] == [1, 2, 3, 4, 5]
    assert [line["step"] for line in lines if "validation/square" in line] == [4, 5]
    assert all(line["train/step"] == line["step"] - 1 for line in lines if "train/step" in line)
    assert any((tmp_path / "tensorboard").iterdir())


def test_accumulation_equals_one_big_batch(tmp_path):
    one, _ = run(tmp_path / "one", Regression(dropout=0.0))
    two, _ = run(tmp_path / "two", Regression(dropout=0.0), accumulate=2)
    for got, expected in zip(two.model.parameters(), one.model.parameters(), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


def test_frozen_parts_stay(tmp_path):
    objective, _ = run(tmp_path)
    assert torch.equal(objective.frozen.weight, torch.eye(2))
    assert not torch.equal(objective.model[0].weight, Regression().model[0].weight)


def test_time_limit_ends_with_a_checkpoint(tmp_path):
    _, result = run(tmp_path, steps=10**9, max_minutes=1 / 60, log_every=1000, validate_every=10**6)
    assert result.reason == "time"
    assert 1 / 60 <= result.minutes < 0.3
    card = read_card(result.checkpoint, "toy")
    assert card.step == result.step > 0
    assert card.numbers.keys() == {"square"}
    assert existing_checkpoints(tmp_path)[-1] == result.checkpoint


def test_the_clock_cools_the_learning_rate(tmp_path):
    run(
        tmp_path, steps=10**9, max_minutes=1 / 60, cooldown_fraction=0.9, schedule="constant",
        log_every=2, validate_every=10**6,
    )  # fmt: skip
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    rates = [line["learning_rate"] for line in lines if "learning_rate" in line]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.2 * rates[0]


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    run(tmp_path, checkpoint_every=1, keep_checkpoints=2)
    assert [path.name for path in existing_checkpoints(tmp_path)] == [
        "step-00000005", "step-00000006",
    ]  # fmt: skip


def test_a_finished_run_is_left_alone(tmp_path):
    _, first = run(tmp_path)
    _, again = run(tmp_path)
    assert same(state_of(first), state_of(again))
    assert again.step == 6


class Poisoned(Source):
    """Some steps hold a value that is not a number."""

    def __init__(self, steps) -> None:
        self.steps = set(steps)

    def batch(self, step, rank, world):
        batch = super().batch(step, rank, world)
        if step in self.steps:
            batch["x"] = batch["x"] * float("nan")
        return batch


def test_steps_without_finite_gradient_are_skipped(tmp_path):
    objective, result = run(tmp_path, source=Poisoned([1, 3]))
    assert all(parameter.isfinite().all() for parameter in objective.model.parameters())
    assert load_state(result.checkpoint)["skipped"] == 2
    optimizer = load_state(result.checkpoint)["optimizers"]["main"]
    assert optimizer["state"][0]["step"] == 4
    assert load_state(result.checkpoint)["average"]["updates"] == 4


def test_too_many_bad_steps_stop_with_an_error(tmp_path):
    with pytest.raises(DivergenceError, match=r"3 steps in a row, up to step 5 .*square"):
        run(tmp_path, source=Poisoned([0, 2, 3, 4]), steps=9, bad_steps=3)


class Adversarial(nn.Module):
    """Two phases: the critic sees what the generator's phase carried over."""

    phases = ("generator", "critic")

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.generator, self.critic = nn.Linear(3, 2), nn.Linear(2, 1)
        self.seen: list[tuple[str, bool, bool]] = []
        self.after: list[int] = []

    def parameters_of(self, phase):
        return list((self.generator if phase == "generator" else self.critic).parameters())

    def trained(self):
        return self.generator

    def forward(self, phase, batch, step, carry):
        flags = [module.weight.requires_grad for module in (self.generator, self.critic)]
        self.seen.append((phase, *flags))
        if phase == "generator":
            fake = self.generator(batch["x"])
            return PhaseResult({"fool": -self.critic(fake).mean()}, carry=fake.detach())
        real = self.critic(batch["y"] + torch.randn_like(batch["y"])).mean()
        return PhaseResult({"tell": (self.critic(carry).mean() - real)})

    def after_step(self, step):
        self.after.append(step)


@pytest.mark.parametrize("still", ["generator", "critic"])
def test_a_phase_steps_only_its_own_parameters(tmp_path, still, monkeypatch):
    objective = Adversarial()
    other = "critic" if still == "generator" else "generator"
    before = {name: getattr(objective, name).weight.detach().clone() for name in (still, other)}
    forward = Adversarial.forward

    def silenced(self, phase, batch, step, carry):
        result = forward(self, phase, batch, step, carry)
        if phase != still:
            return result
        # A phase that only has a loss in the other's parameters must not move anything.
        module = getattr(self, other)
        zero = sum(0 * p.sum() for p in self.parameters_of(phase))
        return PhaseResult({"other": module.weight.sum() + zero}, carry=result.carry)

    monkeypatch.setattr(Adversarial, "forward", silenced)
    run(tmp_path, objective, steps=2, weight_decay=0.0)
    assert torch.equal(getattr(objective, still).weight, before[still])
    assert not torch.equal(getattr(objective, other).weight, before[other])


def test_phases_run_in_order_and_shield_each_other(tmp_path):
    objective = Adversarial()
    run(tmp_path, objective, steps=2, accumulate=2)
    generator, critic = ("generator", True, False), ("critic", False, True)
    assert objective.seen == [generator, generator, critic, critic] * 2
    assert objective.after == [0, 1]
    assert all(parameter.requires_grad for parameter in objective.parameters())


@pytest.mark.parametrize("changes", [{}, {"accumulate": 2}])
def test_batches_made_by_processes_train_alike(tmp_path, changes):
    _, alone = run(tmp_path / "alone", **changes)
    _, helped = run(tmp_path / "helped", loader_workers=2, **changes)
    assert same(state_of(alone), state_of(helped))


def test_a_signal_ends_a_run_with_worker_processes(tmp_path):
    class Late(Source):
        """Sends the signal from the worker process that makes the batch of step 3."""

        def batch(self, step, rank, world):
            if step == 3:
                os.kill(os.getppid(), signal.SIGTERM)
            return super().batch(step, rank, world)

    _, result = run(tmp_path / "run", source=Late(), steps=100_000, loader_workers=1)
    assert result.reason == "signal"
    assert 0 < result.step < 100_000
    assert existing_checkpoints(tmp_path / "run") == [result.checkpoint]
