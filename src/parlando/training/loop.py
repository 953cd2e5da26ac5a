"""One loop that trains any objective: a plain model or a GAN, on one process or many.

Everything a step does follows from its number: the batch, the noise and the learning rate. So a
run that resumes from a checkpoint goes on bit for bit as if it had never stopped, but for a
schedule that follows the clock.
"""

import shutil
import signal
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from accelerate.utils import broadcast, gather_object, send_to_device
from torch import Tensor, nn

from parlando.contracts import BatchSource, CheckpointError, ParlandoError
from parlando.training.checkpoint import Card, load_state, read_card, save_checkpoint
from parlando.training.config import TrainConfig
from parlando.training.feeding import Batches, StepBatches, batches_from
from parlando.training.optimization import learning_rate
from parlando.training.stepper import Stepper
from parlando.training.tracking import Tracker


class DivergenceError(ParlandoError):
    """Training no longer yields finite gradients."""


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """How a run ended."""

    step: int
    """Steps taken, those of earlier parts included."""
    minutes: float
    """Wall-clock minutes trained, those of earlier parts included."""
    reason: str
    """``steps``, ``time`` or ``signal``."""
    checkpoint: Path
    """The last checkpoint."""
    numbers: Mapping[str, float]
    """The last validation's numbers."""


def train(
    objective: nn.Module,
    source: BatchSource,
    config: TrainConfig,
    run: Path,
    kind: str,
    model_config: Mapping[str, Any],
) -> TrainResult:
    """Train an objective until its steps or minutes are used up, or a signal asks to stop.

    A run folder that holds checkpoints is resumed from the newest.

    Args:
        objective: a module that fulfils ``parlando.contracts.Objective``. It may also have
            ``validate(batch) -> dict[str, float]``, ``audio(batch) -> dict[str, (samples,
            rate_hz)]``, both called in evaluation mode with averaged weights, and
            ``after_step(step)``, called once the optimizers have stepped.
        source: the batches.
        config: how to train.
        run: the run's folder: ``checkpoints/``, ``tensorboard/``, ``metrics.jsonl``.
        kind: what is trained, written into the checkpoints.
        model_config: the resolved model configuration, written into the checkpoints.

    Returns:
        How the run ended, and its last checkpoint.

    Raises:
        CheckpointError: the run's newest checkpoint is damaged, or of another objective.
        DivergenceError: too many steps in a row had no finite gradient.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    loop = _Loop(
        Stepper(objective, config), source, config, run, Card(kind=kind, config=model_config)
    )
    if checkpoints := existing_checkpoints(run):
        loop.resume(checkpoints[-1])
    return loop.run_to_end()


def existing_checkpoints(run: Path) -> list[Path]:
    """Return a run's checkpoints, oldest first."""
    return sorted((run / "checkpoints").glob("step-*"))


class _Loop:
    """A run: the clock, the records and the checkpoints around the steps."""

    def __init__(
        self, stepper: Stepper, source: BatchSource, config: TrainConfig, run: Path, card: Card
    ) -> None:
        self._stepper, self._source, self._config = stepper, source, config
        self._run, self._card = run, card
        self._accelerator = stepper.accelerator
        self._step = 0
        self._skipped = 0
        self._skipped_in_a_row = 0
        self._numbers: dict[str, float] = {}
        self._earlier_seconds = 0.0
        self._started = time.monotonic()
        self._tracker: Tracker | None = None

    def resume(self, folder: Path) -> None:
        """Go on from a checkpoint."""
        card, state = read_card(folder, self._card.kind), load_state(folder)
        try:
            self._stepper.load_state_dict(state, str(folder))
            self._step, self._skipped = state["step"], state["skipped"]
            self._earlier_seconds = state["seconds"]
        except (KeyError, ValueError) as error:
            raise CheckpointError(
                f"{folder}: state does not fit this objective ({error})"
            ) from error
        self._numbers = dict(card.numbers)

    def run_to_end(self) -> TrainResult:
        """Step until the run is over; validate, record and save on the way and at the end."""
        self._started = time.monotonic()
        is_main = self._accelerator.is_main_process
        self._stepper.module.train()
        with (
            _stop_signals() as stop,
            closing(self._feed()) as feed,
            Tracker(self._run, self._step) if is_main else nullcontext() as self._tracker,
        ):
            if self._tracker is not None and self._stepper.precision != self._config.precision:
                self._tracker.say(
                    f"this CPU only emulates {self._config.precision}, slowly: training in "
                    f"{self._stepper.precision}"
                )
            reason = self._take_steps(stop, feed)
            if self._tracker is not None:
                self._tracker.say(f"ended by {reason} at step {self._step}: {self._folder()}")
        return TrainResult(
            step=self._step,
            minutes=self._seconds() / 60,
            reason=reason,
            checkpoint=self._folder(),
            numbers=dict(self._numbers),
        )

    def _feed(self) -> Generator[Batches]:
        """Yield the batches of the steps to come."""
        rank, world = self._accelerator.process_index, self._accelerator.num_processes
        dataset = StepBatches(self._source, rank, world, self._config.accumulate)
        return batches_from(dataset, self._step, self._config.steps, self._config.loader_workers)

    def _take_steps(self, stop: threading.Event, feed: Iterator[Batches]) -> str:
        """Take steps until the end; return the reason of the end."""
        config, recent = self._config, _Means()
        saved = validated = -1
        while True:
            seconds, stopped = self._agree(stop.is_set())
            progress = self._progress(seconds)
            if stopped or progress >= 1:
                break
            rate = learning_rate(config, self._step, progress)
            finite, figures = self._stepper.take(self._step, next(feed), rate)
            self._step += 1
            self._guard(finite, figures)
            if finite:
                recent.add(figures)
            if self._step % config.log_every == 0:
                extra = {"learning_rate": rate, "skipped_steps": float(self._skipped)}
                self._record("train", self._merged(recent), extra)
                recent = _Means()
            if self._step % config.validate_every == 0:
                validated = self._validate()
            if self._step % config.checkpoint_every == 0:
                saved = self._save()
        if not stopped and validated != self._step:
            saved, validated = -1, self._validate()
        if saved != self._step:
            self._save()
        return "signal" if stopped else "steps" if self._step >= config.steps else "time"

    def _guard(self, finite: bool, figures: Mapping[str, Tensor]) -> None:
        """Count steps without a finite gradient, and give up after too many in a row."""
        self._skipped += not finite
        self._skipped_in_a_row = 0 if finite else self._skipped_in_a_row + 1
        if self._skipped_in_a_row >= self._config.bad_steps:
            bad = [name for name, value in figures.items() if not value.isfinite()]
            raise DivergenceError(
                f"no finite gradient in {self._skipped_in_a_row} steps in a row, up to step "
                f"{self._step} (not finite: {', '.join(bad)}); go on from the last checkpoint "
                "with a lower learning rate, or in fp32"
            )

    def _seconds(self) -> float:
        return self._earlier_seconds + time.monotonic() - self._started

    def _agree(self, stop: bool) -> tuple[float, bool]:
        """Return the main process's clock and wish to stop, so that all processes act alike."""
        if self._accelerator.num_processes == 1:
            return self._seconds(), stop
        mine = torch.tensor(
            [self._seconds(), float(stop)], dtype=torch.float32, device=self._accelerator.device
        )
        seconds, wish = broadcast(mine).tolist()
        return seconds, bool(wish)

    def _progress(self, seconds: float) -> float:
        """Return the part of the run that is over, by steps or by time."""
        limit = self._config.max_minutes
        by_time = seconds / (60 * limit) if limit is not None else 0.0
        return min(1.0, max(self._step / self._config.steps, by_time))

    @torch.no_grad()
    def _validate(self) -> int:
        """Measure the averaged weights on the fixed batches, shared out over the processes."""
        stepper, means = self._stepper, _Means()
        rank, world = self._accelerator.process_index, self._accelerator.num_processes
        with stepper.averaged() as module:
            validate, audio = getattr(module, "validate", None), getattr(module, "audio", None)
            for index, batch in enumerate(self._source.validation()):
                if index % world != rank:
                    continue
                stepper.seed(0, index)  # the same noise each time, so that numbers compare
                batch = send_to_device(batch, self._accelerator.device)
                if validate is not None:
                    found = validate(batch)
                    means.add({name: torch.as_tensor(value) for name, value in found.items()})
                if index == 0 and self._tracker is not None and audio is not None:
                    for name, (samples, rate_hz) in audio(batch).items():
                        samples = torch.as_tensor(samples).float().cpu().numpy()
                        self._tracker.audio(self._step, name, samples, rate_hz)
        self._numbers = self._merged(means)
        self._record("validation", self._numbers, {})
        return self._step

    def _merged(self, means: "_Means") -> dict[str, float]:
        """Return the means over all processes."""
        gathered = gather_object([means.totals()])
        names = dict.fromkeys(name for totals in gathered for name in totals)
        merged = {}
        for name in names:
            parts = [totals[name] for totals in gathered if name in totals]
            merged[name] = sum(total for total, _ in parts) / sum(count for _, count in parts)
        return merged

    def _record(self, split: str, numbers: Mapping[str, float], extra: Mapping[str, float]) -> None:
        if self._tracker is not None and (numbers or extra):
            named = {f"{split}/{name}": value for name, value in numbers.items()} | dict(extra)
            seconds = self._seconds()
            self._tracker.record(self._step, seconds / 60, named, self._progress(seconds))

    def _folder(self) -> Path:
        return self._run / "checkpoints" / f"step-{self._step:08d}"

    def _save(self) -> int:
        """Write a checkpoint of the present step and drop the oldest."""
        weights, state = self._stepper.averaged_weights(), self._stepper.state_dict()
        if self._accelerator.is_main_process:
            seconds = self._seconds()
            state |= {"step": self._step, "skipped": self._skipped, "seconds": seconds}
            card = Card(
                kind=self._card.kind,
                config=self._card.config,
                step=self._step,
                minutes=seconds / 60,
                numbers=self._numbers,
            )
            save_checkpoint(self._folder(), card, weights, state)
            for old in existing_checkpoints(self._run)[: -self._config.keep_checkpoints]:
                shutil.rmtree(old)
        self._accelerator.wait_for_everyone()
        return self._step


class _Means:
    """Running means of named figures, kept on their device until they are read."""

    def __init__(self) -> None:
        self._totals: dict[str, tuple[Tensor, int]] = {}

    def add(self, figures: Mapping[str, Tensor]) -> None:
        for name, value in figures.items():
            total, count = self._totals.get(name, (torch.zeros_like(value), 0))
            self._totals[name] = (total + value, count + 1)

    def totals(self) -> dict[str, tuple[float, int]]:
        return {name: (float(total), count) for name, (total, count) in self._totals.items()}


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Turn Ctrl-C or a termination into a wish to stop; a second Ctrl-C interrupts at once.

    Launchers may pass a termination on more than once, so that one never interrupts.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # Python delivers signals to the main thread only
        return

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    earlier = {kind: signal.signal(kind, ask) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for kind, handler in earlier.items():
            signal.signal(kind, handler)
