"""The stages of preparation that need a model: alignment and codec codes.

The models are handed in as callables; both stages are resumable by shard, and start anew when they
are given another model.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from parlando.contracts import CheckpointError, ParlandoError
from parlando.data import store
from parlando.data.prepare import finish_stage, progress_bar
from parlando.text.vocabulary import decode, is_pause

Align = Callable[[Tensor, Sequence[str]], tuple[Sequence[int], float]]
"""Waveform (S,) and N symbols to N durations in frames, which sum to S / hop, and a score."""

Encode = Callable[[Tensor], Tensor]
"""Waveforms (B, S) to codes (B, Q, S / hop)."""


@dataclass(frozen=True, kw_only=True)
class AlignmentLimits:
    """What makes an alignment implausible, so that training leaves the utterance out."""

    longest_phone_seconds: float = 0.6
    """A longer phone has swallowed a pause or words that the text lacks."""
    one_frame_share: float = 0.35
    """A larger share of one-frame phones means that the text is longer than the speech."""
    slowest_phones: float = 4.0
    """Fewer phones per second of phone time."""
    quickest_phones: float = 30.0
    """More phones per second of phone time."""
    lowest_score: float | None = None
    """Scores below it; the scale is the aligner's, so there is no limit by default."""


def reason_to_reject(
    symbols: Sequence[str],
    durations: Sequence[int],
    score: float,
    frame_seconds: float,
    limits: AlignmentLimits,
) -> str | None:
    """Say what is implausible about an alignment; None if nothing is.

    Args:
        symbols: ``N`` symbols.
        durations: ``N`` durations in frames.
        score: the aligner's own.
        frame_seconds: length of a frame.
        limits: what is plausible.
    """
    phones = [
        frames for symbol, frames in zip(symbols, durations, strict=True) if not is_pause(symbol)
    ]
    if not phones or min(phones) < 1:
        return "phone without a frame"
    if max(phones) * frame_seconds > limits.longest_phone_seconds:
        return "phone too long"
    if phones.count(1) / len(phones) > limits.one_frame_share:
        return "too many one-frame phones"
    pace = len(phones) / (sum(phones) * frame_seconds)
    if not limits.slowest_phones <= pace <= limits.quickest_phones:
        return "implausible rate"
    if not np.isfinite(score) or (limits.lowest_score is not None and score < limits.lowest_score):
        return "low score"
    return None


def prepare_alignment(
    folder: str | Path, align: Align, fingerprint: str, limits: AlignmentLimits | None = None
) -> None:
    """Run the align stage: durations of every symbol, and rejection of what is implausible.

    Args:
        folder: a corpus with the audio stage.
        align: the aligner; an utterance that it refuses with a ParlandoError is rejected.
        fingerprint: name of the aligner's weights; another one than last time starts anew.
        limits: what is plausible.

    Raises:
        ConfigError: there is no prepared audio.
        CheckpointError: the aligner's durations do not sum to the frames of an utterance.
    """
    limits = limits or AlignmentLimits()
    corpus = store.PreparedCorpus(folder)
    frame_seconds = corpus.hop_samples / corpus.rate_hz
    identity = json.dumps([fingerprint, asdict(limits)])
    for shard, indices in _missing_shards(corpus, "alignment", identity):
        durations: list[np.ndarray] = [np.zeros(0, np.int16)]
        scores = np.full(len(indices), np.nan, np.float32)
        rejected: dict[str, str] = {}
        for position, index in enumerate(indices):
            row = corpus.rows[index]
            frames = np.zeros(row["n_symbols"], np.int16)
            if row["n_symbols"]:
                item = corpus.item(index, ("waveform", "symbols"))
                symbols = decode(item["symbols"].tolist())
                try:
                    found, scores[position] = align(item["waveform"], symbols)
                except ParlandoError as error:
                    rejected[row["id"]] = f"not alignable: {error}"
                else:
                    frames[:] = _checked(found, row)
                    reason = reason_to_reject(
                        symbols, found, float(scores[position]), frame_seconds, limits
                    )
                    if reason is not None:
                        rejected[row["id"]] = reason
            durations.append(frames)
        arrays = {"durations": np.concatenate(durations), "score": scores}
        store.write_shard(corpus.folder, shard, "alignment", arrays, {"rejected": rejected})
    finish_stage(corpus.folder, "alignment", corpus.info["shards"])


def _checked(durations: Sequence[int], row: store.Row) -> list[int]:
    frames = [int(count) for count in durations]
    if len(frames) != row["n_symbols"] or sum(frames) != row["n_frames"] or min(frames) < 0:
        raise CheckpointError(
            f"the aligner gave {len(frames)} durations that sum to {sum(frames)} for {row['id']}; "
            f"expected {row['n_symbols']} that sum to {row['n_frames']}: it is of another frame "
            "rate or vocabulary"
        )
    return frames


def prepare_codes(folder: str | Path, encode: Encode, fingerprint: str) -> None:
    """Run the codes stage: the codec's codes of every utterance, each encoded by itself.

    Args:
        folder: a corpus with the audio stage.
        encode: the codec's encoder. Utterances go in one at a time, since padding would change
            the codes near their ends.
        fingerprint: name of the codec's weights; another one than last time starts anew.

    Raises:
        ConfigError: there is no prepared audio.
        CheckpointError: the codec gives another number of frames than the corpus has.
    """
    corpus = store.PreparedCorpus(folder)
    for shard, indices in _missing_shards(corpus, "codes", fingerprint):
        codes = []
        for index in indices:
            row = corpus.rows[index]
            with torch.inference_mode():
                found = encode(corpus.item(index, ("waveform",))["waveform"][None])[0]
            if found.shape[-1] != row["n_frames"]:
                raise CheckpointError(
                    f"the codec gave {found.shape[-1]} frames for {row['id']}, expected "
                    f"{row['n_frames']}: it is of another frame rate"
                )
            codes.append(found.cpu().numpy().astype(np.int16))
        array = np.concatenate(codes, axis=1) if codes else np.zeros((0, 0), np.int16)
        store.write_shard(corpus.folder, shard, "codes", {"codes": array}, {})
    finish_stage(corpus.folder, "codes", corpus.info["shards"])


def _missing_shards(
    corpus: store.PreparedCorpus, stage: str, fingerprint: str
) -> Iterator[tuple[int, list[int]]]:
    """Yield the shards that lack a stage, with the indices of their rows; drop those of others."""
    corpus.require("audio")
    info = store.read_info(corpus.folder)
    shards = range(info["shards"])
    if info["fingerprints"].get(stage) != fingerprint:
        # First unsay the stage, then delete: a kill in between leaves a corpus that is consistent.
        info["stages"] = [name for name in info["stages"] if name != stage]
        store.write_json(corpus.folder / "info.json", info)
        for shard in shards:
            store.shard_path(corpus.folder, shard, stage).unlink(missing_ok=True)
        info["fingerprints"][stage] = fingerprint
        store.write_json(corpus.folder / "info.json", info)
    members: dict[int, list[int]] = {shard: [] for shard in shards}
    for index, row in enumerate(corpus.rows):
        members[row["shard"]].append(index)
    missing = [shard for shard in shards if store.read_notes(corpus.folder, shard, stage) is None]
    with progress_bar() as bar:
        task = bar.add_task(stage, total=len(shards), completed=len(shards) - len(missing))
        for shard in missing:
            yield shard, members[shard]
            bar.advance(task)
