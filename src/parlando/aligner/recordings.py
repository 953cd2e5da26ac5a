"""When each symbol of a text is spoken in a recording, and whether it is the text."""

from collections.abc import Sequence

import torch
from torch import Tensor

from parlando.aligner.objective import edit_distance
from parlando.aligner.prompts import PhoneReader
from parlando.contracts import TextError
from parlando.data.annotate import AlignmentLimits, reason_to_reject
from parlando.text.vocabulary import PHONE_CLASSES, base_phone, is_phone

MOST_PHONE_ERRORS = 0.7
"""Share of a text's phones from which the recogniser hears another text. Of 60 transcripts of five
corpora, those of unpractised learners among them, one was above; of wrong texts of the same length,
none was below."""


def align_speech(
    phones: PhoneReader,
    samples: Tensor,
    speech: tuple[int, int],
    symbols: Sequence[str],
    hop_samples: int,
    name: str,
) -> tuple[list[int], float]:
    """Align the frames that hold speech; the silence beside them goes to the first and last pause.

    Args:
        phones: aligns.
        samples: ``(S,)``, a whole number of frames.
        speech: first frame of speech, and one past its last.
        symbols: symbols of the text, a pause at each end.
        hop_samples: samples of a frame.
        name: of the recording, for the message.

    Returns:
        frames of each symbol, ``S // hop_samples`` together, and the score.

    Raises:
        TextError: there are fewer frames than phones.
    """
    start, stop = speech
    durations, score = phones.align(samples[start * hop_samples : stop * hop_samples], symbols)
    if not sum(durations):
        raise TextError(
            f"{name}: {stop - start} frames of speech are too few for the {len(symbols)} symbols "
            "of the text; give the text of this recording"
        )
    durations[0] += start
    durations[-1] += len(samples) // hop_samples - stop
    return durations, score


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
    reason = reason_to_reject(symbols, durations, score, frame_seconds, AlignmentLimits())
    if reason is not None:
        return reason
    said = [PHONE_CLASSES.index(base_phone(symbol)) for symbol in symbols if is_phone(symbol)]
    with torch.inference_mode():
        heard = [PHONE_CLASSES.index(name) for name in phones.recognize(samples) if is_phone(name)]
    errors = edit_distance(heard, said) / len(said)
    return f"{errors:.0%} of the phones are others" if errors > MOST_PHONE_ERRORS else None
