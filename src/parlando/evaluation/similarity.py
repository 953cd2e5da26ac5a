"""How alike two voices are: speaker embeddings, their cosine, and who is nearest.

Values depend on the embedding model: figures of different encoders never share a column, and the
encoder's name goes beside each. ``SIM-O`` compares an output with the original prompt; ``SIM-R``
compares it with the prompt after the codec. Everything here is ``SIM-O`` unless the caller passes
resynthesised references.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from parlando.contracts import AudioError


class SpeakerEncoder(Protocol):
    """Speech to a vector that depends on who speaks."""

    name: str

    def embed(self, samples: np.ndarray, rate_hz: int) -> np.ndarray:
        """Map ``(S,)`` float samples to a vector ``(D,)`` of unit length."""


@dataclass(frozen=True, kw_only=True)
class RankOne:
    """How often the right speaker was the nearest of several."""

    accuracy: float
    """Share of outputs whose own speaker was the nearest."""
    chance: float
    """What guessing among the same candidates would give, on average."""
    hits: tuple[bool, ...]
    """One entry per output."""
    nearest: tuple[str, ...]
    """The nearest speaker of each output; empty where nobody is alike at all."""


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    """Compute the cosine of the angle between two vectors ``(D,)``; 0 if one of them is zero."""
    norms = np.linalg.norm(first) * np.linalg.norm(second)
    return float(np.dot(first, second) / norms) if norms > 0 else 0.0


def rank_one(
    outputs: Sequence[np.ndarray],
    owners: Sequence[str],
    gallery: Mapping[str, np.ndarray],
    groups: Mapping[str, str],
) -> RankOne:
    """Identify the speaker of each output among the candidates of the owner's group.

    Args:
        outputs: embeddings ``(D,)``; zeros where no voice was found, which is a miss.
        owners: the speaker whose voice each output should have; each is in ``gallery``.
        gallery: one embedding per speaker, of speech that no output was prompted with.
        groups: group (such as the sex) of every speaker in the gallery.

    Raises:
        ValueError: if there are no outputs, or not as many owners.
    """
    if not outputs or len(outputs) != len(owners):
        raise ValueError(f"{len(outputs)} outputs and {len(owners)} owners")
    nearest, chances = [], []
    for output, owner in zip(outputs, owners, strict=True):
        candidates = [name for name in gallery if groups[name] == groups[owner]]
        alike = {name: cosine(output, gallery[name]) for name in candidates}
        best = max(alike, key=lambda name: alike[name])
        nearest.append(best if alike[best] > 0 else "")
        chances.append(1.0 / len(candidates))
    hits = tuple(found == owner for found, owner in zip(nearest, owners, strict=True))
    return RankOne(
        accuracy=float(np.mean(hits)),
        chance=float(np.mean(chances)),
        hits=hits,
        nearest=tuple(nearest),
    )


def halves_similarity(samples: np.ndarray, rate_hz: int, encoder: SpeakerEncoder) -> float:
    """Compute the similarity of the first and second half of one recording.

    It is the likeness that the same person reaches with themselves in the same room: the most
    that a synthesised voice can be asked for.
    """
    middle = len(samples) // 2
    return cosine(
        encoder.embed(samples[:middle], rate_hz), encoder.embed(samples[middle:], rate_hz)
    )


class ResemblyzerEncoder:
    """GE2E speaker encoder with the weights that the ``resemblyzer`` package bundles, on the CPU.

    Preparation, by the package's own ``preprocess_wav``: 16 kHz, level raised to -30 dBFS where
    it is below (louder speech stays as it is, and the features are not logarithmic: level counts
    a little), silences cut down by a voice detector. The embedding is the normalised mean over
    windows of 1.6 s. No entry is negative, so that even unlike voices score far above zero.
    """

    name = "resemblyzer 0.1 (GE2E)"
    rate_hz = 16_000

    def __init__(self) -> None:
        self._encoder: Any = None

    def embed(self, samples: np.ndarray, rate_hz: int) -> np.ndarray:
        """Map ``(S,)`` float samples to a unit vector ``(256,)``.

        Raises:
            AudioError: if no voice is found in the samples.
        """
        with warnings.catch_warnings():
            # Its voice detector announces the end of pkg_resources at every import.
            warnings.simplefilter("ignore")
            from resemblyzer import VoiceEncoder, preprocess_wav
        if self._encoder is None:
            self._encoder = VoiceEncoder("cpu", verbose=False)
        if rate_hz != self.rate_hz:
            import soxr

            samples = soxr.resample(samples, rate_hz, self.rate_hz)
        loudest = float(np.abs(samples).max(initial=0.0))
        voiced = preprocess_wav(np.clip(samples, -1.0, 1.0)) if loudest > 0 else samples[:0]
        if voiced.size == 0:
            raise AudioError(
                f"no voice in {len(samples) / self.rate_hz:.2f} s of sound with peak "
                f"{loudest:.3f}; a speaker embedding needs speech"
            )
        return np.asarray(self._encoder.embed_utterance(voiced))
