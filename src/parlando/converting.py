"""Recorded speech in another voice, by anything that is a ``Converter``."""

import time
from dataclasses import dataclass
from importlib.metadata import version
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import numpy as np

from parlando.audio import waveform
from parlando.audio.pauses import quiet_pauses
from parlando.audio.pitch import f0
from parlando.audio.seams import limit_peaks
from parlando.audio.stretching import shift_voice
from parlando.audio.voicing import has_voice
from parlando.contracts import AudioError, ConfigError, Converter
from parlando.safety import provenance
from parlando.speaking import Progress
from parlando.speech import VoiceLike, as_voice

PART_SECONDS = 20.0
"""What is converted at a time, beside the context on both sides."""

WITHOUT: tuple[Literal["prosody", "detail"], ...] = ("detail",)
"""Attributes of the source that are left out where nobody says otherwise."""
STRENGTH = 1.0
"""How far each round goes from the voice that it hears; 1 is as far as the prompt's."""
ROUNDS = 2
"""How many times a recording is converted, each time what came out before."""
APPROACH = 0.5
"""Power of the ratio of the prompt's pitch to the source's by which the source's pitch and formants
are moved before the first round."""
OWN_SECONDS = 30.0
"""Most of the source's speech that tells its own voice."""

_FARTHEST_FACTOR = 1.25  # Within what disguises of training make of a voice.
_LEAST_FACTOR = 1.01  # A smaller step is none.
_VOICED_SHARE = 0.05  # In less of a sound a pitch is found by chance, as in noise.

NATURE = "a recording in another voice"
"""What the metadata say of it."""

SoundLike = waveform.Waveform | str | Path | tuple[np.ndarray, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class Conversion:
    """A recording in another voice, as long and as loud as it was."""

    samples: np.ndarray
    """``(S,)`` float32 in [-1, 1]."""
    rate_hz: int
    """Sampling rate."""
    system: str
    """Name of what converted it."""
    version: str
    """Version of Parlando."""
    compute_seconds: float
    """Wall-clock time that it took."""

    @property
    def duration_seconds(self) -> float:
        """Length of the sound."""
        return len(self.samples) / self.rate_hz

    @property
    def real_time_factor(self) -> float:
        """Seconds of computing per second of speech."""
        return self.compute_seconds / max(self.duration_seconds, 1e-9)

    @property
    def provenance(self) -> provenance.Provenance:
        """What made it; nothing is drawn at random, so the seed is 0."""
        return provenance.Provenance(
            system=self.system, version=self.version, seed=0, nature=NATURE
        )

    def save(self, path: str | Path) -> None:
        """Write wav, flac, ogg or mp3 by suffix, with metadata that says it is synthetic.

        Raises:
            AudioError: The file cannot be written.
        """
        provenance.write(path, self.samples, self.rate_hz, self.provenance)


class VoiceConverter:
    """Converts recordings of any length with one converter."""

    def __init__(
        self,
        converter: Converter,
        part_seconds: float = PART_SECONDS,
        match_timbre: bool = True,
        rounds: int = ROUNDS,
        approach: float = APPROACH,
    ) -> None:
        """Wrap a converter.

        The nearer a source is to the target, the less its codes keep of another voice: so its pitch
        and formants are shifted before it is coded, and what was converted is converted once more.
        None of this is in the paper.

        Args:
            converter: What converts one part.
            part_seconds: Length of a part; what comes out does not depend on it, but for rounding.
            match_timbre: Whether each kind of sound gets the spectrum that it has in the prompt,
                after each round.
            rounds: How many times a recording is converted, 1 to 8.
            approach: Power of the ratio of the prompt's pitch to the source's by which the source's
                pitch and formants are moved before the first round, by a quarter at most; 0 leaves
                them. They stay where in less than 5 % of either sound a pitch is found.

        Raises:
            ConfigError: ``rounds`` is no whole number from 1 to 8, or the approach is not 0 to 1.
        """
        whole = isinstance(rounds, Integral) and not isinstance(rounds, bool)
        if not whole or not 1 <= rounds <= 8:
            raise ConfigError(f"rounds is {rounds!r}; give 1 to 8, a whole number")
        if not 0.0 <= approach <= 1.0:
            raise ConfigError(f"approach is {approach}; give 0 to 1, 0 leaves the source as it is")
        self.converter = converter
        self.match_timbre = match_timbre
        self.rounds = rounds
        self.approach = approach
        frames = round(part_seconds * converter.rate_hz / converter.hop_samples)
        self._part_samples = max(1, frames) * converter.hop_samples

    @property
    def name(self) -> str:
        """Name of the converter."""
        return self.converter.name

    @property
    def rate_hz(self) -> int:
        """Sampling rate of what comes out."""
        return self.converter.rate_hz

    def convert(
        self, source: SoundLike, voice: VoiceLike, *, progress: Progress | None = None
    ) -> Conversion:
        """Say a recording in another voice.

        Args:
            source: Who says what and how: a ``Waveform``, a path, or samples with their rate.
            voice: Whose voice it gets: a ``Voice``, a path, or samples with their rate.
            progress: Called with the parts done and their number, in all rounds.

        Returns:
            as many samples as the source has at the converter's rate, at its level.

        Raises:
            AudioError: The source cannot be read, or holds no speech, such as silence or noise; or
                nothing comes out.
            PromptError: The voice is not usable as a prompt, or nothing in it is voiced.
        """
        import torch

        started = time.perf_counter()
        samples = sound_of(source, self.rate_hz).samples
        prompt = as_voice(voice)
        level_db = waveform.active_level_db(samples, self.rate_hz)
        where = source if isinstance(source, str | Path) else "the source"
        if not np.isfinite(level_db):
            raise AudioError(f"{where}: holds no speech; give a recording of one person speaking")
        if not has_voice(samples, self.rate_hz):
            raise AudioError(
                f"{where}: no voice is heard in it, as in noise or a whisper; give a recording of "
                "one person speaking aloud"
            )
        with torch.inference_mode():
            heard = waveform.resample(prompt.samples, prompt.rate_hz, self.rate_hz)
            made = self._in_rounds(samples, heard, progress)
        # A codec and a filter raise what is in pauses, such as hiss.
        made = quiet_pauses(made, samples - samples.mean(), self.rate_hz)
        return Conversion(
            samples=limit_peaks(waveform.normalize_loudness(made, self.rate_hz, level_db)),
            rate_hz=self.rate_hz,
            system=self.name,
            version=version("parlando"),
            compute_seconds=time.perf_counter() - started,
        )

    def _in_rounds(
        self, samples: np.ndarray, heard: np.ndarray, progress: Progress | None
    ) -> np.ndarray:
        """Convert to the voice of ``heard``, and what came of it again."""
        import torch

        from parlando.audio.equalization import PASSES, match_timbre

        voice = self.converter.encode_voice(torch.from_numpy(heard))
        made = samples - samples.mean()
        if self.approach:
            made = shift_voice(made, self.rate_hz, self._factor(self._own(made), heard))
        for number in range(self.rounds):
            # Codecs know speech without DC at one level; the recording's own comes back at the end.
            spoken = waveform.normalize_loudness(made - made.mean(), self.rate_hz)
            own = self.converter.encode_voice(torch.from_numpy(self._own(spoken)))
            in_all = _Round(progress, number, self.rounds) if progress else None
            made = self._in_parts(spoken, self.converter.contrast(voice, own), in_all)
            if not np.isfinite(waveform.active_level_db(made, self.rate_hz)):
                raise AudioError(f"{self.name}: no speech comes out in round {number + 1}")
            if self.match_timbre:
                # What is converted again is brought nearer in any case; each pass costs clearness.
                passes = PASSES if number == self.rounds - 1 else 1
                made = match_timbre(made, heard, self.rate_hz, passes=passes)
        return made

    def _own(self, samples: np.ndarray) -> np.ndarray:
        """Cut out what tells the voice of a recording."""
        excerpt = waveform.best_excerpt(samples, self.rate_hz, OWN_SECONDS)
        return waveform.trim_silence(excerpt, self.rate_hz)

    def _factor(self, own: np.ndarray, heard: np.ndarray) -> float:
        """Tell by which factor to move the pitch of a recording towards that of another."""
        pitches = []
        for samples in (own, heard):
            hertz, voiced = f0(samples, self.rate_hz, self.converter.hop_samples)
            if voiced.sum() < _VOICED_SHARE * max(1, len(voiced)):
                return 1.0
            pitches.append(float(np.median(hertz[voiced])))
        factor = (pitches[1] / pitches[0]) ** self.approach
        if max(factor, 1.0 / factor) < _LEAST_FACTOR:
            return 1.0
        return float(np.clip(factor, 1.0 / _FARTHEST_FACTOR, _FARTHEST_FACTOR))

    def _in_parts(self, prepared: np.ndarray, voice: Any, progress: Progress | None) -> np.ndarray:
        """Convert part by part, each with the context that its samples depend on."""
        import torch

        converter, count = self.converter, len(prepared)
        padded = torch.from_numpy(np.pad(prepared, (0, -count % converter.hop_samples)))
        context = converter.context_frames * converter.hop_samples
        starts = range(0, len(padded), self._part_samples)
        parts = []
        for number, start in enumerate(starts):
            stop = min(start + self._part_samples, len(padded))
            first = max(0, start - context)
            made = converter.convert(padded[first : stop + context], voice)
            parts.append(made[start - first : stop - first].numpy())
            if progress:
                progress(number + 1, len(starts))
        return np.concatenate(parts)[:count]


@dataclass(frozen=True)
class _Round:
    """Tells of the parts of one round as parts of all rounds."""

    progress: Progress
    number: int
    rounds: int

    def __call__(self, done: int, total: int) -> None:
        self.progress(self.number * total + done, self.rounds * total)


def sound_of(source: SoundLike, rate_hz: int | None) -> waveform.Waveform:
    """Read a recording that people give as a path, a ``Waveform`` or samples with their rate.

    Args:
        source: The recording.
        rate_hz: Rate to convert to; None keeps its own.

    Raises:
        AudioError: It cannot be read, or is no mono sound.
    """
    match source:
        case str() | Path():
            return waveform.load(source, rate_hz)
        case waveform.Waveform():
            samples, own_hz = source.samples, source.rate_hz
        case (samples, own_hz):
            samples = np.asarray(samples)
        case _:
            raise AudioError(
                f"a recording of type {type(source).__name__}; expected a path, a Waveform or "
                "(samples, rate_hz)"
            )
    if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating) or not len(samples):
        raise AudioError(
            f"samples of shape {samples.shape} and type {samples.dtype}; expected mono (S,) floats "
            "in [-1, 1]"
        )
    if not np.isfinite(samples).all():
        raise AudioError("the recording holds NaN or infinite samples; export it again")
    wanted_hz = rate_hz or own_hz
    return waveform.Waveform(waveform.resample(samples, own_hz, wanted_hz), wanted_hz)
