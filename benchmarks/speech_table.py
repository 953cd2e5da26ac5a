"""Speech in unseen voices: how much is understood, and whose voice it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.judging import Judges, Row, figures, progress, transcribe_all
from benchmarks.material import (
    RATE_HZ,
    Clip,
    Material,
    TestSpeaker,
    assign_prompts,
    reference_phones,
    reference_words,
    sexes,
)
from parlando.audio.waveform import resample, save, trim_silence
from parlando.contracts import AudioError, ConfigError
from parlando.evaluation.intelligibility import (
    ErrorCount,
    allowed_error,
    corpus_error,
    scoring_words,
    shuffled,
    token_errors,
)
from parlando.evaluation.intervals import mean_interval
from parlando.evaluation.similarity import cosine, halves_similarity, rank_one

SHARE_OF_CHANCE = 0.4
RANK_ONE_TARGET = 0.6
SIMILARITY_SHARE = 0.75
_LEAST_CLIP_SECONDS = 3.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Output:
    """One sentence as a system spoke it."""

    sentence: Clip
    """The recording of the sentence."""
    speaker: TestSpeaker
    """Whose prompt was given."""
    samples: np.ndarray
    """``(S,)`` float32 at 16 kHz."""
    speech: Any
    """What the system returned, with phonemes and durations."""


def speak_sentences(
    system: Any,
    material: Material,
    *,
    seed: int,
    steps: int | None = None,
    keep_audio: Path | None = None,
) -> list[Output]:
    """Let a system speak every sentence, each with the prompt of a speaker it never heard."""
    options = {} if steps is None else {"steps": steps}
    texts = [clip.text or "" for clip in material.sentences]
    pairs = list(
        zip(material.sentences, assign_prompts(texts, material.speakers, seed), strict=True)
    )
    outputs = []
    for number, (clip, speaker) in enumerate(progress(pairs, "speak")):
        voice = (speaker.prompt, RATE_HZ)
        speech = system.speak(clip.text, voice=voice, seed=seed + number, **options)
        samples = resample(speech.samples, speech.rate_hz, RATE_HZ)
        if keep_audio is not None:
            stem = f"{number:03d}_{clip.id.replace('/', '-')}_as_{speaker.name}"
            keep_audio.mkdir(parents=True, exist_ok=True)
            speech.save(keep_audio / f"{stem}.wav")
            save(keep_audio / f"{stem}.human.wav", clip.samples, RATE_HZ)
        outputs.append(Output(sentence=clip, speaker=speaker, samples=samples, speech=speech))
    return outputs


def measure_intelligibility(
    outputs: Sequence[Output],
    judges: Judges,
    *,
    seed: int,
    processes: int = 1,
    memory: Path | None = None,
) -> tuple[dict[str, Any], list[Row]]:
    """Count word and phone errors of recordings, outputs, and outputs against shuffled texts.

    Returns:
        for words and phones the three errors, the bound ``human + 0.4 (control - human)`` and the
        verdict; and one row per sentence.
    """
    texts = [output.sentence.text or "" for output in outputs]
    human = [output.sentence.samples for output in outputs]
    spoken = [output.samples for output in outputs]
    words = transcribe_all(
        judges.words, [*human, *spoken], processes=processes, memory=memory, title="words"
    )
    phones = [judges.phones(samples) for samples in progress([*human, *spoken], "phones")]
    heard = {
        # What a recogniser writes is spoken form already: only the scoring rules apply to it.
        "words": ([scoring_words(text) for text in words], [reference_words(t) for t in texts]),
        "phones": (phones, [reference_phones(text) for text in texts]),
    }
    partner = shuffled(texts, seed)
    report: dict[str, Any] = {}
    rows: list[Row] = [
        {"id": o.sentence.id, "text": t, "prompt_speaker": o.speaker.name, "seconds": _seconds(o)}
        for o, t in zip(outputs, texts, strict=True)
    ]
    for kind, (hypotheses, references) in heard.items():
        of_human, of_system = hypotheses[: len(texts)], hypotheses[len(texts) :]
        counts = {
            "human": _counts(references, of_human),
            "system": _counts(references, of_system),
            "control": _counts([references[index] for index in partner], of_system),
        }
        report[kind] = _errors(counts)
        for number, row in enumerate(rows):
            row[kind] = {
                "reference": " ".join(references[number]),
                "human": " ".join(of_human[number]),
                "system": " ".join(of_system[number]),
                "edits": {name: found[number].edits for name, found in counts.items()},
            }
    return report, rows


def _counts(
    references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]
) -> list[ErrorCount]:
    return [token_errors(r, h) for r, h in zip(references, hypotheses, strict=True)]


def _errors(counts: dict[str, list[ErrorCount]]) -> dict[str, Any]:
    errors = {name: corpus_error(found) for name, found in counts.items()}
    bound = allowed_error(errors["human"].value, errors["control"].value, SHARE_OF_CHANCE)
    system = counts["system"]
    return {
        **{name: figures(interval) for name, interval in errors.items()},
        "system_edits": {
            kind: sum(getattr(count, kind) for count in system)
            for kind in ("substitutions", "deletions", "insertions")
        },
        "reference_length": sum(count.reference_length for count in system),
        "bound": round(bound, 4),
        "reached": errors["system"].value <= bound,
    }


def measure_voice(
    outputs: Sequence[Output], material: Material, judges: Judges
) -> tuple[dict[str, Any], list[Row]]:
    """Compare outputs with their prompts, with other speech of the same person, and with others.

    Returns:
        identification among the test speakers of the same sex with its chance level, similarity to
        the prompt beside that of halves of human clips (the bound) and of other speakers (the
        floor), and the verdicts; and one row per output. An output without a voice counts as a
        miss and as similarity 0.
    """
    voices = judges.voices
    speakers = material.speakers
    prompts = {s.name: voices.embed(s.prompt, RATE_HZ) for s in progress(speakers, "prompts")}
    gallery = {s.name: voices.embed(s.enrolment, RATE_HZ) for s in progress(speakers, "others")}
    groups = sexes(speakers)
    owners = [output.speaker.name for output in outputs]
    made = [
        _embedding(judges, output.samples, prompts[output.speaker.name])
        for output in progress(outputs, "voices")
    ]
    found = rank_one(made, owners, gallery, groups)
    human = rank_one([prompts[name] for name in gallery], list(gallery), gallery, groups)
    labelled = [not output.speaker.sex_is_estimated for output in outputs]
    to_prompt = [cosine(e, prompts[name]) for e, name in zip(made, owners, strict=True)]
    floor = [
        cosine(embedding, prompts[other])
        for embedding, owner in zip(made, owners, strict=True)
        for other in prompts
        if other != owner and groups[other] == groups[owner]
    ]
    measured = [_halves(clip, judges) for clip in progress(material.test_clips, "halves")]
    halves = [value for value in measured if value is not None]
    if not halves:
        raise ConfigError(
            f"no test clip holds {_LEAST_CLIP_SECONDS:g} s of speech to halve; raise --limit"
        )
    bound = SIMILARITY_SHARE * float(np.mean(halves))
    report = {
        "rank_one": {
            "accuracy": figures(mean_interval([float(hit) for hit in found.hits])),
            "chance": round(found.chance, 4),
            "human_prompts": round(human.accuracy, 4),
            "labelled_sex_only": _share(found.hits, labelled),
            "speakers_of_estimated_sex": sum(s.sex_is_estimated for s in speakers),
            "target": RANK_ONE_TARGET,
            "reached": found.accuracy >= RANK_ONE_TARGET,
        },
        "similarity": {
            "output_to_prompt": figures(mean_interval(to_prompt)),
            "human_halves": figures(mean_interval(halves)),
            "output_to_others_of_same_sex": round(float(np.mean(floor)), 4) if floor else None,
            "bound": round(bound, 4),
            "reached": float(np.mean(to_prompt)) >= bound,
        },
    }
    rows = [
        {"similarity": round(value, 4), "nearest": near}
        for value, near in zip(to_prompt, found.nearest, strict=True)
    ]
    return report, rows


def _embedding(judges: Judges, samples: np.ndarray, like: np.ndarray) -> np.ndarray:
    try:
        return judges.voices.embed(samples, RATE_HZ)
    except AudioError:
        # No voice: alike to nobody.
        return np.zeros_like(like)


def _halves(clip: Clip, judges: Judges) -> float | None:
    voiced = trim_silence(clip.samples, RATE_HZ)
    if len(voiced) < _LEAST_CLIP_SECONDS * RATE_HZ:
        return None
    try:
        return halves_similarity(voiced, RATE_HZ, judges.voices)
    except AudioError:
        return None


def _share(hits: Sequence[bool], chosen: Sequence[bool]) -> float | None:
    kept = [hit for hit, wanted in zip(hits, chosen, strict=True) if wanted]
    return round(float(np.mean(kept)), 4) if kept else None


def _seconds(output: Output) -> float:
    return round(len(output.samples) / RATE_HZ, 3)
