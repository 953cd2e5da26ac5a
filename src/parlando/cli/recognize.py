"""``parlando recognize``: the phones of recordings, without their text."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from parlando.contracts import AudioError

LONGEST_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """Print the phones of recordings as the phone recogniser hears them, a line for each."""

    audio: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="AUDIO...")]
    """Sound files of up to two minutes of one person speaking."""
    aligner: str = "aligner-small"
    """Name of a released aligner, or the folder of a trained one."""
    device: str = "cpu"
    """``cpu``, ``cuda``, ``cuda:1``, ``mps`` or ``auto``."""


def run(options: Options) -> None:
    """Recognise and print.

    Raises:
        ParlandoError: a recording or the aligner is not usable.
    """
    from parlando.registry import load_aligner

    if not options.audio:
        raise AudioError("got no recording; give the path of a sound file")
    aligner = load_aligner(options.aligner, options.device)
    import torch

    place = next(aligner.parameters()).device
    for path in options.audio:
        samples, start, stop = read_speech(path, aligner.rate_hz, aligner.hop_samples)
        hop = aligner.hop_samples
        speech = torch.from_numpy(samples[start * hop : stop * hop].copy())
        phones = " ".join(aligner.recognize(speech.to(place)))
        print(f"{path}: {phones}" if len(options.audio) > 1 else phones)


def read_speech(path: Path, rate_hz: int, hop_samples: int) -> tuple[np.ndarray, int, int]:
    """Read a recording and find its speech, in whole frames.

    Args:
        path: sound file.
        rate_hz: rate to convert to.
        hop_samples: samples per frame.

    Returns:
        samples ``(S,)``, padded to whole frames, the first frame of speech and one past the last.

    Raises:
        AudioError: the file is not readable, silent, or too long.
    """
    from parlando.audio.waveform import load, speech_bounds

    samples = load(path, rate_hz).samples
    if len(samples) > LONGEST_SECONDS * rate_hz:
        raise AudioError(
            f"{path}: lasts {len(samples) / rate_hz:.0f} s, at most {LONGEST_SECONDS:.0f} s can be "
            "taken at once; cut it at a pause"
        )
    samples = np.pad(samples - samples.mean(), (0, -len(samples) % hop_samples))
    first, last = speech_bounds(samples, rate_hz)
    if first == last:
        raise AudioError(f"{path}: is silent; give a recording of one person speaking")
    return samples, first // hop_samples, -(-last // hop_samples)
