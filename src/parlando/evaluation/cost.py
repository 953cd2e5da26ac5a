"""What speech costs: computing time, time to the first sound, network evaluations, memory, size.

Times are those of one machine at rest; its processor and threads are named as their judge. Reports
that are made on different machines, or by several processes at once, are not to be compared.
"""

import multiprocessing
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from parlando.audio import waveform
from parlando.contracts import ConfigError
from parlando.evaluation.intervals import ratio_interval
from parlando.evaluation.measure import RATE_HZ, Figure, Quantity, Row

if TYPE_CHECKING:
    from torch import nn

PARAGRAPH = (
    "The harbour lay quiet before sunrise. A single lamp burned at the end of the pier, and the "
    "boats knocked softly against each other. Then the first gulls came in from the sea, "
    "quarrelling over something that only they could see. By seven o'clock the market was open: "
    "there were baskets of herring and mackerel, crates of ice, and eleven kinds of bread. "
    "Nobody hurried. The old men drank their coffee standing up, as they had always done, and "
    "spoke about the weather as if it were a relative who had promised to visit and never came."
)
"""What is spoken: about half a minute."""
_SOURCE = "NaturalSpeech 3, 4.6: inference"
_DEPTH = 3


@dataclass(frozen=True, kw_only=True)
class Request:
    """One call of ``speak``, repeated to measure it."""

    text: str = PARAGRAPH
    """What is spoken."""
    voice: tuple[np.ndarray, int] | None = None
    """Prompt: ``(S,)`` samples and their rate; None: the system's default."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further options of ``speak``."""

    def speak(self, speaker: Any, seed: int) -> Any:
        """Let a speaker speak."""
        return speaker.speak(self.text, voice=self.voice, seed=seed, **self.options)

    def first_part(self, speaker: Any, seed: int) -> Any:
        """Let a speaker stream, in chunks where it can, and stop after the first part."""
        options = self.options
        if hasattr(speaker, "in_chunks"):
            options = speaker.in_chunks(options)
        return next(iter(speaker.stream(self.text, voice=self.voice, seed=seed, **options)))


class Calls:
    """A number that a hook raises."""

    count = 0


@contextmanager
def counted_calls(network: "nn.Module") -> Iterator[Calls]:
    """Count the forward passes of a network while the context lasts.

    A batch is one pass, however many sequences are in it.
    """
    calls = Calls()

    def raise_count(*_: Any) -> None:
        calls.count += 1

    handle = network.register_forward_hook(raise_count)
    try:
        yield calls
    finally:
        handle.remove()


def measure_cost(
    factory: Callable[[], Any],
    *,
    request: Request | None = None,
    network: "Callable[[Any], nn.Module] | None" = None,
    repeats: int = 5,
    condition: Mapping[str, str] | None = None,
) -> list[Figure]:
    """Measure what a system costs to use; nothing else should run meanwhile.

    Args:
        factory: picklable; makes a speaker with ``speak(text, voice=, seed=, **options)``, whose
            result has ``samples`` and ``rate_hz``. Where it also has ``stream``, the time to the
            first part is measured, with the options that its ``in_chunks`` makes of those given, if
            it has that, and once more in a voice that it has not heard before, if it has the path
            of a ``default_voice``; where it holds torch modules, their parameters are counted.
        request: what is spoken; by default a paragraph in the system's own voice.
        network: from a speaker to the module whose forward passes are counted; None counts none.
        repeats: calls that are timed, at least 1; figures are medians.
        condition: labels of the figures, such as ``{"steps": "12"}``.

    Raises:
        ConfigError: the process in which memory is measured was ended from outside.
    """
    request = request or Request()
    peak = peak_memory_bytes(factory, request)
    speaker = factory()
    counted = nullcontext(None) if network is None else counted_calls(network(speaker))
    with counted as calls:
        # The first call pays for lazy imports and the prompt, which later calls find ready.
        request.speak(speaker, seed=0)
    factors = [_real_time_factor(speaker, request, seed) for seed in range(repeats)]
    measured: dict[str, Sequence[float]] = {"real_time_factor": factors}
    if hasattr(speaker, "stream"):
        first = [_first_audio_seconds(speaker, request, seed) for seed in range(repeats)]
        measured["first_audio"] = first
        if request.voice is None and (voice := getattr(speaker, "default_voice", None)):
            # As samples it is a new voice in each call.
            sound = waveform.load(voice, RATE_HZ).samples
            new = replace(request, voice=(sound, RATE_HZ))
            heard = [_first_audio_seconds(speaker, new, seed) for seed in range(repeats)]
            measured["first_audio_new_voice"] = heard
    if calls is not None:
        measured["network_evaluations"] = [calls.count]
    if peak is not None:
        measured["peak_memory"] = [peak / 1e6]
    if parameters := parameter_counts(speaker):
        measured["parameters"] = [sum(parameters.values()) / 1e6]
    judge = machine()
    return [_figure(key, values, judge, condition or {}) for key, values in measured.items()]


def time_under_load(
    rows: Sequence[Row], condition: Mapping[str, str] | None = None
) -> Figure | None:
    """Compute the real-time factor of a report's own outputs, or None where no time is known.

    Other processes worked at the same time: it says how long the report took, not how fast the
    system is.

    Args:
        rows: of the report.
        condition: labels of the rows that count; by default all do.
    """
    wanted = (condition or {}).items()
    rows = [row for row in rows if wanted <= row.trial.labels.items()]
    timed = [(r.wall_seconds, r.seconds) for r in rows if r.wall_seconds is not None and r.seconds]
    if not timed:
        return None
    found = ratio_interval([wall for wall, _ in timed], [length or 0.0 for _, length in timed])
    quantity = Quantity(
        key="real_time_factor_under_load",
        title="Real-time factor while reporting",
        better="lower",
        judge=machine(),
    )
    return Figure(
        quantity=quantity,
        value=found.value,
        low=found.low,
        high=found.high,
        count=found.count,
        condition=condition or {},
    )


def peak_memory_bytes(factory: Callable[[], Any], request: Request) -> int | None:
    """Measure the peak resident memory of a fresh process that loads a system and speaks.

    Returns:
        bytes, or None where the operating system does not tell.

    Raises:
        ConfigError: the process was ended from outside, for want of memory as a rule.
    """
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(_speak_and_weigh, factory, request).result()
    except BrokenProcessPool as error:
        raise ConfigError(
            "the process that spoke to measure memory was ended from outside; free some memory, "
            "or measure a shorter text"
        ) from error


def parameter_counts(speaker: Any) -> dict[str, int]:
    """Count the parameters of the torch modules that an object holds, shared ones once.

    Args:
        speaker: modules are looked for in its attributes, theirs and theirs again.

    Returns:
        parameters of each module, by its path of attributes.
    """
    from torch import nn

    counts: dict[str, int] = {}
    seen: set[int] = set()

    def visit(thing: Any, path: str, depth: int) -> None:
        if id(thing) in seen:
            return
        seen.add(id(thing))
        if isinstance(thing, nn.Module):
            new = [p for p in thing.parameters() if id(p) not in seen]
            seen.update(map(id, new))
            counts[path or type(thing).__name__] = sum(p.numel() for p in new)
        elif depth < _DEPTH:
            for name, part in getattr(thing, "__dict__", {}).items():
                visit(part, f"{path}.{name}".lstrip("."), depth + 1)

    visit(speaker, "", 0)
    return counts


def _real_time_factor(speaker: Any, request: Request, seed: int) -> float:
    started = time.perf_counter()
    speech = request.speak(speaker, seed)
    return (time.perf_counter() - started) / (len(speech.samples) / speech.rate_hz)


def _first_audio_seconds(speaker: Any, request: Request, seed: int) -> float:
    started = time.perf_counter()
    request.first_part(speaker, seed)
    return time.perf_counter() - started


def _speak_and_weigh(factory: Callable[[], Any], request: Request) -> int | None:
    request.speak(factory(), seed=0)
    status = Path("/proc/self/status")
    if status.exists():
        # Linux's getrusage remembers the process that this one was started by; this does not.
        line = next(x for x in status.read_text("ascii").splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024)


def machine() -> str:
    """Name the processor, the threads and the accelerator that times depend on."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    threads = torch.get_num_threads()
    return f"{_processor()}, {threads} thread{'s' * (threads != 1)}, {device}"


def _processor() -> str:
    """Name the processor: the kind alone, such as x86_64, covers twenty years of them."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    return " ".join((names[0] if names else platform.processor() or platform.machine()).split())


_QUANTITIES = {
    "real_time_factor": ("Real-time factor", ""),
    "first_audio": ("Time to the first sound", "s"),
    "first_audio_new_voice": ("Time to the first sound in a voice not heard before", "s"),
    "network_evaluations": ("Network evaluations", ""),
    "peak_memory": ("Peak memory", "MB"),
    "parameters": ("Parameters", "M"),
}
"""Title and unit of each figure."""


def _figure(
    key: str, values: Sequence[float], machine: str, condition: Mapping[str, str]
) -> Figure:
    title, unit = _QUANTITIES[key]
    timed = key.startswith(("real_time_factor", "first_audio"))
    quantity = Quantity(
        key=key,
        title=title,
        unit=unit,
        better="lower",
        judge=machine if timed else "",
        source=_SOURCE,
    )
    low, high = _median_interval(values) if len(values) > 1 else (None, None)
    return Figure(
        quantity=quantity,
        value=float(statistics.median(values)),
        low=low,
        high=high,
        count=len(values),
        condition=condition,
    )


def _median_interval(values: Sequence[float]) -> tuple[float, float]:
    draws = np.random.default_rng(0).choice(values, size=(1000, len(values)))
    low, high = np.percentile(np.median(draws, axis=1), [2.5, 97.5])
    return float(low), float(high)
