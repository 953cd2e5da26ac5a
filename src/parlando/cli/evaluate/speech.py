"""``parlando evaluate speech``: how well a system, or a folder of its outputs, speaks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from parlando.cli.evaluate.running import CommonOptions, judges_of, run_report
from parlando.cli.named import read_named
from parlando.contracts import ConfigError
from parlando.evaluation.engine import kept_figures
from parlando.evaluation.makers import FilesMaker, Maker, SpeechMaker, digest_folder
from parlando.evaluation.measure import Figure, Row, Trial
from parlando.evaluation.pairing import check_rates, outputs_of, sound_files
from parlando.evaluation.protocol import Protocol, read_protocol
from parlando.evaluation.selection import Selection, choose
from parlando.evaluation.worker import Task
from parlando.recipes import to_mapping

Kind = Literal[
    "jsonl", "lhotse", "libritts", "librispeech", "librilight", "vctk", "ljspeech", "mls", "ravdess"
]
_REPEATS = 5


@dataclass(frozen=True, kw_only=True)
class SpeechOptions(CommonOptions):
    """Let a system speak what a protocol asks for, and measure it."""

    protocol: str = "bundled"
    """Name of a protocol, or a TOML file; ``bundled`` needs no data and says nothing of people."""
    system: tuple[str, ...] = ()
    """Name of a released system, or the folder of a trained one. Several, as LABEL=NAME, come into
    one report side by side: the variants of an ablation, the sizes of a scaling table. A protocol
    whose variants are released needs none."""
    wavs: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """What any system spoke: files named by the ids of the trials, or by the recordings whose text
    they speak."""
    data: Annotated[tuple[Kind, Path] | None, tyro.conf.arg(metavar="KIND PATH")] = None
    """Kind and place of the corpus, as for ``parlando prepare --corpus``: jsonl, lhotse, libritts,
    librispeech, librilight, vctk, ljspeech, mls or ravdess."""
    plan: bool = False
    """Only write what is to be spoken: trials.json, and the prompts' sounds in ``audio``."""
    steps: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Steps of the sampler; by default the system's own."""
    guidance: Annotated[float | None, tyro.conf.arg(metavar="X")] = None
    """Strength of guidance; by default the system's own."""
    options: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE")] = ()
    """Further options of ``speak`` that the system has, such as ``solver=euler speed=1.1``; with
    ``voice_text=null`` a phone recogniser listens to prompts, whatever the corpus says of them."""

    def __post_init__(self) -> None:
        """Check what no type can say."""
        super().__post_init__()
        if self.system and self.wavs is not None:
            raise ConfigError("give --system NAME or --wavs DIR, one of them")


def run_speech(options: SpeechOptions) -> int:
    """Speak, judge and report.

    Returns:
        1 where anything failed, 0 elsewhere.

    Raises:
        ParlandoError: the data, a system or a judge is not usable.
    """
    protocol = read_protocol(options.protocol)
    places = _places(options, protocol)
    selection = _selection(protocol, options)
    if options.plan:
        return _write_plan(selection, options.out)
    judges = judges_of(options, selection.gallery, **_further_judges(options, places))
    measures: tuple[str, ...] = options.measures or protocol.measures
    conclude = None
    if options.wavs is not None:
        makers, tasks, remarks = _of_files(options.wavs, selection.trials)
        if "cost" in measures:
            remarks += ("cost: files do not tell what it cost to make them",)
    else:
        makers, tasks, remarks = _of_systems(protocol, selection.trials, places, options)
        measures += ("generation",)
        if "cost" in measures:
            conclude = partial(_cost, protocol, places, options)
    return run_report(
        tasks,
        makers,
        measures,
        judges,
        options,
        kind="speech",
        name=" + ".join(makers) if len(makers) > 1 else next(iter(makers.values())).name,
        protocol=to_mapping(protocol),
        remarks=(*selection.remarks, *remarks),
        papers=protocol.papers,
        same_data=selection.complete,
        conclude=conclude,
    )


def _selection(protocol: Protocol, options: SpeechOptions) -> Selection:
    from parlando.evaluation.alignment import PhoneFinder
    from parlando.evaluation.word_times import AlignedWords
    from parlando.registry import load_aligner

    kind, path = options.data or ("jsonl", None)
    if (protocol.data.layout == "ravdess") != (kind == "ravdess"):
        raise ConfigError(
            f"protocol {protocol.name} and data of kind {kind} do not go together; RAVDESS has a "
            "protocol of its own: --protocol ravdess --data ravdess FOLDER"
        )
    return choose(
        protocol,
        path,
        kind=kind,
        seed=options.seed,
        limit=options.limit,
        work=options.out / "generated",
        words_within=AlignedWords(PhoneFinder(partial(load_aligner, options.aligner))),
    )


def _further_judges(options: SpeechOptions, places: Mapping[str, str]) -> dict[str, Any]:
    """Give RAVDESS as a judge of emotions, and the codec of the systems where it is one."""
    from parlando.registry import CODEC_OF, codec_of, load_any_codec, release_folder
    from parlando.training.checkpoint import read_card

    further: dict[str, Any] = {}
    if options.data is not None and options.data[0] == "ravdess":
        further["ravdess"] = options.data[1]
    folders = [release_folder(place, *CODEC_OF) for place in places.values()]
    kinds = [(folder, read_card(folder).kind) for folder in folders]
    codecs = {
        digest_folder(release_folder(codec)): codec
        for codec in (codec_of(folder, kind) for folder, kind in kinds if kind in CODEC_OF)
    }
    if len(codecs) == 1:
        ((further["codec_fingerprint"], codec),) = codecs.items()
        further["codec"] = partial(load_any_codec, codec)
    return further


def _write_plan(selection: Selection, folder: Path) -> int:
    """Write the list of trials and the prompts as they are to be given."""
    from parlando.audio.waveform import save
    from parlando.data.store import replace_file
    from parlando.evaluation.measure import RATE_HZ
    from parlando.evaluation.records import audio_path
    from parlando.evaluation.worker import prompt_of

    (folder / "audio").mkdir(parents=True, exist_ok=True)
    for trial in selection.trials:
        prompt = prompt_of(trial)
        if prompt is not None:
            save(audio_path(folder, trial.id, "prompt"), prompt, RATE_HZ)
    text = selection.to_json()
    replace_file(folder / "trials.json", lambda path: _write_text(path, text))
    print(
        f"{folder}: trials.json, {len(selection.trials)} trials; speak each into ID.wav and judge "
        "the folder with --wavs"
    )
    return 0


def _write_text(path: Path, text: str) -> None:
    path.write_text(text + "\n", encoding="utf-8")


Parts = tuple[dict[str, Maker], list[Task], tuple[str, ...]]


def _of_files(folder: Path, trials: Sequence[Trial]) -> Parts:
    paths, remarks = outputs_of(sound_files(folder), trials, folder)
    remarks += check_rates(list(paths.values()))
    maker = FilesMaker(paths, name=folder.resolve().name)
    return {"files": maker}, [Task(trial=trial, maker="files") for trial in trials], remarks


def _of_systems(
    protocol: Protocol,
    trials: Sequence[Trial],
    places: Mapping[str, str],
    options: SpeechOptions,
) -> Parts:
    """Let every system speak every trial; where there are several, each is a condition."""
    speaking = _speak_options(options)
    makers: dict[str, Maker] = {
        label: _system(place, options.device, speaking, protocol) for label, place in places.items()
    }
    variants = protocol.trained(places) if protocol.variants else []
    remarks = tuple(
        f"variant {variant.name} ({variant.title}): "
        f"{'not asked for' if _is_there(variant.place) else 'not trained'}, no numbers"
        for variant, place in variants
        if place is None
    )
    if len(places) == 1 and not variants:
        return makers, [Task(trial=trial, maker=next(iter(makers))) for trial in trials], remarks
    tasks = [
        Task(
            trial=replace(
                trial,
                id=f"{trial.id}@{label}",
                labels={**trial.labels, _condition_name(protocol): label},
            ),
            maker=label,
        )
        for label in places
        for trial in trials
    ]
    return makers, tasks, remarks


def _speak_options(options: SpeechOptions) -> dict[str, Any]:
    """Collect what goes on to ``speak``."""
    flags = {"steps": options.steps, "guidance": options.guidance}
    given = {name: value for name, value in flags.items() if value is not None}
    return given | read_named(options.options, "--options")


def _condition_name(protocol: Protocol) -> str:
    return "variant" if protocol.variants else "system"


def _cost(
    protocol: Protocol, places: Mapping[str, str], options: SpeechOptions, rows: Sequence[Row]
) -> list[Figure]:
    """Measure what systems cost to use, one after the other, when nothing else runs.

    Several systems, or several ways of speaking, are conditions: no figure is of all of them.
    """
    from parlando.evaluation.cost import Request, machine, measure_cost, time_under_load
    from parlando.registry import load, release_folder, sampled_network

    figures: list[Figure] = []
    for label, place in places.items():
        system = {_condition_name(protocol): label} if len(places) > 1 else {}
        for varied, settings in protocol.settings():
            condition = system | varied
            under_load = time_under_load(rows, condition)
            figures += [] if under_load is None else [under_load]
            speaking = _speak_options(options) | settings
            measure = partial(
                measure_cost,
                partial(load, place, options.device),
                request=Request(options=speaking),
                network=sampled_network(place),
                repeats=_REPEATS,
            )
            known = [digest_folder(release_folder(place)), speaking, options.device, machine()]
            with Console(stderr=True).status(f"cost of {label} {speaking or ''}"):
                figures += kept_figures(options.out / "cost", known, measure, condition)
    return figures


def _places(options: SpeechOptions, protocol: Protocol) -> dict[str, str]:
    """Say by the label of each system what speaks: what is asked for, or else the variants of the
    protocol that are there; nothing where sounds are given or only a plan is wanted."""
    if options.system:
        return _labelled(options.system, protocol)
    if options.wavs is not None or options.plan:
        return {}
    places = {each.name: each.place for each in protocol.variants if _is_there(each.place)}
    if not places:
        names = ", ".join(variant.name for variant in protocol.variants if variant.place)
        why = f": none of the variants {names} is trained yet" if names else ", one of them"
        raise ConfigError(f"give --system NAME or --wavs DIR{why}")
    return places


def _is_there(place: str) -> bool:
    """Tell whether the weights that a protocol names have been released or trained."""
    from parlando.registry import RELEASES

    return place in RELEASES or (bool(place) and Path(place).is_dir())


def _labelled(given: Sequence[str], protocol: Protocol) -> dict[str, str]:
    """Read LABEL=NAME; without a label a system is called by its own name, or in an ablation by
    that of the variant it is, or of the one without changes."""
    whole = next((variant.name for variant in protocol.variants if not variant.changes), None)
    named = {variant.place: variant.name for variant in protocol.variants if variant.place}
    places: dict[str, str] = {}
    for word in given:
        label, separator, place = word.partition("=")
        if not separator:
            label, place = named.get(word) or whole or Path(word).name, word
        if label in places:
            raise ConfigError(f"two systems are called '{label}'; name them LABEL=NAME")
        places[label] = place
    known = [variant.name for variant in protocol.variants]
    if known and (others := [label for label in places if label not in known]):
        raise ConfigError(
            f"protocol {protocol.name} has no variant '{others[0]}'; "
            f"give --system VARIANT=FOLDER with {', '.join(known)}"
        )
    return places


def _system(place: str, device: str, options: Mapping[str, Any], protocol: Protocol) -> SpeechMaker:
    """Load a system once, so that what is wrong with it, or with an option that the protocol
    varies, is told before anything is spoken."""
    from parlando.registry import load, release_folder

    speaker = load(place, device)
    for _, settings in protocol.settings():
        # A stream checks its arguments at once, and speaks only when asked for its first part.
        speaker.stream("A check.", seed=0, **{**options, **settings})
    return SpeechMaker(
        partial(load, place, device),
        name=speaker.name,
        fingerprint=digest_folder(release_folder(place)),
        options=options,
    )
