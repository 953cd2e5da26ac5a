"""Which utterances go into which batch, as pure functions of seed and number; padding."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from parlando.contracts import ConfigError
from parlando.data.store import Row

WINDOW_SHARDS = 64
"""Shards that are shuffled among each other; reading touches so many files at a time. With few of
them the order of a corpus shows: of 55 shards, sorted by their sources, 16 at a time let speakers
come and go, and readers of speakers forget them."""


def source_weights_of(
    rows: Sequence[Row], source_weights: Mapping[str, float], voice_weight: float = 1.0
) -> np.ndarray:
    """Give every row its weight: how often it is drawn, relative to once in an epoch.

    Args:
        rows: ``K`` rows of a manifest.
        source_weights: weight of sources; 1 for those that are not named.
        voice_weight: further weight of new voices made of recorded ones.

    Returns:
        ``(K,)`` float64.

    Raises:
        ConfigError: a source does not occur, a weight is negative, or all are zero.
    """
    known = {row["source"] for row in rows}
    if unknown := set(source_weights) - known:
        raise ConfigError(
            f"source_weights names {', '.join(sorted(unknown))}; the corpus has "
            f"{', '.join(sorted(known)) or 'no source that qualifies'}"
        )
    weights = np.array(
        [
            source_weights.get(row["source"], 1.0) * (voice_weight if row.get("voice") else 1.0)
            for row in rows
        ],
        dtype=np.float64,
    )
    if (weights < 0.0).any():
        raise ConfigError("a source weight is negative; expected 0 or more")
    if not weights.sum() > 0.0:
        raise ConfigError("no utterance qualifies for training; check corpus, split and weights")
    return weights


def epoch_order(
    weights: np.ndarray, shards: np.ndarray, seed: int, epoch: int, window: int = WINDOW_SHARDS
) -> np.ndarray:
    """Draw the order of one epoch, a function of seed and epoch alone.

    Systematic sampling takes each entry ``floor(w)`` or ``ceil(w)`` times, ``w`` on average, so
    that every epoch has the same length. Shards come in random order, in windows within which
    everything is shuffled: large corpora are read nearly sequentially.

    Args:
        weights: ``(K,)`` expected occurrences.
        shards: ``(K,)`` the shard of each entry.
        seed: of the run.
        epoch: number of the epoch.
        window: number of shards shuffled among each other.

    Returns:
        ``(round(sum(weights)),)`` entries, at least one.
    """
    rng = np.random.default_rng([seed, epoch])
    length = max(1, round(float(weights.sum())))
    bounds = np.cumsum(weights) * (length / weights.sum())
    ticks = np.arange(length) + rng.uniform()
    entries = np.minimum(np.searchsorted(bounds, ticks, side="right"), len(weights) - 1)
    names, places = np.unique(shards[entries], return_inverse=True)
    windows = rng.permutation(len(names))[places] // window
    return np.asarray(entries[np.lexsort((rng.uniform(size=length), windows))])


def bucket(
    order: np.ndarray, lengths: np.ndarray, budget: int, rng: np.random.Generator, pool: int = 512
) -> list[np.ndarray]:
    """Group entries of similar length into batches of at most ``budget`` padded frames.

    Args:
        order: entries as they come.
        lengths: frames of every entry there is.
        budget: largest ``size * longest`` of a batch.
        rng: shuffles the batches of a pool.
        pool: number of consecutive entries that are sorted by length.

    Returns:
        batches of entries.
    """
    batches: list[np.ndarray] = []
    for start in range(0, len(order), pool):
        part = order[start : start + pool]
        part = part[np.argsort(lengths[part], kind="stable")]
        found: list[list[int]] = [[]]
        for entry in part:
            # Ascending lengths: the newcomer is the longest of its batch.
            if found[-1] and (len(found[-1]) + 1) * lengths[entry] > budget:
                found.append([])
            found[-1].append(int(entry))
        batches.extend(np.array(found[index]) for index in rng.permutation(len(found)))
    return batches


class BatchPlan:
    """Batches of every epoch, counted through: which entries batch ``g`` of a run holds.

    Args:
        weights: ``(K,)`` expected occurrences of each entry in an epoch.
        shards: ``(K,)`` shard of each entry.
        lengths: ``(K,)`` frames of each entry.
        budget: padded frames of a batch.
        seed: of the run.
    """

    def __init__(
        self, weights: np.ndarray, shards: np.ndarray, lengths: np.ndarray, budget: int, seed: int
    ) -> None:
        longest = int(lengths.max(initial=0))
        if longest > budget:
            raise ConfigError(
                f"an utterance has {longest} frames, a batch only {budget}; raise batch_frames or "
                "lower longest_frames"
            )
        self._weights, self._shards, self._lengths = weights, shards, lengths
        self._budget, self._seed = budget, seed
        self._ends: list[int] = []
        self._plans: dict[int, list[np.ndarray]] = {}

    def entries(self, number: int) -> np.ndarray:
        """Return the entries of the batch with this number, counted from the start of the run."""
        while not self._ends or self._ends[-1] <= number:
            epoch = len(self._ends)
            self._ends.append((self._ends[-1] if epoch else 0) + len(self._epoch(epoch)))
        epoch = int(np.searchsorted(self._ends, number, side="right"))
        first = self._ends[epoch - 1] if epoch else 0
        return self._epoch(epoch)[number - first]

    def _epoch(self, epoch: int) -> list[np.ndarray]:
        if epoch not in self._plans:
            order = epoch_order(self._weights, self._shards, self._seed, epoch)
            rng = np.random.default_rng([self._seed, epoch, 1])
            # Ranks near an epoch's end read from two epochs: keep the one before.
            self._plans = {key: self._plans[key] for key in self._plans if key == epoch - 1}
            self._plans[epoch] = bucket(order, self._lengths, self._budget, rng)
        return self._plans[epoch]


def pad(tensors: Sequence[Tensor], length: int | None = None, grid: int = 1) -> Tensor:
    """Stack tensors that differ in their last dimension, with zeros at the end.

    Args:
        tensors: ``(..., N)`` each.
        length: size of the last dimension; none: that of the longest, rounded up to ``grid``.
        grid: see ``length``.
    """
    if length is None:
        length = on_grid(max(tensor.shape[-1] for tensor in tensors), grid)
    result = tensors[0].new_zeros((len(tensors), *tensors[0].shape[:-1], length))
    for index, tensor in enumerate(tensors):
        result[index, ..., : tensor.shape[-1]] = tensor
    return result


def mask_of(lengths: Sequence[int], grid: int = 1) -> Tensor:
    """Build the mask ``(B, max)``, True where a position is real; max is rounded up to ``grid``."""
    return torch.arange(on_grid(max(lengths), grid))[None] < torch.tensor(lengths)[:, None]


def on_grid(length: int, grid: int) -> int:
    """Round a length up to a multiple."""
    return -(-length // grid) * grid
