"""Processes that work through jobs, in which a job that kills its process fails alone.

Judges are full of compiled code; one recording that crashes it must not cost a night's run.
"""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Self

from parlando.contracts import ConfigError, ParlandoError

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_DIED = "the process died (out of memory, or a crash in a library)"
_FRUITLESS_DEATHS = 3

_payload = b""
_worker: Any = None


class Failure(str):
    """Why a job has no result, in one line."""


class Crew:
    """Spawned processes with one thread each, which share nothing but what they are sent.

    Args:
        worker: a picklable object; every process has a copy of its own, from its first job on.
        processes: how many.

    Nothing is started before there is a job. Use it in a ``with`` statement.
    """

    def __init__(self, worker: Any, processes: int) -> None:
        self._payload = pickle.dumps(worker)
        self._processes = processes
        self._pool: ProcessPoolExecutor | None = None
        self._finished = 0
        self._deaths = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def run(self, method: str, jobs: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Call a method of the worker with each job; yield place and result as they come.

        A result is a :class:`Failure` where the method raised or the process died. Jobs that were
        in the works when a process died are done again at the end, one by one, so that only the
        guilty one fails.

        Raises:
            ConfigError: processes die before they finish anything.
        """
        suspects: list[int] = []
        yield from self._run(method, jobs, range(len(jobs)), self._processes, suspects)
        for place in suspects:
            guilty: list[int] = []
            yield from self._run(method, jobs, [place], 1, guilty)
            if guilty:
                yield place, Failure(_DIED)

    def _run(
        self,
        method: str,
        jobs: Sequence[Any],
        places: Sequence[int],
        at_once: int,
        suspects: list[int],
    ) -> Iterator[tuple[int, Any]]:
        waiting = deque(places)
        running: dict[Future[Any], int] = {}
        while waiting or running:
            try:
                while waiting and len(running) < at_once:
                    # Taken off last: where the pool is found dead, the job goes to the next one.
                    future = self._start().submit(_call, method, jobs[waiting[0]])
                    running[future] = waiting.popleft()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    result = future.result()
                    self._finished += 1
                    yield running.pop(future), result
            except BrokenProcessPool:
                suspects += sorted(running.values())
                running.clear()
                self._stop()
                self._count_death()

    def _start(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # Spawned, not forked: the parent may hold threads of torch and espeak-ng.
            self._pool = ProcessPoolExecutor(
                self._processes,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_set_up,
                initargs=(self._payload,),
            )
        return self._pool

    def _stop(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def _count_death(self) -> None:
        self._deaths += 1
        if self._deaths >= _FRUITLESS_DEATHS and not self._finished:
            raise ConfigError(
                f"{self._deaths} processes died before they finished anything; use fewer "
                "--processes, and call from a script only under if __name__ == '__main__'"
            )


def _set_up(payload: bytes) -> None:
    """Prepare a new process; what may fail is left to its first job, which can say so."""
    global _payload
    _payload = payload
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told, and ends its processes
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(method: str, job: Any) -> Any:
    global _worker
    try:
        if _worker is None:
            _worker = pickle.loads(_payload)
            if "torch" in sys.modules:
                sys.modules["torch"].set_num_threads(1)
        return getattr(_worker, method)(job)
    except Exception as error:
        return Failure(one_line(error))


def one_line(error: Exception) -> str:
    """Tell an exception in one line: a user's error as it is, any other with its kind."""
    text = " ".join(str(error).split())
    if isinstance(error, ParlandoError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
