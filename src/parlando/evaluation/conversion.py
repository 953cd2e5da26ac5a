"""Whether converted speech has the target's voice and still the source's words.

Source: NaturalSpeech 3 (arXiv 2403.03100), section 4.4, which reports likeness and errors in words;
the share that is nearer to the target than to the source is the stricter question: whose voice an
output has, of the two that went in.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from parlando.audio.waveform import resample
from parlando.contracts import AudioError, PromptError
from parlando.evaluation.intelligibility import Phones, phone_pair, reference_phones
from parlando.evaluation.measure import RATE_HZ, Figure, Gallery, Judgement, Quantity, Row, Sample
from parlando.evaluation.similarity import cosine
from parlando.evaluation.sounds import read_joined
from parlando.evaluation.speaker_encoders import SpeakerEncoder

Sound = tuple[np.ndarray, int]
"""Samples ``(S,)`` and their rate."""


class Resynthesizer(Protocol):
    """What converts, such as ``parlando.converting.VoiceConverter``."""

    def convert(self, source: Sound, voice: Sound) -> Any:
        """Say the source in a voice: an object with ``samples`` and ``rate_hz``."""


class Conversion:
    """Whose voice a conversion has, and what its resynthesis loses by itself.

    The target's voice is the prompt, the source's is the recording that was converted: both as the
    converter heard them. Beside an output stand, for people, other recordings of the target (the
    ceiling: what a perfect conversion would be) and, for chance, the source once through the same
    converter in its own voice (the floor: its codec, and no conversion). Compared with those other
    recordings in the prompt's place, an output gains nothing from what is the prompt's room or
    microphone; the ceiling is then the prompt. The same resynthesis is measured by its phone
    errors. An output without a voice is like nobody and nearer to nobody.

    Args:
        encoder: makes the speaker encoder.
        phones: the recogniser of phones.
        gallery: speech of every target that is in no prompt; whoever is not in it has no ceiling.
        converter: makes what converts; None, for files, leaves out what needs the resynthesis.
    """

    name = "conversion"

    def __init__(
        self,
        encoder: Callable[[], SpeakerEncoder],
        phones: Phones,
        gallery: Gallery | None = None,
        converter: Callable[[], Resynthesizer] | None = None,
    ) -> None:
        self.encoder = encoder()
        self.gallery = gallery or Gallery()
        self.quantities = (*_voices(self.encoder.name), _resynthesis(phones))
        self._phones = phones
        self._make_converter = converter
        self._converter: Resynthesizer | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_converter": None}

    def check(self) -> None:
        """Raise ``ConfigError`` if a judge is not there, or the converter cannot be made."""
        self._phones.check()
        check = getattr(self.encoder, "check", None)
        if check is not None:
            check()
        if self._make_converter is not None:
            self._make_converter()

    def judge(self, sample: Sample) -> Judgement:
        """Compare the output with both voices, and resynthesise the source.

        Raises:
            AudioError: no voice is found in the prompt or in the source.
            PromptError: the source holds too little speech for its own resynthesis.
        """
        if sample.prompt is None or sample.reference is None:
            return Judgement()
        trial = sample.trial
        target, source = (
            self.encoder.embed(sound, RATE_HZ) for sound in (sample.prompt, sample.reference)
        )
        sounds, elsewhere = {"": sample.output}, None
        if trial.speaker in self.gallery.speech:
            sounds["_human"] = read_joined(self.gallery.speech[trial.speaker])
            elsewhere = self._embed(sounds["_human"], like=target)
        values: dict[str, tuple[float, float]] = {}
        notes = {}
        if self._make_converter is not None:
            sounds["_resynthesis"] = self._resynthesize(sample.reference)
        for whose, sound in sounds.items():
            voice = self._embed(sound, like=target)
            near, far = cosine(voice, target), cosine(voice, source)
            values[f"nearer_target{whose}"] = (float(near > far), 1)
            values[f"sim_target{whose}"] = (near, 1)
            values[f"sim_source{whose}"] = (far, 1)
            if elsewhere is not None:
                # Those recordings are the ceiling of the others; here the prompt itself is.
                voice = target if whose == "_human" else voice
                near, far = cosine(voice, elsewhere), cosine(voice, source)
                values[f"nearer_elsewhere{whose}"] = (float(near > far), 1)
        if trial.text is not None and "_resynthesis" in sounds:
            heard = self._phones.recognize(sounds["_resynthesis"])
            values["per_resynthesis"] = phone_pair(reference_phones(trial.text), heard)
            notes["heard_resynthesis"] = " ".join(heard)
        return Judgement(values=values, notes=notes)

    def conclude(self, rows: Sequence[Row]) -> list[Figure]:
        """Give nothing: every figure is a sum over samples."""
        return []

    def _resynthesize(self, source: np.ndarray) -> np.ndarray:
        assert self._make_converter is not None
        if self._converter is None:
            self._converter = self._make_converter()
        try:
            made = self._converter.convert((source, RATE_HZ), (source, RATE_HZ))
        except PromptError as error:
            raise PromptError(f"the source as a voice of its own: {error}") from error
        return resample(made.samples, made.rate_hz, RATE_HZ)

    def _embed(self, samples: np.ndarray, like: np.ndarray) -> np.ndarray:
        try:
            return self.encoder.embed(samples, RATE_HZ)
        except AudioError:
            return np.zeros_like(like)


def _voices(judge: str) -> tuple[Quantity, ...]:
    titles = {
        "nearer_target": ("Nearer to the target's voice than to the source's", "%", "higher"),
        "nearer_elsewhere": (
            "Nearer to the target's other recordings than to the source's voice",
            "%",
            "higher",
        ),
        "sim_target": ("Similarity to the target", "", "higher"),
        "sim_source": ("Similarity to the source", "", "lower"),
    }
    whose = {
        "": "",
        "_human": ", other recordings of the target",
        "_resynthesis": ", resynthesis in the source's own voice",
    }
    return tuple(
        Quantity(
            key=key + ending,
            title=title + what,
            unit=unit,
            better=None if ending else better,  # type: ignore[arg-type]
            judge=judge,
            human=None if ending else f"{key}_human",
            control=None if ending else f"{key}_resynthesis",
        )
        for key, (title, unit, better) in titles.items()
        for ending, what in whose.items()
    )


def _resynthesis(phones: Phones) -> Quantity:
    return Quantity(
        key="per_resynthesis",
        title="Phone error rate, resynthesis in the source's own voice",
        unit="%",
        better="lower",
        judge=phones.quantities[0].judge,
        human="per_human",
    )
