"""Two CPU processes train as one does on the joint batch, and resume as one run."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from parlando.contracts import PhaseResult
from parlando.training.checkpoint import load_state
from parlando.training.config import TrainConfig
from parlando.training.loop import existing_checkpoints, train
from parlando.training.sharding import whole


class Adversarial(nn.Module):
    """A tiny GAN with a path that is sometimes skipped."""

    phases = ("generator", "critic")

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.generator, self.critic = nn.Linear(3, 2), nn.Linear(2, 1)
        self.extra = nn.Linear(3, 2)

    def parameters_of(self, phase):
        parts = (self.generator, self.extra) if phase == "generator" else (self.critic,)
        return [parameter for part in parts for parameter in part.parameters()]

    def trained(self):
        return self.generator

    def forward(self, phase, batch, step, carry):
        if phase == "generator":
            fake = self.generator(batch["x"])
            if step % 2:
                fake = fake + self.extra(batch["x"])
            square = (fake - batch["y"]).square().mean()
            return PhaseResult(
                {"square": square, "fool": -self.critic(fake).mean()}, carry=fake.detach()
            )
        hinge = (1 - self.critic(batch["y"])).relu().mean() + (1 + self.critic(carry)).relu().mean()
        return PhaseResult({"tell": hinge})

    def validate(self, batch):
        return {"square": float((self.generator(batch["x"]) - batch["y"]).square().mean())}


class Source:
    """Each step has one joint batch of four rows, shared out evenly."""

    def batch(self, step, rank, world):
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(4, 3, generator=generator)
        return {"x": x.chunk(world)[rank], "y": x.flip(1)[:, :2].chunk(world)[rank]}

    def validation(self):
        for index in range(3):
            yield self.batch(10_000 + index, 0, 1)


def run(folder: Path, steps: int, **changes):
    config = TrainConfig(
        steps=steps, learning_rate=0.05, warmup_steps=1, ema_decay=0.9, device="cpu", threads=1,
        checkpoint_every=3, keep_checkpoints=9, log_every=3, schedule="constant", **changes,
    )  # fmt: skip
    objective = Adversarial()
    return objective, train(objective, Source(), config, folder, "toy", {})


def shard(accelerator: Accelerator, objective: nn.Module, *optimizers: torch.optim.Optimizer):
    """Do what accelerate's launcher with FSDP2 does, which refuses to do it on a CPU."""
    names = {id(parameter): name for name, parameter in objective.named_parameters()}
    for part in (objective.critic, objective):
        fully_shard(part, mesh=init_device_mesh("cpu", (accelerator.num_processes,)))
    sharded = dict(objective.named_parameters())
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["params"] = [sharded[names[id(old)]] for old in group["params"]]
    return objective, *optimizers


def worker(folder: Path, mode: str) -> None:
    """Train in one of several processes, and leave what this process ended with."""
    if mode == "sharded":
        Accelerator.prepare = shard
        run(folder, steps=3)  # and go on below, so that a sharded state is loaded as well
    objective, result = run(folder, steps=6)
    state = {"weights": whole(objective.state_dict()), "square": result.numbers["square"]}
    torch.save(state, folder / f"rank-{os.environ['RANK']}.pt")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module", params=["replicated", "sharded"])
def two(tmp_path_factory, request) -> Path:
    """The folder of a run of two processes."""
    folder = tmp_path_factory.mktemp(request.param)
    launcher = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
        "--master-addr", "127.0.0.1", "--master-port", str(free_port()),
    ]  # fmt: skip
    done = subprocess.run(
        [*launcher, __file__, str(folder), request.param],
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_both_processes_end_alike(two):
    first, second = (torch.load(two / f"rank-{rank}.pt") for rank in (0, 1))
    assert first["square"] == second["square"]
    for name, tensor in first["weights"].items():
        assert torch.equal(tensor, second["weights"][name])


def test_two_processes_equal_one_with_the_joint_batch(two, tmp_path):
    alone, result = run(tmp_path, steps=6)
    together = torch.load(two / "rank-0.pt")
    for name, tensor in alone.state_dict().items():
        torch.testing.assert_close(together["weights"][name], tensor, rtol=1e-4, atol=1e-5)
    assert together["square"] == pytest.approx(result.numbers["square"], rel=1e-4)
    assert [path.name for path in existing_checkpoints(two)] == ["step-00000003", "step-00000006"]


def test_one_process_goes_on_where_two_were(two, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    middle = existing_checkpoints(two)[0]
    (tmp_path / "checkpoints" / middle.name).symlink_to(middle)
    _, result = run(tmp_path, steps=6)
    state, expected = (
        load_state(folder) for folder in (result.checkpoint, existing_checkpoints(two)[-1])
    )
    for name, tensor in expected["objective"].items():
        torch.testing.assert_close(state["objective"][name], tensor, rtol=1e-4, atol=1e-5)


if __name__ == "__main__":
    worker(Path(sys.argv[1]), sys.argv[2])
