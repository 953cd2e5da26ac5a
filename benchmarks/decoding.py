"""Measure what decoding VALL-E 2 costs, without weights: ``python -m benchmarks.decoding``.

The networks are those of the preset ``small`` with random weights, which cost what trained ones do:
a number of frames is drawn with the end symbol hidden. The first level is timed with its cache and
without (every step reads the whole sequence again), in groups of one and of two; the other levels
and the codec's decoder are timed over the same frames, so that the real-time factor follows, as
does the wait for the first chunk of a stream. Measure on an idle machine.
"""

import dataclasses
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor

from parlando.codecs.rvq import config as rvq
from parlando.codecs.rvq.model import build_rvq
from parlando.generative.autoregression import Sampling, decode, recent_codes
from parlando.systems.valle2.config import small
from parlando.systems.valle2.model import VALLE2
from parlando.systems.valle2.streaming import FIRST_CHUNK_FRAMES, LOOKAHEAD_FRAMES, finer_levels
from parlando.text.vocabulary import SYMBOLS

FRAMES_A_SECOND = 80
TARGETS = {
    "cache_speed_up": 5.0,
    "group_speed_up": 1.6,
    "real_time_factor": 0.8,
    "first_audio_seconds": 0.5,
}
"""Of ``small``: the first two are lower bounds, the others upper ones."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to measure."""

    out: Path | None = None
    """Results as JSON."""
    frames: int = 500
    """Frames that are drawn."""
    prompt_frames: int = 240
    """Frames of the prompt."""
    symbols: int = 110
    """Symbols of prompt and text."""
    threads: int = 2
    """CPU threads that torch may use."""
    repeats: int = 3
    """Runs of each, of which the median counts."""


class Subject:
    """Networks, codec, a text and a prompt of random numbers.

    Args:
        options: sizes.
        group: codes G of a group.
    """

    def __init__(self, options: Options, group: int):
        torch.manual_seed(0)
        self.frames = options.frames
        config = dataclasses.replace(small(), group=group)
        self.model = VALLE2(config, len(SYMBOLS)).eval()
        self.codec = build_rvq(rvq.small()).eval()
        self.ids = torch.randint(1, len(SYMBOLS), (1, options.symbols))
        self.mask = torch.ones_like(self.ids, dtype=torch.bool)
        heard = options.prompt_frames // group * group
        self.prompt = torch.randint(config.codebook_size, (config.levels, heard))

    def first_level(self, frames: int, cached: bool = True) -> Tensor:
        """Draw first-level codes ``(frames,)``."""
        network = self.model.autoregressive
        sequence = self.prompt[0]
        logits, going = network.start(self.ids, self.mask, [sequence])

        def advance(codes: Tensor) -> Tensor:
            nonlocal sequence
            if cached:
                return network.advance(codes, going)
            sequence = torch.cat([sequence, codes[0]])
            return network.start(self.ids, self.mask, [sequence])[0]

        sampling = Sampling()
        length = torch.tensor([frames])
        steps = decode(
            advance,
            logits,
            recent_codes([self.prompt[0]], sampling.repetition_window),
            [torch.Generator().manual_seed(0)],
            end=network.end,
            shortest=length,
            longest=length,
            sampling=sampling,
        )
        return torch.cat([step.codes[0][step.real[0]] for step in steps])

    def sound(self, first: Tensor) -> Tensor:
        """Choose the other levels of ``(T,)`` codes, and decode them."""
        levels, heard = self.prompt.shape
        codes = torch.zeros(1, levels, heard + len(first), dtype=torch.int64)
        codes[0, :, :heard], codes[0, 0, heard:] = self.prompt, first
        frames = torch.ones(1, codes.shape[2], dtype=torch.bool)
        place = torch.arange(codes.shape[2])
        condition = place[None] < heard
        network = self.model.nonautoregressive
        codes = finer_levels(network, self.ids, self.mask, codes, frames, condition, place)
        return self.codec.decode(self.codec.embed(codes[:, :, heard:]))

    def first_chunk(self) -> Tensor:
        """Do what a stream does before its first sound."""
        return self.sound(self.first_level(FIRST_CHUNK_FRAMES + LOOKAHEAD_FRAMES))


def seconds(work: Callable[[], Any], repeats: int) -> float:
    """Time some work: the median of several runs."""
    found = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return statistics.median(found)


@torch.inference_mode()
def measure(options: Options) -> dict[str, float]:
    """Measure all; times are in seconds, for ``options.frames`` frames."""
    single, pairs = Subject(options, 1), Subject(options, 2)
    pairs.first_chunk()  # the first call pays for lazy set-up
    figures = {
        "single_seconds": seconds(lambda: single.first_level(options.frames), options.repeats),
        "pairs_seconds": seconds(lambda: pairs.first_level(options.frames), options.repeats),
        "uncached_seconds": seconds(lambda: single.first_level(options.frames, False), 1),
    }
    first = pairs.first_level(options.frames)
    figures["finer_seconds"] = seconds(lambda: pairs.sound(first), options.repeats)
    figures["first_audio_seconds"] = seconds(pairs.first_chunk, options.repeats)
    figures["cache_speed_up"] = figures["uncached_seconds"] / figures["single_seconds"]
    figures["group_speed_up"] = figures["single_seconds"] / figures["pairs_seconds"]
    spoken = options.frames / FRAMES_A_SECOND
    figures["real_time_factor"] = (figures["pairs_seconds"] + figures["finer_seconds"]) / spoken
    return figures


def verdict(figures: dict[str, float]) -> dict[str, bool]:
    """Compare the figures with the targets."""
    return {
        name: figures[name] >= bound if name.endswith("speed_up") else figures[name] <= bound
        for name, bound in TARGETS.items()
    }


def main() -> None:
    """Read the command line, measure, save and print."""
    options = tyro.cli(Options, description=__doc__)
    torch.set_num_threads(options.threads)
    figures = measure(options)
    report = {
        "torch": torch.__version__,
        "machine": platform.machine(),
        "threads": options.threads,
        "frames": options.frames,
        **{name: round(value, 4) for name, value in figures.items()},
        "targets": TARGETS,
        "verdict": verdict(figures),
    }
    if options.out is not None:
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
