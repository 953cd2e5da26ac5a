"""Speech of three voices, made of sines, with its labels; and small objectives to learn from it."""

import math

import torch
from torch import Tensor

from parlando.codecs.facodec.config import FACodecConfig, FACodecObjectiveConfig, tiny
from parlando.codecs.facodec.model import FACodec, build_facodec
from parlando.codecs.facodec.objective import FACodecObjective, build_facodec_objective

PHONES, SPEAKERS = 7, 3


def labelled(items: int = 4, syllables: int = 5) -> dict[str, Tensor]:
    """Syllables of four frames of three voices; the phone is the vowel, the pitch the fundamental.

    The last item ends in a frame of padding and has a syllable of unknown phones.
    """
    generator = torch.Generator().manual_seed(3)
    phones = torch.randint(1, PHONES, (items, syllables), generator=generator)
    pitch = torch.randn(items, syllables, generator=generator)
    speaker = torch.arange(items) % SPEAKERS
    f0 = (100.0 + 60.0 * speaker[:, None]) * (0.1 * pitch).exp()
    phase = 2 * math.pi * (f0.repeat_interleave(800, 1) / 16_000).cumsum(1)
    tilt = (0.3 + 0.3 * phones).repeat_interleave(800, 1)
    voice = sum((k * phase).sin() * k**-tilt for k in range(1, 16))
    mask = torch.ones(items, 4 * syllables, dtype=torch.bool)
    mask[-1, -1] = False
    phones = phones.repeat_interleave(4, 1)
    phones[-1, :4] = 0
    voiced = torch.ones_like(mask)
    voiced[0, 4:8] = False
    voice = voice * voiced.repeat_interleave(200, 1) * mask.repeat_interleave(200, 1)
    return {
        "waveform": 0.1 * voice,
        "phones": phones,
        "pitch": pitch.repeat_interleave(4, 1) * voiced,
        "voiced": voiced & mask,
        "frame_mask": mask,
        "speaker": speaker,
    }


def codec(config: FACodecConfig | None = None) -> FACodec:
    torch.manual_seed(0)
    made = build_facodec(config or tiny())
    torch.nn.init.normal_(made.conditioning.projection.weight, std=0.3)
    return made


def objective(stage: str, critics: bool = False, **options) -> FACodecObjective:
    options = {"reversal_warmup_steps": 0, "head_width": 8} | options
    windows = (64, 128) if critics else ()
    config = FACodecObjectiveConfig(stage=stage, critic_windows=windows, critic_width=2, **options)
    return build_facodec_objective(codec(), config, phones=PHONES, speakers=SPEAKERS)


def decoder_inputs(trained: FACodecObjective) -> list[Tensor]:
    """Return a list to which every forward pass adds the latent that is to be decoded."""
    seen: list[Tensor] = []
    trained.codec.conditioning.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    return seen
