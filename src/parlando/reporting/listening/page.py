"""Writes a listening test as a static folder, and the key beside it.

The folder holds ``index.html``, which carries its own style and script, and ``audio/``; it works
from any static server and from a double click, and asks nothing of the network. The sounds carry no
tags, because a tag would tell which of them are synthetic.
"""

import html
import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from parlando.audio import waveform
from parlando.contracts import ConfigError
from parlando.reporting.listening.design import RATE_HZ, ListeningTest, Screen, Stimulus

KEY_FORMAT = "parlando-listening-key"
RESULT_FORMAT = "parlando-listening-result"
VERSION = 1
_SCRIPTS = ("order.js", "store.js", "player.js", "ratings.js", "trial.js", "main.js")


def write_page(
    test: ListeningTest,
    folder: Path,
    *,
    language: str = "English",
    title: str = "Listening test",
    post: str | None = None,
) -> None:
    """Write the page and its sounds.

    Args:
        test: what is played.
        folder: target; made where it is missing.
        language: of the speech; raters say whether it is their own.
        title: heading of the page; it must not tell what is compared.
        post: http(s) address that finished results are sent to as JSON; None sends nothing.

    Raises:
        ConfigError: the folder is not empty, or the address is none.
        AudioError: a sound cannot be written.
    """
    check_target(folder)
    if post is not None and urlsplit(post).scheme not in ("http", "https"):
        raise ConfigError(f"--post {post}: give an address that begins with https:// or http://")
    audio = folder / "audio"
    audio.mkdir(parents=True, exist_ok=True)
    for screen in (test.practice, *test.screens):
        for stimulus in _sounds(screen):
            waveform.save(audio / f"{stimulus.file}.wav", stimulus.samples, RATE_HZ)
    settings = {
        "format": RESULT_FORMAT,
        "version": VERSION,
        "test": test.id,
        "kind": test.kind,
        "language": language,
        "title": title,
        "post": post,
        "practice": _blind(test.practice),
        "screens": [_blind(screen) for screen in test.screens],
    }
    (folder / "index.html").write_text(_document(title, settings), encoding="utf-8")


def write_key(test: ListeningTest, path: Path, papers: Sequence[str] = ()) -> None:
    """Write which blind name is which system, and what the attention checks expect.

    Args:
        test: what is played.
        path: of the key.
        papers: tables that stand beside reports of the same protocol, for the results.

    Raises:
        ConfigError: the file is there already and is no key of this very test.
    """
    check_key_target(path, test.id)
    key = {
        "format": KEY_FORMAT,
        "version": VERSION,
        "test": test.id,
        "kind": test.kind,
        "seed": test.seed,
        "systems": test.systems,
        "papers": list(papers),
        "screens": {
            screen.id: {
                "item": screen.item,
                "check": None if screen.check is None else asdict(screen.check),
                "stimuli": {stimulus.file: stimulus.label for stimulus in screen.stimuli},
            }
            for screen in test.screens
        },
    }
    path.write_text(json.dumps(key, indent=1) + "\n", encoding="utf-8")


def check_target(folder: Path) -> None:
    """Refuse a folder that holds something: old sounds among the new would be no test.

    Raises:
        ConfigError: it does, or is no folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder}: is there already; give -o a new or empty folder")


def check_key_target(path: Path, test: str) -> None:
    """Refuse to write over the key of another test: without it, that test's results are lost.

    Raises:
        ConfigError: the file is there and is no key of this test.
    """
    if path.parent.exists() and not path.exists():
        return
    try:
        known = json.loads(path.read_text(encoding="utf-8"))["test"]
    except (OSError, ValueError, KeyError, TypeError):
        known = None
    if known != test:
        raise ConfigError(f"{path}: is not writable or belongs to another test; give --key FILE")


def _sounds(screen: Screen) -> list[Stimulus]:
    return [one for one in (screen.shown, *screen.stimuli) if one is not None]


def _blind(screen: Screen) -> dict[str, Any]:
    """Leave of a screen what a rater may know."""
    return {
        "id": screen.id,
        "shown": None if screen.shown is None else screen.shown.file,
        "stimuli": [stimulus.file for stimulus in screen.stimuli],
    }


def _document(title: str, settings: dict[str, Any]) -> str:
    templates = resources.files(__package__) / "templates"

    def read(name: str) -> str:
        return (templates / name).read_text(encoding="utf-8")

    # "<" is escaped, so that no text can end the script element.
    data = json.dumps(settings, ensure_ascii=False).replace("<", "\\u003c")
    parts = {
        "{{title}}": html.escape(title),
        "{{style}}": read("page.css"),
        "{{script}}": "\n".join(map(read, _SCRIPTS)),
        "{{settings}}": data,
    }
    document = read("page.html")
    for marker, text in parts.items():
        document = document.replace(marker, text)
    return document
