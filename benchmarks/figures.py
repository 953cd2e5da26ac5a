"""Draw what the numbers cannot say.

``python -m benchmarks.figures compare --data corpus.jsonl --out pictures`` puts recordings beside
the same sentences as the system speaks them: mel spectrum, F0 and alignment on one time axis.
``python -m benchmarks.figures curve --runs a/metrics.jsonl --out curve.png`` draws learning curves.
"""

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tyro

from benchmarks.judging import progress
from benchmarks.material import RATE_HZ, read_material, whole_frames
from benchmarks.speech_table import Output, speak_sentences

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HOP_SAMPLES = 200
_MEL_BANDS = 80
_FFT_SAMPLES = 1024


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Draw a few sentences, as recorded and as spoken."""

    data: Path
    """JSONL corpus with the splits `valid` and `test`."""
    out: Path
    """Folder for one PNG per sentence."""
    system: str = "naturalspeech2-small"
    """Released system or folder of a checkpoint."""
    aligner: str = "aligner-small"
    """Released aligner or folder of a checkpoint: it aligns the recordings."""
    sentences: int = 4
    """How many, evenly spread over the corpus."""
    seed: int = 0
    """Of the synthesis."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Draw numbers against steps, from the records of training runs."""

    runs: tuple[Path, ...]
    """Files ``metrics.jsonl``."""
    out: Path
    """PNG."""
    metrics: tuple[str, ...] = ()
    """Which numbers, by name; by default those whose name starts with ``validation/``."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """Speech with its symbols, ready to draw."""

    title: str
    samples: np.ndarray
    """``(S,)`` at 16 kHz."""
    symbols: Sequence[str]
    durations_frames: Sequence[int]
    """Frames of 200 samples."""


def panels(output: Output, aligner: Any) -> tuple[Panel, Panel]:
    """Pair a recording, aligned to the symbols that were spoken, with the system's speech."""
    import torch

    speech = output.speech
    human = whole_frames(output.sentence.samples, HOP_SAMPLES)
    durations, _ = aligner.align(torch.from_numpy(human.copy()), list(speech.phonemes))
    name = output.sentence.speaker
    return (
        Panel(
            title=f"recording of {name}",
            samples=human,
            symbols=speech.phonemes,
            durations_frames=durations,
        ),
        Panel(
            title=f"{speech.system} (synthetic) in the voice of {output.speaker.name}",
            samples=output.samples,
            symbols=speech.phonemes,
            durations_frames=speech.durations_frames,
        ),
    )


def draw_comparison(pair: Sequence[Panel], title: str, path: Path) -> None:
    """Draw panels below each other: mel spectrum with F0 over it, then the symbols' spans."""
    from matplotlib.figure import Figure

    longest = max(len(panel.samples) for panel in pair) / RATE_HZ
    figure = Figure(figsize=(max(8.0, 2.2 * longest), 3.4 * len(pair)), layout="constrained")
    rows = figure.subplots(2 * len(pair), 1, sharex=True, height_ratios=(5, 1) * len(pair))
    for panel, spectrum, spans in zip(pair, rows[::2], rows[1::2], strict=True):
        _draw_spectrum(spectrum, panel)
        _draw_spans(spans, panel)
    rows[-1].set(xlabel="seconds", xlim=(0.0, longest))
    figure.suptitle(title, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def _draw_spectrum(axes: "Axes", panel: Panel) -> None:
    import torch

    from parlando.audio.pitch import f0
    from parlando.audio.spectrogram import log_mel

    samples = np.ascontiguousarray(whole_frames(panel.samples, HOP_SAMPLES), dtype=np.float32)
    mel = log_mel(torch.from_numpy(samples)[None], RATE_HZ, _FFT_SAMPLES, HOP_SAMPLES, _MEL_BANDS)
    seconds = len(samples) / RATE_HZ
    axes.imshow(
        mel[0].T.numpy(),
        origin="lower",
        aspect="auto",
        extent=(0.0, seconds, 0.0, float(_MEL_BANDS)),
    )
    axes.set(ylabel="mel band", title=panel.title)
    axes.title.set_fontsize(9)
    f0_hz, _ = f0(samples, RATE_HZ, HOP_SAMPLES)
    pitch = axes.twinx()
    middles = (np.arange(len(f0_hz)) + 0.5) * HOP_SAMPLES / RATE_HZ
    pitch.plot(middles, np.where(f0_hz > 0, f0_hz, np.nan), color="white", linewidth=1.5)
    pitch.set(ylabel="F0 (Hz)", ylim=(50.0, 400.0))


def _draw_spans(axes: "Axes", panel: Panel) -> None:
    start = 0.0
    pairs = zip(panel.symbols, panel.durations_frames, strict=True)
    for index, (symbol, frames) in enumerate(pairs):
        seconds = frames * HOP_SAMPLES / RATE_HZ
        if seconds:
            axes.axvspan(start, start + seconds, color=f"C{index % 2}", alpha=0.25, linewidth=0)
            axes.text(start + seconds / 2, 0.5, symbol, ha="center", va="center", fontsize=7)
        start += seconds
    axes.set(ylim=(0.0, 1.0), yticks=[])


def read_curves(
    runs: Sequence[Path], metrics: Sequence[str] = ()
) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Read ``metrics.jsonl`` files.

    Args:
        runs: files of one JSON object a line, with ``step`` and numbers by name.
        metrics: names wanted; none means all that start with ``validation/``.

    Returns:
        for every metric and run the pairs of step and value, in the order of the steps; values
        that are not finite are left out.
    """
    curves: dict[str, dict[str, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
    for path in runs:
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            for name, value in record.items():
                wanted = name in metrics if metrics else name.startswith("validation/")
                if wanted and value is not None and math.isfinite(value):
                    curves[name][path.parent.name].append((record["step"], value))
    return {
        name: {run: sorted(points) for run, points in by_run.items()}
        for name, by_run in sorted(curves.items())
    }


def draw_curves(curves: dict[str, dict[str, list[tuple[int, float]]]], path: Path) -> None:
    """Draw one panel per metric and one line per run, steps from left to right."""
    from matplotlib.figure import Figure

    if not curves:
        raise SystemExit("no such numbers in the records; give --metrics names that they hold")
    columns = min(3, len(curves))
    rows = math.ceil(len(curves) / columns)
    figure = Figure(figsize=(4.5 * columns, 3.0 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, by_run) in zip(grid, curves.items(), strict=False):
        for run, points in by_run.items():
            axes.plot(*zip(*points, strict=True), marker=".", markersize=3, label=run)
        axes.set(title=name, xlabel="steps")
        axes.grid(alpha=0.3)
    for axes in grid[len(curves) :]:
        axes.set_axis_off()
    grid[0].legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def _compare(options: Compare) -> None:
    from parlando import load, registry

    material = read_material(options.data, options.sentences)
    aligner = registry.load_aligner(options.aligner)
    outputs = speak_sentences(load(options.system), material, seed=options.seed)
    for number, output in enumerate(progress(outputs, "pictures")):
        path = options.out / f"{number}_{output.sentence.id.replace('/', '-')}.png"
        draw_comparison(panels(output, aligner), output.sentence.text or "", path)


def main() -> None:
    """Read the command line and draw."""
    options = tyro.extras.subcommand_cli_from_dict(
        {"compare": Compare, "curve": Curve}, description=__doc__
    )
    if isinstance(options, Compare):
        _compare(options)
    else:
        draw_curves(read_curves(options.runs, options.metrics), options.out)


if __name__ == "__main__":
    main()
