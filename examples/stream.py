"""Send raw 16-bit sound to standard output while the rest of a text is still being made.

python examples/stream.py < book.txt | aplay -r 16000 -f S16_LE
"""

import sys
from typing import BinaryIO

import numpy as np

import parlando


def main(text: str, sink: BinaryIO) -> None:
    """Write each part of a text's speech as soon as it is made."""
    system = parlando.load()
    # A language model yields its sound in chunks, the others piece by piece.
    for part in system.stream(text, seed=1, **system.in_chunks({})):
        sink.write((part.samples * 32767.0).astype(np.int16).tobytes())
        sink.flush()


if __name__ == "__main__":
    main(sys.stdin.read(), sys.stdout.buffer)
