"""What importing costs, and which way imports point."""

import shutil
import subprocess
import sys
import time

import pytest

import parlando


def _modules_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def _seconds(statement: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - started


@pytest.mark.parametrize("heavy", ["torch", "numpy", "soundfile", "matplotlib", "tyro"])
def test_importing_the_package_imports_nothing_heavy(heavy):
    assert heavy not in _modules_after("import parlando")


@pytest.mark.parametrize(
    "module", ["parlando.cli.main", "parlando.cli.speak", "parlando.cli.doctor"]
)
def test_command_line_starts_without_torch(module):
    assert "torch" not in _modules_after(f"import {module}")


def test_importing_the_package_is_quick():
    # The best of three, less what starting Python costs: a busy machine must not fail it.
    extra = min(_seconds("import parlando") for _ in range(3)) - min(
        _seconds("pass") for _ in range(3)
    )
    assert extra < 0.3


def test_public_names_are_all_there():
    assert set(parlando._HOMES) == set(parlando.__all__)
    for name in parlando.__all__:
        assert getattr(parlando, name).__name__ == name
    assert parlando.__version__.count(".") == 2
    with pytest.raises(AttributeError, match="nothing"):
        parlando.nothing  # noqa: B018


def test_imports_point_one_way():
    tool = shutil.which("lint-imports", path=f"{sys.prefix}/bin") or shutil.which("lint-imports")
    if tool is None:
        pytest.skip("import-linter is not installed")
    root = parlando.__path__[0] + "/../.."
    done = subprocess.run([tool, "--no-cache"], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
