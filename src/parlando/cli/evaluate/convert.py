"""``parlando evaluate convert``: the target's voice with the source's words, or not."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from parlando.cli.evaluate.running import CommonOptions, judges_of, run_report
from parlando.cli.evaluate.speech import Kind
from parlando.contracts import ConfigError
from parlando.converting import APPROACH, ROUNDS, STRENGTH, WITHOUT
from parlando.evaluation.makers import ConversionMaker, FilesMaker, Maker, digest_folder
from parlando.evaluation.pairing import check_rates, outputs_of, sound_files
from parlando.evaluation.papers import CONVERSION_TABLES
from parlando.evaluation.voice_pairs import PAIRS, PROTOCOL, conversion_pairs
from parlando.evaluation.worker import Task

MEASURES = ("conversion", "phones")
"""What is measured by default."""


@dataclass(frozen=True, kw_only=True)
class ConvertOptions(CommonOptions):
    """Say recordings of unseen speakers in the voices of others, and judge whose voice that is."""

    data: Annotated[tuple[Kind, Path], tyro.conf.arg(metavar="KIND PATH")]
    """Kind and place of the corpus, as for ``parlando evaluate speech``."""
    system: str | None = None
    """Name of a released factorized codec, or the folder of a trained one or of a system on it."""
    wavs: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """What any converter made: files named by the ids of the trials, as ``trials.json`` of a report
    lists them with their sources and prompts."""
    without: tuple[Literal["prosody", "detail"], ...] = WITHOUT
    """Attributes of the source to leave out; without a word after it, none."""
    strength: float = STRENGTH
    """How far each round goes from the voice that it hears; 1 is as far as the prompt's."""
    rounds: int = ROUNDS
    """How many times to convert, each time what came out before."""
    approach: float = APPROACH
    """Power of the ratio of the prompt's pitch to the source's by which the source's pitch and
    formants are moved at first, 0 to 1."""
    match_timbre: bool = True
    """Give each kind of sound the spectrum that it has in the prompt."""
    pairs: Annotated[int, tyro.conf.arg(metavar="N")] = PAIRS
    """Pairs of speakers, every second one of one sex."""
    split: str = "test"
    """Split of the corpus whose speakers are converted; no one of them may be in ``train``."""

    def __post_init__(self) -> None:
        """Check what no type can say."""
        super().__post_init__()
        if (self.system is None) == (self.wavs is None):
            raise ConfigError("give --system NAME or --wavs DIR, one of them")
        how = (self.without, self.strength, self.match_timbre, self.rounds, self.approach)
        if self.wavs is not None and how != (WITHOUT, STRENGTH, True, ROUNDS, APPROACH):
            raise ConfigError(
                "--without, --strength, --rounds, --approach and --no-match-timbre need --system; "
                "files are judged as they are"
            )


def run_convert(options: ConvertOptions) -> int:
    """Choose pairs, convert, judge and report.

    Returns:
        1 where anything failed, 0 elsewhere.

    Raises:
        ParlandoError: the corpus, the system or a judge is not usable.
    """
    from parlando.data.corpora import read_corpus
    from parlando.data.store import write_json
    from parlando.recipes import to_mapping

    kind, path = options.data
    recordings = read_corpus(kind, path)
    wanted = min(options.pairs, options.limit or options.pairs)
    chosen = conversion_pairs(recordings, pairs=wanted, split=options.split, seed=options.seed)
    remarks, further = chosen.remarks, dict[str, Any]()
    if options.wavs is not None:
        outputs, told = outputs_of(sound_files(options.wavs), chosen.trials, options.wavs)
        remarks += (*told, *check_rates(list(outputs.values())))
        maker: Maker = FilesMaker(outputs, name=options.wavs.resolve().name)
    else:
        maker, told, further = _converter(str(options.system), options)
        remarks += told
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options.out / "trials.json", to_mapping(chosen))
    return run_report(
        [Task(trial=trial, maker="it") for trial in chosen.trials],
        {"it": maker},
        options.measures or MEASURES,
        judges_of(options, chosen.gallery, **further),
        options,
        kind="conversion",
        name=maker.name,
        protocol=PROTOCOL,
        remarks=remarks,
        papers=CONVERSION_TABLES,
    )


def _converter(
    place: str, options: ConvertOptions
) -> tuple[ConversionMaker, tuple[str, ...], dict[str, Any]]:
    """Return what converts, how, and the same, in one round, as a judge of what its codec loses.

    It is loaded once, so that what is wrong with it is told before anything is converted.
    """
    from parlando.registry import converting_codec, load_converter, release_folder

    once = partial(
        load_converter,
        place,
        options.device,
        without=options.without,
        strength=options.strength,
        match_timbre=options.match_timbre,
        rounds=1,
        approach=0.0,
    )
    load = partial(once, rounds=options.rounds, approach=options.approach)
    name = load().name
    folder = converting_codec(release_folder(place))
    kept = f"without={options.without} match_timbre={options.match_timbre}"
    alike = f"{digest_folder(folder)} {kept} strength={options.strength:g}"
    fingerprint = f"{alike} rounds={options.rounds} approach={options.approach:g}"
    maker = ConversionMaker(load, name=name, fingerprint=fingerprint)
    left_out = ", ".join(options.without) or "nothing"
    matched = "" if options.match_timbre else "not "
    remark = (
        f"converted without {left_out} of the source, at strength {options.strength:g}, "
        f"{matched}matched to the timbre of the prompt; rounds: {options.rounds}; its pitch and "
        f"formants moved by the ratio of pitches to the power of {options.approach:g} at first"
    )
    return maker, (remark,), {"converter": once, "converter_fingerprint": alike}
