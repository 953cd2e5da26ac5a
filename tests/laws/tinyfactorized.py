"""A tiny NaturalSpeech 3 with its codec, and a phone reader, with random weights."""

from dataclasses import replace

import torch
from tinysystem import tiny_codec
from tinyvalle import EvenReader

from parlando.codecs.facodec import config as facodec
from parlando.codecs.facodec.model import build_facodec
from parlando.systems.naturalspeech3.config import tiny
from parlando.systems.naturalspeech3.model import NaturalSpeech3
from parlando.systems.naturalspeech3.synthesis import NaturalSpeech3Synthesizer
from parlando.text.vocabulary import SYMBOLS


def tiny_model(**differences):
    torch.manual_seed(0)
    model = NaturalSpeech3(replace(tiny(), **differences), len(SYMBOLS)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "projection" in name:  # as after some training: adaptive norms start as plain ones
                parameter.normal_(std=0.3)
    return model


def tiny_facodec():
    torch.manual_seed(1)
    codec = build_facodec(facodec.tiny())
    with torch.no_grad():
        codec.conditioning.projection.weight.normal_(std=0.3)
    return codec.eval()


def tiny_synthesizer(plain=False, **differences):
    """A synthesizer; ``plain``: over codes that are not factorized."""
    codec = tiny_codec() if plain else tiny_facodec()
    own = {"phone_prosody": False} if plain else {"levels": 6}
    model = tiny_model(**own, **differences)
    return NaturalSpeech3Synthesizer(model, codec, EvenReader(), name="tiny")
