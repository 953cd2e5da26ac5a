"""The one way by which generated sound leaves Parlando: marked as synthetic."""

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from parlando.audio import waveform

_COMMENT = re.compile(
    r"Synthetic speech, (?P<nature>.*): Parlando (?P<version>\S+), (?P<system>.+), "
    r"seed (?P<seed>\d+)$"
)
_TITLE_CHARACTERS = 120


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What made a piece of sound."""

    system: str
    """Name of the system, such as ``naturalspeech2-small``."""
    version: str
    """Version of Parlando."""
    seed: int
    """Seed with which the same call gives the same sound."""
    nature: str = "no recording"
    """How much of it is synthetic: all, a recording's voice, or parts of a recording."""


def write(
    path: str | Path, samples: np.ndarray, rate_hz: int, provenance: Provenance, text: str = ""
) -> None:
    """Write generated sound, whole or not at all, with metadata that says it is synthetic.

    Args:
        path: target; wav, flac, ogg or mp3 by its suffix.
        samples: ``(S,)`` in [-1, 1].
        rate_hz: sampling rate.
        provenance: what made the sound.
        text: what is spoken; its beginning becomes the title.

    Raises:
        AudioError: the target cannot be written.
    """
    title = " ".join(text.split())
    if len(title) > _TITLE_CHARACTERS:
        title = title[: _TITLE_CHARACTERS - 1].rsplit(" ", 1)[0] + "…"
    tags = waveform.synthetic_metadata(
        provenance.system, provenance.version, provenance.seed, title, provenance.nature
    )
    waveform.save(path, samples, rate_hz, tags)


def wav_bytes(samples: np.ndarray, rate_hz: int, provenance: Provenance) -> bytes:
    """Return what :func:`write` writes to a wav file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        write(path, samples, rate_hz, provenance)
        return path.read_bytes()


def read(path: str | Path) -> Provenance | None:
    """Read who made a sound file; None where it does not say that Parlando did.

    Absence proves nothing: metadata is lost when a file is converted.

    Raises:
        AudioError: the file cannot be read as sound.
    """
    match = _COMMENT.match(waveform.read_metadata(path).get("comment", ""))
    if not match:
        return None
    return Provenance(
        system=match["system"],
        version=match["version"],
        seed=int(match["seed"]),
        nature=match["nature"],
    )
