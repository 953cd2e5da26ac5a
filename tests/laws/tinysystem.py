"""A tiny NaturalSpeech 2, its codec and a batch, with random weights."""

from dataclasses import replace

import torch

from parlando.codecs.rvq import config as rvq
from parlando.codecs.rvq.model import build_rvq
from parlando.generative.diffusion import VPSchedule
from parlando.systems.naturalspeech2.config import tiny
from parlando.systems.naturalspeech2.model import NaturalSpeech2
from parlando.systems.naturalspeech2.objective import (
    NaturalSpeech2Objective,
    NaturalSpeech2ObjectiveConfig,
)
from parlando.systems.naturalspeech2.synthesis import NaturalSpeech2Synthesizer
from parlando.text.vocabulary import SYMBOLS


def tiny_codec():
    torch.manual_seed(1)
    codec = build_rvq(rvq.tiny())
    codec.latent_mean.uniform_(-0.5, 0.5)
    codec.latent_std.uniform_(0.5, 1.5)
    return codec.eval()


def tiny_model(thawed=True, **differences):
    """A model; ``thawed``, as after some training: layers that start at zero hide differences."""
    torch.manual_seed(0)
    model = NaturalSpeech2(replace(tiny(), **differences), len(SYMBOLS))
    if thawed:
        for parameter in model.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.3)
    return model


def tiny_objective(thawed=True, objective=None, **differences):
    codec = tiny_codec()
    return NaturalSpeech2Objective(
        tiny_model(thawed, **differences),
        codec,
        codec.quantizer.codebooks,
        objective or NaturalSpeech2ObjectiveConfig(),
        VPSchedule(),
    )


def tiny_synthesizer(**differences):
    return NaturalSpeech2Synthesizer(tiny_model(**differences), tiny_codec(), name="tiny")


def batch(seed=0):
    """Two items: 5 symbols over 20 frames, and 3 over 13 with padding."""
    generator = torch.Generator().manual_seed(seed)

    def draw(high, *shape):
        return torch.randint(high, shape, generator=generator)

    symbols = torch.tensor([[1, 9, 40, 12, 1], [1, 22, 4, 0, 0]])
    frame_mask = torch.arange(20)[None] < torch.tensor([[20], [13]])
    f0 = 120.0 + 60.0 * torch.rand(2, 20, generator=generator)
    voiced = (draw(4, 2, 20) > 0) & frame_mask
    return {
        "symbols": symbols,
        "symbol_mask": symbols > 0,
        "durations": torch.tensor([[0, 5, 9, 4, 2], [3, 10, 0, 0, 0]]),
        "codes": draw(16, 2, 4, 20),
        "f0": torch.where(voiced, f0, 0.0),
        "voiced": voiced,
        "frame_mask": frame_mask,
        "waveform": 0.1 * torch.randn(2, 20 * 200, generator=generator),
        "prompt_codes": draw(16, 2, 4, 12),
        "prompt_mask": torch.arange(12)[None] < torch.tensor([[12], [8]]),
        "prompt_log_f0": torch.tensor([4.9, 5.3]),
    }
