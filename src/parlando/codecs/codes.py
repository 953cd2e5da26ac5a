"""Codes to sound and back with either codec: one that is factorized also needs a timbre."""

from collections.abc import Sequence

import torch
from torch import Tensor

from parlando.codecs.facodec.model import ATTRIBUTES, FACodec
from parlando.codecs.rvq.model import RVQCodec
from parlando.contracts import ConfigError

AnyCodec = RVQCodec | FACodec


def code_shape(codec: AnyCodec) -> tuple[int, int]:
    """Return the number of levels Q and the entries K of each."""
    if isinstance(codec, FACodec):
        return codec.levels, codec.codebook_size
    levels, size = codec.quantizer.codebooks.shape[:2]
    return levels, size


def fits(codec: AnyCodec, levels: int, size: int) -> bool:
    """Tell whether a codec decodes so many levels of so many entries.

    Levels that only refine each other may be left out at the end; those of attributes may not.
    """
    most, entries = code_shape(codec)
    enough = levels == most if isinstance(codec, FACodec) else levels <= most
    return enough and size == entries


def codebook_vectors(codec: AnyCodec) -> Tensor:
    """Return what the codes of each level stand for: ``(Q, K, D)``."""
    if isinstance(codec, FACodec):
        return torch.stack([codec.codebook_vectors(level) for level in range(codec.levels)])
    return codec.quantizer.codebooks


def level_names(codec: AnyCodec) -> tuple[str, ...]:
    """Name the Q levels: by their numbers, or by attributes and numbers in those: ``detail 2``."""
    if not isinstance(codec, FACodec):
        return tuple(str(number) for number in range(1, code_shape(codec)[0] + 1))
    return tuple(
        f"{name} {number}"
        for name in ATTRIBUTES
        for number in range(1, codec.quantizer(name).levels + 1)
    )


def kept_levels(
    codec: AnyCodec, levels: int | None = None, without: Sequence[str] = ()
) -> list[int]:
    """List the levels, counted from 0, that are left of a codec's codes.

    Args:
        codec: the codec.
        levels: how many of the first; None: all. For codecs whose levels refine each other.
        without: attributes to leave out. For factorized codecs.

    Raises:
        ConfigError: the codec has no such levels or attributes, or none is left.
    """
    most = code_shape(codec)[0]
    if not isinstance(codec, FACodec):
        if without:
            raise ConfigError(f"without is {tuple(without)}; this codec has no attributes")
        if levels is not None and not 1 <= levels <= most:
            raise ConfigError(f"{levels} levels; the codec has 1 to {most}")
        return list(range(levels or most))
    if levels is not None:
        raise ConfigError(
            f"{levels} levels; those of a factorized codec do not refine each other: leave out "
            f"attributes, of {', '.join(ATTRIBUTES)}"
        )
    slices = [codec.levels_of[name] for name in ATTRIBUTES if name not in without]
    return [level for one in slices for level in range(one.start, one.stop)]


def timbre_of(codec: AnyCodec, waveform: Tensor) -> Tensor | None:
    """Extract the timbre ``(B, W)`` of ``(B, S)``; None where the codec has none."""
    return codec.timbre(waveform) if isinstance(codec, FACodec) else None


def decode_codes(
    codec: AnyCodec, codes: Tensor, timbre: Tensor | None, *, without: Sequence[str] = ()
) -> Tensor:
    """Decode codes of all attributes, or of the first levels.

    Args:
        codec: the codec.
        codes: ``(B, Q, T)``.
        timbre: ``(B, W)`` from :func:`timbre_of`.
        without: attributes of a factorized codec to leave out.

    Returns:
        ``(B, T * hop)`` in [-1, 1].

    Raises:
        ConfigError: the codec has a timbre, and none is given; or there is no such attribute.
    """
    if not isinstance(codec, FACodec):
        return codec.decode(codec.embed(codes)).clamp(-1.0, 1.0)
    if timbre is None:
        raise ConfigError("a factorized codec decodes in a timbre; give one of codec.timbre()")
    return codec.decode(codec.embed(codes, without=without), timbre).clamp(-1.0, 1.0)
