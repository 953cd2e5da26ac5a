"""Where commands read a text from: an argument, a file or standard input."""

import sys
from pathlib import Path

from parlando.contracts import TextError


def read_text(
    text: str,
    text_file: Path | None,
    ways: str = "an argument, - for standard input or --text-file",
) -> str:
    """Read the one text that was given.

    Args:
        text: the text itself, or ``-`` for standard input.
        text_file: a UTF-8 file, or ``-`` for standard input.
        ways: how a text can be given, for the message.

    Raises:
        TextError: no text or two were given, or the file cannot be read.
    """
    if bool(text) == bool(text_file):
        got = "two texts" if text else "no text"
        raise TextError(f"got {got}; give one: {ways}")
    try:
        if "-" in (text, str(text_file)):
            return sys.stdin.read()
        if text_file:
            return text_file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise TextError(f"{text_file}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise TextError(f"the text is not UTF-8 ({error.reason}); save it as UTF-8") from error
    return text


def read_words(text: str, text_file: Path | None, option: str) -> str:
    """Read a text that two options can give; one that ends in ``.txt`` is the name of a file.

    Args:
        text: the text itself, the name of a UTF-8 file, or ``-`` for standard input.
        text_file: a UTF-8 file, or ``-`` for standard input.
        option: name of the first option, for messages.

    Raises:
        TextError: no text or two were given, or the file cannot be read.
    """
    if text.endswith(".txt") and text_file is None:
        text, text_file = "", Path(text)
    return read_text(text, text_file, f"{option} or {option}-file")
