"""The README says what is so."""

import json
import re
from pathlib import Path

import pytest
from benchmarks import readme

from parlando.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_table_is_that_of_the_measurements():
    assert readme.filled(README, readme.table(ROOT / readme.WEIGHTS)) == README


def test_table_tells_what_has_an_aim_and_nothing_else(tmp_path):
    entry = {"value": 0.776, "unit": "%", "better": "lower", "human": 0.431, "control": 1.2313}
    aim = {"aim": "speech: errors in words", "bound": 0.7509, "reached": False}
    (tmp_path / "voice").mkdir()
    (tmp_path / "voice" / "quality.json").write_text(
        json.dumps({"speech": {"figures": [entry | aim, entry]}})
    )
    memory = {"value": 428.28, "unit": "MB", "better": "lower", "human": None, "control": None}
    (tmp_path / "voice" / "speed.json").write_text(
        json.dumps({"speed": {"figures": [memory | {"aim": "peak memory", "bound": 1200.0}]}})
    )
    (tmp_path / "unmeasured").mkdir()
    assert readme.table(tmp_path).splitlines()[2:] == [
        "| **voice** | | |",
        "| speech: errors in words | 77.6% (people 43.1%, chance 123%) | ≤ 75.1% |",
        "| peak memory | 428 MB | ≤ 1,200 MB |",
    ]


def test_readme_is_short_and_names_only_what_exists():
    assert len(README.splitlines()) < 105
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
    for command in re.findall(r"(?:bin/|`|^)parlando ([a-z]+)", README, re.MULTILINE):
        assert command in COMMANDS
    for target in re.findall(r"make ([a-z]+)", README):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target


@pytest.mark.parametrize("path", ["LICENSE", "constraints.txt", ".ci/run", "CITATION.cff"])
def test_papers_of_the_house_are_there(path):
    assert (ROOT / path).stat().st_size > 100


def test_constraints_pin_exactly_and_name_no_place():
    lines = (ROOT / "constraints.txt").read_text().split()
    assert "torch==2.13.0" in lines
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
