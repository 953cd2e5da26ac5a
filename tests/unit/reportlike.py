"""Reports made of numbers: no system, no judge."""

import datetime
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from speechlike import speechlike

from parlando.evaluation.measure import Quantity, Recording, Row, Trial, figures_of
from parlando.evaluation.records import Report, audio_path

WER = Quantity(
    key="wer",
    title="Word error rate",
    unit="%",
    better="lower",
    judge="pocketsphinx-5 en-us",
    human="wer_human",
    control="wer_control",
)
SIM = Quantity(key="sim_o", title="SIM-O", better="higher", judge="resemblyzer 0.1 (GE2E)")
PITCH = Quantity(key="pitch_mean", title="Mean pitch", unit="Hz")
QUANTITIES = (
    WER,
    Quantity(key="wer_human", title="Word error rate of the recordings", unit="%"),
    Quantity(key="wer_control", title="Word error rate against other texts", unit="%"),
    SIM,
    PITCH,
)
TEXTS = (
    "The old lighthouse keeper counted seven ships before the fog came in.",
    "Nobody had told her that the bridge was closed on Sundays.",
    "He folded the letter twice and put it back behind the clock.",
    "A small dog barked <b>twice</b> & then, for once, kept quiet.",
    "In the morning, the whole valley smelled of rain and cut grass.",
)

Values = Mapping[str, tuple[float, float]]


def row(index: int, values: Values, **extra: Any) -> Row:
    """A row of ten words."""
    trial = Trial(
        id=f"{index:03d}",
        speaker=f"speaker {index % 4}",
        text=TEXTS[index % len(TEXTS)],
        prompt=(Recording(path=Path(f"prompt{index}.wav"), seconds=3.0),),
        labels={"prompt_seconds": ("3", "5", "10")[index % 3]},
        seed=index,
    )
    return Row(trial=trial, values=values, seconds=3.2, wall_seconds=1.1, **extra)


def report(
    rows: Sequence[Row],
    folder: Path,
    *,
    name: str = "naturalspeech2-small",
    quantities: Sequence[Quantity] = QUANTITIES,
    **extra: Any,
) -> Report:
    """A report on rows."""
    return Report(
        kind="speech",
        name=name,
        version="0.1.0",
        protocol={"name": "bundled", "title": "Generated speech", "texts": "five sentences"},
        seed=0,
        created=datetime.datetime(2026, 11, 20, 12, 0, tzinfo=datetime.UTC).isoformat(),
        command="parlando evaluate speech --system naturalspeech2-small --protocol bundled",
        judges={"intelligibility": "pocketsphinx-5 en-us", "voice": "resemblyzer 0.1 (GE2E)"},
        rows=tuple(rows),
        figures=tuple(figures_of(rows, quantities)),
        folder=folder,
        **extra,
    )


def simulated(count: int, seed: int, wer: float = 0.1, extra: float = 0.0) -> list[Row]:
    """Rows with errors at a rate of ``wer + extra``; the same seed gives the same utterances."""
    generator = np.random.default_rng(seed)
    words = generator.integers(5, 20, count)
    hard = generator.gamma(2.0, 0.5, count)
    own = np.random.default_rng([seed, round(1e6 * extra)])
    errors = own.poisson((wer + extra) * hard * words)
    return [
        row(index, {"wer": (float(errors[index]), float(words[index]))}) for index in range(count)
    ]


def write_audio(report: Report, parts: Sequence[str] = ("output", "reference", "prompt")) -> None:
    """Give every row its sounds."""
    for index, each in enumerate(report.rows):
        for place, part in enumerate(parts):
            path = audio_path(report.folder, each.trial.id, part)  # type: ignore[arg-type]
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, speechlike(1.0, pitch_hz=100.0 + 10 * index + place), 16_000)


def changed(rows: Sequence[Row], change: Callable[[Row], Values]) -> list[Row]:
    """The same trials with other values."""
    return [Row(trial=each.trial, values=change(each)) for each in rows]
