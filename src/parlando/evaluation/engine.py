"""Makes what is to be judged, has it judged, and never loses a row.

Two stages, both over spawned processes: every trial's sound is made and written, then every measure
judges it from that file, at 16 kHz and 16 bits; what a reader of the report hears is what was
judged. Each output and each judgement is kept with a digest of all that it depends on. So a run
that was stopped at any moment goes on where it was, whatever changed since is made and judged anew,
and what failed is tried again.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from parlando.contracts import ConfigError
from parlando.evaluation.crew import Crew, Failure, one_line
from parlando.evaluation.makers import Maker, file_stamp
from parlando.evaluation.measure import (
    Figure,
    Measure,
    Quantity,
    Recording,
    Row,
    Trial,
    figures_of,
)
from parlando.evaluation.records import audio_path
from parlando.evaluation.worker import Job, Task, Worker, failed
from parlando.recipes import from_mapping, to_mapping

_FILE_NAME = re.compile(r"[\w.+,=@-]+")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an evaluation found."""

    rows: tuple[Row, ...]
    """One per task, in their order."""
    figures: tuple[Figure, ...]
    """Every number."""
    cost: Mapping[str, float]
    """See ``Report.cost``."""
    remarks: tuple[str, ...] = ()
    """What could not be concluded, and why."""


@dataclass(kw_only=True)
class _Entry:
    """A task on its way to a row."""

    task: Task
    key: str
    made: Mapping[str, Any] | None = None
    failure: str | None = None
    judged: dict[str, Any] = field(default_factory=dict)


def evaluate(
    tasks: Sequence[Task],
    makers: Mapping[str, Maker],
    measures: Sequence[Measure],
    folder: Path,
    *,
    processes: int = 1,
    fingerprints: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Outcome:
    """Make and judge every trial.

    Args:
        tasks: what to do; their ids are unique.
        makers: by the key that tasks name.
        measures: judges; each is copied to every process.
        folder: of the report; what it holds already and what still fits is kept.
        processes: how many work at once. The numbers do not depend on it.
        fingerprints: by the name of a measure, what its numbers depend on besides the trial and
            the judges that its quantities name, such as the digest of a gallery.
        seed: of the bootstrap.

    Raises:
        ConfigError: there is nothing to do, an id is not usable, a judge lacks its package or
            weights, or the folder cannot be written to.
        AudioError: a recording that a trial names is not there.
    """
    _check(tasks, measures, processes)
    entries = [_Entry(task=task, key=_output_key(task.trial, makers[task.maker])) for task in tasks]
    keys = {measure.name: _measure_key(measure, fingerprints or {}) for measure in measures}
    with Crew(Worker(makers, measures, folder), processes) as crew, _bars() as bars:
        _make_all(crew, bars, entries, folder)
        _judge_all(crew, bars, entries, folder, keys)
    rows = tuple(_row(entry) for entry in entries)
    figures, remarks = _conclude(rows, measures, seed)
    return Outcome(rows=rows, figures=figures, cost=_cost(entries), remarks=remarks)


def _check(tasks: Sequence[Task], measures: Sequence[Measure], processes: int) -> None:
    if not tasks:
        raise ConfigError("there is nothing to judge; check the data, the split and --limit")
    if processes < 1:
        raise ConfigError(f"--processes is {processes}, expected at least 1")
    seen: set[str] = set()
    for task in tasks:
        name = task.trial.id
        if not _FILE_NAME.fullmatch(name) or name in seen:
            why = "occurs twice" if name in seen else "is not fit for a file name"
            raise ConfigError(f"the id '{name}' of a trial {why}; rename it")
        seen.add(name)
    keys = [quantity.key for measure in measures for quantity in measure.quantities]
    if twice := {key for key in keys if keys.count(key) > 1}:
        raise ConfigError(f"two measures give '{min(twice)}'; choose one of them")
    for measure in measures:
        check = getattr(measure, "check", None)
        if check is not None:
            check()


def _output_key(trial: Trial, maker: Maker) -> str:
    """Digest all that an output depends on; labels and other trials' texts are not among it."""
    pieces = [*trial.prompt, *([trial.reference] if trial.reference else [])]
    return _digest(
        [trial.id, trial.text, trial.prompt_text, trial.continues],
        [trial.seed, trial.noise_db, dict(trial.options)],
        [to_mapping(piece) for piece in pieces],
        [file_stamp(piece.path) for piece in pieces],
        [maker.fingerprint(trial), version("parlando")],
    )


def _measure_key(measure: Measure, fingerprints: Mapping[str, str]) -> str:
    quantities = [to_mapping(quantity) for quantity in measure.quantities]
    return _digest(measure.name, quantities, fingerprints.get(measure.name, ""))


def _digest(*parts: Any) -> str:
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _make_all(crew: Crew, bars: Progress, entries: Sequence[_Entry], folder: Path) -> None:
    for entry in entries:
        kept = _read_json(_details_path(folder, entry))
        if kept.get("key") == entry.key and audio_path(folder, entry.task.trial.id).is_file():
            entry.made = kept
    missing = [entry for entry in entries if entry.made is None]
    for entry in missing:
        # Removed first: a sound must never lie beside the details of an earlier one.
        _details_path(folder, entry).unlink(missing_ok=True)
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    bar = bars.add_task("make", total=len(entries), completed=len(entries) - len(missing))
    for place, result in crew.run("make", [entry.task for entry in missing]):
        entry = missing[place]
        if isinstance(result, Failure):
            entry.failure = str(result)
        else:
            entry.made = {"key": entry.key, **result}
            _write_json(_details_path(folder, entry), entry.made)
        bars.advance(bar)


def _judge_all(
    crew: Crew, bars: Progress, entries: Sequence[_Entry], folder: Path, keys: Mapping[str, str]
) -> None:
    made = [entry for entry in entries if entry.made is not None]
    work = [(entry, job) for entry in made if (job := _job(entry, folder, keys)).keys]
    bar = bars.add_task("judge", total=len(made), completed=len(made) - len(work))
    while work:
        again = []
        for place, result in crew.run("judge", [job for _, job in work]):
            entry, job = work[place]
            if isinstance(result, Failure) and len(job.keys) > 1:
                # A measure that killed its process must not take the others with it.
                again += [(entry, replace(job, keys={name: job.keys[name]})) for name in job.keys]
                continue
            if isinstance(result, Failure):
                result = {name: failed(key, result) for name, key in job.keys.items()}
            entry.judged.update(result)
            # What other measures found before stays, for when they are asked for again.
            path = _row_path(folder, entry)
            _write_json(path, {**_read_json(path), **entry.judged})
            bars.advance(bar)
        work = again
        bars.update(bar, total=(bars.tasks[bar].total or 0) + len(work))


def _job(entry: _Entry, folder: Path, keys: Mapping[str, str]) -> Job:
    """Take up what an earlier run judged, and name what is left to do."""
    assert entry.made is not None
    trial = entry.task.trial
    wanted = {name: _digest(key, entry.key, to_mapping(trial)) for name, key in keys.items()}
    kept = _read_json(_row_path(folder, entry))
    entry.judged = {
        name: kept[name]
        for name, key in wanted.items()
        if name in kept and kept[name]["key"] == key and kept[name]["failure"] is None
    }
    missing = {name: key for name, key in wanted.items() if name not in entry.judged}
    return Job(trial=trial, details=entry.made["details"], keys=missing)


def _row(entry: _Entry) -> Row:
    if entry.made is None:
        return Row(trial=entry.task.trial, failures={"output": entry.failure or "not made"})
    values: dict[str, tuple[float, float]] = {}
    for judged in entry.judged.values():
        values |= {key: (pair[0], pair[1]) for key, pair in judged["values"].items()}
    return Row(
        trial=entry.task.trial,
        values=values,
        notes={name: judged["notes"] for name, judged in entry.judged.items() if judged["notes"]},
        seconds=entry.made["seconds"],
        wall_seconds=entry.made["wall_seconds"],
        failures={
            name: judged["failure"] for name, judged in entry.judged.items() if judged["failure"]
        },
    )


def _conclude(
    rows: Sequence[Row], measures: Sequence[Measure], seed: int
) -> tuple[tuple[Figure, ...], tuple[str, ...]]:
    quantities: list[Quantity] = [q for measure in measures for q in measure.quantities]
    figures, remarks = figures_of(rows, quantities, seed=seed), []
    for measure in measures:
        try:
            figures += measure.conclude(rows)
        except Exception as error:
            # A judge of the whole list must not cost what the rows already say.
            remarks.append(f"{measure.name}: no conclusion ({one_line(error)})")
    return tuple(figures), tuple(remarks)


def _cost(entries: Sequence[_Entry]) -> dict[str, float]:
    cost: dict[str, float] = {}
    for entry in entries:
        if entry.made is not None:
            cost["output"] = cost.get("output", 0.0) + (entry.made["cpu_seconds"])
        for name, judged in entry.judged.items():
            cost[name] = cost.get(name, 0.0) + judged["cpu_seconds"]
    return cost


def _details_path(folder: Path, entry: _Entry) -> Path:
    return folder / "audio" / f"{entry.task.trial.id}.json"


def _row_path(folder: Path, entry: _Entry) -> Path:
    return folder / "rows" / f"{entry.task.trial.id}.json"


def _read_json(path: Path) -> dict[str, Any]:
    """Read what an earlier run kept; what is not there or not readable is made again."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    from parlando.data.store import write_json

    write_json(path, content)


@contextmanager
def _bars() -> Iterator[Progress]:
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        yield bars


def pieces_of(recordings: Sequence[Recording]) -> str:
    """Digest recordings and what their files hold."""
    return _digest([[to_mapping(piece), file_stamp(piece.path)] for piece in recordings])


def kept_figures(
    folder: Path,
    parts: Sequence[Any],
    make: Callable[[], Sequence[Figure]],
    condition: Mapping[str, str],
) -> list[Figure]:
    """Make figures of one condition once; a run that goes on finds them, whatever time they took.

    Args:
        folder: where they are kept.
        parts: all that they depend on, in JSON's types.
        make: measures them.
        condition: their labels.
    """
    path = folder / f"{_digest(parts, version('parlando'))}.json"
    kept = _read_json(path).get("figures")
    if kept is None:
        kept = [to_mapping(figure) for figure in make()]
        _write_json(path, {"figures": kept})
    return [
        replace(from_mapping(Figure, figure, str(path)), condition=condition) for figure in kept
    ]
