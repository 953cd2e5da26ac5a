"""Write the model cards of the released weights: ``python -m benchmarks.cards``.

A card puts together what lies in the folder of a release and what ``cards.toml`` says of it:

- ``config.json``: kind, steps, minutes and the last validation, as training wrote them;
- ``quality.json``, ``speed.json``: as ``benchmarks.quality`` and ``benchmarks.speed`` wrote them,
  for VALL-E 2 also ``benchmarks.decoding``;
- ``curve.json``: the learning curve, a list of ``{"step": …, name: number, …}``;
- ``stages.json``: all runs in order, a list of ``{"recipe": …, "steps": …, "minutes": …}``.

All but the first may be missing; what was not measured is called so.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.readme import WEIGHTS
from benchmarks.results import (
    SUMMARY_HEAD,
    read_json,
    summary_rows,
    tables_by_condition,
    unmeasured_rows,
)
from parlando.training.checkpoint import Card, read_card

CARD_NAME = "card.md"
_FACTS = Path(__file__).with_suffix(".toml")
_RECIPES = Path("recipes")
_LONGEST_CURVE = 40
_TABLED = ("figures", "every_level_pays")


def card_text(name: str, weights: Path = WEIGHTS, recipes: Path = _RECIPES) -> str:
    """Return the model card of a release, in Markdown.

    Args:
        name: name of the release, one of ``cards.toml``.
        weights: folder of the releases.
        recipes: folder of the recipes that ``cards.toml`` names.

    Raises:
        CheckpointError: there are no such weights.
    """
    facts = tomllib.loads(_FACTS.read_text(encoding="utf-8"))
    model, folder = facts["models"][name], weights / name
    card = read_card(folder)
    sources = {source: facts["sources"][source] for source in model["sources"]}
    parts = [
        f"# {model['title']}",
        "Written by `python -m benchmarks.cards`; change `benchmarks/cards.toml` or the figures.",
        model["purpose"].strip(),
        *_section("Data", _data(sources)),
        *_section(
            "Training", [*_training(model["recipes"], card, folder, recipes), model["history"]]
        ),
        *_section("Measured", _measured(folder, model["aims"])),
        *_section("Last validation while training", _validation(card.numbers)),
        *_section("Learning curve", _curve(read_json(folder / "curve.json", []))),
        *_section("Where it fails", ["\n".join(f"- {line}" for line in model["limits"])]),
        *_section("Use, consent and licence", _terms(sources)),
    ]
    return "\n\n".join(parts) + "\n"


def _section(title: str, paragraphs: Iterator[str] | Sequence[str]) -> list[str]:
    return [f"## {title}", *paragraphs]


def _data(sources: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    total = sum(source["train_hours"] for source in sources.values())
    yield f"Real speech, {total:.1f} h, all of the training split: no test speaker is in it."
    yield _table(
        ("source", "hours", "speakers", "licence", "credit"),
        [
            (name, f"{s['train_hours']:.2f}", s["speakers"], s["licence"], s["credit"])
            for name, s in sources.items()
        ],
    )
    yield (
        "Accents: the voices of kathleen, ljspeech and librispeech are mostly American, that of "
        "vctk is British, those of speechocean762 are English as speakers of Mandarin say it."
    )


def _training(names: Sequence[str], card: Card, folder: Path, recipes: Path) -> Iterator[str]:
    yield "Recipes, one after the other, each beginning with the weights of the one before:"
    stages = read_json(folder / "stages.json", [])
    lines = []
    for name in [stage["recipe"] for stage in stages] or names:
        data = tomllib.loads((recipes / f"{name}.toml").read_text(encoding="utf-8")).get("data", {})
        notes = [
            f"{s} drawn {w:g} times as often" for s, w in data.get("source_weights", {}).items()
        ]
        if data.get("voice_weight"):
            notes.append(
                f"new voices made by resampling drawn {data['voice_weight']:g} times as often"
            )
        lines.append(f"- `recipes/{name}.toml`" + (f": {', '.join(notes)}" if notes else ""))
    yield "\n".join(lines)
    if stages:
        rows = [(s["recipe"], f"{s['steps']:,}", f"{s['minutes']:.0f}") for s in stages]
        yield _table(("run", "steps", "minutes"), rows)
    yield (
        f"The last run took {card.step:,} steps in {card.minutes:.0f} minutes. These are the "
        "moving average of its weights, stored in fewer bits than they were trained in."
    )


def _measured(folder: Path, aims: Sequence[str]) -> Iterator[str]:
    quality, speed = read_json(folder / "quality.json", {}), read_json(folder / "speed.json", {})
    if not quality and not speed:
        yield "Not measured."
        return
    if rows := [*summary_rows(quality | speed), *unmeasured_rows(quality | speed, aims)]:
        yield "With 95 % intervals over utterances; beside them what people and chance reach."
        yield _table(SUMMARY_HEAD, rows)
    for part in quality.values():
        yield from (_table(head, rows) for head, rows in tables_by_condition(part["figures"]))
    for name, part in (quality | speed).items():
        yield f"How `{name}` was measured:"
        kept = {key: value for key, value in part.items() if key not in _TABLED}
        yield "\n".join(f"- {key}: {value}" for key, value in _flat(kept))


def _validation(numbers: Mapping[str, float]) -> Iterator[str]:
    """Tabulate the numbers; those of a codec's prefixes of levels in a table of their own."""
    if not numbers:
        yield "Not measured."
        return
    yield "Sentences of the training speakers that were not trained on; losses, not judges."
    plain = [(name, f"{value:.4g}") for name, value in numbers.items() if "/levels_" not in name]
    yield _table(("number", "value"), plain)
    by_level: dict[str, dict[str, str]] = {}
    for name, value in numbers.items():
        what, _, level = name.partition("/levels_")
        if level:
            by_level.setdefault(level, {})[what] = f"{value:.4g}"
    if by_level:
        columns = list(next(iter(by_level.values())))
        yield _table(
            ("levels", *columns),
            [(str(int(n)), *(row.get(c, "–") for c in columns)) for n, row in by_level.items()],
        )


def _curve(points: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not points:
        yield "Not measured."
        return
    columns = list(dict.fromkeys(name for point in points for name in point))
    count = min(len(points), _LONGEST_CURVE)
    shown = [points[round(i * (len(points) - 1) / max(count - 1, 1))] for i in range(count)]
    yield _table(columns, [[_figure(point.get(name)) for name in columns] for point in shown])


def _terms(sources: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield (
        "For research, accessibility and tools whose listeners know what they hear. A voice "
        "belongs to a person: `docs/responsible-use.md` says what consent is owed before it is "
        "imitated. All speech that Parlando writes carries metadata that says it is synthetic."
    )
    credits = "; ".join(dict.fromkeys(source["credit"] for source in sources.values()))
    yield (
        "The code is Apache-2.0. The weights are CC BY 4.0, because of the licences of the data; "
        f"whoever passes them on names Parlando and its sources: {credits}."
    )


def _table(head: Sequence[str], rows: Iterator[Sequence[str]] | Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name} ")
        elif isinstance(value, list):
            yield from ((f"{before}{name}", line) for line in value)
        else:
            yield f"{before}{name}", _figure(value)


def _figure(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def released(weights: Path = WEIGHTS) -> list[str]:
    """Return the names of the releases that are there."""
    return sorted(path.parent.name for path in weights.glob("*/config.json"))


def main() -> None:
    """Write the card of each release that is there."""
    for name in released():
        path = WEIGHTS / name / CARD_NAME
        path.write_text(card_text(name), encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
