"""Write the README's table from the figures beside the released weights.

``python -m benchmarks.readme``. A release's folder holds ``quality.json`` and ``speed.json`` as the
benchmarks wrote them. What was not measured is not in the table.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WEIGHTS = Path("src/parlando/weights")
README = Path("README.md")
BEGIN = "<!-- measured: begin (python -m benchmarks.readme writes this table) -->"
END = "<!-- measured: end -->"
_CODEC_NAMES = {"pesq_wb": "PESQ, wideband", "stoi": "STOI", "similarity": "speaker similarity"}
_SPEED_NAMES = {
    "real_time_factor": "real-time factor",
    "first_audio_seconds": "seconds to the first audio of a long text",
    "import_seconds": "seconds to import parlando",
    "peak_memory_bytes": "peak memory, bytes",
}
Line = tuple[str, str, str]


def table(weights: Path = WEIGHTS) -> str:
    """Return the measured table in Markdown, from all releases in a folder."""
    folders = sorted(path for path in weights.iterdir() if path.is_dir())
    lines = [line for folder in folders for line in quality_lines(_read(folder / "quality.json"))]
    lines += [line for folder in folders for line in speed_lines(_read(folder / "speed.json"))]
    if not lines:
        return "No release has been measured yet."
    head = ["| | measured | aim |", "|---|---|---|"]
    return "\n".join([*head, *(f"| {what} | {got} | {aim} |" for what, got, aim in lines)])


def filled(readme: str, measured: str) -> str:
    """Return the README with its table replaced."""
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}\n{measured}\n{END}{rest.split(END)[1]}"


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def quality_lines(results: dict[str, Any]) -> Iterator[Line]:
    """Yield what was measured, how much it is, and what it should be, from ``quality.json``."""
    if codec := results.get("codec"):
        most = codec["targets"]["bits_per_second"]
        row = [line for line in codec["table"] if line["bits_per_second"] <= most][-1]
        for name, what in _CODEC_NAMES.items():
            if row[name]:
                rate = f"codec, {row['bits_per_second'] / 1000:.1f} kbit/s: {what}"
                yield rate, f"{row[name]['value']:.3g}", f"≥ {codec['targets'][name]:g}"
    if speech := results.get("speech"):
        for kind, error in speech["errors"].items():
            got = (
                f"{error['system']['value']:.1%} (people {error['human']['value']:.1%}, "
                f"shuffled texts {error['control']['value']:.1%})"
            )
            yield f"speech: errors in {kind}", got, f"≤ {error['bound']:.1%}"
        nearest, alike = speech["voice"]["rank_one"], speech["voice"]["similarity"]
        got = f"{nearest['accuracy']['value']:.0%} (chance {nearest['chance']:.0%})"
        yield "voice: the prompt's speaker is nearest", got, f"≥ {nearest['target']:.0%}"
        made, human = (alike[name]["value"] for name in ("output_to_prompt", "human_halves"))
        got = f"{made:.3f} (people {human:.3f})"
        yield "voice: similarity to the prompt", got, f"≥ {alike['bound']:.3f}"
    if hard := results.get("hard"):
        got = f"{hard['skips']} and {hard['repeats']}"
        proof = hard["detector"]["proof"]
        if not proof["holds"]:
            found, false = proof["hit_rate"], proof["false_alarm_rate"]
            got += f", by a detector that is not proved ({found:.0%} found, {false:.0%} false)"
        yield "50 hard sentences: words skipped and repeated", got, "0 and 0"


def speed_lines(report: dict[str, Any]) -> Iterator[Line]:
    """Yield the same from ``speed.json``."""
    if report:
        for name, what in _SPEED_NAMES.items():
            where = f"{what}, {report['threads']} CPU threads"
            yield where, f"{report[name]:.3g}", f"≤ {report['targets'][name]:.3g}"


def main() -> None:
    """Rewrite the table in the README."""
    README.write_text(filled(README.read_text(encoding="utf-8"), table()), encoding="utf-8")


if __name__ == "__main__":
    main()
