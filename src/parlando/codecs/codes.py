"""Codes to sound and back with either codec: one that is factorized also needs a timbre."""

from torch import Tensor

from parlando.codecs.facodec.model import FACodec
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


def timbre_of(codec: AnyCodec, waveform: Tensor) -> Tensor | None:
    """Extract the timbre ``(B, W)`` of ``(B, S)``; None where the codec has none."""
    return codec.timbre(waveform) if isinstance(codec, FACodec) else None


def decode_codes(codec: AnyCodec, codes: Tensor, timbre: Tensor | None) -> Tensor:
    """Decode codes of all attributes, or of the first levels.

    Args:
        codec: the codec.
        codes: ``(B, Q, T)``.
        timbre: ``(B, W)`` from :func:`timbre_of`.

    Returns:
        ``(B, T * hop)`` in [-1, 1].

    Raises:
        ConfigError: the codec has a timbre, and none is given.
    """
    latent = codec.embed(codes)
    if not isinstance(codec, FACodec):
        return codec.decode(latent).clamp(-1.0, 1.0)
    if timbre is None:
        raise ConfigError("a factorized codec decodes in a timbre; give one of codec.timbre()")
    return codec.decode(latent, timbre).clamp(-1.0, 1.0)
