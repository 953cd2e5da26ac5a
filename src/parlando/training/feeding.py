"""Batches made ahead of the steps that read them, by a thread or by processes."""

import signal
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from torch.utils.data import DataLoader, Dataset

from parlando.contracts import BatchSource

Batches = list[dict[str, Any]]
_AHEAD = 4
"""Steps that each worker process is ahead."""


class StepBatches(Dataset[Batches]):
    """The micro-batches of one process, by the number of the step.

    Each is one share of a world that many times larger: two processes, or two micro-batches,
    see the same shares.

    Args:
        source: the batches.
        rank: of this process.
        world: number of processes.
        count: micro-batches of a step.
    """

    def __init__(self, source: BatchSource, rank: int, world: int, count: int) -> None:
        self._source, self._first = source, rank * count
        self._count, self._world = count, world * count

    def __getitem__(self, step: int) -> Batches:
        """Return the micro-batches of a step."""
        ranks = range(self._first, self._first + self._count)
        return [self._source.batch(step, rank, self._world) for rank in ranks]


def batches_from(dataset: StepBatches, first: int, stop: int, workers: int) -> Generator[Batches]:
    """Yield the batches of steps ``first`` to ``stop``, made while earlier ones train.

    Batches are pure functions of the step, so whoever makes them, they are the same.

    Args:
        dataset: the batches.
        first: number of the first step.
        stop: one past the last.
        workers: processes that make batches; 0: a thread of this one. A GPU outruns a thread.
    """
    if workers:
        yield from DataLoader(
            dataset,
            batch_size=None,
            sampler=range(first, stop),
            num_workers=workers,
            prefetch_factor=_AHEAD,
            worker_init_fn=_as_worker,
        )
        return
    with ThreadPoolExecutor(1, "batches") as pool:
        upcoming: Future[Batches] = pool.submit(dataset.__getitem__, first)
        for step in range(first, stop):
            batches = upcoming.result()
            upcoming = pool.submit(dataset.__getitem__, step + 1)
            yield batches


def _as_worker(number: int) -> None:
    """Leave signals to the main process: it saves, then ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
