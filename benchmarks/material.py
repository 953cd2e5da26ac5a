"""What the quality benchmark works on: clips, prompts of unseen speakers, sentences, references."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from parlando.audio import waveform
from parlando.contracts import ConfigError
from parlando.data.corpora import Recording, read_jsonl
from parlando.evaluation.intelligibility import scoring_words
from parlando.evaluation.material import estimated_sex, spread
from parlando.evaluation.slips import Phones
from parlando.text.normalize import normalize
from parlando.text.phonemes import phonemize
from parlando.text.vocabulary import base_phone, is_phone

RATE_HZ = waveform.RATE_HZ
PROMPT_SECONDS = 3.0
LONGEST_PROMPT_SECONDS = 6.0
ENROLMENT_SECONDS = 2.0
_GAP_SECONDS = 0.15

PROMPT_RULE = (
    f"clips of one test speaker, silence trimmed, joined to {PROMPT_SECONDS:g} s or more, at most "
    f"{LONGEST_PROMPT_SECONDS:g} s; a speaker with one clip gives its first half, at least "
    f"{PROMPT_SECONDS:g} s. The speaker's other speech, or the rest of the clip, is what "
    "identification compares with; who has too little for both is left out"
)
SENTENCE_RULE = "native `valid` (known speakers, unseen sentences) and native `test`, with a text"


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """One recording of a corpus, in memory."""

    id: str
    speaker: str
    samples: np.ndarray
    """``(S,)`` float32 at 16 kHz."""
    text: str | None = None
    sex: str | None = None
    native: bool = True
    split: str = ""
    source: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class TestSpeaker:
    """A speaker that no model was trained on."""

    name: str
    sex: str
    sex_is_estimated: bool
    """Whether ``sex`` was judged by the median F0 because the corpus does not say."""
    prompt: np.ndarray
    """``(S,)`` float32 at 16 kHz: what a system is prompted with."""
    prompt_texts: frozenset[str]
    """Sentences that the prompt holds; they are not spoken with it."""
    enrolment: np.ndarray
    """``(S,)`` other speech of the same speaker: what outputs are identified with."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """All that the benchmark reads from a corpus."""

    test_clips: tuple[Clip, ...]
    """Every clip of the test split."""
    sentences: tuple[Clip, ...]
    """Native recordings with a text, of ``valid`` and ``test``."""
    speakers: tuple[TestSpeaker, ...]
    """Speakers of the test split with enough speech."""
    transcribed: tuple[Clip, ...] = ()
    """Every clip of `valid` and `test` with a text, accented ones too."""


def read_material(data: Path, limit: int | None = None) -> Material:
    """Read the `valid` and `test` clips of a JSONL corpus.

    Args:
        data: JSONL with the fields of :func:`parlando.data.corpora.read_jsonl` and
            ``native_english``.
        limit: for a quick look, at most so many clips, sentences and speakers, evenly spread.

    Raises:
        ConfigError: if there is no test speaker or no sentence.
        AudioError: if a clip cannot be read.
    """
    recordings = [item for item in read_jsonl(data) if item.split in ("valid", "test")]
    test = sorted((r for r in recordings if r.split == "test"), key=lambda r: r.id)
    native = [r for r in recordings if r.text and r.extra.get("native_english", True)]
    if not test or not native:
        raise ConfigError(
            f"{data}: {len(test)} test clips and {len(native)} native sentences with a text; the "
            "benchmark needs both: give the corpus that holds the splits `valid` and `test`"
        )
    by_speaker: dict[str, list[Recording]] = defaultdict(list)
    for item in test:
        by_speaker[item.speaker].append(item)
    chosen = spread(sorted(by_speaker), limit)
    divided = [make_speaker([_read(item) for item in by_speaker[name]]) for name in chosen]
    return Material(
        test_clips=tuple(_read(item) for item in spread(test, limit)),
        sentences=tuple(_read(item) for item in spread(native, limit)),
        speakers=tuple(speaker for speaker in divided if speaker is not None),
        transcribed=tuple(_read(r) for r in spread([r for r in recordings if r.text], limit)),
    )


def _read(recording: Recording) -> Clip:
    return Clip(
        id=recording.id,
        speaker=recording.speaker,
        samples=waveform.load(recording.audio_path, RATE_HZ).samples,
        text=recording.text,
        sex=recording.sex,
        native=bool(recording.extra.get("native_english", True)),
        split=recording.split,
        source=recording.source,
    )


def make_speaker(clips: Sequence[Clip]) -> TestSpeaker | None:
    """Divide the clips of one speaker into a prompt and other speech; see ``PROMPT_RULE``.

    Returns:
        the speaker, or None if the clips are too short for both.
    """
    voiced = [waveform.trim_silence(clip.samples, RATE_HZ) for clip in clips]
    count, seconds = 0, 0.0
    while count < len(voiced) and seconds < PROMPT_SECONDS:
        seconds += len(voiced[count]) / RATE_HZ
        count += 1
    if count == len(voiced):
        # Nothing would be left to identify with: all there is gives both.
        whole = _joined(voiced)
        border = max(len(whole) // 2, int(PROMPT_SECONDS * RATE_HZ))
        prompt, enrolment = whole[:border], whole[border:]
    else:
        prompt, enrolment = _joined(voiced[:count]), _joined(voiced[count:])
    if len(enrolment) < ENROLMENT_SECONDS * RATE_HZ:
        return None
    sex = clips[0].sex
    return TestSpeaker(
        name=clips[0].speaker,
        sex=sex or estimated_sex(enrolment),
        sex_is_estimated=sex is None,
        prompt=prompt[: int(LONGEST_PROMPT_SECONDS * RATE_HZ)],
        prompt_texts=frozenset(clip.text for clip in clips[:count] if clip.text),
        enrolment=enrolment,
    )


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    gap = np.zeros(int(_GAP_SECONDS * RATE_HZ), dtype=np.float32)
    return np.concatenate([piece for part in parts for piece in (part, gap)][:-1])


def assign_prompts(
    sentences: Sequence[str], speakers: Sequence[TestSpeaker], seed: int
) -> list[TestSpeaker]:
    """Choose a prompt for each sentence: every speaker in turn, never one who says it there."""
    order = [speakers[i] for i in np.random.default_rng(seed).permutation(len(speakers))]
    chosen = []
    for number, text in enumerate(sentences):
        turns = [order[(number + step) % len(order)] for step in range(len(order))]
        chosen.append(next((s for s in turns if text not in s.prompt_texts), turns[0]))
    return chosen


def reference_words(text: str) -> list[str]:
    """Return the words that a recogniser should find, numbers and symbols spoken out."""
    return scoring_words(normalize(text))


def reference_phones(text: str) -> list[str]:
    """Return the base phones that a recogniser should find, pauses left out."""
    return [base_phone(symbol) for symbol in phonemize(normalize(text)) if is_phone(symbol)]


def word_phones(symbols: Sequence[str]) -> tuple[Phones, ...]:
    """Group symbols into the base phones of each word."""
    words: list[list[str]] = [[]]
    for symbol in symbols:
        if is_phone(symbol):
            words[-1].append(base_phone(symbol))
        elif words[-1]:
            words.append([])
    return tuple(tuple(word) for word in words if word)


def whole_frames(samples: np.ndarray, hop_samples: int) -> np.ndarray:
    """Cut ``(S,)`` samples to a multiple of the hop."""
    return samples[: len(samples) // hop_samples * hop_samples]


def sexes(speakers: Sequence[TestSpeaker]) -> Mapping[str, str]:
    """Return the sex of every speaker by name."""
    return {speaker.name: speaker.sex for speaker in speakers}
