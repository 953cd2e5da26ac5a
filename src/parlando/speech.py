"""What goes into speaking and what comes out: voices and speech."""

import base64
import dataclasses
import html
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from parlando.audio import waveform
from parlando.contracts import ConfigError, PromptError
from parlando.safety import provenance


@dataclass(frozen=True, eq=False)
class Voice:
    """A prompt made ready: cut to its speech, at one level, of 1 to 30 seconds.

    Keep a ``Voice`` to use it often: a speaker encodes each one once.
    """

    samples: np.ndarray
    """``(S,)`` float32 in [-1, 1]."""
    rate_hz: int
    """Sampling rate."""

    @classmethod
    def from_file(cls, path: str | Path) -> "Voice":
        """Read a prompt from a sound file.

        Raises:
            AudioError: The file cannot be read as sound.
            PromptError: The sound is silent, clipped or unvoiced, or holds too little speech.
        """
        prompt = waveform.load(path)
        try:
            return cls(waveform.prepare_prompt(prompt), prompt.rate_hz)
        except PromptError as error:
            raise PromptError(f"{path}: {error}") from error

    @classmethod
    def from_samples(cls, samples: np.ndarray, rate_hz: int) -> "Voice":
        """Take a prompt from memory.

        Args:
            samples: ``(S,)`` float in [-1, 1].
            rate_hz: Sampling rate.

        Raises:
            PromptError: The samples are not mono floats, or not usable as a prompt.
        """
        samples = np.asarray(samples)
        if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating):
            raise PromptError(
                f"prompt samples of shape {samples.shape} and type {samples.dtype}; expected mono "
                "(S,) floats in [-1, 1]"
            )
        if not np.isfinite(samples).all():
            raise PromptError("the prompt holds NaN or infinite samples; record or export it again")
        resampled = waveform.resample(samples, rate_hz, waveform.RATE_HZ)
        prompt = waveform.Waveform(resampled, waveform.RATE_HZ)
        return cls(waveform.prepare_prompt(prompt), prompt.rate_hz)


VoiceLike = Voice | str | Path | tuple[np.ndarray, int]


def as_voice(voice: VoiceLike) -> Voice:
    """Make a voice of what people give as one; a file is read once while it stays the same.

    Raises:
        AudioError: It cannot be read as sound.
        PromptError: It is not usable as a prompt, or of another type.
    """
    match voice:
        case Voice():
            return voice
        case str() | Path():
            path = Path(voice)
            try:
                state = path.stat()
            except OSError:
                return Voice.from_file(path)  # which says what is wrong
            return _read_voice(path.absolute(), state.st_mtime_ns, state.st_size)
        case (samples, rate_hz):
            return Voice.from_samples(samples, rate_hz)
        case _:
            raise PromptError(
                f"a voice of type {type(voice).__name__}; expected a path, a Voice or "
                "(samples, rate_hz)"
            )


@lru_cache(maxsize=8)
def _read_voice(path: Path, _changed: int, _size: int) -> Voice:
    return Voice.from_file(path)


@dataclass(frozen=True, kw_only=True, eq=False)
class Speech:
    """Spoken text, or a part of one; in a notebook it shows a player."""

    samples: np.ndarray
    """``(S,)`` float32 in [-1, 1]."""
    rate_hz: int
    """Sampling rate."""
    hop_samples: int
    """Samples per frame of ``durations_frames`` and ``f0_hz``."""
    text: str
    """The text in spoken form: numbers, symbols and abbreviations as words."""
    phonemes: tuple[str, ...]
    """Symbols of ``parlando.text.vocabulary``, pauses included."""
    durations_frames: tuple[int, ...]
    """Frames of each phoneme; their sum is the length of the speech."""
    f0_hz: np.ndarray
    """``(T,)`` fundamental frequency, zero where unvoiced."""
    system: str
    """Name of the system that spoke."""
    version: str
    """Version of Parlando."""
    seed: int
    """Seed with which the same call gives the same samples."""
    compute_seconds: float
    """Wall-clock time that making it took."""
    notes: Mapping[str, float] = field(default_factory=dict)
    """Figures about how it was made, summed over pieces; the system's page says which."""

    @property
    def durations(self) -> tuple[float, ...]:
        """Seconds of each phoneme."""
        return tuple(n * self.hop_samples / self.rate_hz for n in self.durations_frames)

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
        """What made this speech."""
        return provenance.Provenance(system=self.system, version=self.version, seed=self.seed)

    @classmethod
    def join(cls, parts: Iterable["Speech"]) -> "Speech":
        """Join consecutive parts of one text, as :meth:`Speaker.stream` yields them."""
        # One buffer that grows: parts may be yielded lazily, and two hours of speech are 460 MB.
        buffer = bytearray()
        pieces = []
        notes: Counter[str] = Counter()
        for part in parts:
            notes.update(part.notes)
            buffer += part.samples.astype(np.float32, copy=False).tobytes()
            pieces.append(dataclasses.replace(part, samples=np.zeros(0, np.float32)))
        if not pieces:
            raise ConfigError("no parts of speech to join; expected at least one")
        return dataclasses.replace(
            pieces[0],
            samples=np.frombuffer(buffer, dtype=np.float32),
            text=" ".join(piece.text for piece in pieces if piece.text),
            phonemes=tuple(symbol for piece in pieces for symbol in piece.phonemes),
            durations_frames=tuple(n for piece in pieces for n in piece.durations_frames),
            f0_hz=np.concatenate([piece.f0_hz for piece in pieces]),
            compute_seconds=sum(piece.compute_seconds for piece in pieces),
            notes=dict(notes),
        )

    def save(self, path: str | Path) -> None:
        """Write wav, flac, ogg or mp3 by suffix, with metadata that says it is synthetic.

        Raises:
            AudioError: The file cannot be written.
        """
        provenance.write(path, self.samples, self.rate_hz, self.provenance, self.text)

    def plot(self, path: str | Path) -> None:
        """Draw waveform, mel spectrogram, F0 and phoneme spans to a PNG, PDF or SVG file.

        Raises:
            ConfigError: The file cannot be written.
        """
        from parlando.plotting import plot_speech

        plot_speech(self, path)

    def _repr_html_(self) -> str:
        sound = provenance.wav_bytes(self.samples, self.rate_hz, self.provenance)
        note = f"{self.duration_seconds:.2f} s · {self.system} · seed {self.seed} · synthetic"
        return (
            f"<figure><figcaption>{html.escape(self.text)}</figcaption>"
            f'<audio controls src="data:audio/wav;base64,{base64.b64encode(sound).decode()}">'
            f"</audio><br><small>{html.escape(note)}</small></figure>"
        )
