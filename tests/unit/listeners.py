"""Reports to listen to, made of sines, and raters who answer what they are told to think."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from speechlike import speechlike

from parlando.audio.waveform import save
from parlando.evaluation.measure import Row, Trial
from parlando.evaluation.records import Report, audio_path, write_report
from parlando.reporting.listening.page import RESULT_FORMAT

RATE = 16_000


def write_speech_report(
    folder: Path,
    name: str,
    *,
    pitch_hz: float,
    trials: int = 5,
    level: float = 1.0,
    papers: tuple[str, ...] = (),
) -> Path:
    """Write a report of some trials with their sounds, half a second each."""
    (folder / "audio").mkdir(parents=True)
    rows = [Row(trial=Trial(id=f"t{place}", text=f"Text {place}.")) for place in range(trials)]
    for place, row in enumerate(rows):
        for part, hertz in (("output", pitch_hz), ("prompt", 130.0), ("reference", 125.0)):
            sound = level * speechlike(0.5, pitch_hz=hertz + 5 * place)
            save(audio_path(folder, row.trial.id, part), sound, RATE)
    write_report(
        Report(
            kind="speech",
            name=name,
            version="0",
            protocol={"name": "bundled", "title": "Bundled", "papers": papers},
            seed=0,
            created="2026-01-01T00:00:00+00:00",
            rows=tuple(rows),
            figures=(),
            folder=folder,
        )
    )
    return folder


Opinion = Callable[[str, str], float]
"""What a rater thinks of a system's utterance: system and item to a score."""


def write_result(
    path: Path,
    key: Mapping[str, Any],
    opinion: Opinion,
    *,
    seed: int,
    language: str = "native",
    attentive: bool = True,
) -> Path:
    """Write what a rater would save, after seeing the sounds of each screen in random order.

    CMOS scores are the rounded difference of the two opinions.
    """
    random = np.random.default_rng(seed)
    answers = []
    for name, screen in key["screens"].items():
        files = [str(file) for file in random.permutation(list(screen["stimuli"]))]
        labels = [screen["stimuli"][file] for file in files]
        scores = _scores(key["kind"], labels, screen, opinion, attentive=attentive)
        answers.append({"screen": name, "shown": files, "scores": scores})
    result = {"format": RESULT_FORMAT, "version": 1, "test": key["test"], "rater": f"r{seed}"}
    result |= {"language": language, "listening": "headphones", "answers": answers}
    path.write_text(json.dumps(result))
    return path


def _scores(
    kind: str, labels: list[str], screen: Mapping[str, Any], opinion: Opinion, *, attentive: bool
) -> list[float]:
    check = screen["check"]
    if kind == "mushra":
        known = {"reference": 100.0 if attentive else 20.0, "anchor": 10.0}
        return [known[x] if x in known else opinion(x, screen["item"]) for x in labels]
    if check is None:
        values = [opinion(label, screen["item"]) for label in labels]
        difference = float(np.clip(np.round(values[-1] - values[0]), -3, 3))
        return [difference] if kind == "cmos" else values
    if check["rule"] == "count":
        return [check["count"] if attentive else 1.0]
    right = {"same": 0.0, "worse": 2.0 if labels[1] == "clean" else -2.0}[check["rule"]]
    return [right if attentive else -right or 3.0]
