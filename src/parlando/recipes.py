"""Configuration as text: frozen dataclasses to plain mappings and back, read strictly.

A recipe is a TOML (or JSON) file that names a preset and its few differences; a run writes its
resolved configuration in the same form. Reading never guesses: an unknown key names the nearest
field, a value of the wrong type names what was expected.
"""

import dataclasses
import difflib
import json
import tomllib
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from parlando.contracts import ConfigError

Config = TypeVar("Config")

RECIPE_NAME = "recipe.json"
"""The resolved configuration that a run writes; a recipe itself."""
SECTIONS = ("kind", "preset", "model", "objective", "data", "training")
"""What a recipe may hold."""


def from_mapping(kind: type[Config], values: Mapping[str, Any], where: str = "config") -> Config:
    """Build a dataclass from a mapping, strictly.

    Args:
        kind: a dataclass whose fields are scalars, paths, literals, optionals, tuples, lists,
            mappings or dataclasses of these.
        values: field names to values as TOML or JSON give them.
        where: what the mapping is, for messages; nested fields extend it with a dot.

    Returns:
        The dataclass, its own ``__post_init__`` checks included.

    Raises:
        ConfigError: a key is unknown or missing, or a value does not fit its field.
    """
    given = _converted(kind, values, where)
    required = {
        field.name
        for field in dataclasses.fields(kind)  # type: ignore[arg-type]
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    if missing := sorted(required - given.keys()):
        raise ConfigError(f"{where} lacks {', '.join(missing)}; add it")
    return kind(**given)


def overridden(config: Config, differences: Mapping[str, Any], where: str = "config") -> Config:
    """Return ``config`` with some fields replaced; nested mappings change nested dataclasses.

    Raises:
        ConfigError: a key is unknown, or a value does not fit its field.
    """
    _check_table(differences, where)
    nested = {
        name: overridden(getattr(config, name), value, f"{where}.{name}")
        for name, value in differences.items()
        if isinstance(value, Mapping) and dataclasses.is_dataclass(getattr(config, name, None))
    }
    plain = {name: value for name, value in differences.items() if name not in nested}
    converted = _converted(type(config), plain, where)
    return dataclasses.replace(config, **converted, **nested)  # type: ignore[type-var]


def to_mapping(config: Any) -> dict[str, Any]:
    """Return a dataclass as plain JSON values: tuples become lists and paths strings."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def read_recipe(path: Path, sections: Iterable[str]) -> dict[str, Any]:
    """Read a recipe file whose top-level keys must be among ``sections``.

    Args:
        path: a ``.toml`` file, or a ``.json`` one such as a run writes.
        sections: the keys a recipe may hold.

    Returns:
        The file's content; the sections themselves are checked by whoever reads them.

    Raises:
        ConfigError: the file cannot be read or parsed, or holds an unknown key.
    """
    parsers = {".toml": tomllib.loads, ".json": json.loads}
    if path.suffix not in parsers:
        raise ConfigError(f"{path}: a recipe ends in .toml or .json, got '{path.suffix}'")
    try:
        content = parsers[path.suffix](path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the recipe ({error.strerror})") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not valid {path.suffix[1:].upper()} ({error})") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a table of sections, got {_name_of(content)}")
    check_names(content, sections, str(path))
    return content


def check_names(given: Iterable[str], known: Iterable[str], where: str) -> None:
    """Refuse a name that is not known, and suggest the nearest one.

    Raises:
        ConfigError: a name in ``given`` is not in ``known``.
    """
    known = list(known)
    for name in given:
        if name in known:
            continue
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean '{close[0]}'?" if close else f"known are {', '.join(sorted(known))}"
        raise ConfigError(f"{where} has no '{name}'; {hint}")


def _converted(kind: Any, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    _check_table(values, where)
    check_names(values, (field.name for field in dataclasses.fields(kind)), where)
    hints = get_type_hints(kind)
    return {name: _fit(value, hints[name], f"{where}.{name}") for name, value in values.items()}


def _check_table(values: Any, where: str) -> None:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: expected a table, got {_name_of(values)}")


def _fit(value: Any, kind: Any, where: str) -> Any:
    """Return ``value`` as the annotated type ``kind``, or refuse it."""
    origin = get_origin(kind)
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        if isinstance(value, kind):  # type: ignore[arg-type]
            return value
        return from_mapping(kind, value, where)  # type: ignore[arg-type]
    if origin in (Union, types.UnionType):
        return _fit_union(value, get_args(kind), where)
    if origin is Literal:
        if value in get_args(kind):
            return value
        choices = ", ".join(repr(choice) for choice in get_args(kind))
        raise ConfigError(f"{where}: expected one of {choices}, got {value!r}")
    if origin in (tuple, list):
        return _fit_sequence(value, kind, where)
    if origin in (dict, Mapping) and isinstance(value, Mapping):
        inner = get_args(kind)[1]
        return {key: _fit(item, inner, f"{where}.{key}") for key, item in value.items()}
    return _fit_scalar(value, kind, where)


def _fit_union(value: Any, choices: tuple[Any, ...], where: str) -> Any:
    if value is None and type(None) in choices:
        return None
    errors = []
    for choice in choices:
        if choice is type(None):
            continue
        try:
            return _fit(value, choice, where)
        except ConfigError as error:
            errors.append(error)
    raise errors[0]


def _fit_sequence(value: Any, kind: Any, where: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{where}: expected a list, got {_name_of(value)}")
    if origin is list or arguments[-1] is Ellipsis:
        wanted = [arguments[0]] * len(value)
    else:
        wanted = list(arguments)
    if len(wanted) != len(value):
        raise ConfigError(f"{where}: expected {len(wanted)} items, got {len(value)}")
    pairs = enumerate(zip(value, wanted, strict=True))
    return origin(_fit(item, inner, f"{where}[{index}]") for index, (item, inner) in pairs)


def _fit_scalar(value: Any, kind: Any, where: str) -> Any:
    # bool is an int to Python, and a whole number is a fine float to people: both need a word.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is float and is_number:
        return float(value)
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    if isinstance(kind, type) and type(value) is kind:
        return value
    raise ConfigError(
        f"{where}: expected {getattr(kind, '__name__', kind)}, got {_name_of(value)} {value!r}"
    )


def _name_of(value: Any) -> str:
    return type(value).__name__


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_mapping(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
