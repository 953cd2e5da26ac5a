"""What a preparation kept and what it skipped: a table, ``report.json`` and ``report.png``."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from parlando.data import store
from parlando.text.vocabulary import is_pause

_SEXES = (("female", "tab:red"), ("male", "tab:blue"), ("unknown", "tab:gray"))
_LONGEST_LIST = 1000
_DRAWN_UTTERANCES = 5000


def write_report(folder: str | Path) -> dict[str, Any]:
    """Count a prepared corpus and write ``report.json`` and ``report.png`` into its folder.

    Args:
        folder: a prepared corpus.

    Returns:
        what ``report.json`` holds: hours, utterances and speakers in all and per source and split,
        how many were skipped (by the audio stage) or rejected (by the alignment) for which reason,
        and which ones, the first thousand.
    """
    corpus = store.PreparedCorpus(folder)
    skipped = [
        entry
        for shard in range(corpus.info["shards"])
        for entry in store.read_notes(corpus.folder, shard, "audio")["skipped"]
    ]
    rejected = [
        {"id": row["id"], "source": row["source"], "reason": row["rejected"]}
        for row in corpus.rows
        if row.get("rejected") is not None
    ]
    sources = sorted({row["source"] for row in corpus.rows} | {item["source"] for item in skipped})
    report = {
        "stages": list(corpus.stages),
        "total": _count(corpus, corpus.rows),
        "sources": {
            name: _count(corpus, [row for row in corpus.rows if row["source"] == name])
            | {
                "skipped": sum(entry["source"] == name for entry in skipped),
                "rejected": sum(entry["source"] == name for entry in rejected),
            }
            for name in sources
        },
        "splits": {
            name: _count(corpus, [row for row in corpus.rows if row["split"] == name])
            for name in sorted({row["split"] for row in corpus.rows})
        },
        "skipped_reasons": dict(Counter(entry["reason"] for entry in skipped).most_common()),
        "rejected_reasons": dict(
            Counter(str(entry["reason"]).split(":")[0] for entry in rejected).most_common()
        ),
        "skipped": skipped[:_LONGEST_LIST],
        "rejected": rejected[:_LONGEST_LIST],
    }
    store.write_json(corpus.folder / "report.json", report)
    store.replace_file(corpus.folder / "report.png", lambda partial: _draw(corpus, partial))
    return report


def print_report(report: dict[str, Any], console: Console | None = None) -> None:
    """Print the table of a report, and why utterances were left out."""
    console = console or Console()
    table = Table("source", "hours", "utterances", "with text", "speakers", "skipped", "rejected")
    for name, counts in report["sources"].items():
        table.add_row(name, *_cells(counts), str(counts["skipped"]), str(counts["rejected"]))
    left_out = [
        str(sum(counts[key] for counts in report["sources"].values()))
        for key in ("skipped", "rejected")
    ]
    table.add_section()
    table.add_row("all", *_cells(report["total"]), *left_out)
    console.print(table)
    for title in ("skipped", "rejected"):
        for reason, count in report[f"{title}_reasons"].items():
            console.print(f"{title}: {reason}: {count}")


def _cells(counts: dict[str, Any]) -> list[str]:
    whole = (str(counts[key]) for key in ("utterances", "with_text", "speakers"))
    return [f"{counts['hours']:.2f}", *whole]


def _count(corpus: store.PreparedCorpus, rows: list[store.Row]) -> dict[str, Any]:
    frames = sum(row["n_frames"] for row in rows)
    return {
        "hours": round(frames * corpus.hop_samples / corpus.rate_hz / 3600.0, 4),
        "utterances": len(rows),
        "with_text": sum(row["n_symbols"] > 0 for row in rows),
        "speakers": len({row["speaker"] for row in rows}),
    }


def _draw(corpus: store.PreparedCorpus, path: Path) -> None:
    """Draw histograms of utterance and phone durations and of F0 by sex."""
    from matplotlib.figure import Figure

    frame_seconds = corpus.hop_samples / corpus.rate_hz
    figure = Figure(figsize=(12.0, 3.6), layout="constrained")
    utterances, phones, pitches = figure.subplots(1, 3)
    utterances.hist([row["n_frames"] * frame_seconds for row in corpus.rows], bins=50)
    utterances.set(title="utterances", xlabel="seconds", ylabel="count")
    phones.set(title="phones", xlabel="seconds", ylabel="count")
    if "alignment" in corpus.stages:
        edges = (np.arange(42) - 0.5) * frame_seconds
        phones.hist(np.minimum(_phone_frames(corpus), 40) * frame_seconds, bins=edges)
    else:
        phones.text(0.5, 0.5, "not aligned", ha="center", transform=phones.transAxes)
    edges = np.geomspace(60.0, 600.0, 80)
    for sex, colour in _SEXES:
        values = _voiced_hertz(corpus, sex)
        if len(values):
            pitches.hist(values, bins=edges, histtype="step", color=colour, label=sex, density=True)
    pitches.set(title="F0 of voiced frames", xlabel="hertz", ylabel="density", xscale="log")
    if pitches.get_legend_handles_labels()[0]:
        pitches.legend()
    figure.savefig(path, format="png", dpi=100)


def _phone_frames(corpus: store.PreparedCorpus) -> np.ndarray:
    phone = np.array([not is_pause(symbol) for symbol in corpus.vocabulary])
    lists = [np.zeros(0, np.int64)]
    for index in _sample(corpus.select(aligned=True)):
        item = corpus.item(index, ("symbols", "durations"))
        lists.append(item["durations"].numpy()[phone[item["symbols"].numpy()]])
    return np.concatenate(lists)


def _voiced_hertz(corpus: store.PreparedCorpus, sex: str) -> np.ndarray:
    values = [np.zeros(0, np.float32)]
    # New voices keep the sex of the recorded ones and would blur the picture.
    recorded = [
        index
        for index, row in enumerate(corpus.rows)
        if (row["sex"] or "unknown") == sex and not row.get("voice")
    ]
    for index in _sample(recorded):
        hertz = corpus.item(index, ("f0",))["f0"].numpy()
        values.append(hertz[hertz > 0.0])
    return np.concatenate(values)


def _sample(indices: Sequence[int]) -> Sequence[int]:
    """Take evenly spread indices, enough for a histogram of a corpus of any size."""
    return indices[:: max(1, len(indices) // _DRAWN_UTTERANCES)]
