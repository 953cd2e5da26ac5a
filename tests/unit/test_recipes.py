"""Configuration is read strictly and written whole."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from parlando.contracts import ConfigError
from parlando.recipes import from_mapping, overridden, read_recipe, to_mapping
from parlando.training.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Inner:
    layers: int = 2
    kernel: tuple[int, int] = (3, 5)


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    width: int = 64
    scale: float = 1.0
    flag: bool = False
    mode: Literal["a", "b"] = "a"
    limit: float | None = None
    strides: tuple[int, ...] = (2, 4)
    weights: dict[str, float] = field(default_factory=dict)
    place: Path = Path("x")
    inner: Inner = field(default_factory=Inner)
    parts: tuple[Inner, ...] = ()

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ConfigError(f"width must be above 0, got {self.width}")


FULL = Outer(
    name="n", scale=2, mode="b", limit=0.5, strides=(1,), weights={"mel": 1.0}, place=Path("y/z"),
    inner=Inner(layers=9), parts=(Inner(), Inner(layers=1)),
)  # fmt: skip


@pytest.mark.parametrize("config", [FULL, Outer(name="plain")])
def test_round_trip_through_json(config):
    assert from_mapping(Outer, json.loads(json.dumps(to_mapping(config)))) == config


def test_train_config_round_trip():
    config = TrainConfig(max_minutes=3, betas=(0.5, 0.9), precision="bf16")
    assert from_mapping(TrainConfig, json.loads(json.dumps(to_mapping(config)))) == config


def test_overridden_keeps_the_rest():
    got = overridden(FULL, {"width": 8, "inner": {"kernel": [7, 7]}, "limit": None})
    assert (got.width, got.limit, got.mode) == (8, None, "b")
    assert got.inner == Inner(layers=9, kernel=(7, 7))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"widht": 3}, "config has no 'widht'; did you mean 'width'?"),
        ({"inner": {"layer": 3}}, r"config.inner has no 'layer'; did you mean 'layers'\?"),
        ({"zzzzzz": 3}, "config has no 'zzzzzz'; known are flag, inner"),
        ({"width": 3.5}, "config.width: expected int, got float 3.5"),
        ({"width": True}, "config.width: expected int, got bool True"),
        ({"scale": "1"}, "config.scale: expected float, got str '1'"),
        ({"flag": 1}, "config.flag: expected bool, got int 1"),
        ({"mode": "c"}, "config.mode: expected one of 'a', 'b', got 'c'"),
        ({"limit": "x"}, "config.limit: expected float, got str 'x'"),
        ({"strides": 3}, "config.strides: expected a list, got int"),
        ({"strides": [1, "b"]}, r"config.strides\[1\]: expected int, got str 'b'"),
        ({"inner": {"kernel": [1]}}, "config.inner.kernel: expected 2 items, got 1"),
        ({"inner": 3}, "config.inner: expected a table, got int"),
        ({"weights": {"mel": "x"}}, "config.weights.mel: expected float"),
        ({"width": 0}, "width must be above 0, got 0"),
    ],
)
def test_refusals(values: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        from_mapping(Outer, {"name": "n", **values})
    with pytest.raises(ConfigError, match=message):
        overridden(Outer(name="n"), values)


def test_a_section_must_be_a_table():
    with pytest.raises(ConfigError, match="model: expected a table, got str"):
        overridden(Inner(), "wide", "model")


def test_missing_field():
    with pytest.raises(ConfigError, match="config lacks name; add it"):
        from_mapping(Outer, {})


def test_read_recipe(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text('preset = "small"\n[model]\nwidth = 3\n')
    assert read_recipe(path, ("preset", "model")) == {"preset": "small", "model": {"width": 3}}
    with pytest.raises(ConfigError, match=r"has no 'model'; did you mean 'models'\?"):
        read_recipe(path, ("preset", "models"))
    path.write_text("width = ")
    with pytest.raises(ConfigError, match="not valid TOML"):
        read_recipe(path, ())
    with pytest.raises(ConfigError, match="cannot read the recipe"):
        read_recipe(tmp_path / "absent.toml", ())
    with pytest.raises(ConfigError, match=r"ends in \.toml or \.json, got '\.yaml'"):
        read_recipe(tmp_path / "recipe.yaml", ())
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(ConfigError, match="expected a table of sections, got list"):
        read_recipe(tmp_path / "list.json", ())
