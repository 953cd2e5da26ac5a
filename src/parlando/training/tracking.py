"""What a run shows and keeps: a progress line, tensorboard, and ``metrics.jsonl`` for curves."""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from torch.utils.tensorboard import SummaryWriter

METRICS_NAME = "metrics.jsonl"


class Tracker:
    """Records of one run, made by its main process; a context manager.

    A terminal gets a live line; a log file gets one plain line per record.
    """

    def __init__(self, folder: Path, step: int, console: Console | None = None) -> None:
        """Open the records.

        Args:
            folder: the run's folder.
            step: where the run goes on; later records, of a part that was lost, are dropped.
            console: where to show progress; none is standard error.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._console = console or Console(stderr=True)
        path = folder / METRICS_NAME
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if _step_of(line) <= step]
            path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        self._lines = path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._mark = (step, time.monotonic())

    def __enter__(self) -> "Tracker":
        if self._console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[line]}"),
                console=self._console,
                refresh_per_second=1,  # drawing must not take time from training
            )
            self._task = self._progress.add_task("training", total=1.0, line="")
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
        self._lines.close()
        self._board.close()

    def record(
        self, step: int, minutes: float, numbers: Mapping[str, float], progress: float
    ) -> None:
        """Keep and show named numbers of a step.

        Args:
            step: optimizer steps taken.
            minutes: wall-clock minutes trained.
            numbers: names such as ``train/mel`` or ``validation/mel`` to values.
            progress: the part of the run that is over, 0 to 1.
        """
        # JSON knows no NaN.
        plain = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        line = {"step": step, "minutes": round(minutes, 4), **plain}
        self._lines.write(json.dumps(line) + "\n")
        self._lines.flush()
        for name, value in numbers.items():
            self._board.add_scalar(name, value, step)
        self._show(step, minutes, numbers, progress)

    def audio(self, step: int, name: str, samples: np.ndarray, rate_hz: int) -> None:
        """Keep a sound of a step; ``samples`` is ``(S,)`` in [-1, 1]."""
        clipped = np.clip(np.asarray(samples, dtype=np.float32).reshape(1, -1), -1.0, 1.0)
        self._board.add_audio(name, clipped, step, sample_rate=rate_hz)

    def say(self, text: str) -> None:
        """Show one line."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _show(
        self, step: int, minutes: float, numbers: Mapping[str, float], progress: float
    ) -> None:
        (last_step, last_time), now = self._mark, time.monotonic()
        parts = [f"step {step}", f"{minutes:.1f} min"]
        if step > last_step:
            parts.append(f"{(step - last_step) / max(now - last_time, 1e-9):.2f} steps/s")
            self._mark = (step, now)
        if 0 < progress < 1:
            parts.append(f"{minutes * (1 - progress) / progress:.1f} min left")
        parts += [f"{name} {value:.4g}" for name, value in numbers.items()]
        line = "  ".join(parts)
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=progress, line=line)
        else:
            self.say(line)


def _step_of(line: str) -> int:
    """Return a record's step; a line that a kill cut short counts as lost."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return np.iinfo(np.int64).max
