"""Figures beside the aims of the released weights, as JSON and in words.

``quality.json`` and ``speed.json`` hold parts; a part says how it was measured, and lists entries:
``key``, ``title``, ``unit``, ``better``, ``condition``, ``value``, ``low``, ``high``, ``count``,
``human`` and ``control`` (what people and chance reach); where ``aims.toml`` has an aim for it,
also ``aim`` (its title), ``bound`` and ``reached``.
"""

import json
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from parlando.evaluation.measure import Figure
from parlando.evaluation.records import Report
from parlando.recipes import from_mapping
from parlando.registry import release_folder
from parlando.training.checkpoint import read_card

_AIMS = Path(__file__).with_name("aims.toml")
_VARIED = {"attributes", "levels", "repetition_aware"}
Entry = Mapping[str, Any]
Line = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Aim:
    """What a figure should be; ``aims.toml`` explains the fields."""

    part: str
    key: str
    title: str
    least: float | None = None
    most: float | None = None
    chance_share: float | None = None
    people_share: float | None = None
    people: str = ""
    times: float | None = None
    times_of: str = ""
    most_kilobits: float | None = None
    condition: Mapping[str, str] = field(default_factory=dict)
    summed: bool = False

    def bound(
        self, human: float | None, control: float | None, other: float | None = None
    ) -> float | None:
        """Return what the figure must not be worse than; None where what it rests on is missing.

        Args:
            human: what people reach.
            control: what chance reaches.
            other: the figure ``times_of``.
        """
        if self.times is not None:
            return None if other is None else self.times * other
        if self.chance_share is not None:
            if human is None or control is None:
                return None
            return human + self.chance_share * (control - human)
        if self.people_share is not None:
            return None if human is None else self.people_share * human
        return self.least if self.most is None else self.most

    @property
    def wants_more(self) -> bool:
        """Whether the bound is a lower one."""
        return self.least is not None or self.people_share is not None


def read_aims(part: str) -> dict[str, Aim]:
    """Read the aims of one part, by the key of the figure."""
    content = tomllib.loads(_AIMS.read_text(encoding="utf-8"))
    aims = [from_mapping(Aim, item, _AIMS.name) for item in content["aims"]]
    return {aim.key: aim for aim in aims if aim.part == part}


def aims_for(part: str, place: str) -> str:
    """Name the aims of a part for a system: those of its kind, where it has some of its own.

    Args:
        part: ``speech``, ``guard`` or ``speed``.
        place: released system, or folder of a trained one.
    """
    own = f"{read_card(release_folder(place)).kind}-{part}"
    return own if read_aims(own) else part


def part_of(part: str, report: Report, further: Sequence[Figure] = ()) -> dict[str, Any]:
    """Say what a report found, and how it was measured.

    Args:
        part: whose aims it has, such as ``codec``, ``facodec`` or ``valle2-speech``.
        report: as ``parlando evaluate`` wrote it.
        further: figures of another report that belong to it.
    """
    figures = [*report.figures, *further]
    content: dict[str, Any] = {
        "name": report.name,
        "protocol": report.protocol["title"],
        "parlando": report.version,
        "seed": report.seed,
        "utterances": len({row.trial.reference or row.trial.id for row in report.rows}),
        "failed": len(report.failed),
        "judges": dict(report.judges),
        "remarks": [*report.remarks, *_failures(report)],
        "figures": entries(part, figures),
    }
    if part == "codec":
        content["every_level_pays"] = every_level_pays(figures, read_aims(part))
    return content


def _failures(report: Report) -> Iterator[str]:
    if report.failed:
        yield (
            f"{len(report.failed)} of {len(report.rows)} outputs failed in part or whole: figures "
            "are those of the others"
        )


def entries(part: str, figures: Sequence[Figure]) -> list[dict[str, Any]]:
    """Turn figures into entries; what people and chance reach stands beside, not in a row."""
    aims = read_aims(part)
    beside = {key for f in figures for key in (f.quantity.human, f.quantity.control)} - aims.keys()
    # A mean over several bit rates, or ways of sampling, is the quality of none.
    varied = {f.quantity.key for f in figures if _VARIED & f.condition.keys()}
    found = []
    for figure in figures:
        key = figure.quantity.key
        if key in beside or (key in varied and not figure.condition):
            continue
        aim = aims.get(key)
        aimed = aim is not None and dict(figure.condition) == _condition_of(aim, figures)
        found.append(_entry(figure, aim if aimed else None, figures))
    return found


def _condition_of(aim: Aim, figures: Sequence[Figure]) -> dict[str, str] | None:
    """Say under which condition an aim is judged; None where no bit rate is low enough."""
    if aim.most_kilobits is None:
        return dict(aim.condition)
    rates = [f for f in figures if f.quantity.key == "bit_rate"]
    rates = [f for f in rates if f.condition] or rates
    allowed = [f for f in rates if f.value <= aim.most_kilobits + 1e-6]
    return dict(max(allowed, key=lambda f: f.value).condition) if allowed else None


def _entry(figure: Figure, aim: Aim | None, figures: Sequence[Figure]) -> dict[str, Any]:
    human, scale = figure.human, 1
    extra: dict[str, Any] = {}
    if aim is not None:
        if aim.people:
            human = _value_of(aim.people, figure, figures)
        scale = figure.count if aim.summed else 1
        other = _value_of(aim.times_of, figure, figures)
        bound, value = aim.bound(human, figure.control, other), scale * figure.value
        if bound is not None:
            reached = value >= bound if aim.wants_more else value <= bound
            extra = {"aim": aim.title, "bound": round(bound, 4), "reached": reached}
    numbers = {"value": figure.value, "low": figure.low, "high": figure.high}
    beside = {"human": human, "control": figure.control}
    return {
        "key": figure.quantity.key,
        "title": figure.quantity.title,
        "unit": figure.quantity.unit,
        "better": _better(figure, aim),
        "condition": dict(figure.condition),
        **{name: _scaled(number, scale) for name, number in numbers.items()},
        "count": figure.count,
        **{name: _scaled(number, scale) for name, number in beside.items()},
        **extra,
    }


def _value_of(key: str, like: Figure, figures: Sequence[Figure]) -> float | None:
    """Find a quantity's value under the condition of a figure."""
    having = (f for f in figures if f.quantity.key == key and f.condition == like.condition)
    return next((f.value for f in having), None)


def _scaled(number: float | None, scale: int) -> float | None:
    return None if number is None else round(scale * number, 4)


def _better(figure: Figure, aim: Aim | None) -> str | None:
    if aim is None:
        return figure.quantity.better
    return "higher" if aim.wants_more else "lower"


def every_level_pays(figures: Sequence[Figure], aims: Mapping[str, Aim]) -> dict[str, bool]:
    """Tell for each figure with an aim whether every further level makes it better."""
    found = {}
    for key in aims:
        levels = {
            int(f.condition["levels"]): f.value
            for f in figures
            if f.quantity.key == key and "levels" in f.condition
        }
        if len(levels) > 1:
            ordered = [levels[count] for count in sorted(levels)]
            found[key] = all(after > before for before, after in pairwise(ordered))
    return found


def read_json(path: Path, default: Any) -> Any:
    """Read a JSON file, or return the default where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else default


def entries_in(results: Mapping[str, Any]) -> Iterator[Entry]:
    """Yield every entry of the parts of a ``quality.json`` or ``speed.json``."""
    for part in results.values():
        yield from part["figures"]


def number(value: float | None, unit: str) -> str:
    """Write a number of three digits with its unit, shares as percentages; a dash for none."""
    if value is None:
        return "–"
    scaled = round(100.0 * value if unit == "%" else value, 6)
    whole = scaled == int(scaled) or abs(scaled) >= 1000.0
    text = f"{scaled:,.0f}" if whole else f"{scaled:#.3g}".rstrip(".")
    return _with_unit(text, unit)


def _with_unit(text: str, unit: str) -> str:
    return f"{text}%" if unit == "%" else f"{text} {unit}".rstrip()


def measured(entry: Entry) -> str:
    """Write an entry's value with its interval."""
    value = number(entry["value"], entry["unit"])
    if entry["low"] is None:
        return value
    low, high = (number(entry[end], entry["unit"]) for end in ("low", "high"))
    return f"{value} ({low} to {high})"


def aimed_at(entry: Entry) -> str:
    """Write an entry's bound; nothing where it has none."""
    if "aim" not in entry:
        return ""
    share = entry["unit"] == "%"
    bound = round(100.0 * entry["bound"], 1) if share else round(entry["bound"], 3)
    sign = "≥" if entry["better"] == "higher" else "≤"
    return f"{sign} {_with_unit(f'{bound:,g}', entry['unit'])}"


SUMMARY_HEAD = ("figure", "measured", "people", "chance", "aim", "reached")


def summary_rows(results: Mapping[str, Any]) -> Iterator[Line]:
    """Yield a line for each entry that has an aim, or holds for all utterances."""
    for name, part in results.items():
        shown = [e for e in part["figures"] if "aim" in e or not e["condition"]]
        for entry in sorted(shown, key=lambda e: "aim" not in e):
            beside = (number(entry[who], entry["unit"]) for who in ("human", "control"))
            title = entry.get("aim", f"{name}: {entry['title']}")
            reached = _answer(entry.get("reached"))
            yield title, measured(entry), *beside, aimed_at(entry), reached
        for key, pays in part.get("every_level_pays", {}).items():
            yield f"{name}: {key} is better with every further level", "", "", "", "", _answer(pays)


def unmeasured_rows(results: Mapping[str, Any], parts: Sequence[str]) -> Iterator[Line]:
    """Yield a line for each aim of some parts that has no figure."""
    found = {entry["aim"] for entry in entries_in(results) if "aim" in entry}
    for aim in (aim for part in parts for aim in read_aims(part).values()):
        if aim.title not in found:
            yield aim.title, "not measured", *[""] * (len(SUMMARY_HEAD) - 2)


def _answer(reached: bool | None) -> str:
    return {True: "yes", False: "no", None: ""}[reached]


def tables_by_condition(entries: Sequence[Entry]) -> Iterator[tuple[Line, list[Line]]]:
    """Yield a table for each condition, as its head and rows: a column for each figure."""
    for name in dict.fromkeys(name for entry in entries for name in entry["condition"]):
        having = [entry for entry in entries if name in entry["condition"]]
        titles = {entry["key"]: _title_with_unit(entry) for entry in having}
        rows: dict[str, dict[str, str]] = {}
        for entry in having:
            shown = number(entry["value"], "%" if entry["unit"] == "%" else "")
            rows.setdefault(entry["condition"][name], {})[entry["key"]] = shown
        yield (
            (name, *titles.values()),
            [(value, *(row.get(key, "–") for key in titles)) for value, row in rows.items()],
        )


def _title_with_unit(entry: Entry) -> str:
    unit = entry["unit"]
    return entry["title"] if unit in ("", "%") else f"{entry['title']} ({unit})"


def print_summary(results: Mapping[str, Any]) -> None:
    """Print all figures, those by conditions first, on wide lines where no terminal limits them."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 140)
    tables = [table for part in results.values() for table in tables_by_condition(part["figures"])]
    for head, rows in [*tables, (SUMMARY_HEAD, list(summary_rows(results)))]:
        table = Table(*head)
        for row in rows:
            table.add_row(*row)
        console.print(table)
