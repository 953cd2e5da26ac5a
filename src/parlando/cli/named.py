"""Options of speaking as NAME=VALUE: those for which a command has no flag of their own."""

import json
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from parlando.contracts import ConfigError, SpeakOptions
from parlando.recipes import check_names


def read_named(words: Sequence[str], flag: str) -> dict[str, Any]:
    """Read options of ``speak``; values are numbers, true, false and null, or else words.

    Args:
        words: each ``NAME=VALUE``, NAME a field of ``SpeakOptions``.
        flag: by which they were given, for messages.

    Raises:
        ConfigError: a word is none of these, or a name occurs twice.
    """
    given: dict[str, Any] = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not separator:
            raise ConfigError(f"{flag} has '{word}', expected NAME=VALUE such as guidance=1.5")
        check_names([name], (option.name for option in fields(SpeakOptions)), flag)
        if name in given:
            raise ConfigError(f"{flag} has '{name}' twice; leave one out")
        try:
            given[name] = json.loads(value)
        except ValueError:
            given[name] = value
    return given
