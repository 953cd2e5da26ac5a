"""What is said in a voice prompt, and when; and whether a text is what is said."""

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from parlando.aligner.objective import edit_distance
from parlando.contracts import PromptError
from parlando.data.annotate import AlignmentLimits, reason_to_reject
from parlando.text import vocabulary

MOST_PHONE_ERRORS = 0.7
"""Share of a text's phones from which the recogniser hears another text. Of 60 transcripts of five
corpora, those of unpractised learners among them, one was above; of wrong texts of the same length,
none was below."""
_LIMITS = AlignmentLimits(longest_phone_seconds=math.inf)
# Of 240 right transcripts, two thirds of them learners', 3 % have a phone of more than 0.6 s; of
# as many wrong ones that rule finds none that the phones heard do not give away.


class PhoneReader(Protocol):
    """Finds phones in speech; see :class:`parlando.aligner.model.Aligner`."""

    def align(self, waveform: Tensor, symbols: Sequence[str]) -> tuple[list[int], float]:
        """Give each symbol its frames, and a score."""

    def recognize(self, waveform: Tensor) -> list[str]:
        """Name phone classes without a text; ``sil`` is silence."""


def read_prompt(
    phones: PhoneReader, waveform: Tensor, symbols: Sequence[str] | None
) -> tuple[list[str], list[int]]:
    """Find the symbols of a prompt and the frames of each.

    Args:
        phones: recognises and aligns.
        waveform: ``(S,)`` in whole frames.
        symbols: what is said in it; without them the recogniser tells.

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
    durations, _ = phones.align(waveform, symbols)
    if not heard:
        # A phone that is longer than others are is no other text, and prompts bear one.
        reason = _other_phones(phones, waveform, symbols)
        if not sum(durations):
            reason = "it has more phones than the prompt has frames"
        if reason is not None:
            raise PromptError(
                f"the transcript does not seem to be what the prompt says ({reason}); correct it, "
                "or leave it out and the phones are recognised"
            )
    return symbols, durations


def reason_to_doubt(
    phones: PhoneReader,
    samples: Tensor,
    symbols: Sequence[str],
    durations: Sequence[int],
    score: float,
    frame_seconds: float,
) -> str | None:
    """Say why a text is not what a recording says; None if nothing speaks against it.

    Args:
        phones: recognises.
        samples: ``(S,)``, its speech.
        symbols: of the text.
        durations: frames of each.
        score: of the alignment.
        frame_seconds: length of a frame.
    """
    reason = reason_to_reject(symbols, durations, score, frame_seconds, _LIMITS)
    return reason or _other_phones(phones, samples, symbols)


def _other_phones(phones: PhoneReader, samples: Tensor, symbols: Sequence[str]) -> str | None:
    said = [
        vocabulary.PHONE_CLASSES.index(vocabulary.base_phone(symbol))
        for symbol in symbols
        if vocabulary.is_phone(symbol)
    ]
    with torch.inference_mode():
        heard = [
            vocabulary.PHONE_CLASSES.index(name)
            for name in phones.recognize(samples)
            if vocabulary.is_phone(name)
        ]
    errors = edit_distance(heard, said) / len(said)
    return f"{errors:.0%} of the phones are others" if errors > MOST_PHONE_ERRORS else None
