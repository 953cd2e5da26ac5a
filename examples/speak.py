"""Speak a sentence in the voice of a prompt, or of the bundled example.

python examples/speak.py hello.wav ["Any text."] [prompt.wav]
"""

import sys

import parlando


def main(out: str, text: str = "Hello, how are you today?", voice: str | None = None) -> None:
    """Speak a text into a file, and tell what was spoken when."""
    speech = parlando.speak(text, voice=voice, seed=1)
    speech.save(out)
    start = 0.0
    for phoneme, seconds in zip(speech.phonemes, speech.durations, strict=True):
        print(f"{start:6.3f}  {phoneme}")
        start += seconds


if __name__ == "__main__":
    main(*sys.argv[1:])
