"""The README says what is so."""

import re
from pathlib import Path

import pytest
from benchmarks import readme

from parlando.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_table_is_that_of_the_measurements():
    assert readme.filled(README, readme.table(ROOT / readme.WEIGHTS)) == README


def test_table_tells_what_was_measured_and_nothing_else(tmp_path):
    (tmp_path / "codec").mkdir()
    (tmp_path / "codec" / "quality.json").write_text(
        '{"codec": {"targets": {"bits_per_second": 9600, "pesq_wb": 2.6, "stoi": 0.93, '
        '"similarity": 0.93}, "table": [{"bits_per_second": 8000, "pesq_wb": {"value": 2.5}, '
        '"stoi": {"value": 0.931}, "similarity": null}, {"bits_per_second": 12000}]}}'
    )
    assert readme.table(tmp_path).splitlines()[2:] == [
        "| codec, 8.0 kbit/s: PESQ, wideband | 2.5 | ≥ 2.6 |",
        "| codec, 8.0 kbit/s: STOI | 0.931 | ≥ 0.93 |",
    ]


def test_readme_fits_a_screen_and_names_only_what_exists():
    assert len(README.splitlines()) < 75
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
