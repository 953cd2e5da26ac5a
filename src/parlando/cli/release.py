"""``parlando release``: turn a run's newest checkpoint into small weights to hand on."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from parlando.contracts import ConfigError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write a checkpoint's averaged weights without what only training needs.

    A system that was trained on a codec of its own takes it along.

    ``parlando speak --system FOLDER`` and the other commands read the result as they read the
    released weights.
    """

    source: tyro.conf.Positional[Path]
    """A run's folder, or one checkpoint of it."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder to write."""
    bits: Literal[6, 8, 16, 32] = 16
    """Bits for each weight; 8 and 6 keep a scale for each row."""


def run(options: Options) -> None:
    """Write the release and tell its size.

    Raises:
        ParlandoError: there is no checkpoint, or it cannot be read or written.
    """
    from parlando.registry import CODEC_OF, RELEASES, codec_of, load_any_codec, load_trained
    from parlando.training.checkpoint import WEIGHTS_NAME, read_card, save_release
    from parlando.training.loop import existing_checkpoints

    found = existing_checkpoints(options.source)
    folder = found[-1] if found else options.source
    if not folder.is_dir():
        raise ConfigError(f"{options.source}: no such run or checkpoint; give a folder")
    card = read_card(folder)
    module = load_trained(folder)
    codec = codec_of(folder, card.kind) if card.kind in CODEC_OF else None
    if codec in RELEASES:
        card = replace(card, codec=str(codec))
    save_release(options.out, module, card, options.bits)
    if codec is not None and codec not in RELEASES:
        # A folder of the user's own: the system is worth nothing without it.
        codec_card = read_card(Path(codec))
        save_release(options.out / "codec", load_any_codec(codec), codec_card, options.bits)
    size = (options.out / WEIGHTS_NAME).stat().st_size
    count = sum(parameter.numel() for parameter in module.parameters())
    Console().print(
        f"{options.out}: {card.kind}, step {card.step}, {count / 1e6:.2f} M parameters, "
        f"{size / 1e6:.2f} MB",
        soft_wrap=True,
    )
