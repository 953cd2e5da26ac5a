"""The phone recogniser against texts: its own error on recordings of people."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from benchmarks.judging import Judges, Row, figures, progress
from benchmarks.material import Clip, reference_phones
from parlando.evaluation.intelligibility import ErrorCount, corpus_error, phone_errors


def measure_recogniser(clips: Sequence[Clip], judges: Judges) -> tuple[dict[str, Any], list[Row]]:
    """Count the phone errors of the recogniser, by split, source and in all.

    The reference is espeak-ng's pronunciation of the text, which a speaker may not have used:
    the figure holds those differences as well.

    Args:
        clips: recordings with a text.
        judges: of which the phone recogniser is judged.

    Returns:
        phone error rates with intervals, and one row per clip.
    """
    rows: list[Row] = []
    by_group: dict[str, list[ErrorCount]] = defaultdict(list)
    for clip in progress(clips, "recogniser"):
        heard = judges.phones(clip.samples)
        expected = reference_phones(clip.text or "")
        errors = phone_errors(expected, heard)
        for group in (clip.split, f"{clip.split} {clip.source}"):
            by_group[group].append(errors)
        rows.append({"id": clip.id, "expected": expected, "heard": heard, "edits": errors.edits})
    table = {group: figures(corpus_error(counts)) for group, counts in sorted(by_group.items())}
    return {"name": judges.phones_name, "clips": len(clips), "phone_error_rate": table}, rows
