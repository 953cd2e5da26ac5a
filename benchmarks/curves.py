"""Draw learning curves: ``python -m benchmarks.curves --runs a/metrics.jsonl --out curve.png``."""

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True, kw_only=True)
class Options:
    """Draw numbers against steps, from the records of training runs."""

    runs: tuple[Path, ...]
    """Files ``metrics.jsonl``."""
    out: Path
    """PNG."""
    metrics: tuple[str, ...] = ()
    """Which numbers, by name; by default those whose name starts with ``validation/``."""


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


def main() -> None:
    """Read the command line and draw."""
    options = tyro.cli(Options, description=__doc__)
    draw_curves(read_curves(options.runs, options.metrics), options.out)


if __name__ == "__main__":
    main()
