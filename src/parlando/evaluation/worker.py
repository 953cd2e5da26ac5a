"""What one process of an evaluation does: make an output, and have an output judged."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from parlando.audio import waveform
from parlando.contracts import AudioError
from parlando.evaluation.crew import one_line
from parlando.evaluation.makers import Maker
from parlando.evaluation.measure import RATE_HZ, Measure, Sample, Trial
from parlando.evaluation.records import Part, audio_path
from parlando.evaluation.sounds import add_noise, read_joined, read_recording


@dataclass(frozen=True, kw_only=True)
class Task:
    """A trial and who makes its output."""

    trial: Trial
    """What is asked for."""
    maker: str
    """Key of the maker."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """An output and the measures that are to judge it."""

    trial: Trial
    """What was asked for."""
    details: Mapping[str, Any]
    """See ``Sample.details``."""
    keys: Mapping[str, str]
    """Names of the measures, and the key under which the judgement of each is kept."""


class Worker:
    """What every process has: makers and judges, which load what they need at its first use.

    Args:
        makers: by the key that tasks name.
        measures: judges.
        folder: of the report.
    """

    def __init__(
        self, makers: Mapping[str, Maker], measures: Sequence[Measure], folder: Path
    ) -> None:
        self._makers = dict(makers)
        self._measures = {measure.name: measure for measure in measures}
        self._folder = folder

    def make(self, task: Task) -> dict[str, Any]:
        """Make one output, and write it with all that it is judged against.

        Raises:
            ParlandoError: the trial cannot be made.
        """
        trial, maker = task.trial, self._makers[task.maker]
        prompt = prompt_of(trial)
        reference = None if trial.reference is None else read_recording(trial.reference)
        worked = time.process_time()
        made = maker.make(trial, prompt, reference)
        cpu_seconds = time.process_time() - worked
        if not len(made.samples):
            raise AudioError(f"{maker.name} made no sound")
        output = waveform.resample(made.samples, made.rate_hz, RATE_HZ)
        self._save(trial, "prompt", prompt)
        self._save(trial, "reference", reference)
        tags = waveform.synthetic_metadata(maker.name, version("parlando"), trial.seed)
        self._save(trial, "output", output, tags if maker.synthetic else None)
        return {
            "seconds": len(output) / RATE_HZ,
            "wall_seconds": made.details.get("wall_seconds"),
            "cpu_seconds": cpu_seconds,
            "details": dict(made.details),
        }

    def judge(self, job: Job) -> dict[str, Any]:
        """Have one output judged; the result is a judgement by the name of its measure."""
        output = self._load(job.trial, "output")
        assert output is not None  # it was made
        sample = Sample(
            trial=job.trial,
            output=output,
            reference=self._load(job.trial, "reference"),
            prompt=self._load(job.trial, "prompt"),
            details=job.details,
        )
        return {name: _judged(self._measures[name], sample, key) for name, key in job.keys.items()}

    def _save(
        self,
        trial: Trial,
        part: Part,
        samples: np.ndarray | None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        path = audio_path(self._folder, trial.id, part)
        if samples is None:
            path.unlink(missing_ok=True)  # of an earlier run
        else:
            waveform.save(path, samples, RATE_HZ, tags)

    def _load(self, trial: Trial, part: Part) -> np.ndarray | None:
        path = audio_path(self._folder, trial.id, part)
        return waveform.load(path, RATE_HZ).samples if path.exists() else None


def prompt_of(trial: Trial) -> np.ndarray | None:
    """Read a trial's prompt as it is given to the system: ``(S,)`` at 16 kHz, noise included.

    Raises:
        AudioError: a piece cannot be read.
    """
    if not trial.prompt:
        return None
    prompt = read_joined(trial.prompt)
    return prompt if trial.noise_db is None else add_noise(prompt, trial.noise_db, trial.seed)


def _judged(measure: Measure, sample: Sample, key: str) -> dict[str, Any]:
    started = time.process_time()
    try:
        judgement = measure.judge(sample)
        values = {name: (float(a), float(b)) for name, (a, b) in judgement.values.items()}
        known = {quantity.key for quantity in measure.quantities}
        for name, pair in values.items():
            if name not in known or not all(map(math.isfinite, pair)):
                raise ValueError(f"'{name}' is {pair}; expected finite numbers of {sorted(known)}")
        notes = json.loads(json.dumps(dict(judgement.notes), allow_nan=False))
    except Exception as error:
        # Whatever breaks in a judge is told in the row; the other measures and rows go on.
        return failed(key, one_line(error), time.process_time() - started)
    return {
        "key": key,
        "values": values,
        "notes": notes,
        "failure": None,
        "cpu_seconds": time.process_time() - started,
    }


def failed(key: str, why: str, cpu_seconds: float = 0.0) -> dict[str, Any]:
    """Return the judgement of a measure that failed."""
    return {"key": key, "values": {}, "notes": {}, "failure": why, "cpu_seconds": cpu_seconds}
