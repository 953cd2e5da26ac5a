"""What the parts of a codec tell of phones, pitch and speaker: the disentanglement probe.

Source: NaturalSpeech 3 (arXiv 2403.03100), section 3.2, names what each attribute is to hold and to
hide. Here small classifiers, all of one shape and trained alike, read the frozen parts of a codec,
and are scored on utterances that they were not trained on. Parts of one codec can only be compared
with those of another at the same number of bits: prefixes of a residual codec's levels are chosen
so.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from parlando.audio.spectrogram import log_mel
from parlando.contracts import ConfigError
from parlando.data.dataset import relative_pitch
from parlando.data.store import PreparedCorpus
from parlando.evaluation.disentanglement_readers import (
    Examples,
    ReaderOptions,
    pitch_scores,
    read_phones,
    read_pitch,
    read_speakers,
    shares_right,
)
from parlando.evaluation.intervals import Interval, ratio_interval
from parlando.text.vocabulary import PHONE_IDS

SILENCE = 1
"""Index of silence in ``PHONE_CLASSES``: its frames are not asked for, energy gives them away."""

UNASKED = -1
"""Label of frames that are not asked for."""

_MEL_WINDOW, _MEL_BANDS = 1024, 80

Kept = Mapping[str, Tensor]
"""What a codec makes of an utterance: ``codes`` (Q, T), and ``timbre`` (W,) where it has one."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Something that a codec tells."""

    name: str
    """Such as ``content``, or ``levels 1-2``."""
    bits: float | None
    """Bits of a frame; none where they are not codes."""
    read: Callable[[Kept], Tensor]
    """What was kept of an utterance to features ``(T, D)``, or ``(D,)`` of the whole."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A codec that is probed."""

    name: str
    """What the report calls it."""
    encode: Callable[[Tensor], Kept]
    """A waveform ``(1, S)`` to what is kept of it."""
    parts: tuple[Part, ...]
    """What is read of it."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """Utterances with what is asked about them."""

    trained: tuple[int, ...]
    """Rows of the corpus to train readers on."""
    held_out: tuple[int, ...]
    """Rows to score them on."""
    speakers: tuple[str, ...]
    """Who speaks in both."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """How well a part of a codec tells each thing; none where it cannot be asked."""

    subject: str
    part: str
    bits: float | None
    phone: Interval | None
    """Share of frames whose phone is named."""
    pitch: Interval | None
    """Share of the variance of log-F0 within utterances that is explained (R²)."""
    speaker: Interval | None
    """Share of utterances whose speaker is named."""


@dataclass(frozen=True, kw_only=True)
class Probing:
    """All findings, and what knowing nothing would reach."""

    findings: tuple[Finding, ...]
    majority: Mapping[str, float]
    """What always giving the answer that is most frequent in training reaches, by question."""
    uniform: Mapping[str, float]
    """What drawing an answer reaches, by question."""
    counts: Mapping[str, int]
    """Utterances, frames, classes and speakers."""
    options: Mapping[str, Any]
    """How readers were trained."""


def factorized(name: str, codec: Any) -> Subject:
    """Probe the attributes of a factorized codec, their sums and its timbre.

    Args:
        name: what the report calls it.
        codec: with ``levels_of``, ``embed_attribute``, ``timbre`` and ``codebook_size``.
    """
    bits = math.log2(codec.codebook_size)

    def part(*attributes: str) -> Part:
        slices = [codec.levels_of[attribute] for attribute in attributes]

        def read(kept: Kept) -> Tensor:
            codes = kept["codes"][None].long()
            told = [
                codec.embed_attribute(codes[:, levels], attribute)
                for levels, attribute in zip(slices, attributes, strict=True)
            ]
            return torch.stack(told).sum(0)[0]

        count = sum(levels.stop - levels.start for levels in slices)
        return Part(name=" + ".join(attributes), bits=count * bits, read=read)

    names = tuple(codec.levels_of)
    sums = [names[:count] for count in range(2, len(names) + 1)]
    timbre = Part(name="timbre", bits=None, read=lambda kept: kept["timbre"])
    return Subject(
        name=name,
        encode=lambda waveform: {
            "codes": codec.encode(waveform)[0],
            "timbre": codec.timbre(waveform)[0],
        },
        parts=(*(part(attribute) for attribute in names), *(part(*many) for many in sums), timbre),
    )


def residual(name: str, codec: Any, codebook_size: int, levels: Sequence[int]) -> Subject:
    """Probe the first levels of a residual codec.

    Args:
        name: what the report calls it.
        codec: with ``encode``, and an ``embed`` that takes the codes of its first levels.
        codebook_size: entries of each level.
        levels: how many levels to read, one part for each number.
    """
    bits = math.log2(codebook_size)

    def part(count: int) -> Part:
        return Part(
            name="level 1" if count == 1 else f"levels 1-{count}",
            bits=count * bits,
            read=lambda kept: codec.embed(kept["codes"][None, :count].long())[0],
        )

    return Subject(
        name=name,
        encode=lambda waveform: {"codes": codec.encode(waveform)[0]},
        parts=tuple(part(count) for count in levels),
    )


def spectrogram(rate_hz: int, hop_samples: int) -> Subject:
    """Probe log-mel frames, which no codec has made poorer: what these readers can do at all."""
    return Subject(
        name="no codec",
        encode=lambda waveform: {
            "mel": log_mel(waveform, rate_hz, _MEL_WINDOW, hop_samples, _MEL_BANDS)[0]
        },
        parts=(Part(name="log-mel", bits=None, read=lambda kept: kept["mel"]),),
    )


def levels_of_bits(bits: Sequence[float], codebook_size: int, available: int) -> list[int]:
    """Say which numbers of levels have the given numbers of bits a frame, as nearly as they can."""
    each = math.log2(codebook_size)
    return sorted({min(available, max(1, round(wanted / each))) for wanted in bits})


def choose_material(
    corpus: PreparedCorpus, *, longest_training: int = 1500, a_speaker: int = 40
) -> Material:
    """Choose utterances: the split ``valid`` to score on, the same speakers' of ``train`` to learn.

    No speaker gives more than a share, or one voice would be most of the material.

    Args:
        corpus: prepared, with alignment.
        longest_training: at most so many utterances are trained on, taken in turn by speaker.
        a_speaker: at most so many of one speaker in either.

    Raises:
        ConfigError: there are fewer than two speakers with utterances in both splits.
    """
    by_split: dict[str, dict[str, list[int]]] = {}
    for split in ("train", "valid"):
        rows: dict[str, list[int]] = defaultdict(list)
        for index in corpus.select(split=split, aligned=True):
            if not corpus.rows[index].get("voice"):
                rows[corpus.rows[index]["speaker"]].append(index)
        by_split[split] = rows
    speakers = sorted(set(by_split["train"]) & set(by_split["valid"]))
    if len(speakers) < 2:
        raise ConfigError(
            f"{corpus.folder}: {len(speakers)} speakers have aligned utterances in both 'train' "
            "and 'valid'; the probe needs two or more"
        )

    def of(split: str, longest: int | None) -> tuple[int, ...]:
        spread = [_spread(by_split[split][speaker], a_speaker) for speaker in speakers]
        turns = [(turn, index) for each in spread for turn, index in enumerate(each)]
        return tuple(sorted(index for _, index in sorted(turns)[:longest]))

    return Material(
        trained=of("train", longest_training), held_out=of("valid", None), speakers=tuple(speakers)
    )


def probe(
    subjects: Sequence[Subject],
    corpus: PreparedCorpus,
    material: Material,
    options: ReaderOptions | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Probing:
    """Train readers of every part and score them.

    Args:
        subjects: what is probed.
        corpus: prepared, with alignment, at the subjects' frame rate.
        material: utterances.
        options: shape and training of readers.
        progress: told what is being done.
    """
    options = options or ReaderOptions()
    rows = (*material.trained, *material.held_out)
    asked = _Asked.of(corpus, rows, material.speakers)
    findings = []
    for subject in subjects:
        progress(f"{subject.name}: coding {len(rows)} utterances")
        with torch.no_grad():
            kept = [
                {key: value.cpu() for key, value in subject.encode(waveform[None]).items()}
                for waveform in (corpus.item(row, ("waveform",))["waveform"] for row in rows)
            ]
        for part in subject.parts:
            progress(f"{subject.name}: {part.name}")
            findings.append(_find(subject, part, kept, asked, len(material.trained), options))
    majority, uniform = asked.chance(len(material.trained))
    return Probing(
        findings=tuple(findings),
        majority=majority,
        uniform=uniform,
        counts={
            "training_utterances": len(material.trained),
            "held_out_utterances": len(material.held_out),
            "held_out_phone_frames": asked.phone_frames(len(material.trained)),
            "phones": asked.phone_count,
            "speakers": len(material.speakers),
        },
        options=vars(options),
    )


@dataclass(frozen=True)
class _Asked:
    """The right answers for every utterance."""

    phones: list[Tensor]
    """Each ``(T,)`` int64 from 0, ``UNASKED`` in silence."""
    pitch: list[Tensor]
    """Each ``(T,)``, not a number where unvoiced."""
    speakers: list[Tensor]
    """Each ``()`` int64."""
    phone_count: int
    speaker_count: int

    @classmethod
    def of(cls, corpus: PreparedCorpus, rows: Sequence[int], speakers: Sequence[str]) -> "_Asked":
        phones, pitch, numbers = [], [], []
        class_of = torch.tensor(PHONE_IDS)
        for row in rows:
            item = corpus.item(row, ("symbols", "durations", "f0", "voiced"))
            phones.append(class_of[item["symbols"]].repeat_interleave(item["durations"]))
            relative = relative_pitch(item["f0"], item["voiced"])
            pitch.append(relative.masked_fill(~item["voiced"], math.nan))
            numbers.append(torch.tensor(speakers.index(corpus.rows[row]["speaker"])))
        occurring = sorted(set(torch.cat(phones).tolist()) - {SILENCE})
        place = torch.full((max(PHONE_IDS) + 1,), UNASKED)
        place[occurring] = torch.arange(len(occurring))
        return cls([place[p] for p in phones], pitch, numbers, len(occurring), len(speakers))

    def phone_frames(self, first: int) -> int:
        return sum(int((phones != UNASKED).sum()) for phones in self.phones[first:])

    def chance(self, trained: int) -> tuple[dict[str, float], dict[str, float]]:
        """Return what the majority of training answers and a uniform draw reach, by question."""
        phones = Counter(torch.cat(self.phones[:trained]).tolist())
        del phones[UNASKED]
        asked = torch.cat(self.phones[trained:])
        asked = asked[asked != UNASKED]
        speaker = Counter(int(number) for number in self.speakers[:trained]).most_common(1)[0][0]
        majority = {
            "phone": float((asked == phones.most_common(1)[0][0]).double().mean()),
            "pitch": 0.0,
            "speaker": float((torch.stack(self.speakers[trained:]) == speaker).double().mean()),
        }
        uniform = {"phone": 1.0 / self.phone_count, "speaker": 1.0 / self.speaker_count}
        return majority, uniform


def _find(
    subject: Subject,
    part: Part,
    kept: Sequence[Kept],
    asked: _Asked,
    trained: int,
    options: ReaderOptions,
) -> Finding:
    with torch.no_grad():
        features = [part.read(each).float() for each in kept]
    frames = features[0].ndim == 2

    def examples(answers: list[Tensor]) -> tuple[Examples, Examples]:
        told = features if frames else [vector[None] for vector in features]
        return Examples(told[:trained], answers[:trained]), Examples(
            told[trained:], answers[trained:]
        )

    phone = pitch = None
    if frames:
        learn, check = examples(asked.phones)
        reader = read_phones(learn, asked.phone_count, options)
        phone = ratio_interval(*shares_right(reader, check))
        learn, check = examples(asked.pitch)
        pitch = _explained(ratio_interval(*pitch_scores(read_pitch(learn, options), check)))
    learn, check = examples(asked.speakers)
    reader = read_speakers(learn, asked.speaker_count, options)
    return Finding(
        subject=subject.name,
        part=part.name,
        bits=part.bits,
        phone=phone,
        pitch=pitch,
        speaker=ratio_interval(*shares_right(reader, check)),
    )


def _explained(left: Interval) -> Interval:
    """Turn the share of the variance that is left into the share that is explained."""
    return Interval(
        value=1.0 - left.value, low=1.0 - left.high, high=1.0 - left.low, count=left.count
    )


def _spread(indices: Sequence[int], count: int) -> list[int]:
    """Take at most ``count`` of a list, spread over the whole of it."""
    count = min(count, len(indices))
    return [indices[place * len(indices) // count] for place in range(count)]
