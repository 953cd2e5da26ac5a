"""The documentation links what is there, and names commands, flags and modules that exist."""

import dataclasses
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import pytest

from parlando.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
NAMES = [str(page.relative_to(DOCS)) for page in PAGES]


def _links(page):
    found = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    return [link for link in found if "://" not in link]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page):
    for link in _links(page):
        assert (page.parent / link).exists(), link


def test_the_index_names_every_page():
    index = {(DOCS / link).resolve() for link in _links(DOCS / "README.md")}
    assert index >= {page.resolve() for page in PAGES} - {DOCS / "README.md"}


def test_decisions_are_numbered_without_gaps():
    numbers = [int(page.name[:4]) for page in sorted((DOCS / "decisions").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))


def _flags(options):
    """Return the flags of a command's options, those of nested groups and subcommands included."""
    if not dataclasses.is_dataclass(options):
        return set().union(*(_flags(get_args(annotated)[0]) for annotated in get_args(options)))
    flags = {"--help"}
    for field in dataclasses.fields(options):
        flags.add("--" + field.name.replace("_", "-"))
        nested = field.default_factory
        if dataclasses.is_dataclass(nested):
            flags |= _flags(nested)
    return flags


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_and_flags_exist(page):
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    for line in lines:
        match = re.match(r"parlando ([a-z]+)(.*)", re.sub(r'".*?"', "TEXT", line.split(" #")[0]))
        if not match:
            continue
        name, rest = match.groups()
        assert name in COMMANDS
        known = _flags(import_module(f"parlando.cli.{name}").Options)
        assert set(re.findall(r"--[a-z-]+", rest)) <= known, line
        for path in re.findall(r"recipes/\S+", rest):
            assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_modules_that_are_named_exist(page):
    for name in set(re.findall(r"`(parlando(?:\.[a-z0-9_]+)+)", page.read_text(encoding="utf-8"))):
        parts = name.split(".")
        if find_spec(".".join(parts[:2])) is None:
            assert hasattr(import_module("parlando"), parts[1]), name
            continue
        for length in range(2, len(parts) + 1):
            module = ".".join(parts[:length])
            try:
                found = find_spec(module)
            except ModuleNotFoundError:
                found = None
            if found is None:
                assert hasattr(import_module(".".join(parts[: length - 1])), parts[length - 1]), (
                    name
                )
                break
