"""When each symbol of a text is spoken in a recording."""

from collections.abc import Sequence

from torch import Tensor

from parlando.aligner.prompts import PhoneReader
from parlando.contracts import TextError


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
