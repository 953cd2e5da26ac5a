"""Measure the quality of the released weights against recordings of people.

``python -m benchmarks.quality codec|recogniser|speech|hard|all --data JSONL --out results.json``

Speakers are those of the test split, which no model was trained on. The judges (pocketsphinx, our
CTC phone recogniser, resemblyzer, PESQ, STOI) serve neither as losses nor to pick samples. Beside
``results.json`` lie ``results.rows`` with one JSONL per part, a line per utterance, and the
transcripts of earlier runs, so that nothing is recognised twice.
"""

import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import tyro

from benchmarks.codec_table import measure_codec
from benchmarks.hard_table import measure_hard, speak_hard
from benchmarks.judging import Judges, Row, make_judges, write_json, write_rows
from benchmarks.material import PROMPT_RULE, SENTENCE_RULE, Material, read_material
from benchmarks.recogniser_table import measure_recogniser
from benchmarks.speech_table import (
    SHARE_OF_CHANCE,
    Output,
    measure_intelligibility,
    measure_voice,
    speak_sentences,
)
from parlando.evaluation.intelligibility import NORMALIZER
from parlando.evaluation.slips import REPEAT_MARGIN_NATS, SKIP_MARGIN_NATS


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to measure, on what, and where the results go."""

    part: tyro.conf.Positional[Literal["codec", "recogniser", "speech", "hard", "all"]]
    """Which table; `hard` also speaks the ordinary sentences that its detector is proved on."""
    data: Path
    """JSONL corpus with the splits `valid` and `test`."""
    out: Path
    """Results as JSON; parts that are not measured now keep their figures."""
    system: str = "naturalspeech2-small"
    """Released system or folder of a checkpoint."""
    codec: str = "rvq-small"
    """Released codec or folder of a checkpoint."""
    aligner: str = "aligner-small"
    """Released phone recogniser or folder of a checkpoint."""
    limit: int | None = None
    """For a quick look: at most so many clips, sentences and speakers."""
    levels: tuple[int, ...] = ()
    """Numbers of codec levels to measure; by default each."""
    steps: int | None = None
    """Steps of the sampler; by default the system's own."""
    seed: int = 0
    """Of the synthesis, the prompts' order, the shuffle and the alterations."""
    processes: int = 1
    """How many word recognisers work side by side."""
    keep_audio: Path | None = None
    """Folder for the outputs and the recordings beside them."""
    skip_margin_nats: float = SKIP_MARGIN_NATS
    """Evidence that the detector needs to call a word skipped."""
    repeat_margin_nats: float = REPEAT_MARGIN_NATS
    """Evidence that the detector needs to call a word repeated."""


@dataclass(frozen=True, kw_only=True)
class Models:
    """What is measured."""

    codec: Any
    system: Any


def measure(options: Options, models: Models, judges: Judges, material: Material) -> dict[str, Any]:
    """Measure the parts that the options ask for, save rows and results, and return the results."""
    results = _earlier(options.out) | {"protocol": protocol(options, material, judges)}
    wanted = {"codec", "recogniser", "speech", "hard"} if options.part == "all" else {options.part}
    if "codec" in wanted:
        report, rows = measure_codec(
            models.codec, material.test_clips, judges.voices, options.levels or None
        )
        _keep(options, results, "codec", {"name": options.codec} | report, rows)
    if "recogniser" in wanted:
        report, rows = measure_recogniser(material.transcribed, judges)
        _keep(options, results, "recogniser", report, rows)
    if wanted & {"speech", "hard"}:
        outputs = speak_sentences(
            models.system,
            material,
            seed=options.seed,
            steps=options.steps,
            keep_audio=options.keep_audio and options.keep_audio / "speech",
        )
        if "speech" in wanted:
            _measure_speech(options, results, outputs, judges, material)
        if "hard" in wanted:
            _measure_hard(options, results, models.system, outputs, judges, material)
    return results


def _measure_speech(
    options: Options,
    results: dict[str, Any],
    outputs: list[Output],
    judges: Judges,
    material: Material,
) -> None:
    errors, rows = measure_intelligibility(
        outputs,
        judges,
        seed=options.seed,
        processes=options.processes,
        memory=_beside(options.out) / "transcripts.json",
    )
    voice, voice_rows = measure_voice(outputs, material, judges)
    merged = [one | other for one, other in zip(rows, voice_rows, strict=True)]
    report = {"name": options.system, "sentences": len(outputs), "errors": errors, "voice": voice}
    _keep(options, results, "speech", report, merged)


def _measure_hard(
    options: Options,
    results: dict[str, Any],
    system: Any,
    ordinary: list[Output],
    judges: Judges,
    material: Material,
) -> None:
    hard = speak_hard(
        system,
        material,
        limit=options.limit,
        seed=options.seed,
        steps=options.steps,
        keep_audio=options.keep_audio and options.keep_audio / "hard",
    )
    report, rows = measure_hard(
        hard,
        ordinary,
        judges,
        seed=options.seed,
        skip_margin_nats=options.skip_margin_nats,
        repeat_margin_nats=options.repeat_margin_nats,
    )
    _keep(options, results, "hard", {"name": options.system} | report, rows)


def protocol(options: Options, material: Material, judges: Judges) -> dict[str, Any]:
    """State what a figure means nothing without: judges, normaliser, subset and prompt rule."""
    return {
        "parlando": version("parlando"),
        "word_recognizer": judges.words.name,
        "word_normalizer": NORMALIZER,
        "phone_recognizer": judges.phones_name,
        "speaker_encoder": judges.voices.name,
        "similarity": "SIM-O: cosine with the original prompt, not with its codec copy",
        "sentences": SENTENCE_RULE,
        "prompts": PROMPT_RULE,
        "control": "the same outputs against the texts of other sentences",
        "bound": f"human + {SHARE_OF_CHANCE} * (control - human)",
        "counts": {
            "test_clips": len(material.test_clips),
            "sentences": len(material.sentences),
            "speakers": len(material.speakers),
        },
        "limit": options.limit,
        "steps": options.steps or "default",
        "seed": options.seed,
    }


def _keep(
    options: Options, results: dict[str, Any], part: str, report: dict[str, Any], rows: list[Row]
) -> None:
    results[part] = report
    write_rows(_beside(options.out) / f"{part}.jsonl", rows)
    write_json(options.out, results)


def _beside(out: Path) -> Path:
    return out.with_suffix(".rows")


def _earlier(out: Path) -> dict[str, Any]:
    return json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}


def main() -> None:
    """Read the command line, measure, and print the results."""
    import rich

    from parlando import load, registry

    options = tyro.cli(Options, description=__doc__)
    models = Models(
        codec=registry.load_codec(options.codec) if options.part in ("codec", "all") else None,
        system=load(options.system) if options.part in ("speech", "hard", "all") else None,
    )
    # The codec is judged without phones: it can be measured before there is an aligner.
    aligner = registry.load_aligner(options.aligner) if options.part != "codec" else None
    judges = make_judges(aligner, options.aligner)
    results = measure(options, models, judges, read_material(options.data, options.limit))
    rich.print_json(data=results)


if __name__ == "__main__":
    main()
