"""Recordings of which some words are said anew, by anything that is an ``Editor``.

The recording is aligned with its transcript, which words stay is found, what is new is made between
what stays, and spliced in: whatever lies outside it and the cross-fades is the recording's own
samples, at its own rate.
"""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from parlando.aligner.prompts import PhoneReader, reason_to_doubt
from parlando.aligner.recordings import align_speech
from parlando.audio import waveform
from parlando.audio.seams import limit_peaks
from parlando.audio.splice import FADE_SECONDS, Piece, splice
from parlando.contracts import AudioError, Editor, Revision, SpeakOptions, TextError, Utterance
from parlando.converting import SoundLike, sound_of
from parlando.safety import provenance
from parlando.speaking import Progress, checked_seed, generator_of, speak_options
from parlando.text.normalize import normalize
from parlando.text.phonemes import phonemize
from parlando.text.revision import Excerpt, excerpts, last_kept, revise
from parlando.text.vocabulary import is_phone, with_boundaries

LONGEST_SECONDS = 120.0
"""Longest recording: it is aligned at once."""
SHORTEST_SPEECH_SECONDS = 1.0
"""Least speech in it: it is the voice of what is made."""
MOST_NEW_PHONES = 200
"""Most phones of one change, about 15 s: they are made at once."""
MARGIN_PHONES = 1
"""Phones on each side of a change that are made anew, as long as they were: sounds run into each
other. Pauses have none."""
NATURE = "parts of a recording"
"""What the metadata say of it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Edit:
    """A recording that says something else in places."""

    samples: np.ndarray
    """``(S,)`` float32 in [-1, 1]."""
    rate_hz: int
    """Sampling rate, the recording's own."""
    spans: tuple[tuple[int, int], ...]
    """First sample and one past the last of what was made anew or cross-faded, ascending; all else
    is the recording's, bit for bit. A cut that needed neither has none."""
    text: str
    """What is said now, in spoken form."""
    system: str
    """Name of the system that made the new parts."""
    version: str
    """Version of Parlando."""
    seed: int
    """Seed with which the same call gives the same samples."""
    compute_seconds: float
    """Wall-clock time that it took."""

    @property
    def duration_seconds(self) -> float:
        """Length of the sound."""
        return len(self.samples) / self.rate_hz

    @property
    def spans_seconds(self) -> tuple[tuple[float, float], ...]:
        """What was made anew or cross-faded, in seconds."""
        return tuple((start / self.rate_hz, stop / self.rate_hz) for start, stop in self.spans)

    @property
    def real_time_factor(self) -> float:
        """Seconds of computing per second of speech."""
        return self.compute_seconds / max(self.duration_seconds, 1e-9)

    @property
    def provenance(self) -> provenance.Provenance:
        """What made the new parts."""
        return provenance.Provenance(
            system=self.system, version=self.version, seed=self.seed, nature=NATURE
        )

    def save(self, path: str | Path) -> None:
        """Write wav, flac, ogg or mp3 by suffix, with metadata that says parts are synthetic.

        A recording of 16 bits is written to wav and flac bit for bit outside ``spans``.

        Raises:
            AudioError: The file cannot be written.
        """
        provenance.write(path, self.samples, self.rate_hz, self.provenance, self.text)


class SpeechEditor:
    """Edits recordings with one editor and one aligner."""

    def __init__(self, editor: Editor, phones: PhoneReader, device: str = "cpu") -> None:
        """Wrap an editor.

        Args:
            editor: What makes new parts.
            phones: Finds when the transcript is said; at the editor's rate and frames.
            device: Where ``phones`` is.
        """
        self.editor = editor
        self.phones = phones
        self.device = device

    @property
    def name(self) -> str:
        """Name of the editor."""
        return self.editor.name

    def edit(
        self,
        source: SoundLike,
        transcript: str,
        text: str,
        *,
        seed: int | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> Edit:
        """Let a recording say a new text where it differs from what is said.

        Args:
            source: The recording: a ``Waveform``, a path, or samples with their rate.
            transcript: What is said in it, all of it.
            text: What it shall say; it shares words with the transcript.
            seed: The same seed gives the same sound; None draws one, found in the result.
            progress: Called with the places made and their number.
            **options: Fields of ``SpeakOptions`` that the system reads, such as ``steps=8``.

        Raises:
            AudioError: The recording cannot be read, is silent, too short or too long.
            TextError: A text is empty, the transcript is not what is said, nothing changes, no word
                stays, or a change is too long.
            ConfigError: An option is not valid.
        """
        started = time.perf_counter()
        seed = checked_seed(secrets.randbelow(2**31) if seed is None else seed)
        checked = speak_options(options, self.editor.option_names, self.name)
        said = _symbols(transcript, "the transcript")
        wanted = _symbols(text, "the new text")
        name = str(source) if isinstance(source, str | Path) else "the recording"
        sound = sound_of(source, None)
        recording = _Recording.of(sound, self.editor, name)
        durations = self._aligned(recording, said, name)
        revision = revise(said, durations, wanted, MARGIN_PHONES)
        cuts = excerpts(revision, self.editor.context_frames)
        if (most := max(_new_phones(revision, cut) for cut in cuts)) > MOST_NEW_PHONES:
            raise TextError(
                f"one change of the text is {most} phones long, at most {MOST_NEW_PHONES} can be "
                "made at once; edit in several steps"
            )
        pieces = self._pieces(recording, revision, cuts, checked, seed, progress)
        samples, spans = splice(pieces, round(FADE_SECONDS * sound.rate_hz))
        return Edit(
            samples=samples,
            rate_hz=sound.rate_hz,
            spans=spans,
            text=normalize(text),
            system=self.name,
            version=version("parlando"),
            seed=seed,
            compute_seconds=time.perf_counter() - started,
        )

    def _aligned(self, recording: "_Recording", symbols: list[str], name: str) -> list[int]:
        """Find the frames of each symbol of the transcript.

        Raises:
            TextError: it is not what is said.
        """
        import torch

        hop = self.editor.hop_samples
        heard = torch.from_numpy(recording.heard).to(self.device)
        start, stop = recording.speech
        durations, score = align_speech(self.phones, heard, (start, stop), symbols, hop, name)
        speech = heard[start * hop : stop * hop]
        reason = reason_to_doubt(
            self.phones, speech, symbols, durations, score, hop / self.editor.rate_hz
        )
        if reason is not None:
            raise TextError(
                f"{name}: the transcript does not seem to be what is said ({reason}); give the "
                "words of this recording, all of them"
            )
        return durations

    def _pieces(
        self,
        recording: "_Recording",
        revision: Revision,
        cuts: Sequence[Excerpt],
        options: SpeakOptions,
        seed: int,
        progress: Progress | None,
    ) -> list[Piece]:
        """Make what is new and put it between what stays."""
        edges = [0, *accumulate(revision.durations_frames)]
        pieces, at = [], 0
        for number, cut in enumerate(cuts):
            made, places = self._made(recording, cut, options, (seed, number))
            for start, stop in cut.runs:
                before = last_kept(revision.sources, start) + 1
                pieces.append(recording.piece(at, edges[before]))
                if start < stop:
                    first, last = (place - cut.first_symbol for place in (start, stop))
                    begin, end = (recording.sample(places[edge]) for edge in (first, last))
                    pieces.append(Piece(made, begin, end, made=True))
                after = next((s for s in revision.sources[stop:] if s is not None), len(edges) - 1)
                at = edges[after]
            if progress:
                progress(number + 1, len(cuts))
        pieces.append(recording.piece(at, edges[-1]))
        return [piece for piece in pieces if piece.start < piece.stop]

    def _made(
        self, recording: "_Recording", cut: Excerpt, options: SpeakOptions, seeds: tuple[int, int]
    ) -> tuple[np.ndarray, list[int]]:
        """Make an excerpt anew, at the recording's rate and level, and tell its symbols' edges."""
        import torch

        if all(start == stop for start, stop in cut.runs):
            return np.zeros(0, dtype=np.float32), []
        hop = self.editor.hop_samples
        start = cut.first_frame * hop
        stop = start + sum(cut.revision.durations_frames) * hop
        with torch.inference_mode():
            heard = torch.from_numpy(recording.heard[start:stop])
            made: Utterance = self.editor.edit(heard, cut.revision, options, generator_of(seeds))
        return recording.unprepared(made.samples), [0, *accumulate(made.durations_frames)]


@dataclass(frozen=True, eq=False)
class _Recording:
    """A recording as it is, and as models hear it."""

    sound: waveform.Waveform
    heard: np.ndarray
    """``(S,)`` at the editor's rate, in whole frames, without DC, at the level of prompts."""
    speech: tuple[int, int]
    """First frame that holds speech, and one past the last."""
    rate_hz: int
    hop_samples: int
    offset: float
    """What was taken from each sample."""
    gain: float
    """By what the rest was multiplied."""

    @classmethod
    def of(cls, sound: waveform.Waveform, editor: Editor, name: str) -> "_Recording":
        """Prepare a recording.

        Raises:
            AudioError: it is silent, too short or too long.
        """
        if sound.duration_seconds > LONGEST_SECONDS:
            raise AudioError(
                f"{name}: lasts {sound.duration_seconds:.0f} s, at most {LONGEST_SECONDS:.0f} s "
                "can be edited at once; cut it at a pause"
            )
        rate_hz, hop = editor.rate_hz, editor.hop_samples
        samples = waveform.resample(sound.samples, sound.rate_hz, rate_hz)
        offset = float(samples.mean())
        centred = samples - samples.mean()
        first, last = waveform.speech_bounds(centred, rate_hz)
        if first == last:
            raise AudioError(f"{name}: is silent; give a recording of one person speaking")
        seconds = waveform.speech_seconds(centred, rate_hz)
        if seconds < SHORTEST_SPEECH_SECONDS:
            raise AudioError(
                f"{name}: holds {seconds:.1f} s of speech, at least {SHORTEST_SPEECH_SECONDS:.0f} "
                "s is needed; give a longer recording"
            )
        heard = waveform.normalize_loudness(centred, rate_hz)
        loudest = int(np.abs(centred).argmax())
        return cls(
            sound=sound,
            heard=np.pad(heard, (0, -len(heard) % hop)),
            speech=(first // hop, -(-last // hop)),
            rate_hz=rate_hz,
            hop_samples=hop,
            offset=offset,
            gain=float(heard[loudest] / centred[loudest]),
        )

    def sample(self, frame: int) -> int:
        """Tell with which sample of the recording a frame begins."""
        return round(frame * self.hop_samples * self.sound.rate_hz / self.rate_hz)

    def piece(self, start: int, stop: int) -> Piece:
        """Take frames of the recording as they are."""
        last = len(self.sound.samples)
        first, end = (min(self.sample(frame), last) for frame in (start, stop))
        return Piece(self.sound.samples, first, end, made=False)

    def unprepared(self, samples: np.ndarray) -> np.ndarray:
        """Bring what models made to the recording's rate, level and offset."""
        made = waveform.resample(samples, self.rate_hz, self.sound.rate_hz)
        return limit_peaks(made / self.gain + self.offset)


def _symbols(text: str, name: str) -> list[str]:
    if not text.strip():
        raise TextError(f"{name} is empty; give what is said in the recording, and what shall be")
    try:
        return with_boundaries(phonemize(normalize(text)))
    except TextError as error:
        raise TextError(f"{name}: {error}") from error


def _new_phones(revision: Revision, cut: Excerpt) -> int:
    """Count the phones of the longest change of an excerpt."""
    return max(sum(map(is_phone, revision.new_symbols[start:stop])) for start, stop in cut.runs)
