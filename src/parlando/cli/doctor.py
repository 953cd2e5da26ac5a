"""``parlando doctor``: what this machine has, what is missing, and how to get it."""

import os
import platform
import re
from dataclasses import dataclass
from importlib import metadata

from parlando.contracts import ParlandoError

_REQUIREMENT = re.compile(
    r"^(?P<name>[\w.-]+)(\[.*?\])?[^;]*(;.*extra == ['\"](?P<extra>\w+)['\"])?"
)
_EXTRAS = {"train": "to train", "evaluate": "to evaluate"}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Show versions, devices, what is missing and how to get it; exits 1 where something is."""


def run(options: Options) -> int:
    """Print the report; return 0 where everything that speaking needs is there, else 1."""
    problems: list[str] = []
    checks = (_machine, _packages, _devices, _espeak, _weights)
    for check in checks:
        try:
            for label, finding in check():
                print(f"{label:<18} {finding}")
        except (ParlandoError, ImportError, OSError) as error:
            problems.append(" ".join(str(error).split()))
    for extra, purpose in _EXTRAS.items():
        missing = [name for name in _required(extra) if _installed(name) is None]
        state = f"lacks {', '.join(missing)}" if missing else "complete"
        cure = f"; {purpose}: pip install 'parlando[{extra}]'" if missing else ""
        print(f"{f'extra {extra}':<18} {state}{cure}")
    for problem in problems:
        print(f"PROBLEM            {problem}")
    print("Ready to speak." if not problems else "Mend the problems above, then run it again.")
    return 1 if problems else 0


def _machine() -> list[tuple[str, str]]:
    return [
        ("parlando", metadata.version("parlando")),
        ("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        ("processors", str(os.cpu_count())),
    ]


def _packages() -> list[tuple[str, str]]:
    found = {name: _installed(name) for name in _required(None)}
    missing = [name for name, version in found.items() if version is None]
    if missing:
        raise ImportError(f"lacks {', '.join(missing)}: pip install {' '.join(missing)}")
    return [(name, version or "") for name, version in found.items()]


def _devices() -> list[tuple[str, str]]:
    import torch

    rows = [("cpu threads", str(torch.get_num_threads()))]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            device = torch.cuda.get_device_properties(index)
            rows.append((f"cuda:{index}", f"{device.name}, {device.total_memory / 2**30:.0f} GiB"))
    elif torch.version.cuda is None:
        rows.append(("cuda", "none: this torch is a CPU build (see the README to choose another)"))
    else:
        rows.append(("cuda", f"none: torch is built for CUDA {torch.version.cuda}, no GPU found"))
    if torch.backends.mps.is_available():
        rows.append(("mps", "available"))
    return rows


def _espeak() -> list[tuple[str, str]]:
    from parlando.text.phonemes import phonemize

    spoken = " ".join(phonemize("hello"))
    from phonemizer.backend.espeak.wrapper import EspeakWrapper

    release = ".".join(map(str, EspeakWrapper().version))
    return [("espeak-ng", f"{release}, says hello as {spoken}")]


def _weights() -> list[tuple[str, str]]:
    from parlando.registry import RELEASES, release_folder
    from parlando.training.checkpoint import read_card

    steps = {name: read_card(release_folder(name), kind).step for name, kind in RELEASES.items()}
    return [(name, f"released weights, {count:,} steps") for name, count in steps.items()]


def _required(extra: str | None) -> list[str]:
    """Names of the packages that Parlando, or one of its extras, requires."""
    matches = (_REQUIREMENT.match(line) for line in metadata.requires("parlando") or [])
    return [found["name"] for found in matches if found and found["extra"] == extra]


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
