"""Speech by espeak-ng, a program and no person: something to run on where there is no corpus."""

import ctypes
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from parlando.audio.waveform import RATE_HZ, resample, save
from parlando.contracts import ConfigError
from parlando.data.corpora import Recording, read_jsonl
from parlando.evaluation.protocol import TextList

VOICES = {
    "anna": ("en-us+f1", "female"),
    "clara": ("en-us+f4", "female"),
    "bruno": ("en-us+m3", "male"),
    "david": ("en-us+m7", "male"),
}
"""Names, voices of espeak-ng and sexes of the speakers. Voices with ``breath`` (f2, f3, f5) are
left out: their noise is another in every process, and with it every number."""

_NAME = "generated.jsonl"
_SYNCHRONOUS = 2
_UTF8 = 1

_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


def espeak(text: str, voice: str = "en-us") -> tuple[np.ndarray, int]:
    """Speak a text with espeak-ng, through its C interface: the wheel carries the library only.

    Args:
        text: what to say.
        voice: name of an espeak-ng voice, such as ``en-us`` or ``en-us+f3``.

    Returns:
        ``(S,)`` float32 in [-1, 1], and the sampling rate in hertz.
    """
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    data = str(espeakng_loader.get_data_path()).encode()
    rate_hz = library.espeak_Initialize(_SYNCHRONOUS, 0, data, 0)
    pieces: list[np.ndarray] = []

    def collect(samples: Any, count: int, _events: Any) -> int:
        if samples and count:
            pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    callback = _Callback(collect)
    library.espeak_SetSynthCallback(callback)
    library.espeak_SetVoiceByName(voice.encode())
    words = text.encode()
    library.espeak_Synth(words, len(words) + 1, 0, 1, 0, _UTF8, None, None)
    library.espeak_Synchronize()
    return np.concatenate(pieces).astype(np.float32) / 32768.0, rate_hz


def generated_corpus(folder: Path) -> list[Recording]:
    """Let every voice speak every sentence of the list ``bundled``, once for a folder.

    Raises:
        ConfigError: espeak-ng does not speak, or the folder cannot be written to.
    """
    listing = folder / _NAME
    if not listing.is_file():
        # In a process of its own: the library keeps something of each voice for the next, and
        # phonemization uses it too.
        command = [sys.executable, "-m", __name__, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
            raise ConfigError(f"{folder}: speech cannot be generated here ({reason})")
    return read_jsonl(listing)


def _write_corpus(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for speaker, (voice, sex) in VOICES.items():
        for number, text in enumerate(TextList(name="bundled").read()):
            samples, rate_hz = espeak(text, voice)
            samples = resample(samples, rate_hz, RATE_HZ)
            name = f"{speaker}-{number:02d}"
            save(folder / f"{name}.wav", samples, RATE_HZ)
            row = {"id": name, "audio": f"{name}.wav", "text": text, "speaker": speaker}
            row |= {"source": "espeak-ng", "split": "test", "sex": sex}
            rows.append(row | {"duration_seconds": round(len(samples) / RATE_HZ, 3)})
    partial = folder / f"{_NAME}.partial"
    partial.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    # Last, so that an interrupted run begins again.
    partial.replace(folder / _NAME)


if __name__ == "__main__":
    _write_corpus(Path(sys.argv[1]))
