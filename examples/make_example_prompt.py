"""Make the bundled example prompt: about five seconds spoken by espeak-ng, a program, no person.

    python examples/make_example_prompt.py src/parlando/weights/example_prompt.wav

espeak-ng is called through its C interface, because the wheel carries the library only.
"""

import ctypes
import sys
from pathlib import Path

import espeakng_loader
import numpy as np

from parlando.audio.waveform import RATE_HZ, normalize_loudness, resample, save, trim_silence

TEXT = "A voice is borrowed here from a machine, so that nobody's own has to be given away."
VOICE = "en-us"
_SYNCHRONOUS = 2
_UTF8 = 1

_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


def espeak(text: str, voice: str = VOICE) -> tuple[np.ndarray, int]:
    """Speak a text with espeak-ng.

    Args:
        text: What to say.
        voice: Name of an espeak-ng voice, such as ``en-us`` or ``en-us+f3``.

    Returns:
        ``(S,)`` float32 in [-1, 1], and the sampling rate in hertz.
    """
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    data = str(espeakng_loader.get_data_path()).encode()
    rate_hz = library.espeak_Initialize(_SYNCHRONOUS, 0, data, 0)
    pieces: list[np.ndarray] = []

    def collect(samples, count: int, _events) -> int:
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


def main(path: Path) -> None:
    """Write the prompt, at the level and rate that prompts have."""
    samples, rate_hz = espeak(TEXT)
    speech = normalize_loudness(trim_silence(resample(samples, rate_hz, RATE_HZ), RATE_HZ), RATE_HZ)
    tags = {"comment": "Synthetic speech by espeak-ng: no recording of a person", "title": TEXT}
    save(path, speech, RATE_HZ, tags)
    print(f"{path}: {len(speech) / RATE_HZ:.2f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
