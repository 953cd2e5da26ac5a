"""``parlando evaluate``: measure speech, codecs, conversion; compare reports; listening tests."""

from typing import Annotated, Any

import tyro

from parlando.cli.evaluate.codec import CodecOptions, run_codec
from parlando.cli.evaluate.compare import CompareOptions, run_compare
from parlando.cli.evaluate.convert import ConvertOptions, run_convert
from parlando.cli.evaluate.listen import (
    ListenOptions,
    ListenResultsOptions,
    run_listen,
    run_listen_results,
)
from parlando.cli.evaluate.probe import ProbeOptions, run_probe
from parlando.cli.evaluate.speech import SpeechOptions, run_speech

Options = (
    Annotated[SpeechOptions, tyro.conf.subcommand("speech")]
    | Annotated[CodecOptions, tyro.conf.subcommand("codec")]
    | Annotated[ConvertOptions, tyro.conf.subcommand("convert")]
    | Annotated[ProbeOptions, tyro.conf.subcommand("probe")]
    | Annotated[CompareOptions, tyro.conf.subcommand("compare")]
    | Annotated[ListenOptions, tyro.conf.subcommand("listen")]
    | Annotated[ListenResultsOptions, tyro.conf.subcommand("listen-results")]
)
"""One of the subcommands."""


def run(options: Any) -> int:
    """Run the subcommand whose options these are.

    Returns:
        exit status: 1 where an utterance failed, 0 elsewhere.
    """
    match options:
        case SpeechOptions():
            return run_speech(options)
        case CodecOptions():
            return run_codec(options)
        case ConvertOptions():
            return run_convert(options)
        case ProbeOptions():
            return run_probe(options)
        case CompareOptions():
            run_compare(options)
        case ListenOptions():
            run_listen(options)
        case ListenResultsOptions():
            run_listen_results(options)
    return 0
