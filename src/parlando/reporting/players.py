"""Sounds on a page: embedded where they fit, linked where they do not."""

import base64
import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import get_args
from urllib.parse import quote

import numpy as np
import soundfile

from parlando.contracts import AudioError
from parlando.evaluation.measure import RATE_HZ
from parlando.evaluation.records import Part, audio_path

PART_TITLES: dict[Part, str] = {"output": "Output", "reference": "Reference", "prompt": "Prompt"}
EMBED_MEGABYTES = 60.0
"""Largest sum of embedded sounds: browsers open larger pages unwillingly."""

_BLOCK_SAMPLES = 65_536


@dataclass(frozen=True, kw_only=True)
class Player:
    """A button that plays a sound."""

    title: str
    """What it plays."""
    part: Part
    """Which sound of its trial."""
    sound: str
    """Id of the sound in the page."""
    seconds: float
    """How long it lasts."""


class Sounds:
    """Collects the sounds of a page; the same sound is kept once.

    Args:
        page_folder: where the page will lie: links are relative to it.
        megabytes: limit of the embedded sounds together, as text in the page.
    """

    def __init__(self, page_folder: Path, megabytes: float = EMBED_MEGABYTES) -> None:
        self._folder = page_folder
        self._left = round(1e6 * megabytes)
        self._ids: dict[str, str] = {}
        self._links: dict[str, str] = {}
        self._data: dict[str, str] = {}

    @property
    def embedded(self) -> bool:
        """Whether all sounds fit into the page."""
        return self._left >= 0

    def add(self, path: Path, part: Part, title: str) -> Player | None:
        """Take a sound in, or give None where there is no such file."""
        if not path.is_file():
            return None
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        sound = self._ids.setdefault(digest, f"sound-{len(self._ids)}")
        samples = read_sound(path)
        if sound not in self._links:
            self._links[sound] = quote(Path(os.path.relpath(path, self._folder)).as_posix())
            if self.embedded:
                self._data[sound] = _data_uri(samples)
                self._left -= len(self._data[sound])
        return Player(title=title, part=part, sound=sound, seconds=len(samples) / RATE_HZ)

    def of_trial(self, folder: Path, trial_id: str) -> list[Player]:
        """Take in all sounds that a report has of a trial."""
        players = [
            self.add(audio_path(folder, trial_id, part), part, PART_TITLES[part])
            for part in get_args(Part)
        ]
        return [player for player in players if player is not None]

    def sources(self) -> list[tuple[str, str]]:
        """Give the id and the address of each sound: all data, or all links."""
        return list((self._data if self.embedded else self._links).items())


def read_sound(path: Path) -> np.ndarray:
    """Read a sound of a report, ``(S,)`` float32.

    Raises:
        AudioError: it cannot be read.
    """
    try:
        samples: np.ndarray = soundfile.read(path, dtype="float32")[0]
    except (OSError, soundfile.SoundFileError) as error:
        raise AudioError(f"{path}: cannot be read; run the report's command again") from error
    return samples if samples.ndim == 1 else samples.mean(1)


def _data_uri(samples: np.ndarray) -> str:
    target = io.BytesIO()
    with soundfile.SoundFile(
        target, "w", samplerate=RATE_HZ, channels=1, format="OGG", subtype="VORBIS"
    ) as file:
        # libsndfile encodes a buffer on the stack; a long text must not overflow it.
        for start in range(0, len(samples), _BLOCK_SAMPLES):
            file.write(samples[start : start + _BLOCK_SAMPLES])
    return f"data:audio/ogg;base64,{base64.b64encode(target.getvalue()).decode()}"
