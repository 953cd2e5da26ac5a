"""Batch sources: crops of audio for codecs, whole utterances for aligners and systems.

Both are stateless: the batch of a step is a function of seed, step and rank. With ``world``
processes, step ``k`` takes batches ``k * world`` to ``k * world + world - 1`` of one common order,
so that ranks never share an utterance of an epoch.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parlando.contracts import ConfigError
from parlando.data.augment import disguise
from parlando.data.batching import (
    BatchPlan,
    bucket,
    epoch_order,
    mask_of,
    on_grid,
    pad,
    source_weights_of,
)
from parlando.data.prompts import PromptOptions, Prompts
from parlando.data.store import PreparedCorpus
from parlando.text.vocabulary import PHONE_IDS

_SILENT_CROP_RMS = 10.0 ** (-50.0 / 20.0)
_CROP_ATTEMPTS = 4
# An utterance without intonation would have noise for pitch, scaled up to a deviation of 1.
_LEAST_PITCH_DEVIATION = 0.03


class AudioCrops:
    """Random crops of audio, for training codecs.

    An utterance comes as often as it holds crops, times its weight.

    Args:
        corpus: a prepared corpus.
        batch_size: crops of one batch of one process, ``B``.
        crop_frames: length of a crop.
        seed: of the run.
        split: what to train on.
        source_weights: how often a source comes, relative to its size; 1 where not named.
        voice_weight: the same for new voices made of recorded ones.
        gain_db: range of the random gain.
        flip_polarity: whether to negate half of the crops.
        labelled: whether to tell phones, pitch and speaker as well; needs the alignment.
        disguise_share: share of crops that are given in another voice beside their own, frame for
            frame, by :func:`parlando.data.augment.disguise`.
        validation_batches: how many batches of the split ``valid`` to measure on.
    """

    def __init__(
        self,
        corpus: PreparedCorpus,
        *,
        batch_size: int,
        crop_frames: int,
        seed: int = 0,
        split: str = "train",
        source_weights: Mapping[str, float] | None = None,
        voice_weight: float = 1.0,
        gain_db: tuple[float, float] = (-10.0, 6.0),
        flip_polarity: bool = True,
        labelled: bool = False,
        disguise_share: float = 0.0,
        validation_batches: int = 8,
    ) -> None:
        if batch_size < 1 or crop_frames < 1:
            raise ConfigError(
                f"batch_size is {batch_size} and crop_frames {crop_frames}, expected at least 1"
            )
        corpus.require("audio", *(("alignment",) if labelled else ()))
        self.corpus = corpus
        self.speakers = _speakers(corpus)
        """Every speaker of the corpus; a labelled batch gives indices into it."""
        self._numbers = {name: number for number, name in enumerate(self.speakers)}
        self._labelled, self._disguise_share = labelled, disguise_share
        self._batch_size, self._crop_frames, self._seed = batch_size, crop_frames, seed
        self._gain_db, self._flip = gain_db, flip_polarity
        self._indices = np.array(corpus.select(split=split), dtype=np.int64)
        rows = [corpus.rows[index] for index in self._indices]
        crops = np.array([max(1.0, row["n_frames"] / crop_frames) for row in rows])
        self._weights = source_weights_of(rows, source_weights or {}, voice_weight) * crops
        self._shards = np.array([row["shard"] for row in rows])
        self._length = max(1, round(float(self._weights.sum())))
        held_out = [i for i in corpus.select(split="valid") if not corpus.rows[i].get("voice")]
        # Spread over the whole list, so that every source is measured.
        count = min(len(held_out), validation_batches * batch_size)
        self._held_out = [held_out[i * len(held_out) // count] for i in range(count)]
        self._order = functools.lru_cache(maxsize=2)(self._epoch)

    def batch(self, step: int, rank: int, world: int) -> dict[str, Any]:
        """Return the batch of a step.

        Returns:
            ``waveform`` (B, S) float32; where labelled also ``phones`` (B, T) int64, indices of
            ``PHONE_CLASSES`` by forced alignment, 0 where not known; ``pitch`` (B, T) float32,
            log-F0 less its mean over the utterance, in its deviations, 0 where unvoiced; ``voiced``
            (B, T) bool; ``frame_mask`` (B, T) bool, False in the padding of short utterances;
            and ``speaker`` (B,) int64; with ``disguise_share`` also ``source`` (B, S) float32, the
            waveform in another voice, and ``disguised`` (B,) bool, where it is not its own.
        """
        first = (step * world + rank) * self._batch_size
        return _stacked([self._crop(place) for place in range(first, first + self._batch_size)])

    def validation(self) -> Iterator[dict[str, Any]]:
        """Yield the middles of utterances of the split ``valid``, without augmentation."""
        for start in range(0, len(self._held_out), self._batch_size):
            crops = []
            for index in self._held_out[start : start + self._batch_size]:
                spare = max(0, self.corpus.rows[index]["n_frames"] - self._crop_frames)
                crops.append(
                    {"waveform": self._read(index, spare // 2)} | self._labels(index, spare // 2)
                )
            yield _stacked(crops)

    def _epoch(self, epoch: int) -> np.ndarray:
        return epoch_order(self._weights, self._shards, self._seed, epoch)

    def _crop(self, position: int) -> dict[str, Tensor]:
        epoch, place = divmod(position, self._length)
        index = int(self._indices[self._order(epoch)[place]])
        rng = np.random.default_rng([self._seed, epoch, place, 2])
        spare = max(0, self.corpus.rows[index]["n_frames"] - self._crop_frames)
        for _ in range(_CROP_ATTEMPTS):
            start = int(rng.integers(spare + 1))
            crop = self._read(index, start)
            if float(crop.square().mean().sqrt()) > _SILENT_CROP_RMS:
                break
        gain = 10.0 ** (float(rng.uniform(*self._gain_db)) / 20.0)
        gain = min(gain, 1.0 / max(float(crop.abs().max()), 1e-5))
        crop = crop * (-gain if self._flip and rng.integers(2) else gain)
        return {"waveform": crop} | self._labels(index, start) | self._disguise(crop, rng)

    def _disguise(self, crop: Tensor, rng: np.random.Generator) -> dict[str, Tensor]:
        """Say a crop in another voice, or as it is."""
        if not self._disguise_share:
            return {}
        disguised = float(rng.uniform()) < self._disguise_share
        source = crop
        if disguised:
            source = torch.from_numpy(disguise(crop.numpy(), self.corpus.rate_hz, rng))
        return {"source": source, "disguised": torch.tensor(disguised)}

    def _read(self, index: int, start: int) -> Tensor:
        count = min(self._crop_frames, self.corpus.rows[index]["n_frames"] - start)
        crop = self.corpus.crop(index, start, count)
        return pad([crop], self._crop_frames * self.corpus.hop_samples)[0]

    def _labels(self, index: int, start: int) -> dict[str, Tensor]:
        """Tell what is said, how high and by whom in the crop at a frame of an utterance."""
        if not self._labelled:
            return {}
        row = self.corpus.rows[index]
        item = self.corpus.item(index, ("f0", "voiced", "symbols", "durations"))
        phones = torch.zeros(row["n_frames"], dtype=torch.int64)
        if row["n_symbols"] and row.get("rejected") is None:
            phones = torch.tensor(PHONE_IDS)[item["symbols"]].repeat_interleave(item["durations"])
        frames = {
            "phones": phones,
            "pitch": relative_pitch(item["f0"], item["voiced"]),
            "voiced": item["voiced"],
            "frame_mask": torch.ones(row["n_frames"], dtype=torch.bool),
        }
        stop = start + self._crop_frames
        labels = {
            name: pad([values[start:stop]], self._crop_frames)[0] for name, values in frames.items()
        }
        return labels | {"speaker": torch.tensor(self._numbers[row["speaker"]])}


class Utterances:
    """Whole utterances in batches of similar length, for aligners and text-to-speech systems.

    Args:
        corpus: a prepared corpus.
        batch_frames: padded frames of one batch of one process.
        parts: what to read, of ``waveform``, ``symbols``, ``durations``, ``codes``, ``f0`` and
            ``voiced``. With ``symbols`` only transcribed utterances are taken, with ``durations``
            only plausibly aligned ones.
        seed: of the run.
        split: what to train on.
        source_weights: how often a source comes, relative to its size; 1 where not named.
        voice_weight: the same for new voices made of recorded ones.
        shortest_frames: shorter utterances are left out.
        longest_frames: longer ones are; by default what fills a batch alone is the limit.
        prompts: where given, add a prompt for each utterance; needs ``codes`` and ``f0``. A
            speaker's only utterance is left out if it is too short to give a part of itself.
        validation_batches: how many batches of the split ``valid`` to measure on.
        grid: what batches are padded to multiples of, in frames and, halved, in symbols. A GPU
            chooses its convolutions anew for every shape, which takes longer than the step.
    """

    def __init__(
        self,
        corpus: PreparedCorpus,
        *,
        batch_frames: int,
        parts: Sequence[str] = ("symbols", "durations", "codes", "f0", "voiced"),
        seed: int = 0,
        split: str = "train",
        source_weights: Mapping[str, float] | None = None,
        voice_weight: float = 1.0,
        shortest_frames: int = 1,
        longest_frames: int | None = None,
        prompts: PromptOptions | None = None,
        validation_batches: int = 8,
        grid: int = 1,
    ) -> None:
        if not set(parts) & {"waveform", "codes", "f0", "voiced"}:
            raise ConfigError(f"parts {tuple(parts)} hold nothing in frames; add f0 or codes")
        if prompts is not None and not {"codes", "f0"} <= set(parts):
            raise ConfigError("prompts need 'codes' and 'f0' among the parts; add them")
        if prompts is not None and prompts.symbols and not {"symbols", "durations"} <= set(parts):
            raise ConfigError("prompts with symbols need 'symbols' and 'durations' among the parts")
        self.corpus = corpus
        self._parts, self._seed, self._grid = tuple(parts), seed, grid
        self._prompts = None if prompts is None else Prompts(corpus, prompts)
        self._range = (shortest_frames, longest_frames or batch_frames)
        self.speakers = _speakers(corpus)
        """Every speaker of the corpus; a batch gives indices into it."""
        self._numbers = {name: number for number, name in enumerate(self.speakers)}
        self._indices = self._qualified(split)
        rows = [corpus.rows[index] for index in self._indices]
        weights = source_weights_of(rows, source_weights or {}, voice_weight)
        shards = np.array([row["shard"] for row in rows])
        lengths = np.array([on_grid(row["n_frames"], grid) for row in rows])
        self._plan = BatchPlan(weights, shards, lengths, batch_frames, seed)
        self._validation = self._fixed_batches(batch_frames, validation_batches)

    def batch(self, step: int, rank: int, world: int) -> dict[str, Any]:
        """Return the batch of a step.

        Returns:
            the parts that were asked for, padded with zeros: ``waveform`` (B, S) float32,
            ``symbols`` (B, N) int64, ``durations`` (B, N) int64, ``codes`` (B, Q, T) int64,
            ``f0`` (B, T) float32, ``voiced`` (B, T) bool; always ``frame_mask`` (B, T) bool,
            ``symbol_mask`` (B, N) bool with symbols, ``speaker`` (B,) int64 and ``id`` (list);
            with prompts ``prompt_codes`` (B, Q, P) int64, ``prompt_mask`` (B, P) bool and
            ``prompt_log_f0`` (B,) float32, and where their symbols are asked for
            ``prompt_symbols`` and ``prompt_durations`` (B, M) int64 and ``prompt_symbol_mask``
            (B, M) bool.
        """
        number = step * world + rank
        indices = self._indices[self._plan.entries(number)]
        return self._collate(indices, np.random.default_rng([self._seed, number, 3]))

    def validation(self) -> Iterator[dict[str, Any]]:
        """Yield the fixed batches of the split ``valid``, and with them fixed prompts."""
        for number, indices in enumerate(self._validation):
            yield self._collate(indices, np.random.default_rng([number, 4]))

    def _qualified(self, split: str) -> np.ndarray:
        found = self.corpus.select(
            split=split, text="symbols" in self._parts, aligned="durations" in self._parts
        )
        low, high = self._range
        kept = [i for i in found if low <= self.corpus.rows[i]["n_frames"] <= high]
        if self._prompts is not None:
            with_durations = "durations" in self._parts
            kept = [i for i in kept if self._prompts.possible(i, with_durations)]
        return np.array(kept, dtype=np.int64)

    def _fixed_batches(self, budget: int, limit: int) -> list[np.ndarray]:
        indices = self._qualified("valid")
        if not len(indices):
            return []
        rng = np.random.default_rng(0)
        lengths = np.array([row["n_frames"] for row in self.corpus.rows])
        return bucket(rng.permutation(indices), lengths, budget, rng, pool=len(indices))[:limit]

    def _collate(self, indices: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
        rows = [self.corpus.rows[index] for index in indices]
        items = [self.corpus.item(int(index), self._parts) for index in indices]
        batch: dict[str, Any] = {}
        if self._prompts is not None:
            pairs = [
                self._prompts.take(int(index), item, rng)
                for index, item in zip(indices, items, strict=True)
            ]
            items = [item for item, _ in pairs]
            codes = [prompt["codes"] for _, prompt in pairs]
            batch["prompt_codes"] = pad(codes, grid=self._grid)
            batch["prompt_mask"] = mask_of([prompt.shape[-1] for prompt in codes], self._grid)
            batch["prompt_log_f0"] = torch.stack([prompt["log_f0"] for _, prompt in pairs])
            if "symbols" in pairs[0][1]:
                symbols = [prompt["symbols"] for _, prompt in pairs]
                grid = self._grid_of("symbols")
                batch["prompt_symbols"] = pad(symbols, grid=grid)
                batch["prompt_symbol_mask"] = mask_of([len(each) for each in symbols], grid)
                durations = [prompt["durations"] for _, prompt in pairs]
                batch["prompt_durations"] = pad(durations, grid=grid)
        batch |= {
            name: pad([item[name] for item in items], grid=self._grid_of(name))
            for name in self._parts
        }
        batch["frame_mask"] = mask_of([self._frames(item) for item in items], self._grid)
        if "symbols" in self._parts:
            lengths = [len(item["symbols"]) for item in items]
            batch["symbol_mask"] = mask_of(lengths, self._grid_of("symbols"))
        batch["speaker"] = torch.tensor([self._numbers[row["speaker"]] for row in rows])
        batch["id"] = [row["id"] for row in rows]
        return batch

    def _grid_of(self, part: str) -> int:
        if part in ("symbols", "durations"):
            return max(1, self._grid // 2)
        return self._grid * (self.corpus.hop_samples if part == "waveform" else 1)

    def _frames(self, item: Mapping[str, Tensor]) -> int:
        for name in ("codes", "f0", "voiced"):
            if name in item:
                return item[name].shape[-1]
        return item["waveform"].shape[-1] // self.corpus.hop_samples


def _speakers(corpus: PreparedCorpus) -> list[str]:
    return sorted({row["speaker"] for row in corpus.rows})


def _stacked(items: Sequence[Mapping[str, Tensor]]) -> dict[str, Any]:
    return {name: torch.stack([item[name] for item in items]) for name in items[0]}


def relative_pitch(f0: Tensor, voiced: Tensor) -> Tensor:
    """Return log-F0 ``(T,)`` less its mean over voiced frames, in its deviations; 0 elsewhere."""
    if not bool(voiced.any()):
        return torch.zeros_like(f0)
    log_f0 = f0.clamp_min(1.0).log()
    spoken = log_f0[voiced]
    deviation = spoken.std(correction=0).clamp_min(_LEAST_PITCH_DEVIATION)
    return ((log_f0 - spoken.mean()) / deviation) * voiced
