"""``parlando train`` joins preset, recipe and flags, and starts the loop."""

import json
import sys
from dataclasses import dataclass, fields
from types import ModuleType

import pytest
import torch
import tyro
from torch import nn

from parlando.cli.train import Options, TrainFlags, resolve, run
from parlando.contracts import ConfigError, PhaseResult
from parlando.recipes import overridden
from parlando.training.checkpoint import read_card
from parlando.training.config import Trainable, TrainConfig
from parlando.training.loop import existing_checkpoints


@dataclass(frozen=True, kw_only=True)
class ToyConfig:
    width: int = 2


@dataclass(frozen=True, kw_only=True)
class ToyLoss:
    power: int = 2
    weight: float = 1.0


class Toy(nn.Module):
    phases = ("main",)

    def __init__(self, width: int) -> None:
        super().__init__()
        self.model = nn.Linear(width, 1)

    def parameters_of(self, phase):
        return list(self.parameters())

    def trained(self):
        return self.model

    def forward(self, phase, batch, step, carry):
        return PhaseResult({"square": self.model(batch["x"]).square().mean()})


class Source:
    def __init__(self, width: int) -> None:
        self.width = width

    def batch(self, step, rank, world):
        return {"x": torch.ones(1, self.width)}

    def validation(self):
        return iter(())


@pytest.fixture(autouse=True)
def curriculum(monkeypatch):
    """A curriculum with one kind of toy; what was built is kept for a look."""
    built = []

    def trainable(kind: str, preset: str, recipe: dict) -> Trainable:
        config = overridden(ToyConfig(), recipe.get("model", {}), "model")
        loss = overridden(ToyLoss(), recipe.get("objective", {}), "objective")

        def build_objective(data, init):
            built.append((kind, preset, data, init))
            return Toy(config.width)

        return Trainable(
            config=config,
            build_objective=build_objective,
            build_source=lambda data, training: Source(config.width),
            training=TrainConfig(device="cpu", learning_rate=0.25, warmup_steps=1, log_every=1),
            sections={"objective": loss},
        )

    module = ModuleType("parlando.curriculum")
    module.trainable = trainable
    monkeypatch.setitem(sys.modules, "parlando.curriculum", module)
    return built


def options(tmp_path, *arguments: str) -> Options:
    given = ["codec", "small", "--data", str(tmp_path), "--out", str(tmp_path / "run"), *arguments]
    return tyro.cli(Options, args=given)


def test_trains_and_resumes(tmp_path, curriculum):
    recipe = tmp_path / "wide.toml"
    recipe.write_text(
        'kind = "codec"\nmodel.width = 3\nobjective.power = 4\ntraining.learning_rate = 0.5\n'
    )
    run(options(tmp_path, "--recipe", str(recipe), "--steps", "2", "--init", "other"))
    assert curriculum[0][:3] == ("codec", "small", tmp_path)
    assert curriculum[0][3].name == "other"
    card = read_card(existing_checkpoints(tmp_path / "run")[-1], "codec")
    assert (card.config, card.step) == ({"width": 3}, 2)
    resolved = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert resolved["preset"] == "small"
    assert resolved["objective"] == {"power": 4, "weight": 1.0}
    assert resolved["training"]["learning_rate"] == 0.5
    assert resolved["training"]["steps"] == 2
    # What a run wrote is a recipe itself, and makes the same run longer.
    run(options(tmp_path, "--recipe", str(tmp_path / "run" / "recipe.json"), "--steps", "3"))
    assert existing_checkpoints(tmp_path / "run")[-1].name == "step-00000003"


def test_refuses_to_go_on_with_another_model(tmp_path):
    run(options(tmp_path, "--steps", "1"))
    recipe = tmp_path / "wide.toml"
    recipe.write_text("[model]\nwidth = 3\n")
    with pytest.raises(ConfigError, match=r"run with width = 2, got 3; choose another --out"):
        run(options(tmp_path, "--steps", "2", "--recipe", str(recipe)))


def test_refuses_a_recipe_for_another_kind_or_with_an_unknown_field(tmp_path):
    recipe = tmp_path / "x.toml"
    recipe.write_text('kind = "aligner"\n')
    with pytest.raises(ConfigError, match="is for kind 'aligner', got 'codec'"):
        run(options(tmp_path, "--recipe", str(recipe)))
    recipe.write_text("[training]\nlearnig_rate = 1.0\n")
    with pytest.raises(ConfigError, match=r"no 'learnig_rate'; did you mean 'learning_rate'\?"):
        run(options(tmp_path, "--recipe", str(recipe)))
    assert not (tmp_path / "run").exists()


def test_flags_come_last_also_when_they_say_the_default():
    got = resolve(TrainConfig(seed=5), {"steps": 7, "threads": 2}, TrainFlags(steps=100_000))
    assert (got.steps, got.seed, got.threads) == (100_000, 5, 2)


def test_every_flag_is_a_training_setting():
    assert {item.name for item in fields(TrainFlags)} <= {item.name for item in fields(TrainConfig)}
