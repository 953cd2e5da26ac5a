"""From any text and a voice to speech, whatever system renders it.

A text is split, and its pieces are normalised and rendered one by one. Every piece is a ``Speech``
of its own, whose seams are made before the next one is known; so streaming and speaking are one
thing: ``speak`` joins what ``stream`` yields.
"""

import dataclasses
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from parlando.audio import waveform
from parlando.audio.seams import fade, limit_peaks, prepare_piece
from parlando.contracts import (
    Blender,
    ConfigError,
    SpeakOptions,
    Synthesizer,
    TextError,
    Utterance,
)
from parlando.recipes import from_mapping
from parlando.speech import Speech, Voice, VoiceLike, as_voice
from parlando.text.normalize import normalize
from parlando.text.phonemes import phonemize
from parlando.text.segments import Segment, split
from parlando.text.vocabulary import BOUNDARY, is_pause

if TYPE_CHECKING:
    from torch import Generator

FIRST_MAX_CHARACTERS = 60
"""Longest first piece of a text that has several: short, because a listener waits for it."""
CHUNK_SECONDS = 1.0
"""Sound that is taken at a time from a system that need not wait for whole pieces."""

SOLVERS = ("dpm", "euler", "sde")
_RANGES = {
    "steps": (1, 1000),
    "duration_steps": (1, 1000),
    "speed": (0.25, 4.0),
    "guidance": (0.0, 20.0),
    "guidance_rescale": (0.0, 1.0),
    "temperature": (0.0, 2.0),
    "top_p": (0.0, 1.0),
    "top_k": (1, 100_000),
    "repetition_window": (0, 1000),
    "repetition_threshold": (0.0, 1.0),
    "end_threshold": (0.0, 1.0),
    "best_of": (1, 100),
    "chunk_seconds": (0.0, 60.0),
}
# Limits of a wanted total length, per phoneme.
_SHORTEST_SECONDS = 0.025
_LONGEST_SECONDS = 1.0

Progress = Callable[[int, int], None]


class Speaker:
    """Speaks texts of any length with one synthesizer."""

    def __init__(
        self,
        synthesizer: Synthesizer,
        default_voice: Path | None = None,
        match_timbre: bool = False,
    ) -> None:
        """Wrap a synthesizer.

        Args:
            synthesizer: What renders one piece of text.
            default_voice: Prompt that is used where none is given.
            match_timbre: Whether each kind of sound gets the spectrum that it has in the prompt,
                where a call does not say; see :func:`parlando.audio.equalization.match_timbre`.
        """
        self.synthesizer = synthesizer
        self.default_voice = default_voice
        self.match_timbre = match_timbre
        self._prompts: WeakKeyDictionary[Voice, dict[str | None, Any]] = WeakKeyDictionary()
        self._sounds: WeakKeyDictionary[Voice, np.ndarray] = WeakKeyDictionary()

    @property
    def name(self) -> str:
        """Name of the system."""
        return self.synthesizer.name

    @property
    def rate_hz(self) -> int:
        """Sampling rate of what it speaks."""
        return self.synthesizer.rate_hz

    def speak(
        self,
        text: str,
        voice: VoiceLike | None = None,
        *,
        prosody_from: VoiceLike | None = None,
        timbre_from: VoiceLike | None = None,
        duration_from: VoiceLike | None = None,
        seed: int | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> Speech:
        """Speak a whole text; the result is that of :meth:`stream`, joined.

        Args:
            text: Any text, as people write it.
            voice: A prompt: a ``Voice``, a path, or samples with their rate; without one the
                bundled example speaks.
            prosody_from: Whose melody it gets, where it is not that of the voice; any prompt, of
                any length. Systems that read one prompt for everything refuse it.
            timbre_from: The same for how the voice sounds.
            duration_from: The same for the rhythm.
            seed: The same seed gives the same speech; None draws one, found in the result.
            progress: Called with the pieces done and their number.
            **options: Fields of ``SpeakOptions`` that the system reads, such as ``steps=8``, and
                ``match_timbre``.

        Raises:
            TextError: The text, or what the prompt is said to say, holds nothing to speak.
            AudioError: The prompt cannot be read.
            PromptError: The prompt is not usable as a voice.
            ConfigError: An option is not valid, or the system has no such attribute.
        """
        parts = self.stream(
            text,
            voice,
            prosody_from=prosody_from,
            timbre_from=timbre_from,
            duration_from=duration_from,
            seed=seed,
            progress=progress,
            **options,
        )
        return Speech.join(parts)

    def stream(
        self,
        text: str,
        voice: VoiceLike | None = None,
        *,
        prosody_from: VoiceLike | None = None,
        timbre_from: VoiceLike | None = None,
        duration_from: VoiceLike | None = None,
        seed: int | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> Iterator[Speech]:
        """Yield a text's speech part by part, each as soon as it is made.

        Arguments and errors are those of :meth:`speak`; the arguments are checked at once, before
        the first part is asked for.
        """
        others = {"prosody": prosody_from, "timbre": timbre_from, "duration": duration_from}
        wanted = {name: other for name, other in others.items() if other is not None}
        self._check_attributes(wanted)
        given = {name: as_voice(other) for name, other in wanted.items()}
        known = {*self.synthesizer.option_names, "match_timbre"}
        checked = speak_options(options, known, self.name)
        seed = checked_seed(secrets.randbelow(2**31) if seed is None else seed)
        started = time.perf_counter()
        segments = split(text)
        if len(segments) > 1:
            segments = split(text, first_max_characters=FIRST_MAX_CHARACTERS)
        voice = self._default if voice is None else as_voice(voice)
        prompt = self._blended(self._prompt(voice, checked.voice_text), given)
        like = self._timbre(given.get("timbre", voice), checked)
        pace = _Pace.of(segments, checked, self.synthesizer.hop_samples / self.rate_hz)
        return self._parts(pace, prompt, like, seed, progress, started)

    def in_chunks(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Add to options of :meth:`stream` what brings the first sound soonest.

        That is :data:`CHUNK_SECONDS` where the system knows chunks, none are asked for, and nothing
        is wanted that needs whole pieces: candidates to compare, or the prompt's timbre.
        """
        whole = options.get("best_of") not in (None, 1) or options.get("match_timbre")
        if whole or "chunk_seconds" not in self.synthesizer.option_names:
            return dict(options)
        return {"chunk_seconds": CHUNK_SECONDS, **options}

    def _parts(
        self,
        pace: "_Pace",
        prompt: Any,
        like: np.ndarray | None,
        seed: int,
        progress: Progress | None,
        started: float,
    ) -> Iterator[Speech]:
        for index, segment in enumerate(pace.segments):
            options = pace.options_of(index)
            made = self._render(segment.text, prompt, like, options, (seed, index))
            for part, is_last in made:
                if is_last:
                    part = _with_pause(part, pace.pause_frames(index))
                pace.left_seconds -= part.duration_seconds
                part = dataclasses.replace(part, compute_seconds=time.perf_counter() - started)
                if progress and is_last:
                    progress(index + 1, len(pace.segments))
                yield part
                # What a listener does before asking for the next is not computing time.
                started = time.perf_counter()

    def _render(
        self,
        text: str,
        prompt: Any,
        like: np.ndarray | None,
        options: SpeakOptions,
        seeds: tuple[int, int],
    ) -> Iterator[tuple[Speech, bool]]:
        """Yield the parts of a piece, one or several, and whether each is the last."""
        import torch

        from parlando.audio.equalization import match_timbre

        spoken = normalize(text)
        generator = generator_of(seeds)
        symbols = phonemize(spoken)
        if not options.chunk_seconds:
            with torch.inference_mode():
                made = self.synthesizer.render(symbols, prompt, options, generator)
            samples = made.samples
            if like is not None:
                samples = match_timbre(samples, like, self.rate_hz)
            samples = prepare_piece(samples, self.rate_hz)
            yield self._speech(made, samples, spoken, seeds[0]), True
            return
        stream: Iterator[Utterance] = self.synthesizer.stream(  # type: ignore[attr-defined]
            symbols, prompt, options, generator
        )
        for index, made in enumerate(stream):
            # The level of the whole is not known yet: it stays that of the prompt.
            is_last = bool(made.symbols)
            samples = fade(limit_peaks(made.samples), self.rate_hz, start=index == 0, end=is_last)
            yield self._speech(made, samples, spoken if is_last else "", seeds[0]), is_last

    def _speech(self, made: Utterance, samples: np.ndarray, text: str, seed: int) -> Speech:
        return Speech(
            samples=samples,
            rate_hz=self.rate_hz,
            hop_samples=self.synthesizer.hop_samples,
            text=text,
            phonemes=made.symbols,
            durations_frames=made.durations_frames,
            f0_hz=made.f0_hz,
            system=self.name,
            version=version("parlando"),
            seed=seed,
            compute_seconds=0.0,
            notes=made.notes,
        )

    @cached_property
    def _default(self) -> Voice:
        if self.default_voice is None:
            raise ConfigError("no voice was given and the system has no default; give a prompt")
        return Voice.from_file(self.default_voice)

    def _check_attributes(self, given: Collection[str]) -> None:
        system = self.synthesizer
        known = system.attributes if isinstance(system, Blender) else frozenset()
        if unknown := sorted(set(given) - known):
            alone = f", but for {', '.join(sorted(known))}" if known else ""
            raise ConfigError(
                f"{self.name} reads one prompt for everything{alone}; leave out "
                + ", ".join(f"{name}_from" for name in unknown)
            )

    def _blended(self, prompt: Any, given: Mapping[str, Voice]) -> Any:
        if not given or not isinstance(self.synthesizer, Blender):
            return prompt
        others = {name: self._prompt(voice, None) for name, voice in given.items()}
        return self.synthesizer.blend(prompt, **others)

    def _prompt(self, voice: Voice, text: str | None) -> Any:
        import torch

        encoded = self._prompts.setdefault(voice, {})
        if text not in encoded:
            said = () if text is None else (_said_in_prompt(text),)
            with torch.inference_mode():
                prompt = torch.from_numpy(self._sound(voice))
                encoded[text] = self.synthesizer.encode_prompt(prompt, *said)
        return encoded[text]

    def _sound(self, voice: Voice) -> np.ndarray:
        if voice not in self._sounds:
            sound = waveform.resample(voice.samples, voice.rate_hz, self.rate_hz)
            self._sounds[voice] = sound
        return self._sounds[voice]

    def _timbre(self, voice: Voice, options: SpeakOptions) -> np.ndarray | None:
        """Return the speech whose timbre pieces get; none where theirs stays as it is made."""
        wanted = self.match_timbre if options.match_timbre is None else options.match_timbre
        # A piece that is heard before it is whole does not know its own timbre yet.
        return self._sound(voice) if wanted and not options.chunk_seconds else None


def _said_in_prompt(text: str) -> list[str]:
    try:
        return phonemize(normalize(text))
    except TextError as error:
        raise TextError(
            f"voice_text: {error}; give what the prompt says, or leave it out"
        ) from error


def checked_seed(seed: int) -> int:
    """Return a seed that can be used and written into metadata.

    Raises:
        ConfigError: It is no whole number, or out of range.
    """
    if not isinstance(seed, Integral) or not 0 <= seed < 2**63:
        raise ConfigError(f"seed {seed!r}; expected a whole number, 0 to 2**63 - 1")
    return int(seed)


def generator_of(seeds: tuple[int, int]) -> "Generator":
    """Seed a generator for one piece of a call, so that no piece depends on another.

    Args:
        seeds: Seed of the call, and number of the piece.
    """
    import torch

    state = int(np.random.SeedSequence(seeds).generate_state(1, np.uint64)[0] >> 1)
    return torch.Generator().manual_seed(state)


def speak_options(given: dict[str, Any], known: Collection[str], system: str) -> SpeakOptions:
    """Build checked options of one call.

    Args:
        given: Values for fields of ``SpeakOptions``; those left out keep their defaults.
        known: Fields that the system reads.
        system: Its name, for messages.

    Raises:
        ConfigError: A name is unknown, or not one of this system, or a value out of range.
    """
    options = from_mapping(SpeakOptions, given, "options")
    if others := sorted(set(given) - set(known)):
        raise ConfigError(
            f"{system} has no option {', '.join(others)}; it has {', '.join(sorted(known))}"
        )
    if options.solver not in SOLVERS:
        raise ConfigError(f"solver {options.solver!r}; expected one of {', '.join(SOLVERS)}")
    for name, (low, high) in _RANGES.items():
        value = getattr(options, name)
        if value is not None and not low <= value <= high:
            raise ConfigError(f"{name} {value}; expected {low:g} to {high:g}")
    if options.match_timbre and options.chunk_seconds:
        raise ConfigError(
            "match_timbre needs whole pieces; leave chunk_seconds or match_timbre out"
        )
    length = options.duration_seconds
    if length is not None and not 0.0 < length < float("inf"):
        raise ConfigError(f"duration {length:g} s; expected more than 0 s")
    return options


@dataclass
class _Pace:
    """How long pieces and pauses last: by speed, or as shares of a wanted total length."""

    segments: Sequence[Segment]
    options: SpeakOptions
    frame_seconds: float
    pause_scale: float
    weights: Sequence[int]
    """Phonemes of each piece; none where no total length is wanted."""
    left_seconds: float
    """What is left of the total length."""

    @classmethod
    def of(
        cls, segments: Sequence[Segment], options: SpeakOptions, frame_seconds: float
    ) -> "_Pace":
        total = options.duration_seconds
        if total is None:
            return cls(segments, options, frame_seconds, 1.0 / options.speed, (), 0.0)
        # Weights need the phonemes of the whole text; only a call with a total length pays this.
        weights = [len(phonemize(normalize(segment.text))) for segment in segments]
        low, high = sum(weights) * _SHORTEST_SECONDS, sum(weights) * _LONGEST_SECONDS
        if not low <= total <= high:
            raise ConfigError(
                f"duration {total:g} s for {sum(weights)} phonemes; "
                f"expected {low:.1f} to {high:.1f} s"
            )
        # Pauses may take a quarter: more, and speech would be rushed to make room for silence.
        pauses = sum(segment.pause_seconds for segment in segments)
        scale = min(1.0, 0.25 * total / pauses) if pauses else 1.0
        return cls(segments, options, frame_seconds, scale, weights, total)

    def pause_frames(self, index: int) -> int:
        """Return the silence after a piece."""
        return round(self.segments[index].pause_seconds * self.pause_scale / self.frame_seconds)

    def options_of(self, index: int) -> SpeakOptions:
        """Give a piece its share of the length that is left, so that rounding never adds up.

        Only the first piece goes on in the prompt's sentence.
        """
        options = dataclasses.replace(
            self.options, continuation=self.options.continuation and index == 0
        )
        if not self.weights:
            return options
        pauses = sum(self.pause_frames(later) for later in range(index, len(self.segments)))
        speech = self.left_seconds - pauses * self.frame_seconds
        share = speech * self.weights[index] / sum(self.weights[index:])
        return dataclasses.replace(
            options, duration_seconds=max(share, self.weights[index] * self.frame_seconds)
        )


def _with_pause(part: Speech, frames: int) -> Speech:
    """Append silence; it belongs to the last symbol where that is a pause."""
    if not frames:
        return part
    phonemes, durations = part.phonemes, part.durations_frames
    if not phonemes or not is_pause(phonemes[-1]):
        phonemes, durations = (*phonemes, BOUNDARY), (*durations, 0)
    silence = np.zeros(frames * part.hop_samples, dtype=np.float32)
    return dataclasses.replace(
        part,
        samples=np.concatenate([part.samples, silence]),
        phonemes=phonemes,
        durations_frames=(*durations[:-1], durations[-1] + frames),
        f0_hz=np.concatenate([part.f0_hz, np.zeros(frames, dtype=np.float32)]),
    )
