"""Weights that are spread over processes (FSDP2), seen whole.

FSDP2 turns parameters into distributed tensors. Checkpoints hold whole ones, so that a run may
resume on another number of processes.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor


def is_sharded(module: nn.Module) -> bool:
    """Tell whether a module's parameters are spread over processes."""
    return any(isinstance(parameter, DTensor) for parameter in module.parameters())


def whole(value: Any) -> Any:
    """Gather every distributed tensor of nested mappings and lists; all processes must call."""
    if isinstance(value, DTensor):
        return value.full_tensor()
    if isinstance(value, Mapping):
        return {key: whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [whole(item) for item in value]
    return value


def spread(tensor: Tensor, like: Tensor) -> Tensor:
    """Spread a whole tensor as ``like`` is spread, if it is, and if it is alike in shape."""
    if isinstance(like, DTensor) and tensor.shape == like.shape:
        return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)
    return tensor


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load a whole optimizer state into an optimizer of parameters that may be spread."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments = {
        index: {name: spread(value, parameters[index]) for name, value in kept.items()}
        for index, kept in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": moments})


@contextmanager
def gathered(module: nn.Module) -> Iterator[None]:
    """Hold whole parameters while methods other than ``forward`` are called."""
    parts = [part for part in module.modules() if isinstance(part, FSDPModule)]
    for part in parts:
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.reshard()
