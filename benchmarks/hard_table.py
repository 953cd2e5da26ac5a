"""Hard sentences: skipped and repeated words, by a detector that proves itself first."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.judging import Judges, Row, progress
from benchmarks.material import Clip, Material, reference_phones, word_phones
from benchmarks.speech_table import Output, speak_sentences
from parlando.evaluation.intelligibility import corpus_error, phone_errors
from parlando.evaluation.material import spread
from parlando.evaluation.protocol import TextList
from parlando.evaluation.robustness import Detector, Proof, prove
from parlando.evaluation.slips import (
    REPEAT_MARGIN_NATS,
    SKIP_MARGIN_NATS,
    Phones,
    Slip,
    SpokenWords,
    find_slips,
    spoken_words,
    strongest_slips,
)

PROOF_OUTPUTS = 50


def read_sentences() -> list[str]:
    """Read the fifty hard sentences."""
    return TextList(name="hard_sentences").read()


def speak_hard(
    system: Any, material: Material, *, limit: int | None = None, **options: Any
) -> list[Output]:
    """Speak the hard sentences with the prompts of unseen speakers."""
    silence = np.zeros(1, dtype=np.float32)
    clips = tuple(
        Clip(id=f"hard/{number:02d}", speaker="", samples=silence, text=text)
        for number, text in enumerate(spread(read_sentences(), limit))
    )
    hard = Material(test_clips=(), sentences=clips, speakers=material.speakers)
    return speak_sentences(system, hard, **options)


def measure_hard(
    hard: Sequence[Output],
    ordinary: Sequence[Output],
    judges: Judges,
    *,
    seed: int,
    skip_margin_nats: float = SKIP_MARGIN_NATS,
    repeat_margin_nats: float = REPEAT_MARGIN_NATS,
) -> tuple[dict[str, Any], list[Row]]:
    """Prove the detector on ordinary outputs, then count slips in the hard ones.

    Args:
        hard: outputs of the hard sentences.
        ordinary: outputs of other sentences, with the recordings of them. In each of 50 of
            them a word is cut or doubled; as they are, they give the rate of false alarms, in
            which true slips of the system count against the detector.
        judges: only the evidence of phones is used.
        seed: of the alterations.
        skip_margin_nats: see :func:`parlando.evaluation.robustness.find_slips`.
        repeat_margin_nats: the same for repeats.

    Returns:
        the proof, the counts, and the margins seen, by which thresholds can be judged; and one
        row per hard sentence.
    """

    def detect(samples: np.ndarray, words: Sequence[Phones]) -> list[Slip]:
        return find_slips(
            words,
            judges.evidence(samples),
            skip_margin_nats=skip_margin_nats,
            repeat_margin_nats=repeat_margin_nats,
        )

    cases = [_spoken(output) for output in hard]
    proof, detector = _prove(detect, cases, ordinary, judges, seed)
    rows = [
        _row(output, case, detect(case.samples, case.words))
        for output, case in zip(hard, progress(cases, "hard"), strict=True)
    ]
    kinds = [slip["kind"] for row in rows for slip in row["slips"]]
    errors = [
        phone_errors(reference_phones(o.sentence.text or ""), judges.phones(o.samples))
        for o in hard
    ]
    report = {
        "sentences": len(hard),
        "skips": kinds.count("skip"),
        "repeats": kinds.count("repeat"),
        "sentences_with_a_slip": sum(bool(row["slips"]) for row in rows),
        "reached": proof.holds() and not kinds,
        "phone_error_rate": round(corpus_error(errors).value, 4),
        "margins_nats": {"skip": skip_margin_nats, "repeat": repeat_margin_nats},
        "detector": detector,
    }
    return report, rows


def _prove(
    detect: Detector,
    hard: Sequence[SpokenWords],
    ordinary: Sequence[Output],
    judges: Judges,
    seed: int,
) -> tuple[Proof, dict[str, Any]]:
    cases = [_spoken(output) for output in spread(ordinary, PROOF_OUTPUTS)]
    untouched = [(case.samples, case.words) for case in cases]
    people = [(o.sentence.samples, word_phones(o.speech.phonemes)) for o in ordinary]
    proof = prove(detect, cases, untouched, seed=seed)
    # Cut its only word out of an output, and no sound is left to judge.
    longer = [case for case in hard if len(case.words) > 1]
    return proof, {
        "proof": _proof(proof),
        "hit_rate_on_hard_outputs": (
            round(prove(detect, longer, untouched[:1], seed=seed).hit_rate, 4) if longer else None
        ),
        "recordings_flagged": round(float(np.mean([bool(detect(*one)) for one in people])), 4),
        "strongest_margins": {
            "outputs": _margins(untouched, judges),
            "recordings": _margins(people, judges),
        },
    }


def _spoken(output: Output) -> SpokenWords:
    speech = output.speech
    # The frames of a system of another rate last as long at 16 kHz.
    hop = round(speech.hop_samples * len(output.samples) / max(len(speech.samples), 1))
    return spoken_words(output.samples, speech.phonemes, speech.durations_frames, hop)


def _row(output: Output, case: SpokenWords, slips: Sequence[Slip]) -> Row:
    return {
        "id": output.sentence.id,
        "text": output.sentence.text,
        "prompt_speaker": output.speaker.name,
        "slips": [
            {
                "kind": slip.kind,
                "word": slip.word,
                "phones": " ".join(case.words[slip.word]),
                "margin_nats": round(slip.margin_nats, 2),
            }
            for slip in slips
        ],
    }


def _proof(proof: Proof) -> dict[str, Any]:
    return {
        "altered": proof.altered,
        "found": proof.found,
        "hit_rate": round(proof.hit_rate, 4),
        "untouched": proof.untouched,
        "flagged": proof.flagged,
        "false_alarm_rate": round(proof.false_alarm_rate, 4),
        "holds": proof.holds(),
        "missed": list(proof.missed),
    }


def _margins(
    untouched: Sequence[tuple[np.ndarray, Sequence[Phones]]], judges: Judges
) -> dict[str, dict[str, float]]:
    seen: dict[str, list[float]] = {"skip": [], "repeat": []}
    for samples, words in untouched:
        for slip in strongest_slips(words, judges.evidence(samples)):
            seen[slip.kind].append(slip.margin_nats)
    return {
        kind: {f"p{q}": round(float(np.percentile(values, q)), 2) for q in (50, 90, 95, 99)}
        for kind, values in seen.items()
        if values
    }
