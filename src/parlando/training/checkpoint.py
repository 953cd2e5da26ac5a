"""Checkpoints and released weights: folders that are either whole or absent.

A folder holds ``config.json`` (what the weights are), ``weights.safetensors`` (the averaged
weights) and, to train on, ``state.pt`` (raw weights, optimizers, average). It is written under a
temporary name and renamed; it is read strictly.
"""

import json
import os
import pickle
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from parlando.contracts import CheckpointError, ConfigError

SCHEMA = 1
CONFIG_NAME = "config.json"
WEIGHTS_NAME = "weights.safetensors"
STATE_NAME = "state.pt"
_SCALE = "::scale"
"""Suffix of the tensor that turns an int8 tensor back into floats."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a checkpoint says about its weights."""

    kind: str
    """What was trained, for example ``codec``."""
    config: Mapping[str, Any]
    """The resolved model configuration, as plain values."""
    schema: int = SCHEMA
    """Version of this layout."""
    step: int = 0
    """Optimizer steps taken."""
    minutes: float = 0.0
    """Wall-clock minutes trained."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """Measured numbers, for example the last validation losses."""
    codec: str | None = None
    """Released codec on which released weights were trained; None is that of their kind."""


def save_checkpoint(
    folder: Path, card: Card, weights: Mapping[str, Tensor], state: Mapping[str, Any]
) -> None:
    """Write a training checkpoint; an older one of the same name is replaced.

    Args:
        folder: where to; its parents are made.
        card: what the weights are.
        weights: the averaged weights, named as in the released module.
        state: everything else that training on needs; tensors and plain values only.
    """

    def write(partial: Path) -> None:
        _write_weights(partial, card, weights)
        torch.save(dict(state), partial / STATE_NAME)

    _write_folder(folder, write)


def save_release(folder: Path, module: nn.Module, card: Card, bits: int = 16) -> None:
    """Write a module's weights without anything that only training needs.

    With 8 bits, matrices and kernels are stored as int8 with one scale for each output row;
    vectors, of which there is little, keep 16. With 6, four numbers of a row share three bytes;
    rows of other lengths than multiples of four keep 8.

    Args:
        folder: where to; its parents are made.
        module: the module with the weights to release.
        card: what the weights are.
        bits: 32, 16, 8 or 6 for each weight.

    Raises:
        ConfigError: there is no such storage.
    """
    if bits not in (6, 8, 16, 32):
        raise ConfigError(f"got {bits} bits for released weights; expected 6, 8, 16 or 32")
    weights: dict[str, Tensor] = {}
    for name, tensor in module.state_dict().items():
        if bits <= 8 and tensor.is_floating_point() and tensor.dim() > 1:
            packed = bits == 6 and tensor.shape[-1] % 4 == 0
            codes, weights[name + _SCALE] = _quantized(tensor, 31 if packed else 127)
            weights[name] = _packed(codes) if packed else codes
        else:
            weights[name] = tensor if bits == 32 else _halved(tensor)
    _write_folder(folder, lambda partial: _write_weights(partial, card, weights))


def read_card(folder: Path, kind: str | None = None) -> Card:
    """Read what a checkpoint holds.

    Args:
        folder: a checkpoint or released weights.
        kind: the kind that is wanted; none accepts any.

    Raises:
        CheckpointError: the folder is missing or damaged, or of another schema or kind.
    """
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise CheckpointError(
            f"{folder}: not a checkpoint, it has no {CONFIG_NAME}; give a folder that has one"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        schema = content["schema"]
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path}: damaged ({error!r}); take another checkpoint") from error
    if schema != SCHEMA:
        raise CheckpointError(f"{path}: got schema {schema}, expected {SCHEMA}; convert or retrain")
    try:
        card = Card(**content)
    except TypeError as error:
        raise CheckpointError(f"{path}: damaged ({error}); take another checkpoint") from error
    if kind is not None and card.kind != kind:
        raise CheckpointError(f"{folder}: got weights of '{card.kind}', expected '{kind}'")
    return card


def load_weights(folder: Path, module: nn.Module) -> None:
    """Load averaged or released weights into a module; stored precision becomes its own.

    Raises:
        CheckpointError: the file is missing or damaged, or its tensors are not the module's.
    """
    path = folder / WEIGHTS_NAME
    try:
        weights = load_file(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: missing; give a whole checkpoint folder") from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: damaged or cut short ({error}); copy or train it again"
        ) from error
    scales = {name: weights.pop(name) for name in list(weights) if name.endswith(_SCALE)}
    for name, scale in scales.items():
        plain = name.removesuffix(_SCALE)
        codes = weights[plain]
        codes = _unpacked(codes) if codes.dtype == torch.uint8 else codes
        weights[plain] = codes.float() * scale.float()
    check_tensors(weights, module.state_dict(), str(path))
    module.load_state_dict(weights, strict=True)


def load_state(folder: Path) -> dict[str, Any]:
    """Read the training state of a checkpoint, onto the CPU.

    Raises:
        CheckpointError: the file is missing or damaged; released weights have none.
    """
    path = folder / STATE_NAME
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path}: missing, so training cannot resume; start from it with --init instead"
        ) from error
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise CheckpointError(
            f"{path}: damaged or cut short ({reason}); remove this checkpoint to use an older one"
        ) from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: got a {type(state).__name__}, expected a training state")
    return state


def check_tensors(got: Mapping[str, Tensor], expected: Mapping[str, Tensor], where: str) -> None:
    """Refuse tensors whose names or shapes are not the expected ones.

    Raises:
        CheckpointError: names the first difference.
    """
    for title, names in (
        ("lacks", expected.keys() - got.keys()),
        ("has unknown", got.keys() - expected.keys()),
    ):
        if names:
            raise CheckpointError(
                f"{where}: {title} {len(names)} of the {len(expected)} expected tensors, first "
                f"'{min(names)}'; it is of another configuration"
            )
    for name, tensor in expected.items():
        if got[name].shape != tensor.shape:
            raise CheckpointError(
                f"{where}: '{name}' has shape {tuple(got[name].shape)}, expected "
                f"{tuple(tensor.shape)}; it is of another configuration"
            )


def _write_weights(folder: Path, card: Card, weights: Mapping[str, Tensor]) -> None:
    text = json.dumps(asdict(card), indent=2, ensure_ascii=False) + "\n"
    (folder / CONFIG_NAME).write_text(text, encoding="utf-8")
    # Clones, because safetensors refuses tensors that share memory, as tied layers do.
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
    save_file(plain, folder / WEIGHTS_NAME)


def _write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temporary folder beside ``folder``, then swap it in."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.partial")
    replaced = folder.with_name(f".{folder.name}.replaced")
    for leftover in (partial, replaced):  # of a run that was killed while writing
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir()
    try:
        write(partial)
        if folder.exists():
            os.rename(folder, replaced)
        os.rename(partial, folder)
    except (OSError, SafetensorError, RuntimeError) as error:  # torch reports a full disk so
        raise CheckpointError(f"{folder}: cannot be written ({error}); check the disk") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def _halved(tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    half = tensor.to(torch.float16)
    # Counters and scales beyond half precision's 65,504 would become infinite.
    return half if bool(half.isfinite().all()) else tensor.to(torch.float32)


def _quantized(tensor: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Round a tensor to -most to most, with a scale for each index of all but its last dimensions.

    Kernels of convolutions ``(out, in, taps)`` are scaled for each output channel: the last
    dimension alone would hold three to eleven taps.
    """
    last = tuple(range(1, tensor.dim())) if tensor.shape[-1] < 32 else (-1,)
    scale = tensor.abs().amax(dim=last, keepdim=True).clamp_min(1e-6) / most
    # Rounded first, so that the quotient fits the scale that is stored.
    scale = scale.to(torch.float16).clamp_min(torch.finfo(torch.float16).tiny)
    codes = (tensor.float() / scale.float()).round().clamp(-most, most).to(torch.int8)
    return codes, scale


def _packed(codes: Tensor) -> Tensor:
    """Put numbers ``(…, 4 n)`` from -32 to 31 into bytes ``(…, 3 n)``, four into three."""
    first, second, third, fourth = (codes.to(torch.int32) + 32).unflatten(-1, (-1, 4)).unbind(-1)
    word = first | second << 6 | third << 12 | fourth << 18
    parts = torch.stack([word & 255, word >> 8 & 255, word >> 16], dim=-1)
    return parts.flatten(-2).to(torch.uint8)


def _unpacked(packed: Tensor) -> Tensor:
    """Undo :func:`_packed`."""
    low, middle, high = packed.to(torch.int32).unflatten(-1, (-1, 3)).unbind(-1)
    word = low | middle << 8 | high << 16
    codes = torch.stack([word >> shift & 63 for shift in (0, 6, 12, 18)], dim=-1)
    return codes.flatten(-2) - 32
