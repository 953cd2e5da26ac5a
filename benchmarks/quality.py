"""Measure the quality of the released weights against recordings of people.

``python -m benchmarks.quality codec|recogniser|speech|hard|guard|convert|all --data JSONL --out
FILE``

What is measured, and how, is that of ``parlando evaluate``: this chooses the recordings, and sets
the figures beside what we aim at (``aims.toml``). Speakers are those of the test split, which no
model was trained on; no judge serves as a loss or picks samples. Parts that are not measured now
keep their figures in the file. The reports, with every sound, lie in ``--keep``; a command that was
stopped goes on there.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import tyro

from benchmarks.results import aims_for, part_of, print_summary, read_aims, read_json
from parlando.cli.evaluate.codec import (
    FACTORIZED_MEASURES,
    MEASURES,
    PROTOCOL,
    codec_maker,
    is_factorized,
    with_attributes,
    with_levels,
)
from parlando.cli.evaluate.convert import ConvertOptions, run_convert
from parlando.cli.evaluate.running import CommonOptions, MeasureName, judges_of, run_report
from parlando.cli.evaluate.speech import SpeechOptions, run_speech
from parlando.contracts import ConfigError, ParlandoError
from parlando.data.corpora import Recording as Utterance
from parlando.data.corpora import read_jsonl
from parlando.data.store import write_json
from parlando.evaluation.makers import FilesMaker
from parlando.evaluation.material import place_of, spread
from parlando.evaluation.measure import Trial
from parlando.evaluation.pairing import trial_id
from parlando.evaluation.papers import CODEC_TABLES
from parlando.evaluation.records import Report, read_report
from parlando.evaluation.voice_pairs import PAIRS
from parlando.evaluation.worker import Task

SPEECH_MEASURES: tuple[MeasureName, ...] = ("intelligibility", "phones", "voice", "robustness")
RECOGNISER_PROTOCOL = {
    "name": "recogniser",
    "title": "Phones of human recordings",
    "source": "",
    "description": "Every recording of valid and test with a text is judged as if a system had "
    "spoken it: the errors are the recogniser's own, and those of speakers who say a word "
    "otherwise than espeak-ng.",
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to measure, on what, and where the results go."""

    part: tyro.conf.Positional[
        Literal["codec", "recogniser", "speech", "hard", "guard", "convert", "all"]
    ]
    """Which part; ``hard`` also speaks ordinary sentences, whose recordings its detector is tried
    on; ``guard`` needs a system that draws codes one after the other, which 200 runs may fail to
    end, and ``convert`` a factorized codec: ``all`` does these two with such ones only."""
    data: Path
    """JSONL corpus with the splits ``valid`` and ``test``."""
    out: Path
    """Results as JSON; parts that are not measured now keep their figures."""
    keep: Path | None = None
    """Folder of the reports, some 2 GB; by default beside the results, with the ending
    ``.reports``."""
    system: str = "naturalspeech2-small"
    """Released system or folder of a checkpoint."""
    codec: str = "rvq-small"
    """Released codec or folder of a checkpoint; ``facodec-small`` is measured with and without
    detail."""
    aligner: str = "aligner-small"
    """Released aligner, which is the phone recogniser, or folder of a checkpoint."""
    levels: tuple[int, ...] = ()
    """Numbers of codec levels to measure; by default each. Not for a factorized codec."""
    pairs: int = PAIRS
    """Pairs of speakers for ``convert``."""
    steps: int | None = None
    """Steps of the sampler; by default the system's own."""
    limit: int | None = None
    """For a quick look: at most so many recordings, sentences and speakers."""
    seed: int = 0
    """Of the prompts' order, the synthesis, the shuffle, the alterations and the intervals."""
    processes: int = 2
    """Processes with one thread each; the numbers do not depend on it."""
    device: str = "cpu"
    """Where system and codec run."""


class Benchmark:
    """The parts of the benchmark, each a report.

    Args:
        options: of the command.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.folder = options.keep or options.out.with_suffix(".reports")
        self._ordinary: Report | None = None
        self.parts: dict[str, Callable[[], dict[str, Any]]] = {
            "codec": self.codec,
            "recogniser": self.recogniser,
            "speech": self.speech,
            "hard": self.hard,
            "guard": self.guard,
            "convert": self.convert,
        }

    def codec(self) -> dict[str, Any]:
        """Code every clip of the test split, with each number of levels, or without attributes.

        Raises:
            ConfigError: levels of a factorized codec are asked for.
        """
        options, place = self.options, self.options.codec
        clips = spread([u for u in self.utterances if u.split == "test"], options.limit)
        maker = codec_maker(place, options.device)
        trials = [_trial(clip) for clip in clips]
        measures: Sequence[str]
        if is_factorized(place):
            if options.levels:
                raise ConfigError(f"--levels: those of {place} do not refine each other; leave out")
            aims, measures, trials = "facodec", FACTORIZED_MEASURES, with_attributes(trials)
        else:
            levels = options.levels or range(1, _levels_of(place) + 1)
            aims, measures, trials = "codec", MEASURES, with_levels(trials, levels)
        tasks = [Task(trial=one, maker="it") for one in trials]
        return part_of(aims, self._report("codec", tasks, maker, measures, PROTOCOL))

    def convert(self) -> dict[str, Any]:
        """Convert pairs of test speakers, half of them of one sex."""
        options = self.options
        run_convert(
            ConvertOptions(
                out=self.folder / "convert",
                system=options.codec,
                data=("jsonl", options.data),
                pairs=options.pairs,
                **self._common(),
            )
        )
        return part_of("convert", read_report(self.folder / "convert"))

    def recogniser(self) -> dict[str, Any]:
        """Recognise every recording of valid and test that has a text."""
        told = spread([u for u in self.utterances if u.text], self.options.limit)
        trials = [replace(_trial(u), reference=None, labels=_groups(u)) for u in told]
        paths = {trial.id: u.audio_path for trial, u in zip(trials, told, strict=True)}
        maker = FilesMaker(paths, name=Path(self.options.aligner).name)
        tasks = [Task(trial=trial, maker="it") for trial in trials]
        report = self._report("recogniser", tasks, maker, ("phones",), RECOGNISER_PROTOCOL)
        return part_of("recogniser", report)

    def speech(self) -> dict[str, Any]:
        """Speak the native sentences of valid and test in the voices of test speakers."""
        self._ordinary = self._spoken("speech", "parlando", SPEECH_MEASURES)
        return part_of(aims_for("speech", self.options.system), self._ordinary)

    def hard(self) -> dict[str, Any]:
        """Speak the hard sentences, and try their detector on recordings of ordinary ones."""
        hard = self._spoken("hard", "hard-sentences", ("robustness", "phones"))
        ordinary = self._ordinary or self._spoken("ordinary", "parlando", ("robustness",))
        flagged = ordinary.figure("slipped_human")
        return part_of("hard", hard, () if flagged is None else (flagged,))

    def guard(self) -> dict[str, Any]:
        """Count outputs of 200 runs, and of 200 with plain sampling, that found no end."""
        aims = aims_for("guard", self.options.system)
        return part_of(aims, self._spoken("guard", "length-guard", ("phones", "robustness")))

    @cached_property
    def utterances(self) -> list[Utterance]:
        """The recordings of valid and test, by their ids.

        Raises:
            ConfigError: there are none of test.
        """
        found = [u for u in read_jsonl(self.options.data) if u.split in ("valid", "test")]
        if not any(u.split == "test" for u in found):
            raise ConfigError(
                f"{self.options.data}: no recording of split test; give a corpus that has valid "
                "and test"
            )
        return sorted(found, key=lambda u: u.id)

    def _spoken(self, name: str, protocol: str, measures: tuple[MeasureName, ...]) -> Report:
        options = self.options
        run_speech(
            SpeechOptions(
                out=self.folder / name,
                protocol=protocol,
                system=(options.system,),
                data=("jsonl", options.data),
                steps=options.steps,
                measures=measures,
                **self._common(),
            )
        )
        return read_report(self.folder / name)

    def _report(
        self,
        name: str,
        tasks: Sequence[Task],
        maker: Any,
        measures: Sequence[str],
        protocol: dict[str, str],
    ) -> Report:
        options = CommonOptions(out=self.folder / name, **self._common())
        run_report(
            tasks,
            {"it": maker},
            measures,
            judges_of(options),
            options,
            kind="codec",
            name=maker.name,
            protocol=protocol,
            papers=CODEC_TABLES,
        )
        return read_report(self.folder / name)

    def _common(self) -> dict[str, Any]:
        names = ("limit", "seed", "processes", "aligner", "device")
        return {name: getattr(self.options, name) for name in names}


def _trial(utterance: Utterance) -> Trial:
    return Trial(id=trial_id(utterance.id), text=utterance.text, reference=place_of(utterance))


def _groups(utterance: Utterance) -> dict[str, str]:
    return {"split": utterance.split, "corpus": f"{utterance.split} {utterance.source}"}


def _levels_of(place: str) -> int:
    from parlando.registry import load_codec

    return int(load_codec(place).quantizer.levels)


def measure(options: Options) -> dict[str, Any]:
    """Measure the parts that are asked for, save them one by one, and return all results."""
    benchmark = Benchmark(options)
    results: dict[str, Any] = read_json(options.out, {})
    for name in parts_of(options):
        results[name] = benchmark.parts[name]() | _departures(options)
        write_json(options.out, results)
    return results


def parts_of(options: Options) -> list[str]:
    """List the parts that are asked for; ``all`` has those that system and codec are fit for."""
    if options.part != "all":
        return [options.part]
    further = ["guard"] if read_aims(aims_for("guard", options.system)) else []
    further += ["convert"] if is_factorized(options.codec) else []
    return ["codec", "recogniser", "speech", "hard", *further]


def _departures(options: Options) -> dict[str, int]:
    """Name what makes the figures others than the usual ones."""
    pairs = None if options.pairs == PAIRS else options.pairs
    given = {"limit": options.limit, "steps": options.steps, "pairs": pairs}
    return {name: value for name, value in given.items() if value is not None}


def main() -> None:
    """Read the command line, measure, and print the results beside the aims."""
    options = tyro.cli(Options, description=__doc__)
    try:
        results = measure(options)
    except ParlandoError as error:
        sys.exit(f"error: {error}")
    print_summary(results)
    for name, part in results.items():
        print(f"{name}: {part['utterances']} utterances of {part['name']}, {part['failed']} failed")


if __name__ == "__main__":
    main()
