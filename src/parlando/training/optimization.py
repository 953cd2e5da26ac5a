"""Optimizers, learning-rate schedules, weight averaging and gradients of a phase."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from parlando.training.config import TrainConfig
from parlando.training.sharding import spread


def learning_rate(config: TrainConfig, step: int, progress: float) -> float:
    """Return the learning rate of a step.

    Source: linear warm-up and inverse square root, Vaswani et al. 2017 (arXiv:1706.03762) eq. 3,
    scaled to peak at ``config.learning_rate``; cosine, Loshchilov and Hutter 2017
    (arXiv:1608.03983) eq. 5 with one period; linear cooldown, Hägele et al. 2024
    (arXiv:2405.18392).

    Args:
        config: the peak, the warm-up, the schedule and the cooldown.
        step: steps already taken, 0 or more.
        progress: the part of the run that is over, 0 to 1, by steps or by wall-clock time.

    Returns:
        The learning rate, 0 or more.
    """
    warmup = max(config.warmup_steps, 1)
    if step + 1 < warmup:
        factor = (step + 1) / warmup
    elif config.schedule == "inverse_square_root":
        factor = math.sqrt(warmup / (step + 1))
    elif config.schedule == "cosine":
        factor = 0.5 * (1 + math.cos(math.pi * progress))
    else:
        factor = 1.0
    if config.cooldown_fraction > 0:
        factor *= min(1.0, (1 - progress) / config.cooldown_fraction)
    return config.learning_rate * max(factor, 0.0)


def adamw(parameters: Iterable[nn.Parameter], config: TrainConfig) -> torch.optim.AdamW:
    """Build AdamW with weight decay on matrices only.

    Biases, gains and other vectors set scales that decay would fight.
    """
    kept = list(parameters)
    groups = [
        {"params": [p for p in kept if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in kept if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=config.betas,
        fused=True,  # one kernel per group: on a CPU too, several times faster than the loop
    )


def stepped_parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """Return the parameters that an optimizer steps."""
    return [p for group in optimizer.param_groups for p in group["params"]]


@contextmanager
def only_trainable(
    parameters: Sequence[nn.Parameter], others: Sequence[nn.Parameter]
) -> Iterator[None]:
    """Let gradients reach ``parameters`` alone while a phase runs.

    A generator's phase passes through the critics; without this their weight gradients would be
    computed, summed over processes and thrown away.
    """
    wanted = {id(parameter) for parameter in parameters}
    frozen = [parameter for parameter in others if id(parameter) not in wanted]
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)


class WeightAverage:
    """Exponential moving average of a module's parameters.

    Written here although ``ema-pytorch`` exists: that one deep-copies the module, which sharded
    and hooked modules refuse, and leaves integer and boolean buffers (a codebook's "initialised"
    flag) at their first value. A mapping of averaged tensors needs neither, and is its own state.

    Buffers are not averaged but taken as they are: codebooks and running statistics carry averages
    of their own, and jump when a dead code is replaced.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._module = module
        self._decay = decay
        self._updates = 0
        self._average = {
            name: parameter.detach().clone() for name, parameter in module.named_parameters()
        }

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the present weights.

        The decay grows with the count as (1 + n) / (10 + n) up to its final value, so that the
        first weights are soon forgotten.
        """
        self._updates += 1
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        torch._foreach_lerp_(list(self._average.values()), self._parameters(), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Hold the averaged weights in the module, and put the trained ones back after."""
        trained = [parameter.clone() for parameter in self._parameters()]
        self._hold(self._average.values())
        try:
            yield
        finally:
            self._hold(trained)

    def state_dict(self) -> dict[str, int | dict[str, Tensor]]:
        """Return the count of updates and the averaged tensors."""
        return {"updates": self._updates, "average": dict(self._average)}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, object]) -> None:
        """Take over a state; names and shapes must be the module's own.

        Raises:
            ValueError: the state belongs to another module.
        """
        average, updates = state["average"], state["updates"]
        if not isinstance(average, dict) or average.keys() != self._average.keys():
            raise ValueError("the averaged weights belong to another module")
        for name, tensor in average.items():
            self._average[name].copy_(spread(tensor, self._average[name]))
        self._updates = int(updates)  # type: ignore[call-overload]

    @torch.no_grad()
    def _hold(self, weights: Iterable[Tensor]) -> None:
        for parameter, weight in zip(self._parameters(), weights, strict=True):
            parameter.copy_(weight)

    def _parameters(self) -> list[Tensor]:
        return [parameter.detach() for _, parameter in self._module.named_parameters()]
