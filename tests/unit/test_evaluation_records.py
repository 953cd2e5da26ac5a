"""Reports are read as they were written, strictly."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from parlando.contracts import ConfigError
from parlando.evaluation.measure import Figure, Quantity, Recording, Row, Trial
from parlando.evaluation.records import REPORT_NAME, Report, audio_path, read_report, write_report


@pytest.fixture
def report(tmp_path):
    wer = Quantity(key="wer", title="Word error rate", unit="%", better="lower", judge="ears")
    trial = Trial(
        id="a",
        text="Zoë’s word",
        prompt=(Recording(path=Path("voice.wav"), seconds=3.0, exact=True),),
        labels={"steps": "4"},
        options={"steps": 4},
    )
    return Report(
        kind="speech",
        name="some system",
        version="1.2",
        protocol={"name": "mine", "title": "Mine", "steps": [2, 4]},
        seed=7,
        created="2026-01-02T03:04:05+00:00",
        remarks=("b was left out",),
        rows=(
            Row(trial=trial, values={"wer": (1.0, 2.0)}, notes={"words": {"heard": ["x"]}}),
            Row(trial=replace(trial, id="b"), failures={"output": "no sound"}),
        ),
        figures=(
            Figure(quantity=wer, value=0.5, low=0.1, high=0.9, count=1),
            Figure(quantity=wer, value=0.5, count=1, condition={"steps": "4"}, human=0.1),
        ),
        papers=({"paper": "X", "value": 1.5, "comparable": False},),
        cost={"output": 2.5},
        folder=tmp_path / "report",
    )


def test_what_is_read_is_what_was_written(report):
    write_report(report)
    assert read_report(report.folder) == report


def test_a_report_may_be_moved(report, tmp_path):
    write_report(report)
    moved = shutil.move(report.folder, tmp_path / "elsewhere")
    assert read_report(moved) == replace(report, folder=moved)


def test_figures_and_failures_are_found(report):
    assert report.figure("wer").low == 0.1
    assert report.figure("wer", {"steps": "4"}).human == 0.1
    assert report.figure("wer", {"steps": "8"}) is None
    assert report.figure("cer") is None
    assert [row.trial.id for row in report.failed] == ["b"]
    assert list(report.quantities()) == ["wer"]


def test_sounds_lie_beside_the_report():
    assert audio_path(Path("r"), "a@4", "prompt") == Path("r/audio/a@4.prompt.wav")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 99}, "written with schema 99, this version reads 1"),
        ({"figurs": []}, r"has no 'figurs'; did you mean 'figures'\?"),
        ({"kind": "song"}, "expected one of 'speech', 'codec', 'conversion', got 'song'"),
        ({"rows": [{"trial": {}}]}, r"rows\[0\].trial lacks id"),
    ],
)
def test_other_contents_are_refused(report, change, message):
    path = write_report(report)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigError, match=message):
        read_report(report.folder)


def test_missing_and_damaged_reports_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"no report\.json here"):
        read_report(tmp_path)
    for damaged in ("{", "[]"):
        (tmp_path / REPORT_NAME).write_text(damaged)
        with pytest.raises(ConfigError, match="is damaged"):
            read_report(tmp_path)


def test_numbers_that_are_none_never_reach_a_report(report):
    with pytest.raises(ValueError, match="JSON"):
        write_report(replace(report, cost={"output": float("nan")}))
    assert not (report.folder / REPORT_NAME).exists()
