"""Whom to convert into whom: pairs of speakers whom no model was trained on."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from parlando.contracts import ConfigError
from parlando.data.corpora import Recording as Utterance
from parlando.evaluation.material import (
    LONGEST_PROMPT_SECONDS,
    SHORTEST_PROMPT_SECONDS,
    PromptSpeaker,
    enrolled,
    estimated_sex,
    place_of,
    seconds_of,
)
from parlando.evaluation.measure import Gallery, Trial
from parlando.evaluation.pairing import trial_id
from parlando.evaluation.selection import Selection
from parlando.evaluation.sounds import read_recording

PAIRS = 100
"""Pairs by default."""
SHORTEST_SOURCE_SECONDS = 2.0
"""Shorter recordings hold too little of a voice to tell two apart by."""
PROTOCOL = {
    "name": "conversion",
    "title": "Voice conversion",
    "source": "NaturalSpeech 3, section 4.4",
    "description": (
        f"Recordings of at least {SHORTEST_SOURCE_SECONDS:g} s with a text are converted into the "
        "voices of other speakers, all of them of one split and none of them in the training "
        "split; every second pair is of one sex. Source speakers take turns, targets are those "
        "chosen least so far. Prompts: clips of the target, silence trimmed, joined to "
        f"{SHORTEST_PROMPT_SECONDS:g} s or more, at most {LONGEST_PROMPT_SECONDS:g} s; who has one "
        "clip gives its first half. The target's other speech is what people reach; the "
        "source in its own voice through the same converter is what no conversion reaches."
    ),
}
"""What a report prints of it."""


@dataclass(frozen=True, kw_only=True)
class _Source:
    name: str
    sex: str
    utterances: tuple[Utterance, ...]


def conversion_pairs(
    recordings: Sequence[Utterance],
    *,
    pairs: int = PAIRS,
    split: str = "test",
    seed: int = 0,
) -> Selection:
    """Choose sources and targets, half of the pairs of one sex.

    Args:
        recordings: of a corpus.
        pairs: how many; an utterance may be converted into several voices, but no source speaker
            twice into the same one while there are others.
        split: whose speakers are wanted; those who also occur in ``train`` are left out.
        seed: of every choice.

    Returns:
        a trial for each pair: the source is the reference, the target the prompt; ``pair`` is the
        label. The gallery holds the targets' other speech.

    Raises:
        ConfigError: there are no two speakers of one sex, or of two, or no source has a text.
        AudioError: a recording cannot be read.
    """
    if pairs < 2:
        raise ConfigError(f"{pairs} pairs; give 2 or more, for half of them are of one sex")
    speakers, remarks = _unseen(recordings, split)
    targets = [t for own in speakers.values() if (t := enrolled(own)) is not None]
    known = {target.name: target.sex for target in targets}
    random = Random(seed)
    sources = [
        source
        for name, own in speakers.items()
        if (source := _source(name, own, known.get(name), random)) is not None
    ]
    trials = tuple(_trials(sources, targets, pairs, random, seed, split))
    if estimated := [target.name for target in targets if target.sex_is_estimated]:
        remarks += (
            f"the sex of {len(estimated)} of {len(targets)} targets is judged by their pitch",
        )
    remarks += (f"{len(sources)} source speakers, {len(targets)} targets of split {split}",)
    return Selection(
        trials=trials,
        gallery=Gallery(speech={target.name: target.enrolment for target in targets}, groups=known),
        remarks=remarks,
    )


def _unseen(
    recordings: Sequence[Utterance], split: str
) -> tuple[dict[str, list[Utterance]], tuple[str, ...]]:
    """Group the recordings of a split by their speakers, those of the training split left out."""
    trained = {item.speaker for item in recordings if item.split == "train"}
    found: dict[str, list[Utterance]] = defaultdict(list)
    for item in sorted(recordings, key=lambda item: item.id):
        if item.split == split:
            found[item.speaker].append(item)
    if not found:
        has = ", ".join(sorted({item.split for item in recordings}))
        raise ConfigError(f"no recording of split {split}, the corpus has {has}; give --split")
    seen = sorted(found.keys() & trained)
    remarks = (f"{len(seen)} speakers of split {split} are left out: trained on",) if seen else ()
    return {name: own for name, own in found.items() if name not in trained}, remarks


def _source(
    name: str, utterances: Sequence[Utterance], sex: str | None, random: Random
) -> _Source | None:
    told = [u for u in utterances if u.text and seconds_of(u) >= SHORTEST_SOURCE_SECONDS]
    if not told:
        return None
    sex = sex or told[0].sex or estimated_sex(read_recording(place_of(told[0])))
    return _Source(name=name, sex=sex, utterances=tuple(random.sample(told, len(told))))


def _trials(
    sources: Sequence[_Source],
    targets: Sequence[PromptSpeaker],
    pairs: int,
    random: Random,
    seed: int,
    split: str,
) -> list[Trial]:
    turns: Counter[tuple[str, bool]] = Counter()
    used: Counter[str] = Counter()
    met: Counter[tuple[str, str]] = Counter()
    spoken: Counter[str] = Counter()
    trials = []
    for number in range(pairs):
        alike = number % 2 == 0
        fitting = {s.name: _others(s, targets, alike) for s in sources}
        able = [s for s in sources if fitting[s.name]]
        if not able:
            what = "of one sex" if alike else "of two sexes"
            raise ConfigError(
                f"no pair {what} among {len(sources)} speakers of split {split} with a text and "
                f"{len(targets)} with {SHORTEST_PROMPT_SECONDS:g} s of speech and some more; give "
                "a larger corpus"
            )
        source = min(able, key=lambda s: turns[s.name, alike])
        target = min(
            random.sample(fitting[source.name], len(fitting[source.name])),
            key=lambda t: (met[source.name, t.name], used[t.name]),
        )
        utterance = source.utterances[spoken[source.name] % len(source.utterances)]
        turns[source.name, alike] += 1
        used[target.name] += 1
        met[source.name, target.name] += 1
        spoken[source.name] += 1
        trials.append(
            Trial(
                id=trial_id(f"{number:04d}-{utterance.id}-as-{target.name}"),
                speaker=target.name,
                group=target.sex,
                text=utterance.text,
                prompt=target.prompt.pieces,
                reference=place_of(utterance),
                reference_speaker=source.name,
                labels={"pair": "one sex" if alike else "two sexes"},
                seed=seed + number,
            )
        )
    return trials


def _others(source: _Source, targets: Sequence[PromptSpeaker], alike: bool) -> list[PromptSpeaker]:
    return [t for t in targets if t.name != source.name and (t.sex == source.sex) == alike]
