"""Reads keys and raters' results, and refuses what does not belong together."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from parlando.contracts import ConfigError
from parlando.reporting.listening.design import Check, Kind
from parlando.reporting.listening.page import KEY_FORMAT, RESULT_FORMAT, VERSION

RANGES = {"cmos": (-3.0, 3.0), "smos": (1.0, 5.0), "mushra": (0.0, 100.0)}
"""Lowest and highest rating."""


@dataclass(frozen=True, kw_only=True)
class KeyScreen:
    """What a screen really held."""

    item: str
    """Utterance."""
    check: Check | None
    """For a screen that tests the rater."""
    stimuli: Mapping[str, str]
    """Label of each blind name."""


@dataclass(frozen=True, kw_only=True)
class Key:
    """What joins blind names and systems."""

    test: str
    """Name of the test."""
    kind: Kind
    """Way of rating."""
    systems: tuple[str, ...]
    """Names; the first is what others are compared with."""
    screens: Mapping[str, KeyScreen]
    """By blind name."""
    papers: tuple[str, ...] = ()
    """Tables of papers with the protocol of the reports."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One rated screen."""

    screen: str
    """Blind name."""
    stimuli: tuple[str, ...]
    """Blind names in the order in which the rater saw them."""
    scores: tuple[float, ...]
    """CMOS: how much better the second is than the first; else one for each stimulus."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a rater answered."""

    path: Path
    """Where it was read."""
    test: str
    """Name of the test."""
    rater: str
    """Name that the rater chose."""
    language: str
    """``native`` or ``other``."""
    listening: str
    """``headphones`` or ``loudspeakers``."""
    answers: tuple[Answer, ...]
    """All of them, or those given so far."""


def read_key(path: Path) -> Key:
    """Read a key.

    Raises:
        ConfigError: it is missing or no key.
    """
    data = _read(path, KEY_FORMAT, "key of a listening test; it was written beside the page")
    try:
        return Key(
            test=data["test"],
            kind=data["kind"],
            systems=tuple(data["systems"]),
            screens={
                name: KeyScreen(
                    item=screen["item"],
                    check=None if screen["check"] is None else Check(**screen["check"]),
                    stimuli=screen["stimuli"],
                )
                for name, screen in data["screens"].items()
            },
            papers=tuple(data.get("papers", ())),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: is damaged ({error}); make the test anew") from None


def read_results(paths: Sequence[Path], key: Key) -> list[Result]:
    """Read results of one test, one of each rater: of several, the one with the most answers.

    Raises:
        ConfigError: there is none, one is damaged, or they are of other tests than the key.
    """
    if not paths:
        raise ConfigError("no results; give the JSON files that raters saved")
    results = [_result(path) for path in paths]
    strangers = [result for result in results if result.test != key.test]
    if len(strangers) == len(results):
        raise ConfigError(
            f"the results are of test {strangers[0].test}, the key is of test {key.test}; give "
            "--key the file that was written beside that page"
        )
    if strangers:
        raise ConfigError(
            f"{strangers[0].path}: is of test {strangers[0].test}, others of {key.test}; score "
            "each test by itself"
        )
    best: dict[str, Result] = {}
    for result in results:
        _check_answers(result, key)
        known = best.get(result.rater)
        if known is None or len(result.answers) > len(known.answers):
            best[result.rater] = result
    return list(best.values())


def _result(path: Path) -> Result:
    data = _read(path, RESULT_FORMAT, "result of a listening test; give the files raters saved")
    try:
        return Result(
            path=path,
            test=data["test"],
            rater=str(data["rater"]),
            language=str(data["language"]),
            listening=str(data["listening"]),
            answers=tuple(
                Answer(
                    screen=answer["screen"],
                    stimuli=tuple(answer["shown"]),
                    scores=tuple(float(score) for score in answer["scores"]),
                )
                for answer in data["answers"]
            ),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: is damaged ({error!r}); ask its rater to save again") from None


def _check_answers(result: Result, key: Key) -> None:
    def refuse(reason: str) -> NoReturn:
        raise ConfigError(f"{result.path}: {reason}; ask its rater to save again")

    low, high = RANGES[key.kind]
    seen = set()
    for answer in result.answers:
        screen = key.screens.get(answer.screen)
        if screen is None or set(answer.stimuli) != set(screen.stimuli):
            refuse(f"screen {answer.screen!r} is not in the key")
        if answer.screen in seen:
            refuse(f"screen {answer.screen!r} is rated twice")
        seen.add(answer.screen)
        wanted = 1 if key.kind == "cmos" else len(screen.stimuli)
        if len(answer.scores) != wanted or not all(low <= x <= high for x in answer.scores):
            refuse(f"scores {list(answer.scores)} where {wanted} of {low:g} to {high:g} are due")


def _read(path: Path, wanted: str, noun: str) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no JSON"
        raise ConfigError(f"{path}: cannot be read ({reason}); it is to be the {noun}") from None
    if not isinstance(data, dict) or data.get("format") != wanted:
        raise ConfigError(f"{path}: is not the {noun}")
    if data.get("version") != VERSION:
        raise ConfigError(
            f"{path}: has version {data.get('version')}, this Parlando reads {VERSION}; use the "
            "Parlando that made the test"
        )
    return data
