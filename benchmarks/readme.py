"""Write the README's table from the figures beside the released weights.

``python -m benchmarks.readme``. A release's folder holds ``quality.json`` and ``speed.json`` as the
benchmarks wrote them. The table has the figures with an aim; what was not measured is not in it.
"""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.results import Entry, aimed_at, entries_in, number, read_json

WEIGHTS = Path("src/parlando/weights")
README = Path("README.md")
BEGIN = "<!-- measured: begin (python -m benchmarks.readme writes this table) -->"
END = "<!-- measured: end -->"


def table(weights: Path = WEIGHTS) -> str:
    """Return the measured table in Markdown, from all releases in a folder."""
    lines = []
    for folder in sorted(path for path in weights.iterdir() if path.is_dir()):
        aimed = [
            _line(entry)
            for name in ("quality.json", "speed.json")
            for entry in entries_in(read_json(folder / name, {}))
            if "aim" in entry
        ]
        lines += [f"| **{folder.name}** | | |", *aimed] if aimed else []
    if not lines:
        return "No release has been measured yet."
    return "\n".join(["| | measured | aim |", "|---|---|---|", *lines])


def _line(entry: Entry) -> str:
    beside = ", ".join(_beside(entry))
    value = number(entry["value"], entry["unit"]) + (f" ({beside})" if beside else "")
    return f"| {entry['aim']} | {value} | {aimed_at(entry)} |"


def _beside(entry: Entry) -> Iterator[str]:
    for who, what in (("human", "people"), ("control", "chance")):
        if entry[who] is not None:
            yield f"{what} {number(entry[who], entry['unit'])}"


def filled(readme: str, measured: str) -> str:
    """Return the README with its table replaced."""
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}\n{measured}\n{END}{rest.split(END)[1]}"


def main() -> None:
    """Rewrite the table in the README."""
    README.write_text(filled(README.read_text(encoding="utf-8"), table()), encoding="utf-8")


if __name__ == "__main__":
    main()
