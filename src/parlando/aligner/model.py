"""Phones from frames: a forced aligner and a phone recogniser on one encoder.

The aligner compares every frame with every symbol of a given text, the recogniser names phones
without a text. Both run at the codec's frame rate, so durations sum to codec frames exactly.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from parlando.aligner.config import AlignerConfig
from parlando.audio.spectrogram import log_mel
from parlando.audio.waveform import ACTIVITY_SECONDS, voice_activity
from parlando.contracts import TextError
from parlando.generative.monotonic import beta_binomial_log_prior, viterbi
from parlando.nn.convolution import ConvNeXtBlock
from parlando.text import vocabulary

_LEAST_PAUSE_SECONDS = 0.15
"""Silence between two phones that is told; :func:`voice_activity` closes what is below 0.2 s, but
phones are named a little beside where they begin."""


class Aligner(nn.Module):
    """Forward-sum aligner with a CTC phone recogniser.

    Source: Badlani et al. 2021, "One TTS Alignment To Rule Them All": soft alignment from
    distances of encoded frames and symbols. Deviations: symbols are a local convolution over
    base phones (stress carries no spectrum of its own), and pauses may last zero frames.

    Args:
        config: sizes of all parts.
    """

    phone_class: Tensor

    def __init__(self, config: AlignerConfig):
        super().__init__()
        self.rate_hz = config.rate_hz
        self.hop_samples = config.hop_samples
        self.fft_samples = config.fft_samples
        self.mel_bands = config.mel_bands
        width, match = config.width, config.match_width
        classes = len(vocabulary.PHONE_CLASSES)
        self.input = nn.Linear(config.mel_bands, width)
        self.norm = nn.LayerNorm(width)
        self.blocks = nn.Sequential(
            *[ConvNeXtBlock(width, kernel=config.kernel) for _ in range(config.layers)]
        )
        self.output_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)
        self.recogniser = nn.Linear(width, classes)
        self.query = nn.Linear(width, match)
        self.symbols = nn.Embedding(classes, match)
        self.context = nn.Conv1d(match, match, 3, padding=1)
        self.register_buffer("phone_class", torch.tensor(vocabulary.PHONE_IDS), persistent=False)

    def features(self, waveform: Tensor) -> Tensor:
        """Return log-mel frames: ``(B, S)`` to ``(B, T, M)``."""
        # Under autocast a logarithm of -11 would be rounded to a sixteenth.
        with torch.autocast(waveform.device.type, enabled=False):
            return log_mel(
                waveform.float(),
                self.rate_hz,
                self.fft_samples,
                self.hop_samples,
                self.mel_bands,
            )

    def encode(self, mel: Tensor, frame_mask: Tensor) -> Tensor:
        """Encode mel frames less the mean of each band.

        Args:
            mel: ``(B, T, M)``.
            frame_mask: ``(B, T)`` bool.

        Returns:
            ``(B, T, D)``; of no meaning outside the mask.
        """
        mask = frame_mask[..., None].to(mel)
        mean = (mel * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp_min(1.0)
        x = self.norm(self.input((mel - mean) * mask)) * mask
        for block in self.blocks:
            # Convolutions must not see what padding became in the layer before.
            x = x + self.dropout(block(x) - x) * mask
        encoded: Tensor = self.dropout(self.output_norm(x))
        return encoded

    def phone_log_probabilities(self, encoded: Tensor) -> Tensor:
        """Return CTC log-probabilities ``(B, T, C)``; class 0 is the blank."""
        return self.recogniser(encoded).float().log_softmax(-1)

    def match(self, encoded: Tensor, symbols: Tensor, symbol_mask: Tensor) -> Tensor:
        """Compare frames with symbols.

        Args:
            encoded: ``(B, T, D)``.
            symbols: ``(B, N)`` vocabulary ids.
            symbol_mask: ``(B, N)`` bool.

        Returns:
            ``(B, T, N)`` log-probability over the symbols of the text, before any prior.
        """
        keys = self.symbols(self.phone_class[symbols])
        keys = keys * symbol_mask[..., None]
        keys = keys + self.context(keys.transpose(1, 2)).transpose(1, 2)
        distance = torch.cdist(self.query(encoded).float(), keys.float()).square()
        logits = (-0.1 * distance).masked_fill(~symbol_mask[:, None], -1e4)
        return F.log_softmax(logits, dim=-1)

    @torch.inference_mode()
    def align(self, waveform: Tensor, symbols: Sequence[str]) -> tuple[list[int], float]:
        """Align one utterance to its symbols.

        Args:
            waveform: ``(S,)`` at ``rate_hz``, S a multiple of the hop.
            symbols: vocabulary symbols of its text, N of them.

        Returns:
            frames of each symbol, summing to ``S // hop``, and the mean log-probability a frame
            (minus infinity when there are fewer frames than phones).

        Raises:
            TextError: a symbol is unknown, or there is none.
        """
        if not symbols:
            raise TextError("got no symbols to align; expected at least one phone")
        ids = torch.tensor([vocabulary.encode(list(symbols))], device=waveform.device)
        mask = torch.ones_like(ids, dtype=torch.bool)
        encoded, _ = self._encode_one(waveform)
        emission = self.match(encoded, ids, mask)
        frames = torch.tensor([encoded.shape[1]])
        prior = beta_binomial_log_prior(frames, torch.tensor([len(symbols)]), scale=0.2)
        skippable = np.array([vocabulary.is_pause(symbol) for symbol in symbols])
        return viterbi((emission.cpu() + prior)[0].numpy(), skippable)

    @torch.inference_mode()
    def recognize(self, waveform: Tensor) -> list[str]:
        """Name the phones of ``(S,)`` at ``rate_hz`` without a text, by greedy CTC.

        Where the sound falls silent between two of them there is ``sil``: what is aligned to
        phones without pauses stretches a phone over each.
        """
        encoded, _ = self._encode_one(waveform)
        best = self.phone_log_probabilities(encoded)[0].argmax(-1).tolist()
        silent = np.cumsum(~self._activity(waveform, len(best)))
        names: list[str] = []
        last = 0
        for frame, (before, index) in enumerate(zip([0, *best], best, strict=False)):
            if index in (0, before):
                continue
            pause = (silent[frame] - silent[last]) * self.hop_samples / self.rate_hz
            if names and pause >= _LEAST_PAUSE_SECONDS and names[-1] != "sil":
                names.append("sil")
            names.append(vocabulary.PHONE_CLASSES[index])
            last = frame
        return names

    def _activity(self, waveform: Tensor, frames: int) -> np.ndarray:
        """Mark the frames ``(T,)`` whose middle holds speech."""
        active = voice_activity(waveform.cpu().numpy(), self.rate_hz)
        seconds = (np.arange(frames) + 0.5) * self.hop_samples / self.rate_hz
        places = (seconds / ACTIVITY_SECONDS).astype(np.int64)
        return active[np.minimum(places, len(active) - 1)]

    def _encode_one(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        mel = self.features(waveform[None])
        mask = torch.ones(mel.shape[:2], dtype=torch.bool, device=mel.device)
        return self.encode(mel, mask), mask
