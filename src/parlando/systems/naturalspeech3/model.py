"""The networks of NaturalSpeech 3.

Source: NaturalSpeech 3 (arXiv 2403.03100), section 3.3: a phoneme encoder; one network that draws
the prosody and then the duration of each phone; one network that draws the codes of frames, level
by level: prosody, content, detail. All of them read the prompt before what they draw.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from parlando.contracts import ConfigError
from parlando.nn.adaptive import AdaptiveTransformer
from parlando.nn.conditioning import TimeEmbedding
from parlando.nn.transformer import TransformerEncoder
from parlando.systems.naturalspeech3.config import NaturalSpeech3Config
from parlando.systems.naturalspeech3.sequences import phone_of_frame

PROSODY, DURATION = 0, 1
"""What the network for phones draws, in this order."""


class CodeNetwork(nn.Module):
    """Predict one of several codes of every position from those that are visible.

    Embeddings are small, because they are output weights too; where they are read they are brought
    to the size of what they are added to (Vaswani et al. 2017, section 3.4).

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
        self.gain = width**0.5
        self.hidden = nn.Parameter(torch.randn(len(sizes), width) * width**-0.5)
        self.level = nn.Embedding(len(sizes), width)
        self.network = network
        self.output = nn.Linear(width, width)
        self.bias = nn.ParameterList(nn.Parameter(torch.zeros(size)) for size in sizes)

    def forward(
        self,
        states: Tensor,
        codes: Tensor,
        visible: Tensor,
        level: Tensor,
        time: Tensor,
        mask: Tensor,
    ) -> Tensor:
        """Read what is visible.

        Args:
            states: ``(B, T, D)``, what is said at each position.
            codes: ``(B, Q, T)`` int64; only the visible ones are looked at.
            visible: ``(B, Q, T)``, True where a code may be seen.
            level: ``(B,)``, the level of each item that is predicted, 0 to Q - 1.
            time: ``(B, D)`` embedded diffusion times.
            mask: ``(B, T)``, True where real.

        Returns:
            ``(B, T, D)``, for :meth:`logits`.
        """
        x = states
        for at, embedding in enumerate(self.embeddings):
            seen = visible[:, at, :, None]
            here = (level == at)[:, None, None] * self.hidden[at]
            code = embedding(codes[:, at].masked_fill(~visible[:, at], 0))
            x = x + self.gain * torch.where(seen, code, here)
        told: Tensor = self.output(self.network(x, mask, time + self.level(level)))
        return told

    def logits(self, told: Tensor, level: int) -> Tensor:
        """Map ``(..., D)`` to logits ``(..., K)``: a level's embeddings are its output weights."""
        table = self.embeddings[level].get_parameter("weight")
        logits: Tensor = told @ table.T + self.bias[level]
        return logits

    @torch.no_grad()
    def start_from_vectors(self, vectors: Sequence[Tensor]) -> None:
        """Start the embeddings at the codec's vectors, projected at random: like sounds, like rows.

        Args:
            vectors: ``(K, D')`` of each level, of all or of the first ones.
        """
        for given, table in zip(vectors, self.embeddings, strict=False):
            weight = table.get_parameter("weight")
            turn = torch.randn(given.shape[1], weight.shape[1], device=given.device)
            rows = (given - given.mean(0)) @ turn
            weight.copy_(rows * (weight.shape[1] ** -0.5 / rows.std()))


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
        nn.init.zeros_(self.place.bias)
        self.time = TimeEmbedding(config.width)
        classes = (config.codebook_size, config.longest_phone_frames + 1)
        self.phones = CodeNetwork(classes, config.width, _network(config, config.phone_layers))
        self.duration = None
        if config.duration_objective == "regression":
            self.duration = nn.Linear(config.width, 1)
        self.frames = CodeNetwork(
            (config.codebook_size,) * config.levels,
            config.width,
            _network(config, config.frame_layers),
        )

    def encode_symbols(self, symbols: Tensor, mask: Tensor) -> Tensor:
        """Map ``(B, N)`` to phone states ``(B, N, P)``."""
        states: Tensor = self.phoneme_encoder(self.symbols(symbols), mask)
        return states

    def read_phones(
        self, states: Tensor, codes: Tensor, visible: Tensor, task: int, t: Tensor, mask: Tensor
    ) -> Tensor:
        """Read phones to predict their prosody or durations.

        Args:
            states: ``(B, N, P)`` from :meth:`encode_symbols`.
            codes: ``(B, 2, N)``, prosody codes and durations.
            visible: ``(B, 2, N)``, True where they may be seen.
            task: ``PROSODY`` or ``DURATION``.
            t: ``(B,)`` diffusion times.
            mask: ``(B, N)``, True where real.

        Returns:
            ``(B, N, D)``, for ``phones.logits`` and :meth:`regress_durations`.
        """
        hidden = task == DURATION and not self.config.duration_reads_prosody
        if hidden or not self.config.phone_prosody:
            visible = visible & torch.tensor([False, True], device=visible.device)[:, None]
        level = torch.full((len(codes),), task, device=codes.device)
        time = self.time(t.to(codes.device))
        told: Tensor = self.phones(self.phone_input(states), codes, visible, level, time, mask)
        return told

    def regress_durations(self, told: Tensor) -> Tensor:
        """Estimate ``log(1 + frames)`` of phones: ``(..., D)`` to ``(...)``.

        Source: NaturalSpeech 3, table 11, the ablation of the objective.

        Raises:
            ConfigError: the model draws durations by diffusion.
        """
        if self.duration is None:
            raise ConfigError("durations are drawn; set duration_objective to 'regression'")
        estimate: Tensor = self.duration(told)[..., 0]
        return estimate

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

    def read_frames(
        self, states: Tensor, codes: Tensor, visible: Tensor, level: Tensor, t: Tensor, mask: Tensor
    ) -> Tensor:
        """Read frames to predict codes of one level.

        Args:
            states: ``(B, T, D)`` from :meth:`expand`.
            codes: ``(B, Q, T)``.
            visible: ``(B, Q, T)``, True where they may be seen.
            level: ``(B,)``, that of each item.
            t: ``(B,)`` diffusion times.
            mask: ``(B, T)``, True where real.

        Returns:
            ``(B, T, D)``, for ``frames.logits``.
        """
        time = self.time(t.to(codes.device))
        told: Tensor = self.frames(states, codes, visible, level, time, mask)
        return told


def _network(config: NaturalSpeech3Config, layers: int) -> AdaptiveTransformer:
    return AdaptiveTransformer(
        width=config.width,
        layers=layers,
        heads=config.heads,
        filter_width=config.filter_width,
        kernel=config.kernel,
        dropout=config.dropout,
    )
