"""``parlando evaluate listen`` and ``listen-results``: a listening test, and what it found."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from parlando.contracts import ConfigError

if TYPE_CHECKING:
    from parlando.evaluation.records import Part, Report
    from parlando.reporting.listening.design import Contestant


@dataclass(frozen=True, kw_only=True)
class ListenOptions:
    """Make a web page on which people compare what reports hold, blind and in random order."""

    reports: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="REPORT …")]
    """Folders of reports; the first is what others are compared with."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FOLDER")] = Path("page")
    """New folder for the page: give this one, and only this one, to raters."""
    key: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Where to write which sound is whose; by default ``key.json`` beside the folder."""
    kind: Literal["cmos", "smos", "mushra"] = "cmos"
    """``cmos``: two systems side by side, -3 to +3; ``smos``: likeness to the prompt's voice, 1 to
    5; ``mushra``: all at once against the human recording, 0 to 100."""
    trials: int | None = None
    """Number of utterances, the same of every system; by default up to 12."""
    human: bool = False
    """Let the human recordings of the first report take part as a system."""
    seed: int = 0
    """Of the choice of utterances, their order and their blind names."""
    language: str = "English"
    """Language of the speech; raters say whether it is their own."""
    title: str = "Listening test"
    """Heading that raters see; it must not tell what is compared."""
    post: Annotated[str | None, tyro.conf.arg(metavar="URL")] = None
    """Also send finished results there as JSON; by default nothing leaves a rater's computer."""


@dataclass(frozen=True, kw_only=True)
class ListenResultsOptions:
    """Score the results of a listening test, without raters who failed its attention checks."""

    results: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RESULT …")]
    """JSON files that raters saved."""
    key: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("key.json")
    """File that was written beside the page."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="FOLDER")] = None
    """Folder for ``scores.json`` and ``scores.md``; without it the table is only printed."""
    allowed_failures: float = 0.15
    """Share of attention checks that a rater may fail, 0 to 1."""
    seed: int = 0
    """Of the bootstrap."""


def run_listen(options: ListenOptions) -> None:
    """Write the page and its key, and say which of the two is secret.

    Raises:
        ParlandoError: the reports, a sound or a target is not usable.
    """
    from parlando.reporting.listening import page
    from parlando.reporting.listening.design import design_test

    page.check_target(options.out)
    contestants = contestants_of(options.reports, human=options.human)
    if options.human and options.kind == "mushra":
        raise ConfigError("--human: a mushra test holds the human recording already; leave it out")
    test = design_test(contestants, kind=options.kind, trials=options.trials, seed=options.seed)
    key = options.key or options.out.resolve().parent / "key.json"
    if key.resolve().is_relative_to(options.out.resolve()):
        raise ConfigError(f"--key {key}: raters would get it with the page; put it elsewhere")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    page.write_key(test, key, papers_of(options.reports))
    page.write_page(
        test, options.out, language=options.language, title=options.title, post=options.post
    )
    checks = sum(screen.check is not None for screen in test.screens)
    items = len({screen.item for screen in test.screens})
    print(
        f"{options.out / 'index.html'}: {options.kind} test {test.id}, {len(test.screens)} screens "
        f"({checks} of them attention checks), {items} utterances of {', '.join(test.systems)}"
    )
    print(f"{key}: the key to the blind names; keep it from raters, the results need it")


def run_listen_results(options: ListenResultsOptions) -> None:
    """Print the scores, and write them where that is asked for.

    Raises:
        ConfigError: the key or a result is not usable, no rater is valid, or the folder is not
            writable.
    """
    import json

    from parlando.reporting.listening.results import read_key, read_results
    from parlando.reporting.listening.scoring import score
    from parlando.reporting.listening.tables import markdown_of, text_of

    if not 0.0 <= options.allowed_failures <= 1.0:
        raise ConfigError(f"--allowed-failures {options.allowed_failures}: give a share, 0 to 1")
    key = read_key(options.key)
    results = read_results(options.results, key)
    scores = score(results, key, allowed_failures=options.allowed_failures, seed=options.seed)
    if len(results) < len(options.results):
        print(f"{len(options.results) - len(results)} files left out: their raters gave others too")
    print(text_of(scores))
    if options.out is None:
        return
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        content = json.dumps(scores.to_json(), indent=1, ensure_ascii=False) + "\n"
        (options.out / "scores.json").write_text(content, encoding="utf-8")
        (options.out / "scores.md").write_text(markdown_of(scores), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{options.out}: cannot be written ({error.strerror})") from None
    print(f"{options.out}: scores.json, scores.md")


def contestants_of(folders: Sequence[Path], *, human: bool = False) -> "list[Contestant]":
    """Read reports as contestants: what each said, its prompts and the human recordings.

    Systems are called by their names, or by their reports' folders where two names are the same.

    Args:
        folders: of the reports.
        human: add the human recordings of the first report.

    Raises:
        ConfigError: there is no report, one is damaged, or two differ in the text of a trial.
    """
    from parlando.evaluation.records import read_report
    from parlando.reporting.listening.design import HUMAN, Contestant

    if not folders:
        raise ConfigError("no reports; give folders that 'parlando evaluate speech' wrote")
    reports = [read_report(folder) for folder in folders]
    _check_texts(reports)
    names = [report.name for report in reports]
    if len(set(names)) < len(names):
        names = [folder.resolve().name for folder in folders]
    contestants = [
        Contestant(
            name=name,
            outputs=_sounds(report, "output"),
            prompts=_sounds(report, "prompt"),
            references=_sounds(report, "reference"),
        )
        for name, report in zip(names, reports, strict=True)
    ]
    if human:
        first = contestants[0]
        contestants.append(Contestant(name=HUMAN, outputs=first.references, prompts=first.prompts))
    return contestants


def papers_of(folders: Sequence[Path]) -> tuple[str, ...]:
    """Name the papers' tables that belong to the protocol of reports; none where they have several.

    Args:
        folders: of the reports.

    Raises:
        ConfigError: there is no report in one of them.
    """
    from parlando.evaluation.records import read_report

    found = {tuple(read_report(folder).protocol.get("papers", ())) for folder in folders}
    return found.pop() if len(found) == 1 else ()


def _sounds(report: "Report", part: "Part") -> dict[str, Path]:
    from parlando.evaluation.records import audio_path

    paths = {row.trial.id: audio_path(report.folder, row.trial.id, part) for row in report.rows}
    return {trial: path for trial, path in paths.items() if path.is_file()}


def _check_texts(reports: "Sequence[Report]") -> None:
    """Refuse reports in which one trial is two sentences: people would compare those."""
    known = {row.trial.id: row.trial.text for row in reports[0].rows}
    for report in reports[1:]:
        for row in report.rows:
            if known.get(row.trial.id, row.trial.text) != row.trial.text:
                raise ConfigError(
                    f"trial {row.trial.id} has one text in {reports[0].folder} and another in "
                    f"{report.folder}; compare reports of the same protocol and data"
                )
