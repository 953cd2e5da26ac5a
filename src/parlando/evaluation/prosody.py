"""Pitch, timing, loudness and stress of an output beside its prompt and a human reading.

Following NaturalSpeech 2, pitch and duration are taken by phone: the pitch of a phone is the mean
F0 of its voiced frames in hertz, its duration is counted in frames of 12.5 ms. What is not defined
in a sample (the correlation of a constant, the pitch of a whisper) is left out.

A correlation or an RMSE is computed inside each sample, and samples are averaged with the number
of their phones as weight, because that of a short sentence says little.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from parlando.audio.pitch import f0
from parlando.evaluation.alignment import (
    HOP_SAMPLES,
    PhoneFinder,
    TimedPhones,
    symbols_of,
    told_phones,
)
from parlando.evaluation.contours import (
    correlation,
    frame_energy_db,
    frame_spans,
    moment_differences,
    phone_values,
    root_mean_square_error,
    stress_contrast,
    warped_frames,
)
from parlando.evaluation.measure import RATE_HZ, Better, Figure, Judgement, Quantity, Row, Sample

if TYPE_CHECKING:
    from parlando.aligner.model import Aligner

_STEADY_HZ = 0.5
_STEADY_SEMITONES = 0.15
_STEADY_DB = 0.1
# Below these spreads pitch and level pass for constant: it is what the estimators jitter by.


_PAPER = "NaturalSpeech 2, prosody similarity with the prompt and with the ground truth"
_MANNER = {
    "pitch_mean": ("Pitch mean", "Hz", _PAPER),
    "pitch_std": ("Pitch standard deviation", "Hz", _PAPER),
    "pitch_skewness": ("Pitch skewness", "", _PAPER),
    "pitch_kurtosis": ("Pitch excess kurtosis", "", _PAPER),
    "duration_mean": ("Duration mean", "frames", _PAPER),
    "duration_std": ("Duration standard deviation", "frames", _PAPER),
    "duration_skewness": ("Duration skewness", "", _PAPER),
    "duration_kurtosis": ("Duration excess kurtosis", "", _PAPER),
    "pitch_semitones": ("Pitch mean", "semitones", ""),
    "energy_mean": ("Level mean", "dB", ""),
    "energy_std": ("Level standard deviation", "dB", ""),
}
_SIDES = {
    "prompt": "difference to the prompt",
    "prompt_human": "difference of the speaker's own reading to the prompt",
    "reference": "difference to the speaker's own reading",
}
_LIKENESS: tuple[tuple[str, str, str, Better, str], ...] = (
    ("pitch_correlation", "Pitch correlation by phone", "", "higher", _PAPER),
    ("pitch_rmse", "Pitch RMSE by phone", "Hz", "lower", _PAPER),
    ("duration_correlation", "Duration correlation by phone", "", "higher", _PAPER),
    ("duration_rmse", "Duration RMSE by phone", "frames", "lower", _PAPER),
    ("contour_correlation", "Correlation of log pitch by frame, phones aligned", "", "higher", ""),
    ("voicing_error", "Frames of unlike voicing, phones aligned", "%", "lower", ""),
    ("energy_correlation", "Correlation of level by frame, phones aligned", "", "higher", ""),
    ("stress_pitch", "Pitch of stressed over other vowels, difference", "semitones", "lower", ""),
    ("stress_duration", "Length of stressed over other vowels, difference", "frames", "lower", ""),
    ("stress_energy", "Level of stressed over other vowels, difference", "dB", "lower", ""),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """What is compared of one recording."""

    phones: TimedPhones
    """Its N phones."""
    hertz: np.ndarray
    """``(T,)`` F0, zero where unvoiced."""
    energy_db: np.ndarray
    """``(T,)``."""

    @classmethod
    def of(cls, samples: np.ndarray, phones: TimedPhones) -> "Reading":
        """Measure ``(S,)`` samples at 16 kHz."""
        hertz, _ = f0(samples, RATE_HZ, HOP_SAMPLES)
        return cls(phones=phones, hertz=hertz, energy_db=frame_energy_db(samples))

    @property
    def pitch(self) -> np.ndarray:
        """Pitch of each phone in hertz, ``(N,)``; not a number where it is unvoiced.

        Half of its frames must be voiced: F0 spills over the edges of a vowel into an ``s``.
        """
        return phone_values(self.hertz, self.hertz > 0.0, self.phones, least_share=0.5)

    @property
    def semitones(self) -> np.ndarray:
        """Pitch of each phone in semitones above 1 Hz, ``(N,)``."""
        return 12.0 * np.log2(self.pitch)

    @property
    def phone_energy(self) -> np.ndarray:
        """Level of each phone in dB, ``(N,)``."""
        return phone_values(self.energy_db, np.ones(len(self.energy_db), dtype=bool), self.phones)

    @property
    def spoken_energy(self) -> np.ndarray:
        """Levels of the frames that lie in phones: pauses tell of the room, not of the voice."""
        spans = [self.energy_db[start:stop] for start, stop in frame_spans(self.phones)]
        return np.concatenate([np.zeros(0), *spans])


def manner_differences(first: Reading, second: Reading) -> dict[str, float]:
    """Compare how two recordings are spoken, whatever their texts.

    Source: NaturalSpeech 2, "prosody similarity": absolute differences of the four moments of
    pitch and duration. Added: mean pitch in semitones, which weighs low and high voices alike, and
    the mean and spread of the level.

    Returns:
        differences by name, such as ``pitch_mean``, where defined.
    """
    pitch = moment_differences(first.pitch, second.pitch, _STEADY_HZ)
    duration = moment_differences(first.phones.durations, second.phones.durations)
    found = {f"pitch_{moment}": value for moment, value in pitch.items()}
    found |= {f"duration_{moment}": value for moment, value in duration.items()}
    semitones = moment_differences(first.semitones, second.semitones)
    energy = moment_differences(first.spoken_energy, second.spoken_energy)
    if "mean" in semitones:
        found["pitch_semitones"] = semitones["mean"]
    if "mean" in energy:
        found |= {"energy_mean": energy["mean"], "energy_std": energy["std"]}
    return found


def likeness(output: Reading, reference: Reading) -> dict[str, tuple[float, float]]:
    """Compare two readings of the same phones, phone by phone and frame by frame.

    Returns:
        numerator and denominator by key, where defined; see the module for the weights.
    """
    mine, theirs = output.phones.durations, reference.phones.durations
    phones = float(len(mine))
    voiced = float(np.sum(np.isfinite(output.pitch) & np.isfinite(reference.pitch)))
    ours, others = warped_frames(output.phones, reference.phones)
    inside = (ours < len(output.hertz)) & (others < len(reference.hertz))
    ours, others = ours[inside], others[inside]
    hertz = output.hertz[ours], reference.hertz[others]
    energy = output.energy_db[ours], reference.energy_db[others]
    first, second = (12.0 * np.log2(np.where(side > 0.0, side, np.nan)) for side in hertz)
    weighted = {
        "pitch_correlation": (correlation(output.pitch, reference.pitch, _STEADY_HZ), voiced),
        "pitch_rmse": (root_mean_square_error(output.pitch, reference.pitch), voiced),
        "duration_correlation": (correlation(mine, theirs), phones),
        "duration_rmse": (root_mean_square_error(mine, theirs), phones),
        "contour_correlation": (correlation(first, second, _STEADY_SEMITONES), voiced),
        "energy_correlation": (correlation(*energy, _STEADY_DB), phones),
    }
    found = {
        key: (value * weight, weight)
        for key, (value, weight) in weighted.items()
        if value is not None and weight > 0.0
    }
    if len(ours):
        unlike = float(np.sum((hertz[0] > 0.0) != (hertz[1] > 0.0)))
        found["voicing_error"] = (unlike, float(len(ours)))
    return found | stress_differences(output, reference)


def stress_differences(output: Reading, reference: Reading) -> dict[str, tuple[float, float]]:
    """Compare how far stressed vowels stand out in pitch, length and level, where there are any."""
    sides = {
        "stress_pitch": (output.semitones, reference.semitones),
        "stress_duration": (output.phones.durations, reference.phones.durations),
        "stress_energy": (output.phone_energy, reference.phone_energy),
    }
    found = {}
    for key, (mine, theirs) in sides.items():
        first = stress_contrast(mine, output.phones.symbols)
        second = stress_contrast(theirs, reference.phones.symbols)
        if first is not None and second is not None:
            found[key] = (abs(first - second), 1.0)
    return found


class Prosody:
    """How far the prosody of an output is from its prompt, and from its speaker's own reading.

    Source: NaturalSpeech 2, the tables on prosody similarity with the prompt and with the ground
    truth. Choices: durations in frames of 12.5 ms, in which the paper's figures make sense; pitch
    by phone, as its text says; phones of the output as the system placed them, where it tells.
    The reading is used only where the same person speaks it: another's prosody is another's.

    Args:
        load_aligner: picklable maker of the aligner and phone recogniser.
        aligner_name: its name, on which the figures depend.
        trust_system: take what the system tells of its output; False aligns every output alike,
            which is the fair way to compare with systems or files that tell nothing.
    """

    name = "prosody"

    def __init__(
        self,
        load_aligner: "Callable[[], Aligner]",
        aligner_name: str = "an aligner",
        *,
        trust_system: bool = True,
    ):
        self.quantities = _quantities(aligner_name, trust_system)
        self._finder = PhoneFinder(load_aligner)
        self._trust_system = trust_system

    def judge(self, sample: Sample) -> Judgement:
        """Judge one sample.

        Raises:
            ParlandoError: the phones of a recording cannot be found.
        """
        trial = sample.trial
        same = bool(trial.speaker) and trial.speaker == trial.reference_speaker
        theirs = sample.reference if same else None
        told = told_phones(sample.details) if self._trust_system else None
        symbols = self._symbols(sample, theirs)
        if not symbols:
            return Judgement(notes={"phones": 0})
        output = Reading.of(sample.output, told or self._finder.find(sample.output, symbols))
        values: dict[str, tuple[float, float]] = {}
        prompt = self._prompt(sample)
        if prompt is not None:
            values |= _keyed(manner_differences(output, prompt), "prompt")
        if theirs is not None:
            reference = Reading.of(theirs, self._finder.find(theirs, symbols))
            values |= _keyed(manner_differences(output, reference), "reference")
            values |= likeness(output, reference)
            if prompt is not None:
                values |= _keyed(manner_differences(reference, prompt), "prompt_human")
        notes = {"phones": len(output.phones.symbols), "durations": "told" if told else "aligned"}
        return Judgement(values=values, notes=notes)

    def conclude(self, rows: Sequence[Row]) -> list[Figure]:
        """Add nothing: every figure here is a sum over samples."""
        return []

    def _symbols(self, sample: Sample, theirs: np.ndarray | None) -> Sequence[str]:
        """Name what is said: by the system, by the text, or as heard in the clearest recording."""
        if sample.details.get("symbols"):
            symbols: Sequence[str] = sample.details["symbols"]
            return symbols
        if sample.trial.text is not None:
            return symbols_of(sample.trial.text)
        return self._finder.hear(sample.output if theirs is None else theirs)

    def _prompt(self, sample: Sample) -> Reading | None:
        if sample.prompt is None:
            return None
        text = sample.trial.prompt_text
        symbols = symbols_of(text) if text is not None else self._finder.hear(sample.prompt)
        if not symbols:
            return None
        return Reading.of(sample.prompt, self._finder.find(sample.prompt, symbols))


def _keyed(differences: Mapping[str, float], side: str) -> dict[str, tuple[float, float]]:
    return {f"{name}_{side}": (value, 1.0) for name, value in differences.items()}


def _quantities(aligner_name: str, trust_system: bool) -> tuple[Quantity, ...]:
    told = "told by the system, else by" if trust_system else "by"
    judge = f"F0 by WORLD DIO and StoneMask, frames of 12.5 ms, phones {told} {aligner_name}"
    manner = [
        Quantity(
            key=f"{name}_{side}",
            title=f"{title}, {beside}",
            unit=unit,
            better="lower",
            judge=judge,
            human=f"{name}_prompt_human" if side == "prompt" else None,
            source=source,
        )
        for side, beside in _SIDES.items()
        for name, (title, unit, source) in _MANNER.items()
    ]
    alike = [
        Quantity(key=key, title=title, unit=unit, better=better, judge=judge, source=source)
        for key, title, unit, better, source in _LIKENESS
    ]
    return (*manner, *alike)
