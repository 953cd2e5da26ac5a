"""``parlando evaluate codec``: how well a codec, or a folder of its outputs, returns recordings."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from parlando.cli.evaluate.running import CommonOptions, chosen, judges_of, run_report
from parlando.contracts import ConfigError
from parlando.evaluation.makers import CodecMaker, FilesMaker, Maker, digest_folder
from parlando.evaluation.measure import Trial
from parlando.evaluation.pairing import (
    check_rates,
    check_texts,
    paired,
    reference_trials,
    sound_files,
    trial_id,
)
from parlando.evaluation.papers import CODEC_TABLES
from parlando.evaluation.worker import Task

MEASURES = ("distance", "codec", "voice")
"""What is measured by default."""
FACTORIZED_MEASURES = (*MEASURES, "phones")
"""The same of a factorized codec: without detail, words should stay."""
WITHOUT = ((), ("detail",))
"""What is left out of the codes of a factorized codec, each a condition."""
PROTOCOL = {
    "name": "codec",
    "title": "Resynthesis",
    "source": "NaturalSpeech 3, table 13",
    "description": "Every recording is coded and decoded, and compared with itself.",
}


@dataclass(frozen=True, kw_only=True)
class CodecOptions(CommonOptions):
    """Compare recordings with what a codec makes of them."""

    reference: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder of recordings; NAME.txt beside NAME.wav is its text, where words are measured."""
    codec: str | None = None
    """Name of a released codec, or the folder of a trained one. One that is factorized is measured
    with all attributes and without detail."""
    wavs: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """What any codec made of the recordings: files of the same names."""
    levels: tuple[int, ...] = ()
    """Numbers of code levels to use, each a condition; by default all levels."""

    def __post_init__(self) -> None:
        """Check what no type can say."""
        super().__post_init__()
        if (self.codec is None) == (self.wavs is None):
            raise ConfigError("give --codec NAME or --wavs DIR, one of them")
        if self.wavs is not None and self.levels:
            raise ConfigError("--levels needs --codec; files are judged as they are")
        if any(count < 1 for count in self.levels):
            raise ConfigError(f"--levels has {min(self.levels)}, expected numbers from 1")


def run_codec(options: CodecOptions) -> int:
    """Code, judge and report.

    Returns:
        1 where anything failed, 0 elsewhere.

    Raises:
        ParlandoError: a folder, the codec or a judge is not usable.
    """
    recorded = chosen(reference_trials(options.reference), options.limit, options.seed)
    trials = recorded
    measures: tuple[str, ...] = MEASURES
    remarks = check_rates([trial.reference.path for trial in trials if trial.reference])
    if options.wavs is not None:
        outputs = {trial_id(name): path for name, path in sound_files(options.wavs).items()}
        remarks += paired(outputs, [trial.id for trial in trials], options.wavs, "references")
        remarks += check_rates(list(outputs.values()))
        maker: Maker = FilesMaker(outputs, name=options.wavs.name)
    else:
        maker = codec_maker(str(options.codec), options.device)
        if is_factorized(str(options.codec)):
            if options.levels:
                raise ConfigError(
                    f"--levels is for codecs whose levels refine each other; {maker.name} is "
                    "factorized, and measured with all attributes and without detail"
                )
            trials, measures = with_attributes(trials), FACTORIZED_MEASURES
        trials = with_levels(trials, dict.fromkeys(options.levels))
    measures = options.measures or measures
    remarks += check_texts(recorded, measures, options.reference, asked=bool(options.measures))
    return run_report(
        [Task(trial=trial, maker="codec") for trial in trials],
        {"codec": maker},
        measures,
        judges_of(options),
        options,
        kind="codec",
        name=maker.name,
        protocol=PROTOCOL,
        remarks=remarks,
        papers=CODEC_TABLES,
    )


def codec_maker(place: str, device: str) -> CodecMaker:
    """Return what lets a released or trained codec code recordings."""
    from parlando.registry import load_any_codec, release_folder

    folder = release_folder(place, "codec", "facodec")
    load = partial(load_any_codec, place, device)
    return CodecMaker(load, name=Path(place).name, fingerprint=digest_folder(folder))


def is_factorized(place: str) -> bool:
    """Tell whether a released or trained codec is a factorized one."""
    from parlando.registry import release_folder
    from parlando.training.checkpoint import read_card

    return read_card(release_folder(place, "codec", "facodec")).kind == "facodec"


def with_attributes(trials: Sequence[Trial]) -> list[Trial]:
    """Repeat every trial with all attributes of a factorized codec, and without some."""
    conditions = {f"without {' and '.join(w)}" if w else "all": w for w in WITHOUT}
    return [
        replace(
            trial,
            id=f"{trial.id}@{label.replace(' ', '-')}",
            labels={"attributes": label},
            options={"without": list(without)},
        )
        for label, without in conditions.items()
        for trial in trials
    ]


def with_levels(trials: Sequence[Trial], levels: Sequence[int] | dict[int, None]) -> list[Trial]:
    """Repeat every trial for each number of levels."""
    if not levels:
        return list(trials)
    return [
        replace(
            trial,
            id=f"{trial.id}@{count}",
            labels={"levels": str(count)},
            options={"levels": count},
        )
        for count in levels
        for trial in trials
    ]
