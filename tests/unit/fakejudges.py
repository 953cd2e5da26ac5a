"""Makers and measures that need no model, for tests of the engine; importable by its processes."""

import multiprocessing
import os
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from parlando.contracts import ConfigError, TextError
from parlando.evaluation.makers import SpeechMaker
from parlando.evaluation.measure import Figure, Judgement, Quantity, Sample


def note_call(folder: Path, what: str) -> None:
    """Leave a file for each call, since calls happen in other processes."""
    folder.mkdir(parents=True, exist_ok=True)
    number = len(list(folder.glob(f"{what}.{os.getpid()}.*")))
    (folder / f"{what}.{os.getpid()}.{number}").touch()


def calls(folder: Path, what: str) -> int:
    return len(list(folder.glob(f"{what}.*")))


@dataclass
class Said:
    samples: np.ndarray
    rate_hz: int = 16_000
    hop_samples: int = 200
    phonemes: tuple[str, ...] = ("a", "b")
    durations_frames: tuple[int, ...] = (3, 5)


class Humming:
    """Speaks texts as noise of their length, over what it was prompted with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        note_call(folder, "load")

    def speak(self, text, voice=None, *, seed=None, level=0.1):
        note_call(self.folder, "speak")
        if text == "crash":
            raise TextError("the text is 'crash';\n give another")
        if text == "bug":
            raise KeyError("lost")
        if text == "die":
            os._exit(9)
        noise = np.random.default_rng(seed).uniform(-level, level, 400 * len(text))
        if voice is not None:
            assert voice[1] == 16_000
            noise = np.concatenate([noise, voice[0]])
        return Said(noise.astype(np.float32))


def humming(folder: Path, **options) -> SpeechMaker:
    return SpeechMaker(partial(Humming, folder), name="humming", options=options)


class Loudness:
    """Mean of the absolute samples, weighed by their number."""

    name = "loudness"

    def __init__(self, folder: Path, judge: str = "ears") -> None:
        self.folder = folder
        self.quantities = (
            Quantity(key="loudness", title="Loudness", judge=judge, human="loudness_human"),
            Quantity(key="loudness_human", title="Loudness of people", judge=judge),
        )

    def judge(self, sample: Sample) -> Judgement:
        note_call(self.folder, "loudness")
        if sample.trial.text == "unloved":
            raise ConfigError("not this one")
        values = {"loudness": (np.abs(sample.output).sum(dtype=np.float64), len(sample.output))}
        if sample.reference is not None:
            total = np.abs(sample.reference).sum(dtype=np.float64)
            values["loudness_human"] = (total, len(sample.reference))
        return Judgement(values=values, notes={"words": len(sample.trial.text or "")})

    def conclude(self, rows) -> list[Figure]:
        failed = Quantity(key="failed", title="Failed")
        return [
            Figure(
                quantity=failed, value=float(sum(bool(r.failures) for r in rows)), count=len(rows)
            )
        ]


class Spellbound(Loudness):
    """Judges so many samples, then listens until the run that asked for it is gone."""

    def __init__(self, folder: Path, after: int) -> None:
        super().__init__(folder)
        self.after = after

    def judge(self, sample: Sample) -> Judgement:
        run = multiprocessing.parent_process()
        while calls(self.folder, "loudness") >= self.after and run is not None and run.is_alive():
            time.sleep(0.02)
        return super().judge(sample)


class Twin:
    """Share of samples in which output and reference are the very same; dies of the text 'kill'."""

    name = "twin"
    quantities = (Quantity(key="twin", title="Twin", unit="%", better="higher"),)

    def __init__(self, folder: Path, installed: bool = True) -> None:
        self.folder = folder
        self.installed = installed

    def check(self) -> None:
        if not self.installed:
            raise ConfigError("the package twin is missing; install it")

    def judge(self, sample: Sample) -> Judgement:
        note_call(self.folder, "twin")
        if sample.trial.text == "kill":
            os._exit(11)
        if sample.trial.text == "nan":
            return Judgement(values={"twin": (float("nan"), 1.0)})
        if sample.reference is None:
            return Judgement()
        return Judgement(
            values={"twin": (float(np.array_equal(sample.output, sample.reference)), 1)}
        )

    def conclude(self, rows) -> list[Figure]:
        if any(row.trial.text == "inconclusive" for row in rows):
            raise ValueError("no end")
        return []
