"""The networks of NaturalSpeech 3.

Source: NaturalSpeech 3 (arXiv 2403.03100), section 3.3: a phoneme encoder; one network that draws
the prosody and then the duration of each phone; one network that draws the codes of frames, level
by level: prosody, content, detail. All of them read the prompt before what they draw.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from parlando.contracts import ConfigError
from parlando.nn.adaptive import AdaptiveTransformer
from parlando.nn.conditioning import TimeEmbedding
from parlando.nn.decoder import pack
from parlando.nn.transformer import TransformerEncoder
from parlando.systems.naturalspeech3.config import NaturalSpeech3Config

PROSODY, DURATION = 0, 1
"""What the network for phones draws, in this order."""


@dataclass(frozen=True)
class Joined:
    """A prompt and what follows it as one sequence of phones and one of frames, padded at the end.

    ``symbols`` and ``durations`` ``(B, N)`` with ``symbol_mask``; ``codes`` ``(B, Q, T)`` with
    ``frame_mask`` ``(B, T)``. ``symbol_prompt`` ``(B, N)`` and ``frame_prompt`` ``(B, T)`` are
    True in the prompt. An item's durations sum to its frames.
    """

    symbols: Tensor
    symbol_mask: Tensor
    symbol_prompt: Tensor
    durations: Tensor
    codes: Tensor
    frame_mask: Tensor
    frame_prompt: Tensor

    def without_prompt(self, dropped: Tensor) -> "Joined":
        """Hide the prompts of some items, ``dropped`` ``(B,)``, as guidance asks for."""
        gone = dropped[:, None]
        return Joined(
            self.symbols,
            self.symbol_mask & ~(self.symbol_prompt & gone),
            self.symbol_prompt & ~gone,
            self.durations,
            self.codes,
            self.frame_mask & ~(self.frame_prompt & gone),
            self.frame_prompt & ~gone,
        )


def join(batch: Mapping[str, Any], levels: int) -> Joined:
    """Put prompts before their targets.

    Args:
        batch: ``symbols, durations, codes, symbol_mask, frame_mask`` and the same of prompts.
        levels: how many levels the codes have.

    Raises:
        ConfigError: the batch has no symbols of prompts, or codes of other levels.
    """
    if "prompt_symbols" not in batch:
        raise ConfigError(
            "the model reads what is said in prompts; set symbols = true in the recipe's "
            "[data.prompts]"
        )
    if batch["codes"].shape[1] < levels:
        raise ConfigError(
            f"the corpus holds codes of {batch['codes'].shape[1]} levels, the model has {levels}; "
            "prepare the codes with its codec"
        )
    codes = torch.cat([batch["prompt_codes"][:, :levels], batch["codes"][:, :levels]], dim=2)
    is_prompt = _first(batch["prompt_mask"], batch["frame_mask"])
    frames, frame_mask, _ = pack(
        torch.cat([codes.transpose(1, 2), is_prompt[..., None].long()], dim=-1),
        torch.cat([batch["prompt_mask"], batch["frame_mask"]], dim=1),
    )
    texts = [
        torch.cat([batch[f"prompt_{name}"], batch[name]], dim=1)
        for name in ("symbols", "durations")
    ]
    texts.append(_first(batch["prompt_symbol_mask"], batch["symbol_mask"]).long())
    phones, symbol_mask, _ = pack(
        torch.stack(texts, dim=-1),
        torch.cat([batch["prompt_symbol_mask"], batch["symbol_mask"]], dim=1),
    )
    return Joined(
        symbols=phones[..., 0],
        symbol_mask=symbol_mask,
        symbol_prompt=phones[..., 2].bool() & symbol_mask,
        durations=phones[..., 1] * symbol_mask,
        codes=frames[..., :-1].transpose(1, 2),
        frame_mask=frame_mask,
        frame_prompt=frames[..., -1].bool() & frame_mask,
    )


def phone_of_frame(durations: Tensor, frames: int) -> Tensor:
    """Tell which symbol every frame belongs to: ``(B, N)`` durations to ``(B, frames)`` int64.

    Frames beyond the last symbol are given to it.
    """
    ends = durations.cumsum(1)
    place = torch.arange(frames, device=durations.device).expand(len(durations), -1).contiguous()
    return torch.searchsorted(ends, place, right=True).clamp_max(durations.shape[1] - 1)


class CodeNetwork(nn.Module):
    """Predict one of several codes of every position from those that are visible.

    Args:
        sizes: entries of each codebook.
        width: channels.
        network: reads the sum of all embeddings.
    """

    def __init__(self, sizes: tuple[int, ...], width: int, network: AdaptiveTransformer):
        super().__init__()
        tables = [nn.Embedding(size, width) for size in sizes]
        for table in tables:
            nn.init.normal_(table.weight, std=width**-0.5)
        self.embeddings = nn.ModuleList(tables)
        self.hidden = nn.Parameter(torch.randn(len(sizes), width) * width**-0.5)
        self.level = nn.Embedding(len(sizes), width)
        self.time = TimeEmbedding(width)
        self.network = network
        self.output = nn.Linear(width, width)
        self.bias = nn.ParameterList(nn.Parameter(torch.zeros(size)) for size in sizes)

    def forward(
        self, states: Tensor, codes: Tensor, visible: Tensor, level: int, t: Tensor, mask: Tensor
    ) -> Tensor:
        """Predict the codes of one level.

        Args:
            states: ``(B, T, D)``, what is said at each position.
            codes: ``(B, Q, T)`` int64; only the visible ones are looked at.
            visible: ``(B, Q, T)``, True where a code may be seen.
            level: the level that is predicted, 0 to Q - 1.
            t: ``(B,)`` diffusion times.
            mask: ``(B, T)``, True where real.

        Returns:
            logits ``(B, T, K)``; the embeddings of a level are its output weights.
        """
        x = states
        for at, embedding in enumerate(self.embeddings):
            seen = visible[:, at, :, None]
            here = self.hidden[at] if at == level else torch.zeros_like(self.hidden[at])
            x = x + torch.where(seen, embedding(codes[:, at].masked_fill(~visible[:, at], 0)), here)
        condition = self.time(t) + self.level.weight[level]
        told = self.output(self.network(x, mask, condition))
        return told @ self.embeddings[level].weight.T + self.bias[level]


class NaturalSpeech3(nn.Module):
    """Phoneme encoder, network for phones, network for frames.

    Args:
        config: shape.
        symbol_count: size of the vocabulary.
    """

    def __init__(self, config: NaturalSpeech3Config, symbol_count: int):
        super().__init__()
        self.config = config
        self.symbols = nn.Embedding(symbol_count, config.phoneme_width)
        self.phoneme_encoder = TransformerEncoder(
            width=config.phoneme_width,
            layers=config.phoneme_layers,
            heads=config.phoneme_heads,
            filter_width=config.phoneme_filter_width,
            kernel=config.phoneme_kernel,
            dropout=config.dropout,
        )
        self.phone_input = nn.Linear(config.phoneme_width, config.width)
        self.frame_input = nn.Linear(config.phoneme_width, config.width)
        self.place = nn.Linear(1, config.width)
        classes = (config.codebook_size, config.longest_phone_frames + 1)
        self.phones = CodeNetwork(classes, config.width, _network(config, config.phone_layers))
        self.frames = CodeNetwork(
            (config.codebook_size,) * config.levels,
            config.width,
            _network(config, config.frame_layers),
        )

    def encode_symbols(self, symbols: Tensor, mask: Tensor) -> Tensor:
        """Map ``(B, N)`` to phone states ``(B, N, P)``."""
        states: Tensor = self.phoneme_encoder(self.symbols(symbols), mask)
        return states

    def predict_phones(
        self, states: Tensor, codes: Tensor, visible: Tensor, task: int, t: Tensor, mask: Tensor
    ) -> Tensor:
        """Predict the prosody or the duration of phones.

        Args:
            states: ``(B, N, P)`` from :meth:`encode_symbols`.
            codes: ``(B, 2, N)``, prosody codes and durations.
            visible: ``(B, 2, N)``, True where they may be seen.
            task: ``PROSODY`` or ``DURATION``.
            t: ``(B,)`` diffusion times.
            mask: ``(B, N)``, True where real.

        Returns:
            logits ``(B, N, K)``.
        """
        # What has no class of its own counts as the longest that has.
        last = torch.tensor([[self.config.codebook_size - 1], [self.config.longest_phone_frames]])
        codes = codes.minimum(last.to(codes.device))
        logits: Tensor = self.phones(self.phone_input(states), codes, visible, task, t, mask)
        return logits

    def expand(self, states: Tensor, durations: Tensor, mask: Tensor) -> Tensor:
        """Give every frame the state of its phone, and how far into the phone it is.

        Args:
            states: ``(B, N, P)``.
            durations: ``(B, N)``, 0 where padded.
            mask: ``(B, T)`` of the frames.

        Returns:
            ``(B, T, D)``.
        """
        phone = phone_of_frame(durations, mask.shape[1])
        spread = states.gather(1, phone[..., None].expand(-1, -1, states.shape[-1]))
        length = durations.gather(1, phone)
        start = (durations.cumsum(1) - durations).gather(1, phone)
        place = torch.arange(mask.shape[1], device=mask.device)[None] - start
        share = (place + 0.5) / length.clamp_min(1)
        expanded: Tensor = self.frame_input(spread) + self.place(share[..., None])
        return expanded * mask[..., None]

    def predict_frames(
        self, states: Tensor, codes: Tensor, visible: Tensor, level: int, t: Tensor, mask: Tensor
    ) -> Tensor:
        """Predict one level of the codes of frames; arguments as for :class:`CodeNetwork`."""
        logits: Tensor = self.frames(states, codes, visible, level, t, mask)
        return logits


def _first(prompt: Tensor, target: Tensor) -> Tensor:
    """Mark the prompt in prompt and target, one after the other: ``(B, P + T)``."""
    return torch.cat([torch.ones_like(prompt), torch.zeros_like(target)], dim=1)


def _network(config: NaturalSpeech3Config, layers: int) -> AdaptiveTransformer:
    return AdaptiveTransformer(
        width=config.width,
        layers=layers,
        heads=config.heads,
        filter_width=config.filter_width,
        kernel=config.kernel,
        dropout=config.dropout,
    )
