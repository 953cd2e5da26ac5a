"""The two commands of the README: what they install, when, and what they pass on."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@pytest.fixture
def folder(tmp_path):
    """A copy whose environment holds a pip and a parlando that only write down their calls."""
    for name in ("Makefile", "constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    bin_folder = tmp_path / ".venv" / "bin"
    bin_folder.mkdir(parents=True)
    script = (
        f"#!{sys.executable}\nimport json, sys\n"
        "print(json.dumps(sys.argv[1:]), file=open('calls', 'a'))\n"
    )
    for name in ("python", "parlando"):
        (bin_folder / name).write_text(script)
        (bin_folder / name).chmod(0o755)
    return tmp_path


def _make(folder, *words):
    calls = folder / "calls"
    calls.unlink(missing_ok=True)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    subprocess.run(
        ["make", "-s", *words], cwd=folder, check=True, capture_output=True, env=environment
    )
    return [json.loads(line) for line in calls.read_text().splitlines()]


def test_speak_installs_once_from_the_constraints(folder):
    install, speak = _make(folder, "speak")
    assert install[install.index("--constraint") + 1] == "constraints.txt"
    assert install[-2:] == ["--editable", "."]
    assert speak[0] == "speak"
    assert speak[-2:] == ["--out", "hello.wav"]
    assert len(_make(folder, "speak")) == 1


def test_test_adds_the_extras_once(folder):
    _make(folder, "speak")
    install, test = _make(folder, "test")
    assert install[-1] == ".[test]"
    assert test == ["-m", "pytest", "-m", ""]
    assert _make(folder, "test") == [test]
    assert _make(folder, "test-quick") == [["-m", "pytest"]]
    assert len(_make(folder, "speak")) == 1


def test_changed_pins_install_again(folder):
    _make(folder, "speak")
    later = (folder / ".venv" / "installed").stat().st_mtime + 10
    os.utime(folder / "constraints.txt", (later, later))
    assert len(_make(folder, "speak")) == 2


@pytest.mark.parametrize("text", ['It\'s "five": $5 & more; `no` $(no)', "two\nlines", "100% #1"])
def test_any_text_reaches_the_command_whole(folder, text):
    speak = _make(folder, "speak", f"TEXT={text}", "VOICE=my voice.wav", "OUT=x.wav")[-1]
    assert speak == ["speak", text, "--voice", "my voice.wav", "--out", "x.wav"]


def test_help_names_every_target(folder):
    printed = subprocess.run(
        ["make", "-s", "help"], cwd=folder, capture_output=True, text=True, check=True
    ).stdout
    for target in ("speak", "test", "check", "help"):
        assert f"make {target} " in printed


def test_ci_runs_the_readme_commands():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    for command in ("make speak", "make check", "make test"):
        assert f"\n{command}\n" in script.read_text()
