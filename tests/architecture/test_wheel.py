"""A built wheel holds everything that speaking needs, and works from any folder."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from parlando.registry import RELEASES

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    # A copy is built, because setuptools writes beside the sources.
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "src" / "parlando", source / "src" / "parlando")
    wheels = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    command += ["--no-index", "--quiet", "--wheel-dir", str(wheels), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(next(wheels.glob("parlando-*.whl"))) as wheel:
        wheel.extractall(folder)
    return folder


@pytest.mark.slow
def test_wheel_holds_weights_licence_and_types(unpacked):
    weights = unpacked / "parlando" / "weights"
    assert (weights / "example_prompt.wav").stat().st_size > 50_000
    for name in RELEASES:
        for part in ("config.json", "weights.safetensors", "card.md"):
            assert (weights / name / part).stat().st_size > 10
    assert sum(path.stat().st_size for path in weights.rglob("*.safetensors")) <= 45_000_000
    assert (unpacked / "parlando" / "py.typed").exists()
    assert list(unpacked.glob("*.dist-info/licenses/LICENSE"))


@pytest.mark.slow
def test_wheel_speaks_from_any_folder(unpacked, tmp_path):
    code = (
        "import sys, parlando; assert parlando.__file__.startswith(sys.argv[1]); "
        "from parlando.cli.main import main; "
        "sys.exit(main(['speak', 'Hello from a wheel.', '-o', 'out.wav', '--steps', '2']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(unpacked)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.wav").stat().st_size > 10_000
