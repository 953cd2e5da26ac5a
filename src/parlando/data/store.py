"""The prepared corpus on disk: a manifest and shards of safetensors, read by slices.

Layout of the folder::

    info.json                            rate, hop, vocabulary, fingerprints of the stages
    manifest.jsonl                       one row per utterance, in the order of the shards
    shards/00000.audio.safetensors       audio int16 (sum T * hop), f0 float32 (sum T),
                                         voiced uint8 (sum T), symbols int16 (sum N)
    shards/00000.alignment.safetensors   durations int16 (sum N), score float32 (utterances)
    shards/00000.codes.safetensors       codes int16 (Q, sum T)

Utterances lie one after another. A file is written beside its place and renamed: a shard is
complete or absent. Reading needs torch, numpy and safetensors only.
"""

import contextlib
import functools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from parlando.contracts import CheckpointError, ConfigError

SCHEMA_VERSION = 1
STAGES = ("audio", "alignment", "codes")

Row = dict[str, Any]


def replace_file(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file beside its place and rename it, so that it is never there in part.

    Raises:
        ConfigError: the folder cannot be written to, or the disk is full.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        os.replace(partial, path)
    except (OSError, SafetensorError) as error:
        raise ConfigError(
            f"{path}: cannot be written ({error}); free space there or choose another folder"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write a value as readable JSON, whole or not at all."""
    text = json.dumps(value, ensure_ascii=False, indent=1)
    replace_file(path, lambda partial: _write_text(partial, text + "\n"))


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write one JSON object a line, such as the manifest of a prepared corpus."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    replace_file(path, lambda partial: _write_text(partial, text))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def shard_path(folder: Path, shard: int, stage: str) -> Path:
    """Name the file of one stage of one shard."""
    return folder / "shards" / f"{shard:05d}.{stage}.safetensors"


def write_shard(
    folder: Path, shard: int, stage: str, arrays: Mapping[str, np.ndarray], notes: Any
) -> None:
    """Write the arrays of one stage of one shard, with notes (JSON) beside them."""
    metadata = {"notes": json.dumps(notes, ensure_ascii=False)}
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    replace_file(
        shard_path(folder, shard, stage),
        lambda partial: save_file(contiguous, partial, metadata=metadata),
    )


def read_notes(folder: Path, shard: int, stage: str) -> Any:
    """Read the notes of a shard; None where the shard is absent.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = shard_path(folder, shard, stage)
    if not path.exists():
        return None
    with _open(path) as file:
        return json.loads((file.metadata() or {}).get("notes", "null"))


def read_info(folder: Path) -> dict[str, Any]:
    """Read ``info.json`` of a prepared corpus.

    Raises:
        ConfigError: it is missing, damaged, or of another schema version.
    """
    path = folder / "info.json"
    if not path.is_file():
        raise ConfigError(f"{folder}: no prepared corpus here; make one with 'parlando prepare'")
    try:
        info: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: is damaged ({error}); prepare the corpus again") from error
    if info.get("schema_version") != SCHEMA_VERSION:
        raise ConfigError(
            f"{folder}: prepared with schema {info.get('schema_version')}, this version reads "
            f"{SCHEMA_VERSION}; prepare the corpus again"
        )
    return info


def _open(path: Path) -> Any:
    try:
        return safe_open(str(path), framework="numpy")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: missing or damaged ({error}); delete it and run 'parlando prepare' again"
        ) from error


class PreparedCorpus:
    """Random access to the utterances of a prepared corpus.

    Args:
        folder: what ``parlando prepare`` wrote.

    Raises:
        ConfigError: there is no prepared corpus, or it is of another version.
        CheckpointError: the manifest is missing or damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.info = read_info(self.folder)
        self.rate_hz: int = self.info["rate_hz"]
        self.hop_samples: int = self.info["hop_samples"]
        self.vocabulary: tuple[str, ...] = tuple(self.info["vocabulary"])
        self.stages: tuple[str, ...] = tuple(self.info["stages"])
        try:
            lines = (self.folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
            self.rows: list[Row] = [json.loads(line) for line in lines]
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{self.folder}: the manifest is missing or damaged; run 'parlando prepare' again"
            ) from error
        self._reader = functools.lru_cache(maxsize=256)(self._open_shard)

    def __len__(self) -> int:
        return len(self.rows)

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["folder"])  # type: ignore[misc]

    def require(self, *stages: str) -> None:
        """Refuse a corpus that lacks a stage.

        Raises:
            ConfigError: a stage is missing.
        """
        for stage in stages:
            if stage not in self.stages:
                option = {"alignment": "align"}.get(stage, stage)
                raise ConfigError(
                    f"{self.folder}: the {stage} stage is not prepared, only "
                    f"{', '.join(self.stages) or 'nothing'}; run 'parlando prepare --stages "
                    f"{option}'"
                )

    def select(
        self,
        *,
        split: str | None = None,
        text: bool = False,
        aligned: bool = False,
        sources: Sequence[str] | None = None,
    ) -> list[int]:
        """List the indices of rows.

        Args:
            split: keep this split only.
            text: keep rows with symbols only.
            aligned: keep rows with a plausible alignment only.
            sources: keep these sources only.
        """
        if aligned:
            self.require("alignment")
        return [
            index
            for index, row in enumerate(self.rows)
            if (split is None or row["split"] == split)
            and (not (text or aligned) or row["n_symbols"] > 0)
            and (not aligned or row.get("rejected") is None)
            and (sources is None or row["source"] in sources)
        ]

    def item(self, index: int, parts: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Read the tensors of one utterance.

        Args:
            index: row number.
            parts: names to read; by default all that the prepared stages hold.

        Returns:
            of ``waveform`` (S,) float32 in [-1, 1], ``f0`` (T,) float32 in hertz, ``voiced`` (T,)
            bool, ``symbols`` (N,) int64, ``durations`` (N,) int64, ``score`` () float32 and
            ``codes`` (Q, T) int64 those that are asked for; ``S = T * hop``.

        Raises:
            ConfigError: a part belongs to a stage that is not prepared.
            CheckpointError: a shard is missing or damaged, or the durations do not sum to T.
        """
        row = self.rows[index]
        if parts is None:
            parts = [name for name, (stage, _) in _PARTS.items() if stage in self.stages]
        result = {}
        for name in parts:
            stage, read = _PARTS[name]
            self.require(stage)
            try:
                result[name] = read(self._reader(row["shard"], stage), row, self.hop_samples)
            except (SafetensorError, OSError) as error:
                path = shard_path(self.folder, row["shard"], stage)
                raise CheckpointError(f"{path}: damaged ({error}); prepare it again") from error
        self._check(row, result)
        return result

    def crop(self, index: int, start_frame: int, count: int) -> Tensor:
        """Read ``count`` frames of the waveform of one utterance: ``(count * hop,)`` float32."""
        row = self.rows[index]
        first = (row["start_frame"] + start_frame) * self.hop_samples
        audio = self._reader(row["shard"], "audio").get_slice("audio")
        return _waveform(audio[first : first + count * self.hop_samples])

    def items(self, indices: Sequence[int]) -> Iterator[tuple[Row, dict[str, Tensor]]]:
        """Yield rows with their tensors."""
        for index in indices:
            yield self.rows[index], self.item(index)

    def _open_shard(self, shard: int, stage: str) -> Any:
        return _open(shard_path(self.folder, shard, stage))

    def _check(self, row: Row, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in tensors.items():
            expected = {
                "waveform": row["n_frames"] * self.hop_samples,
                "symbols": row["n_symbols"],
                "durations": row["n_symbols"],
                "score": None,
            }.get(name, row["n_frames"])
            if expected is not None and tensor.shape[-1] != expected:
                raise CheckpointError(
                    f"{self.folder}: '{name}' of {row['id']} has length {tensor.shape[-1]}, the "
                    f"manifest says {expected}; prepare the corpus again"
                )
        if "durations" in tensors and row["n_symbols"] and row.get("rejected") is None:
            total = int(tensors["durations"].sum())
            if total != row["n_frames"]:
                raise CheckpointError(
                    f"{self.folder}: the durations of {row['id']} sum to {total} frames, not to "
                    f"its {row['n_frames']}; run the 'align' stage again"
                )


def _waveform(samples: np.ndarray) -> Tensor:
    return torch.from_numpy(samples.astype(np.float32) / 32768.0)


def _frames(file: Any, name: str, row: Row) -> Any:
    return file.get_slice(name)[row["start_frame"] : row["start_frame"] + row["n_frames"]]


def _symbols(file: Any, name: str, row: Row) -> Tensor:
    if not row["n_symbols"]:
        # safetensors refuses an empty slice at the very end.
        return torch.zeros(0, dtype=torch.int64)
    part = file.get_slice(name)[row["start_symbol"] : row["start_symbol"] + row["n_symbols"]]
    return torch.from_numpy(part.astype(np.int64))


def _read_waveform(file: Any, row: Row, hop: int) -> Tensor:
    start = row["start_frame"] * hop
    return _waveform(file.get_slice("audio")[start : start + row["n_frames"] * hop])


def _read_codes(file: Any, row: Row, hop: int) -> Tensor:
    stop = row["start_frame"] + row["n_frames"]
    return torch.from_numpy(file.get_slice("codes")[:, row["start_frame"] : stop].astype(np.int64))


_PARTS: dict[str, tuple[str, Callable[[Any, Row, int], Tensor]]] = {
    "waveform": ("audio", _read_waveform),
    "f0": ("audio", lambda file, row, hop: torch.from_numpy(_frames(file, "f0", row))),
    "voiced": (
        "audio",
        lambda file, row, hop: torch.from_numpy(_frames(file, "voiced", row).astype(bool)),
    ),
    "symbols": ("audio", lambda file, row, hop: _symbols(file, "symbols", row)),
    "durations": ("alignment", lambda file, row, hop: _symbols(file, "durations", row)),
    "score": (
        "alignment",
        lambda file, row, hop: torch.tensor(
            file.get_slice("score")[row["position"] : row["position"] + 1][0]
        ),
    ),
    "codes": ("codes", _read_codes),
}
