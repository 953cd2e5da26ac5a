"""Measure what decoding VALL-E 2 costs, without weights: ``python -m benchmarks.decoding``.

The networks are those of the preset ``small`` with random weights, without guidance, which runs the
first one twice, and over codes of ``rvq-small``: what releases cost is measured by
``benchmarks.speed``. The aligner and the bundled prompt are the released ones. The first level is
timed over a number of frames, with the end symbol hidden: with its cache and without (every step
reads the whole sequence again), in groups of one and of two. The real-time factor is that of groups
of two and has all that speaking a piece does: text to phones, first level, other levels and sound,
times of the symbols, pitch, level and ends; the prompt is encoded once a voice and not in it. The
time to the first audio is that of ``Speaker.stream`` in chunks, in a voice that is new each time:
with text and prompt. Measure on an idle machine. Other parts of the file stay.
"""

import dataclasses
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor

from benchmarks.results import entries, print_summary, read_json
from parlando.audio.pitch import f0
from parlando.audio.seams import prepare_piece
from parlando.codecs.rvq import config as rvq
from parlando.codecs.rvq.model import build_rvq
from parlando.data.store import write_json
from parlando.evaluation.measure import Figure, Quantity
from parlando.generative.autoregression import Sampling, decode, recent_codes
from parlando.registry import example_prompt, load_aligner
from parlando.speaking import Speaker
from parlando.speech import Voice
from parlando.systems.valle2.config import small
from parlando.systems.valle2.model import VALLE2
from parlando.systems.valle2.streaming import finer_levels
from parlando.systems.valle2.synthesis import VALLE2Synthesizer
from parlando.text.normalize import normalize
from parlando.text.phonemes import phonemize
from parlando.text.vocabulary import SYMBOLS, encode, with_boundaries

TEXT = "The harbour lay quiet before sunrise, and the boats knocked softly against each other."
"""Some six seconds of speech: what the 500 frames are of by default."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to measure."""

    out: Path | None = None
    """Results as JSON, such as the ``speed.json`` of a release."""
    frames: int = 500
    """Frames that are drawn."""
    threads: int = 2
    """CPU threads that torch may use."""
    repeats: int = 3
    """Runs of each, of which the median counts."""


class Subject:
    """A synthesizer with random networks and codec, the bundled prompt and a text.

    Args:
        group: codes G of a group.
    """

    def __init__(self, group: int):
        torch.manual_seed(0)
        self.model = VALLE2(dataclasses.replace(small(), group=group), len(SYMBOLS))
        self.synthesizer = VALLE2Synthesizer(
            self.model, build_rvq(rvq.small()), load_aligner(), name="random"
        )
        self.voice = Voice.from_file(example_prompt())
        prompt = self.synthesizer.encode_prompt(torch.from_numpy(self.voice.samples))
        self.prompt = prompt.codes[:, prompt.codes.shape[1] % group :]
        self.target = with_boundaries(self.symbols())
        self.ids = torch.tensor(encode([*prompt.symbols, *self.target]))[None]
        self.mask = torch.ones_like(self.ids, dtype=torch.bool)

    def symbols(self) -> list[str]:
        """Turn the text into phones."""
        return phonemize(normalize(TEXT))

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
        """Choose the other levels of ``(T,)`` codes, and decode them: ``(S,)``."""
        levels, heard = self.prompt.shape
        codes = torch.zeros(1, levels, heard + len(first), dtype=torch.int64)
        codes[0, :, :heard], codes[0, 0, heard:] = self.prompt, first
        frames = torch.ones(1, codes.shape[2], dtype=torch.bool)
        place = torch.arange(codes.shape[2])
        condition = place[None] < heard
        network = self.model.nonautoregressive
        codes = finer_levels(network, self.ids, self.mask, codes, frames, condition, place)
        codec = self.synthesizer.codec
        return codec.decode(codec.embed(codes[:, :, heard:]))[0]

    def finished(self, sound: Tensor) -> np.ndarray:
        """Do what follows the sound ``(S,)``: times of the symbols, pitch, level and ends."""
        synthesizer = self.synthesizer
        synthesizer.phones.align(sound, self.target)
        f0(sound.numpy(), synthesizer.rate_hz, synthesizer.hop_samples)
        return prepare_piece(sound.numpy(), synthesizer.rate_hz)

    def first_part(self) -> Any:
        """Stream up to the first sound, in a voice that was not heard before."""
        speaker = Speaker(self.synthesizer)
        voice = (self.voice.samples, self.voice.rate_hz)
        return next(speaker.stream(TEXT, voice, seed=0, **speaker.in_chunks({})))


def seconds(work: Callable[[], Any], repeats: int) -> float:
    """Time some work: the median of several runs."""
    found = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return statistics.median(found)


@torch.inference_mode()
def measure(options: Options) -> list[Figure]:
    """Measure all; times of a stage are those for ``options.frames`` frames."""
    single, pairs = Subject(1), Subject(2)
    pairs.first_part()  # the first call pays for lazy set-up
    first = pairs.first_level(options.frames)
    sound = pairs.sound(first)
    work: dict[str, tuple[str, Callable[[], Any]]] = {
        "text": ("Text to phones", pairs.symbols),
        "single": ("First level, groups of one", lambda: single.first_level(options.frames)),
        "pairs": ("First level, groups of two", lambda: pairs.first_level(options.frames)),
        "finer": ("Other levels and sound", lambda: pairs.sound(first)),
        "finish": ("Times, pitch, level and ends", lambda: pairs.finished(sound)),
        "first_audio": ("Time to the first sound, in chunks", pairs.first_part),
    }
    took = {key: seconds(each, options.repeats) for key, (_, each) in work.items()}
    uncached = seconds(lambda: single.first_level(options.frames, cached=False), 1)
    spoken = options.frames * pairs.synthesizer.hop_samples / pairs.synthesizer.rate_hz
    whole = sum(took[key] for key in ("text", "pairs", "finer", "finish"))

    def figure(key: str, title: str, value: float, unit: str = "", count: int = 1) -> Figure:
        better = "higher" if key.endswith("speed_up") else "lower"
        quantity = Quantity(key=key, title=title, unit=unit, better=better)
        return Figure(quantity=quantity, value=value, count=count)

    return [
        *(figure(key, title, took[key], "s", options.repeats) for key, (title, _) in work.items()),
        figure("uncached", "First level, groups of one, no cache", uncached, "s"),
        figure("cache_speed_up", "Cache: times as fast", uncached / took["single"]),
        figure("group_speed_up", "Groups of two: times as fast", took["single"] / took["pairs"]),
        figure("real_time_factor", "Real-time factor", whole / spoken),
    ]


def main() -> None:
    """Read the command line, measure, save and print."""
    options = tyro.cli(Options, description=__doc__)
    torch.set_num_threads(options.threads)
    part = {
        "name": "valle2 small, random weights",
        "parlando": version("parlando"),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "threads": options.threads,
        "frames": options.frames,
        "figures": entries("valle2-decoding", measure(options)),
    }
    if options.out is not None:
        write_json(options.out, read_json(options.out, {}) | {"decoding": part})
    print_summary({"decoding": part})


if __name__ == "__main__":
    main()
