"""How a run is trained, and what can be trained; light enough to import without torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from parlando.contracts import BatchSource, ConfigError

if TYPE_CHECKING:
    from torch import nn

Schedule = Literal["inverse_square_root", "cosine", "constant"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything about a run that is not the model, the data or the loss."""

    steps: int = 100_000
    """Optimizer steps at which the run is finished."""
    max_minutes: float | None = None
    """Wall-clock training time at which the run is finished, over all its resumptions."""
    seed: int = 0
    """Seed of the weights, the batches and all noise."""
    batch_seconds: float = 16.0
    """Speech in one micro-batch of one process; the batch source reads it."""
    accumulate: int = 1
    """Micro-batches whose gradients are averaged into one step."""
    learning_rate: float = 5e-4
    """Peak learning rate."""
    betas: tuple[float, float] = (0.9, 0.99)
    """AdamW's decay rates of the gradient's first and second moment."""
    weight_decay: float = 0.01
    """AdamW's decoupled weight decay, on tensors of two or more dimensions."""
    warmup_steps: int = 200
    """Steps over which the learning rate rises linearly from zero."""
    schedule: Schedule = "inverse_square_root"
    """Learning rate after the warm-up; ``cosine`` reaches zero at the end of the run."""
    cooldown_fraction: float = 0.0
    """Last part of the run (by steps or by ``max_minutes``) that decays linearly to zero."""
    gradient_clip: float | None = 1.0
    """Largest gradient norm of a phase; none switches clipping off."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """``bf16`` runs the forward pass under autocast where that is faster; weights stay float32."""
    ema_decay: float = 0.999
    """Decay of the weight average per step; 0 switches averaging off."""
    validate_every: int = 1_000
    """Steps between validations; the end of the run is validated too."""
    checkpoint_every: int = 1_000
    """Steps between checkpoints; the end of the run is saved too."""
    keep_checkpoints: int = 2
    """Newest checkpoints that are kept."""
    log_every: int = 20
    """Steps between log lines."""
    bad_steps: int = 20
    """Steps in a row without a finite gradient after which the run stops with an error."""
    device: Literal["auto", "cpu"] = "auto"
    """``auto`` uses the GPU where there is one."""
    threads: int | None = None
    """CPU threads of torch; none leaves its own choice."""
    loader_workers: int = 0
    """Processes that make batches ahead of the steps; 0: a thread, enough without a GPU."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        positive = {
            name: getattr(self, name)
            for name in (
                "steps", "batch_seconds", "accumulate", "learning_rate", "validate_every",
                "checkpoint_every", "keep_checkpoints", "log_every", "bad_steps",
            )
        }  # fmt: skip
        optional = {"max_minutes", "gradient_clip", "threads"}
        positive |= {name: v for name in optional if (v := getattr(self, name)) is not None}
        for name, value in positive.items():
            if not value > 0:
                raise ConfigError(f"{name} must be above 0, got {value}")
        fractions = {"ema_decay": self.ema_decay, "cooldown_fraction": self.cooldown_fraction}
        fractions |= {f"betas[{index}]": beta for index, beta in enumerate(self.betas)}
        for name, value in fractions.items():
            if not 0 <= value <= 1 or (value == 1 and name != "cooldown_fraction"):
                raise ConfigError(f"{name} must be from 0 to below 1, got {value}")
        for name in ("warmup_steps", "weight_decay", "seed", "loader_workers"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be 0 or more, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class Trainable:
    """What the registry offers for training: a resolved model configuration and two builders."""

    config: Any
    """The model's frozen configuration dataclass, overrides applied."""
    build_objective: "Callable[[Path, Path | None], nn.Module]"
    """``(data_path, init_path) -> Objective``; ``init_path`` is a checkpoint to start from."""
    build_source: Callable[[Path, TrainConfig], BatchSource]
    """``(data_path, train_config) -> BatchSource``."""
    training: TrainConfig = field(default_factory=TrainConfig)
    """The preset's training defaults, which a recipe and the command line change."""
    sections: Mapping[str, Any] = field(default_factory=dict)
    """The recipe's other sections, resolved: ``objective`` and ``data`` to their dataclasses."""
