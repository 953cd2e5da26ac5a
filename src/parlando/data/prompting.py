"""Batches of a target utterance and a voice prompt of the same speaker.

Every system that clones a voice trains on such pairs. Two kinds are mixed: a piece cut out of the
utterance itself, with the two remaining pieces joined into the target (NaturalSpeech 2, section
4.1), and pieces of the speaker's other utterances, joined until they last as long as a user's
prompt does. The corpus is held in memory without its waveforms: an hour takes about 8 MB.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parlando.contracts import ConfigError
from parlando.data.store import PreparedCorpus

FALLBACK_LOG_F0 = 5.0
"""Mean log-F0 of a prompt without a voiced frame."""

PARTS = ("symbols", "durations", "codes", "f0", "voiced")


@dataclass(frozen=True, kw_only=True)
class PromptingOptions:
    """How targets and prompts are drawn."""

    batch_frames: int = 2400
    """Target frames of one batch, padding not counted."""
    longest_target_frames: int = 480
    """Targets are cut to this at a symbol boundary."""
    prompt_frames: int = 240
    """Prompt length from other utterances: three seconds."""
    same_utterance: float = 0.3
    """Probability of cutting the prompt out of the utterance itself."""
    shortest_same_frames: int = 80
    """Shortest such prompt: one second."""


class PromptedUtterances:
    """Batches for voice-cloning systems, a pure function of seed, step and rank.

    Args:
        corpus: prepared through the codes stage.
        options: lengths and probabilities.
        seed: of the drawing.
        weights: weight of each source per second of speech; 1 where not named.
        validation_batches: number of fixed batches of the ``valid`` split.

    Raises:
        ConfigError: a stage is missing or no utterance is left.
    """

    def __init__(
        self,
        corpus: PreparedCorpus,
        options: PromptingOptions | None = None,
        *,
        seed: int = 0,
        weights: Mapping[str, float] | None = None,
        validation_batches: int = 4,
    ):
        corpus.require("alignment", "codes")
        self.options = options or PromptingOptions()
        self.seed = seed
        self.validation_batches = validation_batches
        self._items: dict[int, dict[str, Tensor]] = {}
        self._by_speaker: dict[str, list[int]] = {}
        self._speaker: dict[int, str] = {}
        self._train = self._gather(corpus, "train")
        self._valid = self._gather(corpus, "valid")
        if not self._train:
            raise ConfigError("no aligned training utterance in the prepared corpus")
        mass = [
            corpus.rows[index]["n_frames"] * (weights or {}).get(corpus.rows[index]["source"], 1.0)
            for index in self._train
        ]
        self._cumulative = np.cumsum(mass) / np.sum(mass)

    def batch(self, step: int, rank: int = 0, world: int = 1) -> dict[str, Any]:
        """Draw the training batch of a step: see :meth:`collate` for its keys."""
        random = np.random.default_rng([self.seed, 1, step, rank, world])
        return self._draw(random, self._train, self._cumulative)

    def validation(self) -> Iterator[dict[str, Any]]:
        """Yield the fixed validation batches."""
        if not self._valid:
            return
        cumulative = np.arange(1, len(self._valid) + 1) / len(self._valid)
        for number in range(self.validation_batches):
            random = np.random.default_rng([self.seed, 2, number])
            yield self._draw(random, self._valid, cumulative)

    def _gather(self, corpus: PreparedCorpus, split: str) -> list[int]:
        kept = corpus.select(split=split, aligned=True)
        for index in kept:
            speaker = corpus.rows[index]["speaker"]
            self._items[index] = corpus.item(index, PARTS)
            self._speaker[index] = f"{split}/{speaker}"
            self._by_speaker.setdefault(f"{split}/{speaker}", []).append(index)
        return kept

    def _draw(
        self, random: np.random.Generator, indices: list[int], cumulative: np.ndarray
    ) -> dict[str, Any]:
        pairs: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []
        frames = 0
        while frames < self.options.batch_frames:
            place = int(np.searchsorted(cumulative, random.random()))
            index = indices[min(place, len(indices) - 1)]
            target, prompt = self._pair(random, index)
            pairs.append((target, prompt))
            frames += target["codes"].shape[1]
        return collate(pairs)

    def _pair(
        self, random: np.random.Generator, index: int
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        options, item = self.options, self._items[index]
        frames = item["codes"].shape[1]
        others = [other for other in self._by_speaker[self._speaker[index]] if other != index]
        long_enough = frames >= 3 * options.shortest_same_frames
        if not others or (long_enough and random.random() < options.same_utterance):
            target, prompt = split_segment(item, random, options.shortest_same_frames)
        else:
            target, prompt = item, self._other_prompt(random, others)
        return cut_target(target, random, options.longest_target_frames), prompt

    def _other_prompt(self, random: np.random.Generator, others: list[int]) -> dict[str, Tensor]:
        wanted = self.options.prompt_frames
        pieces: list[dict[str, Tensor]] = []
        found = 0
        for other in random.permutation(others):
            item = self._items[int(other)]
            length = item["codes"].shape[1]
            take = min(length, wanted - found)
            start = int(random.integers(0, length - take + 1))
            pieces.append(
                {name: item[name][..., start : start + take] for name in ("codes", "f0", "voiced")}
            )
            found += take
            if found >= wanted:
                break
        return {
            name: torch.cat([piece[name] for piece in pieces], dim=-1)
            for name in ("codes", "f0", "voiced")
        }


def split_segment(
    item: Mapping[str, Tensor], random: np.random.Generator, shortest_frames: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Cut a prompt out of an utterance and join what remains.

    Source: NaturalSpeech 2, section 4.1. Choice: the prompt takes 10 to 50 % of the frames, at
    least ``shortest_frames`` where half the utterance allows it, and both cuts lie between
    symbols, so that durations stay exact.

    Args:
        item: ``symbols, durations`` ``(N,)``, ``codes`` ``(Q, T)``, ``f0, voiced`` ``(T,)``.
        random: draws length and place.
        shortest_frames: see above.

    Returns:
        target (same keys) and prompt (``codes, f0, voiced``).
    """
    ends = item["durations"].cumsum(0)
    frames = int(ends[-1])
    shortest = min(max(round(0.1 * frames), shortest_frames), frames // 2)
    length = int(random.integers(shortest, max(frames // 2, shortest) + 1))
    start = int(random.integers(0, frames - length + 1))
    first = int(torch.searchsorted(ends, start, right=True))
    last = max(int(torch.searchsorted(ends, start + length)), first + 1)
    first = min(first, len(ends) - 2)
    last = min(last, len(ends) - 1) if first == 0 else min(last, len(ends))
    begin = int(ends[first - 1]) if first else 0
    end = int(ends[last - 1])
    target: dict[str, Tensor] = {}
    for name in ("symbols", "durations"):
        target[name] = torch.cat([item[name][:first], item[name][last:]])
    prompt: dict[str, Tensor] = {}
    for name in ("codes", "f0", "voiced"):
        target[name] = torch.cat([item[name][..., :begin], item[name][..., end:]], dim=-1)
        prompt[name] = item[name][..., begin:end]
    if prompt["codes"].shape[1] == 0 or target["codes"].shape[1] == 0:
        return dict(item), {name: item[name] for name in ("codes", "f0", "voiced")}
    return target, prompt


def cut_target(
    item: Mapping[str, Tensor], random: np.random.Generator, longest_frames: int
) -> dict[str, Tensor]:
    """Keep a random run of whole symbols that lasts at most ``longest_frames``."""
    ends = item["durations"].cumsum(0)
    frames = int(ends[-1])
    if frames <= longest_frames:
        return dict(item)
    latest = int(torch.searchsorted(ends, frames - longest_frames))
    first = int(random.integers(0, latest + 1))
    begin = int(ends[first - 1]) if first else 0
    last = max(int(torch.searchsorted(ends, begin + longest_frames, right=True)), first + 1)
    end = int(ends[last - 1])
    kept = {name: item[name][first:last] for name in ("symbols", "durations")}
    return kept | {name: item[name][..., begin:end] for name in ("codes", "f0", "voiced")}


def collate(
    pairs: list[tuple[dict[str, Tensor], dict[str, Tensor]]],
) -> dict[str, Any]:
    """Pad pairs of target and prompt into one batch.

    Returns:
        ``symbols, durations, symbol_mask`` ``(B, N)``; ``codes`` ``(B, Q, T)``; ``f0, voiced,
        frame_mask`` ``(B, T)``; ``prompt_codes`` ``(B, Q, P)``; ``prompt_mask`` ``(B, P)``;
        ``prompt_log_f0`` ``(B,)``, the mean over the prompt's voiced frames.
    """
    targets, prompts = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    batch: dict[str, Any] = {
        name: _pad([target[name] for target in targets])
        for name in ("symbols", "durations", "codes", "f0", "voiced")
    }
    batch["symbol_mask"] = _mask([len(target["symbols"]) for target in targets])
    batch["frame_mask"] = _mask([target["codes"].shape[1] for target in targets])
    batch["prompt_codes"] = _pad([prompt["codes"] for prompt in prompts])
    batch["prompt_mask"] = _mask([prompt["codes"].shape[1] for prompt in prompts])
    batch["prompt_log_f0"] = torch.stack([mean_log_f0(prompt) for prompt in prompts])
    return batch


def mean_log_f0(item: Mapping[str, Tensor]) -> Tensor:
    """Average log-F0 over the voiced frames of ``f0, voiced`` ``(T,)``; scalar, always finite."""
    voiced = item["voiced"] & (item["f0"] > 0.0)
    if not bool(voiced.any()):
        return torch.tensor(FALLBACK_LOG_F0)
    return item["f0"][voiced].log().mean()


def _pad(parts: list[Tensor]) -> Tensor:
    longest = max(part.shape[-1] for part in parts)
    return torch.stack(
        [torch.nn.functional.pad(part, (0, longest - part.shape[-1])) for part in parts]
    )


def _mask(lengths: list[int]) -> Tensor:
    count = torch.tensor(lengths)
    return torch.arange(int(count.max()))[None] < count[:, None]
