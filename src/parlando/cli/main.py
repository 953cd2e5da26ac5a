"""``parlando COMMAND …``: find the command, read its options, and turn errors into one line."""

import sys
from collections.abc import Sequence
from importlib import import_module

from parlando.contracts import ParlandoError
from parlando.recipes import check_names

COMMANDS = {
    "speak": "turn a text into speech in the voice of a prompt",
    "prepare": "turn a corpus into training data",
    "train": "train an aligner, a codec or a system",
    "release": "turn a run's newest checkpoint into small weights to hand on",
    "doctor": "show versions and devices, what is missing and how to get it",
}
"""Name and purpose; each is a module of this package with ``Options`` and ``run(options)``."""

_USAGE = "usage: parlando COMMAND [options]   (parlando COMMAND --help lists them)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Words after ``parlando``; None takes those of the process.

    Returns:
        Exit status: 0, 1 where a command found something amiss, 2 for an error that the user can
        mend, which is told in one line on standard error.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        print(_overview())
        return 0 if given else 2
    if given[0] == "--version":
        from importlib.metadata import version

        print(f"parlando {version('parlando')}")
        return 0
    try:
        check_names(given[:1], COMMANDS, "parlando")
        return _run(given[0], given[1:])
    except ParlandoError as error:
        print(f"parlando: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("parlando: interrupted", file=sys.stderr)
        return 130


def _run(name: str, arguments: list[str]) -> int:
    # A command's module is imported only when it is called: `parlando --help` stays instant.
    import tyro

    command = import_module(f"parlando.cli.{name}")
    options = tyro.cli(command.Options, args=arguments, prog=f"parlando {name}")
    return command.run(options) or 0


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {purpose}" for name, purpose in COMMANDS.items()]
    return "\n".join(
        ["Parlando speaks in a voice it has heard for three seconds.", "", _USAGE, "", *lines]
    )
