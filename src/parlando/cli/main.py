"""``parlando COMMAND …``: find the command, read its options, and turn errors into one line."""

import contextlib
import io
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from parlando.contracts import ConfigError, ParlandoError
from parlando.recipes import check_names

COMMANDS = {
    "speak": "turn a text into speech in the voice of a prompt",
    "convert": "say a recording in another voice",
    "edit": "let a recording say other words in places",
    "align": "find when each word and phone of a text is spoken, as a TextGrid",
    "recognize": "name the phones of recordings, without their text",
    "prepare": "turn a corpus into training data",
    "train": "train an aligner, a codec or a system",
    "evaluate": "measure speech and codecs, and compare reports",
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
    command = import_module(f"parlando.cli.{name}")
    return command.run(_parsed(command.Options, name, arguments)) or 0


def _parsed(kind: Any, name: str, arguments: list[str]) -> Any:
    """Read a command's options; what tyro would say in a box of many lines becomes one."""
    import tyro

    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            return tyro.cli(kind, args=arguments, prog=f"parlando {name}")
    except SystemExit as ended:
        if not ended.code:  # --help
            raise
        reason = _reason(told.getvalue())
        raise ConfigError(f"{reason}; parlando {name} --help lists the options") from None


def _reason(box: str) -> str:
    """Join the first part of a box, and any proposal, without the help texts in it.

    Help texts are indented deeper than what they belong to.
    """
    lines = [line.strip("│╭╮╰╯").rstrip() for line in box.splitlines()]
    parts: list[list[str]] = [[]]
    for line in lines[1:-1]:
        if line.strip("─ "):
            parts[-1] += [line.strip()] * (len(line) - len(line.lstrip()) < 8)
        else:
            parts.append([])
    wanted = [part for part in parts if part and (part is parts[0] or "Perhaps" in part[0])]
    return "; ".join(" ".join(part).rstrip(".") for part in wanted) or "the options are not valid"


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {purpose}" for name, purpose in COMMANDS.items()]
    return "\n".join(
        ["Parlando speaks in a voice it has heard for three seconds.", "", _USAGE, "", *lines]
    )
