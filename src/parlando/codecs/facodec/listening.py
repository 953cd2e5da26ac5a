"""Who is heard: a judge of voices that learns beside the codec, from recordings alone."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from parlando.audio.spectrogram import log_mel
from parlando.nn.convolution import ConvNeXtBlock
from parlando.nn.heads import pooled

_BANDS, _WINDOW = 80, 1024


class SpeakerListener(nn.Module):
    """Tell who speaks, from the mel spectrogram: nothing that the codec hears or says helps it.

    Args:
        speakers: number of speakers.
        rate_hz: sampling rate.
        hop_samples: samples per frame.
        width: channels.
        layers: ConvNeXt blocks.
    """

    def __init__(
        self, speakers: int, *, rate_hz: int, hop_samples: int, width: int = 128, layers: int = 4
    ):
        super().__init__()
        self.rate_hz = rate_hz
        self.hop_samples = hop_samples
        self.input = nn.Linear(_BANDS, width)
        self.blocks = nn.Sequential(*[ConvNeXtBlock(width) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, speakers)

    def forward(self, waveform: Tensor, mask: Tensor) -> Tensor:
        """Map ``(B, S)`` with ``mask`` ``(B, T)``, True = real, to logits ``(B, speakers)``."""
        with torch.autocast(waveform.device.type, enabled=False):
            mel = log_mel(waveform.float(), self.rate_hz, _WINDOW, self.hop_samples, _BANDS)
        # From about 0 to -11 to about unit size.
        states = self.norm(self.blocks(self.input(0.3 * mel + 1.5)))
        logits: Tensor = self.output(pooled(states, mask))
        return logits


def recognition_loss(
    listener: SpeakerListener, batch: Mapping[str, Any]
) -> tuple[Tensor, dict[str, float]]:
    """Teach the listener: cross-entropy of the speakers of ``waveform`` ``(B, S)``."""
    logits = listener(batch["waveform"], batch["frame_mask"]).float()
    right = (logits.detach().argmax(-1) == batch["speaker"]).float().mean()
    return F.cross_entropy(logits, batch["speaker"]), {"listener/speaker_accuracy": float(right)}


def exchange_loss(
    listener: SpeakerListener, produced: Tensor, mask: Tensor, wanted: Tensor, own: Tensor
) -> tuple[Tensor, dict[str, float]]:
    """Ask that another be heard than who spoke; the listener passes gradients on and keeps none.

    Source: speaker consistency loss, Casanova et al. 2022 (YourTTS), section 2.2, with speakers
    told apart instead of embeddings compared.

    Args:
        listener: the judge.
        produced: ``(B, S)`` with another's timbre.
        mask: ``(B, T)``, True where real.
        wanted: ``(B,)`` whose timbre it is.
        own: ``(B,)`` who spoke; items of one speaker do not count.
    """
    frozen = {name: weight.detach() for name, weight in listener.named_parameters()}
    logits = torch.func.functional_call(listener, frozen, (produced, mask)).float()
    other = (wanted != own).float()
    each = F.cross_entropy(logits, wanted, reduction="none")
    heard = logits.detach().argmax(-1)
    count = other.sum().clamp_min(1.0)
    figures = torch.stack([(other * (heard == who)).sum() / count for who in (wanted, own)])
    names = ("exchange/speaker_accuracy", "exchange/own_speaker_share")
    return (each * other).sum() / count, dict(zip(names, figures.tolist(), strict=True))
