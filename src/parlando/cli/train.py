"""``parlando train``: teach an aligner, a codec or a system from prepared data."""

import json
import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from parlando.contracts import ConfigError
from parlando.recipes import RECIPE_NAME, SECTIONS, overridden, read_recipe, to_mapping
from parlando.training.config import Schedule, Trainable, TrainConfig


@dataclass(frozen=True, kw_only=True)
class TrainFlags:
    """Training settings that replace the preset's and the recipe's.

    The rest of ``parlando.training.config.TrainConfig`` is reached by a recipe's ``[training]``.
    """

    steps: int | None = None
    """Optimizer steps at which the run is finished."""
    max_minutes: float | None = None
    """Training time at which the run is finished, over all its resumptions."""
    seed: int | None = None
    """Seed of the weights, the batches and all noise."""
    batch_seconds: float | None = None
    """Speech in one micro-batch of one process."""
    accumulate: int | None = None
    """Micro-batches whose gradients are averaged into one step."""
    learning_rate: float | None = None
    """Peak learning rate."""
    warmup_steps: int | None = None
    """Steps over which the learning rate rises linearly from zero."""
    schedule: Schedule | None = None
    """Learning rate after the warm-up."""
    cooldown_fraction: float | None = None
    """Last part of the run, by steps or by time, that decays linearly to zero."""
    precision: Literal["fp32", "bf16"] | None = None
    """``bf16`` runs the forward pass under autocast where that is faster."""
    ema_decay: float | None = None
    """Decay of the weight average per step."""
    validate_every: int | None = None
    """Steps between validations."""
    checkpoint_every: int | None = None
    """Steps between checkpoints."""
    log_every: int | None = None
    """Steps between log lines."""
    device: Literal["auto", "cpu"] | None = None
    """``auto`` uses the GPU where there is one."""
    threads: int | None = None
    """CPU threads of torch."""
    loader_workers: int | None = None
    """Processes that make batches; a GPU needs some, such as 4."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train a model. The same command again goes on from the run's last checkpoint.

    Several processes: ``accelerate launch $(which parlando) train …`` on GPUs, ``torchrun
    --nproc-per-node N $(which parlando) train … --device cpu`` on CPUs. Ctrl-C saves and ends.
    """

    kind: tyro.conf.Positional[
        Literal["aligner", "codec", "facodec", "naturalspeech2", "naturalspeech3", "valle2"]
    ]
    """What to train."""
    preset: tyro.conf.Positional[str]
    """Named configuration, for example ``small`` or ``paper``."""
    data: Path
    """What ``parlando prepare`` wrote."""
    out: Path
    """The run's folder: checkpoints, tensorboard, metrics.jsonl, recipe.json."""
    recipe: Path | None = None
    """TOML with differences from the preset: ``[model] [objective] [data] [training]``."""
    init: Path | None = None
    """Checkpoint whose weights a new run starts from."""
    flags: Annotated[TrainFlags, tyro.conf.OmitArgPrefixes] = field(default_factory=TrainFlags)
    """Training settings."""


def run(options: Options) -> None:
    """Train, and print where the last checkpoint is.

    Raises:
        ParlandoError: an option, the recipe, the data or a checkpoint is not usable.
    """
    from parlando.curriculum import trainable

    recipe = read_recipe(options.recipe, SECTIONS) if options.recipe is not None else {}
    for name in ("kind", "preset"):
        given = getattr(options, name)
        if recipe.get(name, given) != given:
            raise ConfigError(f"{options.recipe} is for {name} '{recipe[name]}', got '{given}'")
    others = ("model", "objective", "data")
    differences: dict[str, Any] = {name: recipe[name] for name in others if name in recipe}
    what: Trainable = trainable(options.kind, options.preset, differences)
    config = resolve(what.training, recipe.get("training", {}), options.flags)
    try:
        import torch

        from parlando.training.loop import train
    except ImportError as error:
        raise ConfigError(f"{error.name} is missing; pip install 'parlando[train]'") from error
    resolved = {"model": what.config, **what.sections, "training": config}
    _write_recipe(options, differences | {name: to_mapping(c) for name, c in resolved.items()})
    torch.manual_seed(config.seed)
    objective = what.build_objective(options.data, options.init)
    source = what.build_source(options.data, config)
    train(objective, source, config, options.out, options.kind, to_mapping(what.config))


def resolve(preset: TrainConfig, recipe: dict[str, Any], flags: TrainFlags) -> TrainConfig:
    """Return the preset's settings, changed by the recipe, then by the flags that were given."""
    given = {
        item.name: value
        for item in fields(flags)
        if (value := getattr(flags, item.name)) is not None
    }
    return overridden(overridden(preset, recipe, "training"), given, "training")


def _write_recipe(options: Options, sections: dict[str, Any]) -> None:
    """Write the resolved recipe; refuse to go on with a run of another model.

    Every process of a run writes the same, so none has to wait for another.
    """
    path = options.out / RECIPE_NAME
    if path.exists():
        earlier = read_recipe(path, SECTIONS)
        before = {**earlier.get("model", {}), "kind": earlier.get("kind")}
        for name, value in {**sections["model"], "kind": options.kind}.items():
            if before.get(name) != value:
                raise ConfigError(
                    f"{options.out} holds a run with {name} = {before.get(name)!r}, got {value!r}; "
                    "choose another --out"
                )
    content = {"kind": options.kind, "preset": options.preset, **sections}
    partial = path.with_name(f".{RECIPE_NAME}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(content, indent=2, ensure_ascii=False)
        partial.write_text(text + "\n", encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise ConfigError(
            f"{options.out}: cannot write the run there ({error.strerror})"
        ) from error
