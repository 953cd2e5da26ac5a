"""What is said in a voice prompt, and when."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from parlando.contracts import PromptError
from parlando.data.annotate import AlignmentLimits, reason_to_reject
from parlando.text import vocabulary


class PhoneReader(Protocol):
    """Finds phones in speech; see :class:`parlando.aligner.model.Aligner`."""

    def align(self, waveform: Tensor, symbols: Sequence[str]) -> tuple[list[int], float]:
        """Give each symbol its frames, and a score."""

    def recognize(self, waveform: Tensor) -> list[str]:
        """Name phone classes without a text; ``sil`` is silence."""


def read_prompt(
    phones: PhoneReader, waveform: Tensor, symbols: Sequence[str] | None, frame_seconds: float
) -> tuple[list[str], list[int]]:
    """Find the symbols of a prompt and the frames of each.

    Args:
        phones: recognises and aligns.
        waveform: ``(S,)`` in whole frames.
        symbols: what is said in it; without them the recogniser tells.
        frame_seconds: length of a frame.

    Returns:
        symbols with boundaries at both ends, and their durations.

    Raises:
        PromptError: there is no phone in it, or the transcript is not what is said.
    """
    heard = symbols is None
    if symbols is None:
        classes = phones.recognize(waveform)
        symbols = [vocabulary.PUNCTUATION[0] if name == "sil" else name for name in classes]
        if not any(vocabulary.is_phone(symbol) for symbol in symbols):
            raise PromptError("no phone is heard in the prompt; give one with clear speech")
    symbols = vocabulary.with_boundaries(symbols)
    durations, score = phones.align(waveform, symbols)
    reason = reason_to_reject(symbols, durations, score, frame_seconds, AlignmentLimits())
    if reason is not None and not heard:
        raise PromptError(
            f"the transcript does not seem to be what the prompt says ({reason}); correct it, "
            "or leave it out and the phones are recognised"
        )
    return symbols, durations
