"""Judges' packages and weights that may be missing: found at the first use, or told what to do."""

import logging
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from parlando.contracts import ConfigError

_PATIENCE_SECONDS = 5.0
_WHAT_TO_DO = (
    "give a folder with config.json, model.safetensors and the processor's files, or go online once"
)


def require(module: str, extra: str) -> Any:
    """Import a judge's package.

    Args:
        module: its name.
        extra: the extra of Parlando that brings it.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"the package {module} cannot be imported ({_first_line(error)}); "
            f"install it with: pip install 'parlando[{extra}]'"
        ) from error


def load_pretrained(place: str | Path, *classes: str) -> tuple[Any, ...]:
    """Load models and processors of ``transformers`` from one place.

    What is in a folder, or was downloaded before, is loaded without a network. Otherwise the hub is
    asked once whether it is there, before files are: of each file it would be asked many times.

    Args:
        place: folder in the layout of ``save_pretrained``, or a name on the hub.
        classes: names of the classes, such as ``HubertForCTC``.

    Returns:
        one object for each class; networks are in evaluation mode.

    Raises:
        ConfigError: ``transformers`` is not installed, or the weights are not there.
    """
    transformers = require("transformers", "judges")
    # Without a network the hub tells of every try again; what to do is told once, below.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    makers = {name: getattr(transformers, name) for name in classes}
    try:
        return _loaded(place, makers, local_files_only=True)
    except ConfigError:
        if isinstance(place, Path) or Path(place).exists():
            raise
    _ask_hub(place)
    return _loaded(place, makers, local_files_only=False)


def _loaded(
    place: str | Path, makers: Mapping[str, Any], *, local_files_only: bool
) -> tuple[Any, ...]:
    loaded = []
    for name, maker in makers.items():
        try:
            found = maker.from_pretrained(str(place), local_files_only=local_files_only)
        # A wrong or half-empty folder also ends in TypeError (a file that is None) or KeyError.
        except (OSError, ValueError, TypeError, KeyError, ImportError, RuntimeError) as error:
            raise ConfigError(
                f"{place}: cannot be loaded as {name} ({_first_line(error)}); {_WHAT_TO_DO}"
            ) from error
        loaded.append(found.eval() if hasattr(found, "eval") else found)
    return tuple(loaded)


def _ask_hub(name: str) -> None:
    """Ask the hub once for a model, and wait a few seconds at most.

    Raises:
        ConfigError: it cannot be reached, or has no such model.
    """
    try:
        require("huggingface_hub", "judges").HfApi().model_info(name, timeout=_PATIENCE_SECONDS)
    # Errors of its HTTP library pass through, and which library that is changes with its version.
    except Exception as error:
        raise ConfigError(
            f"{name}: no folder, not downloaded before, and the hub does not give it "
            f"({_first_line(error)}); {_WHAT_TO_DO}"
        ) from error


class Pretrained:
    """Weights of ``transformers`` that are loaded once, at the first use, in every process.

    Args:
        place: folder of weights and processor, or a name on the hub.
    """

    classes: ClassVar[tuple[str, ...]]
    """Of the network and of its processor."""

    def __init__(self, place: str | Path) -> None:
        self._place = place
        self._parts: tuple[Any, ...] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_parts": None}

    def check(self) -> None:
        """Raise ``ConfigError`` if the package or the weights are not there."""
        load_pretrained(self._place, *self.classes)

    def loaded(self) -> tuple[Any, ...]:
        """Return network and processor."""
        if self._parts is None:
            self._parts = load_pretrained(self._place, *self.classes)
        return self._parts


def place_name(place: str | Path) -> str:
    """Name a model by its hub name, or by its folder without the path that only one machine has."""
    return Path(place).name if Path(place).is_dir() else str(place)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip().rstrip(".") if lines else type(error).__name__
