"""Measure how fast the released system speaks, and what it costs: ``python -m benchmarks.speed``.

Time of ``import parlando``, and what ``parlando.evaluation.cost`` measures: real-time factor on a
fixed paragraph with the default solver, time from the call to the first audio (in chunks where the
system has them), peak memory of a process that speaks, network evaluations, parameters. Measure on
an idle machine; the number of threads is printed with the figures. Other parts of the file, such as
that of ``benchmarks.decoding``, stay.
"""

import os
import platform
import statistics
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tyro

from benchmarks.results import aims_for, entries, print_summary, read_json
from parlando.data.store import write_json
from parlando.evaluation.cost import Request, measure_cost
from parlando.evaluation.measure import RATE_HZ, Figure, Quantity


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to measure and where the results go."""

    out: Path
    """Results as JSON."""
    system: str = "naturalspeech2-small"
    """Released system or folder of a checkpoint."""
    voice: Path | None = None
    """Prompt; by default the bundled example."""
    threads: int = 2
    """CPU threads that torch may use; also in the process whose memory is measured."""
    repeats: int = 20
    """Calls that are timed; the figures are medians."""
    steps: int | None = None
    """Steps of the sampler, by default the system's own; the part of the file is then ``speed-1``
    and so on."""

    @property
    def part(self) -> str:
        """Name of what is measured, in the file and among the aims."""
        return "speed" if self.steps is None else f"speed-{self.steps}"


def import_seconds(repeats: int = 5) -> Figure:
    """Measure ``import parlando`` in fresh interpreters; the median, without interpreter start."""
    code = "import time; t = time.perf_counter(); import parlando; print(time.perf_counter() - t)"
    command = [sys.executable, "-c", code]
    seconds = [
        float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        for _ in range(repeats)
    ]
    quantity = Quantity(key="import", title="Time to import parlando", unit="s", better="lower")
    return Figure(quantity=quantity, value=statistics.median(seconds), count=repeats)


def measure(options: Options) -> dict[str, Any]:
    """Measure a system with nothing else running.

    Raises:
        ParlandoError: the system or the prompt is not usable.
    """
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # of the process that is weighed
    import torch

    from parlando.audio.waveform import load as load_sound
    from parlando.registry import load, sampled_network

    torch.set_num_threads(options.threads)
    voice = None
    if options.voice is not None:
        voice = (load_sound(options.voice, RATE_HZ).samples, RATE_HZ)
    figures = measure_cost(
        partial(load, options.system),
        request=Request(
            voice=voice, options={} if options.steps is None else {"steps": options.steps}
        ),
        network=sampled_network(options.system),
        repeats=options.repeats,
    )
    return {
        "name": Path(options.system).name,
        "parlando": version("parlando"),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "threads": options.threads,
        "figures": entries(aims_for(options.part, options.system), [*figures, import_seconds()]),
    }


def main() -> None:
    """Read the command line, measure, save and print."""
    options = tyro.cli(Options, description=__doc__)
    results = read_json(options.out, {}) | {options.part: measure(options)}
    write_json(options.out, results)
    print_summary(results)


if __name__ == "__main__":
    main()
