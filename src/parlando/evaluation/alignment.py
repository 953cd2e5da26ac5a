"""When each phone of a recording is spoken: as its system told, or as the aligner finds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from parlando.audio.waveform import resample, speech_bounds
from parlando.contracts import AudioError, TextError
from parlando.evaluation.measure import RATE_HZ
from parlando.text.vocabulary import BOUNDARY, PUNCTUATION, is_phone

if TYPE_CHECKING:
    from torch import Tensor

    from parlando.aligner.model import Aligner

HOP_SAMPLES = 200
"""Samples of a frame at ``RATE_HZ``: 12.5 ms, whatever the frames of a system or an aligner."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TimedPhones:
    """The phones of a recording in time, pauses left out."""

    symbols: tuple[str, ...]
    """N phones, with their stress where it is known."""
    starts: np.ndarray
    """``(N,)`` begin of each in frames; a fraction where frames of another length were told."""
    stops: np.ndarray
    """``(N,)`` end of each."""

    @property
    def durations(self) -> np.ndarray:
        """Length of each in frames, ``(N,)``."""
        return self.stops - self.starts


def timed_phones(
    symbols: Sequence[str], durations: Sequence[float], first: float = 0.0
) -> TimedPhones:
    """Lay symbols one after the other, and keep the phones.

    Args:
        symbols: phones and pauses.
        durations: length of each in frames, not negative.
        first: where the first begins, frames.

    Raises:
        TextError: there are not as many durations as symbols.
    """
    if len(symbols) != len(durations):
        raise TextError(
            f"got {len(symbols)} symbols with {len(durations)} durations; give one each"
        )
    edges = first + np.concatenate([[0.0], np.cumsum(np.asarray(durations, dtype=np.float64))])
    spoken = np.array([is_phone(symbol) for symbol in symbols], dtype=bool)
    return TimedPhones(
        symbols=tuple(symbol for symbol in symbols if is_phone(symbol)),
        starts=edges[:-1][spoken],
        stops=edges[1:][spoken],
    )


def told_phones(details: Mapping[str, Any]) -> TimedPhones | None:
    """Read the phones that a system told of its output, or None where it told none.

    Args:
        details: of a sample; ``hop_samples`` and ``rate_hz`` say how long its frames are.

    Raises:
        TextError: there are not as many durations as symbols.
    """
    if not details.get("symbols") or not details.get("durations_frames"):
        return None
    seconds = details.get("hop_samples", HOP_SAMPLES) / details.get("rate_hz", RATE_HZ)
    scale = seconds * RATE_HZ / HOP_SAMPLES
    return timed_phones(details["symbols"], [scale * n for n in details["durations_frames"]])


def symbols_of(text: str) -> list[str]:
    """Turn a written text into the symbols that an aligner expects."""
    from parlando.text.normalize import normalize
    from parlando.text.phonemes import phonemize

    return phonemize(normalize(text))


class PhoneFinder:
    """Finds phones in sound with an aligner that is loaded at the first use.

    Args:
        load: picklable maker of the aligner.
    """

    def __init__(self, load: "Callable[[], Aligner]"):
        self._load = load
        self._aligner: Aligner | None = None

    def find(self, samples: np.ndarray, symbols: Sequence[str]) -> TimedPhones:
        """Align a recording with what is said in it.

        Args:
            samples: ``(S,)`` at 16 kHz.
            symbols: phones and pauses of its text.

        Raises:
            AudioError: the recording is silent.
            TextError: it is too short for its symbols, or there is none.
        """
        speech, start = self._speech(samples)
        if speech is None:
            raise AudioError("the recording is silent; expected speech to align with its text")
        # As in training, there is a pause at each end.
        framed = [BOUNDARY] if is_phone(symbols[0]) else []
        framed += symbols
        framed += [BOUNDARY] if is_phone(symbols[-1]) else []
        durations, _ = self._model().align(speech, framed)
        if not sum(durations):
            raise TextError(
                f"{len(samples) / RATE_HZ:.2f} s of sound are too short for the {len(symbols)} "
                "symbols of the text; is it the text of this recording?"
            )
        scale = self._frame_samples() / HOP_SAMPLES
        return timed_phones(framed, [scale * n for n in durations], start / HOP_SAMPLES)

    def hear(self, samples: np.ndarray) -> list[str]:
        """Name the symbols of ``(S,)`` without a text; silence inside is a comma."""
        speech, _ = self._speech(samples)
        heard = self._model().recognize(speech) if speech is not None else []
        return [PUNCTUATION[0] if name == "sil" else name for name in heard]

    def _model(self) -> "Aligner":
        if self._aligner is None:
            self._aligner = self._load()
        return self._aligner

    def _frame_samples(self) -> float:
        """Return how many samples at ``RATE_HZ`` a frame of the aligner lasts."""
        return self._model().hop_samples * RATE_HZ / self._model().rate_hz

    def _speech(self, samples: np.ndarray) -> "tuple[Tensor | None, float]":
        """Cut silence at both ends, in whole frames: the speech, and its first sample."""
        import torch

        start, stop = speech_bounds(samples, RATE_HZ)
        if start == stop:
            return None, 0.0
        frame = self._frame_samples()
        first = int(start // frame) * frame
        model = self._model()
        speech = resample(samples[round(first) : stop] - samples.mean(), RATE_HZ, model.rate_hz)
        whole = np.pad(speech, (0, -len(speech) % model.hop_samples)).astype(np.float32)
        return torch.from_numpy(whole).to(next(model.parameters()).device), first
