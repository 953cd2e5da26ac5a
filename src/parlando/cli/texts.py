"""Where commands read a text from: an argument, a file or standard input."""

import sys
from pathlib import Path

from parlando.contracts import TextError


def read_text(text: str, text_file: Path | None) -> str:
    """Read the one text that was given.

    Args:
        text: the text itself, or ``-`` for standard input.
        text_file: a UTF-8 file, or ``-`` for standard input.

    Raises:
        TextError: no text or two were given, or the file cannot be read.
    """
    if bool(text) == bool(text_file):
        got = "two texts" if text else "no text"
        raise TextError(f"got {got}; give one: an argument, - for standard input or --text-file")
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
