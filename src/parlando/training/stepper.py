"""One optimizer step of any objective: its phases, on one process or many."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, DistributedType, send_to_device
from torch import Tensor, nn

from parlando.contracts import ConfigError, Objective
from parlando.training.checkpoint import check_tensors
from parlando.training.config import TrainConfig
from parlando.training.optimization import WeightAverage, adamw, only_trainable, stepped_parameters
from parlando.training.sharding import gathered, is_sharded, load_optimizer, spread, whole

Batch = dict[str, Any]


class Stepper:
    """An objective with its optimizers and weight average: all that a step changes.

    A step draws its noise from its own number, so that a resumed run repeats it.
    """

    def __init__(self, objective: nn.Module, config: TrainConfig) -> None:
        """Prepare an objective for this process, the launcher's settings included.

        Raises:
            ConfigError: the launcher asks for a way of sharding that checkpoints cannot hold.
        """
        self._config = config
        # Parts may be skipped at random (guidance, quantizer dropout), and phases use but a part.
        wrapper = DistributedDataParallelKwargs(find_unused_parameters=True)
        self.accelerator = Accelerator(
            mixed_precision="no",  # the config alone decides: autocast is entered below
            # Without this word, accelerate starts a CPU's processes as strangers to each other.
            cpu=config.device == "cpu" or not _has_accelerator(),
            kwargs_handlers=[wrapper],
        )
        if self.accelerator.device.type == "cuda":
            # It plans anew for each length of a batch, for 0.2 s on an H200; the others do not.
            torch.backends.cuda.enable_cudnn_sdp(False)
        self.precision = config.precision
        if self.accelerator.device.type == "cpu" and not _cpu_has_bf16():
            self.precision = "fp32"
        self.module = objective
        self.objective = cast(Objective, objective)
        self._freeze_unstepped()
        optimizers = [adamw(self.objective.parameters_of(p), config) for p in self.objective.phases]
        self._wrapped, *optimizers = self.accelerator.prepare(objective, *optimizers)
        self._optimizers = dict(zip(self.objective.phases, optimizers, strict=True))
        self.average = WeightAverage(self.objective.trained(), config.ema_decay)
        self._is_sharded = is_sharded(objective)
        if self.accelerator.distributed_type == DistributedType.FSDP and not self._is_sharded:
            raise ConfigError("got FSDP version 1, expected 2; launch with --fsdp_version 2")

    def take(self, step: int, batches: list[Batch], rate: float) -> tuple[bool, dict[str, Tensor]]:
        """Run all phases of a step, then whatever follows the optimizers.

        A phase whose gradient is not finite leaves its parameters alone.

        Args:
            step: steps already taken.
            batches: the micro-batches of this process.
            rate: the learning rate.

        Returns:
            Whether all gradients were finite, and the mean of every loss and figure.
        """
        batches = send_to_device(batches, self.accelerator.device)
        carries: list[Any] = [None] * len(batches)
        figures: dict[str, Tensor] = {}
        all_finite = True
        for phase in self.objective.phases:
            finite, found = self._run_phase(phase, step, batches, carries, rate)
            all_finite &= finite
            figures |= found
        if all_finite:
            if (after_step := getattr(self.module, "after_step", None)) is not None:
                self.seed(step, len(self.objective.phases))  # alike in every process
                after_step(step)
            self.average.update()
        return all_finite, figures

    def _run_phase(
        self, phase: str, step: int, batches: list[Batch], carries: list[Any], rate: float
    ) -> tuple[bool, dict[str, Tensor]]:
        """Sum one phase's gradients over the micro-batches and step its optimizer."""
        optimizer = self._optimizers[phase]
        parameters = stepped_parameters(optimizer)
        # FSDP fixes at the start which parameters have gradients.
        others = [] if self._is_sharded else self._all_stepped()
        index = self.objective.phases.index(phase)
        share = self.accelerator.process_index * len(batches)
        figures: dict[str, Tensor] = {}
        with only_trainable(parameters, others):
            for micro, batch in enumerate(batches):
                self.seed(step, index, share + micro)
                last = micro == len(batches) - 1
                with nullcontext() if last else self.accelerator.no_sync(self._wrapped):
                    with self.autocast():
                        result = self._wrapped(phase, batch, step, carries[micro])
                    losses = {name: loss.float() for name, loss in result.losses.items()}
                    total = torch.stack(list(losses.values())).sum()
                    self.accelerator.backward(total / len(batches))
                carries[micro] = result.carry
                for name, value in {**losses, **result.logs}.items():
                    mean = torch.as_tensor(value).detach().float() / len(batches)
                    figures[name] = figures[name] + mean if name in figures else mean
        norm = self._clip(parameters)
        finite = bool(norm.isfinite())
        if finite:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
        for parameter in self._all_stepped():
            parameter.grad = None
        return finite, {**figures, f"gradient_{phase}": norm}

    def _all_stepped(self) -> list[nn.Parameter]:
        return [p for each in self._optimizers.values() for p in stepped_parameters(each)]

    def _clip(self, parameters: list[nn.Parameter]) -> Tensor:
        """Scale the gradients down to the largest allowed norm; return the norm before."""
        limit = self._config.gradient_clip or float("inf")
        norm = self.accelerator.clip_grad_norm_(parameters, limit)
        return torch.as_tensor(whole(norm)).detach().float()

    def autocast(self) -> Any:
        """Return the context of the precision for a forward pass."""
        enabled = self.precision == "bf16"
        return torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=enabled)

    def seed(self, step: int, *what: int) -> None:
        """Make the noise that follows a function of the run's seed and of these numbers."""
        sequence = np.random.SeedSequence((self._config.seed, step, *what))
        torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0]))

    @contextmanager
    def averaged(self) -> Iterator[nn.Module]:
        """Hold the averaged weights and give the objective in evaluation mode."""
        self.module.eval()
        with self.average.applied(), gathered(self.module), self.autocast():
            yield self.module
        self.module.train()

    def averaged_weights(self) -> dict[str, Tensor]:
        """Return the released module's tensors with averaged parameters; all processes call."""
        with self.average.applied():
            tensors = whole(self.objective.trained().state_dict())
            return {name: tensor.detach().clone() for name, tensor in tensors.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return raw weights, optimizers and average, whole; all processes call."""
        state = {
            "objective": dict(self.module.state_dict()),
            "optimizers": {name: o.state_dict() for name, o in self._optimizers.items()},
            "average": self.average.state_dict(),
        }
        return whole(state)

    def load_state_dict(self, state: Mapping[str, Any], where: str) -> None:
        """Take over a state that ``state_dict`` returned, on any number of processes.

        Raises:
            CheckpointError: the state belongs to another objective; ``where`` says which it is.
        """
        own = self.module.state_dict()
        check_tensors(state["objective"], own, where)
        weights = {name: spread(tensor, own[name]) for name, tensor in state["objective"].items()}
        self.module.load_state_dict(weights, strict=True)
        for name, optimizer in self._optimizers.items():
            load_optimizer(optimizer, state["optimizers"][name])
        self.average.load_state_dict(state["average"])

    def _freeze_unstepped(self) -> None:
        """Spare the gradients of parameters that no phase steps."""
        stepped = {
            id(p) for phase in self.objective.phases for p in self.objective.parameters_of(phase)
        }
        for parameter in self.module.parameters():
            parameter.requires_grad_(id(parameter) in stepped)


def _has_accelerator() -> bool:
    return any(kind.is_available() for kind in (torch.cuda, torch.xpu, torch.backends.mps))


def _cpu_has_bf16() -> bool:
    """Tell whether bf16 runs in hardware: without AVX-512 it is a hundred times slower than fp32.

    What is no x86, and so has another name of its own, is believed.
    """
    return torch.backends.cpu.get_cpu_capability() not in ("AVX2", "DEFAULT")
