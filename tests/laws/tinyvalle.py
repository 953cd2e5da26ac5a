"""A tiny VALL-E 2, its codec, a phone reader and a batch, with random weights."""

from dataclasses import replace

import numpy as np
import torch
from tinysystem import tiny_codec

from parlando.data.batching import mask_of
from parlando.systems.valle2.config import VALLE2ObjectiveConfig, tiny
from parlando.systems.valle2.model import VALLE2
from parlando.systems.valle2.objective import VALLE2Objective
from parlando.systems.valle2.synthesis import VALLE2Synthesizer
from parlando.text.vocabulary import SYMBOLS, base_phone, is_phone


class EvenReader:
    """Hears the same three phones everywhere, and takes all symbols to be equally long."""

    def align(self, waveform, symbols):
        edges = np.linspace(0, len(waveform) // 200, len(symbols) + 1).round().astype(int)
        return np.diff(edges).tolist(), -1.0

    def recognize(self, waveform):
        return ["h", "sil", "ə", "l"]


def hearing(symbols):
    """Return an ``EvenReader.recognize`` that hears the phones of these symbols."""
    heard = [base_phone(symbol) for symbol in symbols if is_phone(symbol)]
    return lambda self, waveform: heard


def tiny_model(thawed=True, **differences):
    """A model; ``thawed``: embeddings as large as after some training, so that all parts matter."""
    torch.manual_seed(0)
    model = VALLE2(replace(tiny(), **differences), len(SYMBOLS))
    if thawed:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if any(part in name for part in ("symbols", "codes", "begin", "end", "level")):
                    parameter *= 25.0
                if "positions" in name or "prenet.outer" in name:
                    parameter *= 50.0
    return model


def tiny_objective(thawed=True, objective=None, **differences):
    return VALLE2Objective(
        tiny_model(thawed, **differences), objective or VALLE2ObjectiveConfig(drop_text=0.0)
    )


def tiny_synthesizer(scorer=None, **differences):
    model = tiny_model(**differences)
    return VALLE2Synthesizer(model, tiny_codec(), EvenReader(), name="tiny", scorer=scorer)


def batch(seed=0):
    """Two items: 4 symbols over 21 frames after 3 over 12, and 3 over 13 after 2 over 7."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randint(16, shape, generator=generator)

    return {
        "symbols": torch.tensor([[1, 9, 40, 12], [22, 4, 1, 0]]),
        "symbol_mask": mask_of([4, 3]),
        "durations": torch.tensor([[2, 5, 10, 4], [3, 10, 0, 0]]),
        "codes": draw(2, 4, 21),
        "frame_mask": mask_of([21, 13]),
        "prompt_symbols": torch.tensor([[1, 30, 15], [11, 1, 0]]),
        "prompt_symbol_mask": mask_of([3, 2]),
        "prompt_durations": torch.tensor([[4, 5, 3], [7, 0, 0]]),
        "prompt_codes": draw(2, 4, 12),
        "prompt_mask": mask_of([12, 7]),
    }
