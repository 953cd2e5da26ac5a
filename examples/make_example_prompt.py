"""Make the bundled example prompt: about five seconds spoken by espeak-ng, a program, no person.

    python examples/make_example_prompt.py src/parlando/weights/example_prompt.wav

The same program makes the speech of the evaluation protocol `bundled`.
"""

import sys
from pathlib import Path

from parlando.audio.waveform import RATE_HZ, normalize_loudness, resample, save, trim_silence
from parlando.evaluation.generated import espeak

TEXT = "A voice is borrowed here from a machine, so that nobody's own has to be given away."


def main(path: Path) -> None:
    """Write the prompt, at the level and rate that prompts have."""
    samples, rate_hz = espeak(TEXT)
    speech = normalize_loudness(trim_silence(resample(samples, rate_hz, RATE_HZ), RATE_HZ), RATE_HZ)
    tags = {"comment": "Synthetic speech by espeak-ng: no recording of a person", "title": TEXT}
    save(path, speech, RATE_HZ, tags)
    print(f"{path}: {len(speech) / RATE_HZ:.2f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
