"""The codec against the originals, level by level."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.judging import Row, figures, progress
from benchmarks.material import RATE_HZ, Clip, whole_frames
from parlando.contracts import AudioError
from parlando.evaluation.intervals import mean_interval
from parlando.evaluation.reconstruction import (
    codebook_perplexity,
    short_time_intelligibility,
    wideband_pesq,
)
from parlando.evaluation.similarity import cosine
from parlando.evaluation.speaker_encoders import SpeakerEncoder

TARGETS = {"pesq_wb": 2.6, "stoi": 0.93, "similarity": 0.93}
HIGHEST_BITS_PER_SECOND = 9600.0


def measure_codec(
    codec: Any, clips: Sequence[Clip], voices: SpeakerEncoder, levels: Sequence[int] | None = None
) -> tuple[dict[str, Any], list[Row]]:
    """Compare clips with what a codec makes of them, at several numbers of levels.

    Args:
        codec: ``encode``, ``embed``, ``decode``, ``rate_hz``, ``hop_samples``, ``bits_per_second``.
        clips: recordings at 16 kHz.
        voices: speaker encoder.
        levels: numbers of levels to measure; by default each.

    Returns:
        the table with the verdict on the best row within the bit rate, and one row per clip and
        number of levels.

    Raises:
        AudioError: if the codec works at another rate.
    """
    if codec.rate_hz != RATE_HZ:
        raise AudioError(f"got a codec of {codec.rate_hz} Hz; the benchmark judges {RATE_HZ} Hz")
    rows: list[Row] = []
    stacks: list[np.ndarray] = []
    for clip in progress(clips, "codec"):
        original = whole_frames(clip.samples, codec.hop_samples)
        codes, made = _resynthesise(codec, original, levels)
        stacks.append(codes)
        voice = _or_none(voices.embed, original, RATE_HZ)
        for count, samples in made.items():
            heard = None if voice is None else _or_none(voices.embed, samples, RATE_HZ)
            rows.append(
                {
                    "id": clip.id,
                    "levels": count,
                    "pesq_wb": _or_none(wideband_pesq, original, samples, RATE_HZ),
                    "stoi": short_time_intelligibility(original, samples, RATE_HZ),
                    "similarity": None if heard is None else cosine(voice, heard),
                }
            )
    total = stacks[0].shape[0]
    table = []
    for count in sorted({row["levels"] for row in rows}):
        line: Row = {"levels": count, "bits_per_second": codec.bits_per_second * count / total}
        for name in TARGETS:
            judged = [r[name] for r in rows if r["levels"] == count and r[name] is not None]
            line[name] = figures(mean_interval(judged)) if judged else None
        table.append(line)
    return _report(table, stacks, len(clips)), rows


def _resynthesise(
    codec: Any, original: np.ndarray, levels: Sequence[int] | None
) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    import torch

    with torch.inference_mode():
        codes = codec.encode(torch.from_numpy(np.ascontiguousarray(original))[None])
        total = codes.shape[1]
        counts = [n for n in levels if n <= total] if levels else range(1, total + 1)
        made = {n: codec.decode(codec.embed(codes[:, :n]))[0].numpy() for n in counts}
    return codes[0].numpy(), made


def _or_none(judge: Any, *arguments: Any) -> Any:
    # A judge that finds no speech has no opinion; the count beside each mean shows it.
    try:
        return judge(*arguments)
    except AudioError:
        return None


def _report(table: list[Row], stacks: list[np.ndarray], clips: int) -> dict[str, Any]:
    affordable = [r for r in table if r["bits_per_second"] <= HIGHEST_BITS_PER_SECOND]
    best = affordable[-1] if affordable else None
    return {
        "clips": clips,
        "table": table,
        "codebook_perplexity": [round(value, 1) for value in codebook_perplexity(stacks)],
        "targets": TARGETS | {"bits_per_second": HIGHEST_BITS_PER_SECOND},
        "verdict": {
            name: bool(best and best[name] and best[name]["value"] >= least)
            for name, least in TARGETS.items()
        },
        "every_level_pays": {
            name: all(
                after[name]["value"] > before[name]["value"]
                for before, after in pairwise(table)
                if before[name] and after[name]
            )
            for name in TARGETS
        },
    }
