"""What all evaluations on the command line share: their options, judges, reports and last words."""

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal, TypeVar

import tyro
from rich.console import Console

from parlando.contracts import ConfigError, ParlandoError
from parlando.evaluation.crew import one_line
from parlando.evaluation.engine import Outcome, evaluate, pieces_of
from parlando.evaluation.makers import Maker, digest_folder
from parlando.evaluation.measure import Figure, Gallery, Measure, Row
from parlando.evaluation.measures import Judges, build_measures
from parlando.evaluation.papers import beside
from parlando.evaluation.pretrained import require
from parlando.evaluation.records import Report, write_report
from parlando.evaluation.worker import Task

MeasureName = Literal[
    "intelligibility", "phones", "robustness", "voice", "prosody", "singing", "distance", "codec",
    "conversion", "emotion", "naturalness", "generation", "cost",
]  # fmt: skip
_Item = TypeVar("_Item")


@dataclass(frozen=True, kw_only=True)
class CommonOptions:
    """How a report is made."""

    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="DIR")]
    """Folder of the report; the same command again goes on where it was stopped."""
    measures: tuple[MeasureName, ...] = ()
    """What to measure; by default what the protocol says."""
    limit: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """At most so many sentences or recordings, for a quick look."""
    seed: int = 0
    """Of every choice, of sampling and of the confidence intervals."""
    processes: int = 2
    """Processes with one thread each; the numbers do not depend on it."""
    recogniser: Literal["pocketsphinx", "hubert", "whisper"] = "pocketsphinx"
    """Recogniser of words; ``pocketsphinx`` works offline, ``hubert`` is that of the papers."""
    recogniser_model: Annotated[str | None, tyro.conf.arg(metavar="PATH")] = None
    """Folder of weights for hubert or whisper, or a name on the hub."""
    encoder: Literal["resemblyzer", "wavlm"] = "resemblyzer"
    """Speaker encoder; ``resemblyzer`` works offline, ``wavlm`` is that of the papers."""
    encoder_model: Annotated[str | None, tyro.conf.arg(metavar="PATH")] = None
    """Folder of weights for wavlm, or a name on the hub."""
    utmos: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """TorchScript file of UTMOS for ``naturalness``; by default what PARLANDO_UTMOS names, if
    anything."""
    aligner: str = "aligner-small"
    """Name or folder of the aligner, which also recognises phones."""
    device: str = "cpu"
    """Where the system or codec runs: ``cpu``, ``cuda``, ``cuda:1``, ``mps`` or ``auto``."""
    pictures: Annotated[int, tyro.conf.arg(metavar="N")] = 24
    """Utterances whose spectrograms are on the page, the worst of each quantity in turn."""

    def __post_init__(self) -> None:
        """Check what no type can say."""
        for name, value in (("processes", self.processes), ("limit", self.limit)):
            if value is not None and value < 1:
                raise ConfigError(f"--{name} is {value}, expected at least 1")
        if self.pictures < 0:
            raise ConfigError(f"--pictures is {self.pictures}, expected 0 or more")


def chosen(items: Sequence[_Item], limit: int | None, seed: int) -> list[_Item]:
    """Choose at most ``limit`` items at random, in their order."""
    if limit is None or limit >= len(items):
        return list(items)
    places = sorted(Random(seed).sample(range(len(items)), limit))
    return [items[place] for place in places]


def judges_of(options: CommonOptions, gallery: Gallery | None = None, **others: Any) -> Judges:
    """Put together what measures need.

    Args:
        options: which judges are wanted.
        gallery: speakers among whom voices are identified.
        **others: further fields of ``Judges``.

    Raises:
        ConfigError: there is no such aligner.
    """
    from parlando.registry import load_aligner, release_folder

    gallery = gallery or Gallery()
    folder = release_folder(options.aligner, "aligner")
    return Judges(
        recogniser=options.recogniser,
        recogniser_model=options.recogniser_model,
        encoder=options.encoder,
        encoder_model=options.encoder_model,
        aligner=partial(load_aligner, options.aligner),
        aligner_name=Path(options.aligner).name,
        aligner_fingerprint=digest_folder(folder),
        utmos=options.utmos,
        gallery=gallery,
        gallery_fingerprint=pieces_of([r for speech in gallery.speech.values() for r in speech]),
        **others,
    )


def run_report(
    tasks: Sequence[Task],
    makers: Mapping[str, Maker],
    measures: Sequence[str],
    judges: Judges,
    options: CommonOptions,
    *,
    kind: Literal["speech", "codec", "conversion"],
    name: str,
    protocol: Mapping[str, Any],
    remarks: Sequence[str] = (),
    papers: Sequence[str] = (),
    same_data: bool = False,
    conclude: Callable[[Sequence[Row]], list[Figure]] | None = None,
) -> int:
    """Evaluate, write the report with its pages, and print what is in it.

    Args:
        tasks: what to make and judge.
        makers: by the key that tasks name.
        measures: names; ``cost`` is left to ``conclude``.
        judges: what measures are built of.
        options: of the command.
        kind: of the report.
        name: of the system, the codec or the folder.
        protocol: what the report prints of it.
        remarks: what a reader has to know.
        papers: tables to set beside.
        same_data: whether the sentences and prompts are those of the papers.
        conclude: further figures, computed when all rows are there and nothing else runs; what
            goes wrong in it is a remark, for the rows are worth a report.

    Returns:
        1 where anything failed, 0 elsewhere.
    """
    from parlando.reporting.markdown import write_markdown
    from parlando.reporting.page import write_page

    require("jinja2", "evaluate")  # pages need it when all else is done
    built, fingerprints = build_measures([m for m in measures if m != "cost"], judges)
    outcome: Outcome = evaluate(
        tasks,
        makers,
        built,
        options.out,
        processes=options.processes,
        fingerprints=fingerprints,
        seed=options.seed,
    )
    figures = outcome.figures
    if conclude is not None:
        try:
            figures += tuple(conclude(outcome.rows))
        except ParlandoError as error:
            remarks = (*remarks, f"cost: not measured ({one_line(error)})")
    known = [figure.quantity for figure in figures]
    report = Report(
        kind=kind,
        name=name,
        version=version("parlando"),
        protocol=protocol,
        seed=options.seed,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=this_command(),
        judges={each.name: named for each in built if (named := _judges_in(each))},
        remarks=(*remarks, *outcome.remarks),
        rows=outcome.rows,
        figures=figures,
        papers=tuple(asdict(figure) for figure in beside(papers, known, same_data=same_data)),
        cost=outcome.cost,
        folder=options.out,
    )
    write_report(report)
    write_markdown(report)
    write_page(report, pictures=options.pictures)
    _tell(report)
    return 1 if report.failed else 0


def this_command() -> str:
    """Return the command that was given, or the module that was run in its place."""
    started = getattr(sys.modules["__main__"], "__spec__", None)
    program = ["parlando"]
    if started is not None and not started.name.startswith("parlando"):
        program = ["python", "-m", str(started.name)]
    return shlex.join([*program, *sys.argv[1:]])


def _judges_in(measure: Measure) -> str:
    """Name every model and standard that a measure's numbers depend on, once."""
    return "; ".join(dict.fromkeys(q.judge for q in measure.quantities if q.judge))


def _tell(report: Report) -> None:
    """Print the figures over all utterances, what failed, and where the pages are."""
    from rich.table import Table

    from parlando.reporting.document import headline

    content = headline(report)
    # The plots of a page say nothing on a terminal.
    kept = [
        place
        for place in range(len(content.columns))
        if any(row[place].text for row in content.rows)
    ]
    console = Console()
    table = Table(*(content.columns[place] for place in kept))
    for row in content.rows:
        cells = [row[place] for place in kept]
        # The judge's name, detail of the first column, is on the page.
        table.add_row(cells[0].text, *(f"{cell.text} {cell.detail}".strip() for cell in cells[1:]))

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    say(f"{report.name}: {report.protocol['title']}, {len(report.rows)} utterances")
    console.print(table)
    for remark in report.remarks:
        say(f"remark: {remark}")
    if report.failed:
        first = report.failed[0]
        part, why = next(iter(first.failures.items()))
        say(
            f"{len(report.failed)} of {len(report.rows)} utterances failed in part or whole, such "
            f"as {first.trial.id} ({part}: {why})"
        )
    say(f"{report.folder}: index.html, report.md, report.json")
