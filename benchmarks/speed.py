"""Measure how fast the released system speaks, and what it costs: ``python -m benchmarks.speed``.

Real-time factor on a fixed paragraph with the default solver, time from the call to the first
audio of a long text, time of ``import parlando``, peak memory of a process that speaks, and
parameters. Measure on an idle machine; the number of threads is printed with the figures.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tyro

from benchmarks.judging import progress, write_json

PARAGRAPH = (
    "The harbour lay quiet before sunrise. A single lamp burned at the end of the pier, and the "
    "boats knocked softly against each other. Then the first gulls came in from the sea, "
    "quarrelling over something that only they could see. By seven o'clock the market was open: "
    "there were baskets of herring and mackerel, crates of ice, and eleven kinds of bread. "
    "Nobody hurried. The old men drank their coffee standing up, as they had always done, and "
    "spoke about the weather as if it were a relative who had promised to visit and never came."
)
TARGETS = {
    "real_time_factor": 0.3,
    "first_audio_seconds": 0.3,
    "import_seconds": 0.3,
    "peak_memory_bytes": 1.2e9,
}
_MEMORY_SCRIPT = """
import resource, sys
import parlando
system, voice, text = sys.argv[1:]
parlando.load(system).speak(text, voice=voice or None, seed=0)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(peak * (1 if sys.platform == "darwin" else 1024))
"""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to measure and where the results go."""

    out: Path
    """Results as JSON."""
    system: str = "naturalspeech2-small"
    """Released system or folder of a checkpoint."""
    voice: str | None = None
    """Prompt; by default the bundled example."""
    threads: int = 2
    """CPU threads that torch may use; also in the process whose memory is measured."""
    repeats: int = 20
    """Calls whose first audio is timed; the paragraph is spoken a quarter as often."""


def speaking_times(system: Any, voice: str | None, repeats: int) -> dict[str, float]:
    """Time whole paragraphs and first parts, model loaded and voice encoded once before.

    Args:
        system: has ``speak`` and ``stream``.
        voice: prompt.
        repeats: calls whose first audio is timed, at least 1.

    Returns:
        medians: ``real_time_factor``, ``first_audio_seconds``, its ``first_audio_p95_seconds``,
        and ``paragraph_seconds`` of audio.
    """
    # The first call pays for lazy imports and the prompt, which later calls find ready.
    next(iter(system.stream(PARAGRAPH, voice=voice, seed=0)))
    first, factors, length = [], [], 0.0
    for seed in progress(range(repeats), "first audio"):
        started = time.perf_counter()
        next(iter(system.stream(PARAGRAPH, voice=voice, seed=seed)))
        first.append(time.perf_counter() - started)
    for seed in progress(range(max(1, repeats // 4)), "paragraph"):
        started = time.perf_counter()
        speech = system.speak(PARAGRAPH, voice=voice, seed=seed)
        length = len(speech.samples) / speech.rate_hz
        factors.append((time.perf_counter() - started) / length)
    return {
        "real_time_factor": statistics.median(factors),
        "first_audio_seconds": statistics.median(first),
        "first_audio_p95_seconds": sorted(first)[min(len(first) - 1, int(0.95 * len(first)))],
        "paragraph_seconds": length,
    }


def import_seconds(repeats: int = 5) -> float:
    """Measure ``import parlando`` in fresh interpreters; the median, without interpreter start."""
    code = "import time; t = time.perf_counter(); import parlando; print(time.perf_counter() - t)"
    return statistics.median(float(_run([sys.executable, "-c", code])) for _ in range(repeats))


def peak_memory_bytes(system: str, voice: str | None, threads: int) -> int:
    """Measure the peak resident memory of a fresh process that speaks the paragraph."""
    command = [sys.executable, "-c", _MEMORY_SCRIPT, system, voice or "", PARAGRAPH]
    return int(_run(command, {"OMP_NUM_THREADS": str(threads)}))


def _run(command: list[str], environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | (environment or {}), check=False
    )
    if done.returncode != 0:
        reason = (done.stderr.strip() or "no message").splitlines()[-1]
        raise SystemExit(f"the measured process failed: {reason}")
    return done.stdout.strip().splitlines()[-1]


def parameter_counts(system: Any) -> dict[str, int]:
    """Count the parameters of every torch module that a speaker's synthesizer holds."""
    import torch

    return {
        name: sum(parameter.numel() for parameter in part.parameters())
        for name, part in vars(system.synthesizer).items()
        if isinstance(part, torch.nn.Module)
    }


def verdict(figures: dict[str, Any]) -> dict[str, bool]:
    """Compare the figures with the targets; each is an upper bound."""
    return {name: figures[name] <= most for name, most in TARGETS.items()}


def main() -> None:
    """Read the command line, measure, save and print."""
    options = tyro.cli(Options, description=__doc__)
    figures: dict[str, Any] = {
        "import_seconds": import_seconds(),
        "peak_memory_bytes": peak_memory_bytes(options.system, options.voice, options.threads),
    }
    import torch

    from parlando import load

    torch.set_num_threads(options.threads)
    started = time.perf_counter()
    system = load(options.system)
    figures["load_seconds"] = time.perf_counter() - started
    figures |= speaking_times(system, options.voice, options.repeats)
    report = {
        "system": options.system,
        "parlando": version("parlando"),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "threads": options.threads,
        "parameters": parameter_counts(system),
        **{name: round(value, 4) for name, value in figures.items()},
        "targets": TARGETS,
        "verdict": verdict(figures),
    }
    write_json(options.out, report)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
