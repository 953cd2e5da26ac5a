"""``parlando evaluate``: measure speech and codecs, compare reports, hold listening tests."""

from typing import Annotated

import tyro

from parlando.cli.evaluate.codec import CodecOptions, run_codec
from parlando.cli.evaluate.compare import CompareOptions, run_compare

Options = (
    Annotated[CodecOptions, tyro.conf.subcommand("codec")]
    | Annotated[CompareOptions, tyro.conf.subcommand("compare")]
)
"""One of the subcommands."""

_RUN = {CodecOptions: run_codec, CompareOptions: run_compare}


def run(options: "CodecOptions | CompareOptions") -> int | None:
    """Run the subcommand whose options these are, and return its exit status."""
    return _RUN[type(options)](options)  # type: ignore[operator]
