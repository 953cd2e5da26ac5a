"""The networks of VALL-E 2.

Source: Chen et al. 2024 (arXiv 2406.05370), section 3; what it leaves open follows VALL-E (Wang et
al. 2023, arXiv 2301.02111). Nothing here draws a code: see ``parlando.generative.autoregression``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from parlando.contracts import ConfigError
from parlando.nn.decoder import Cache, Transformer, pack, sinusoids
from parlando.systems.valle2.config import TransformerConfig, VALLE2Config

GRID = 32
"""Sequences are padded to multiples: a GPU chooses its kernels anew for every shape."""

_START_DEVIATION = 0.02  # of embeddings: the tied output layer then starts near even odds


class Prenet(nn.Module):
    """Each position hears of its neighbours by a residual convolution, before any attention.

    Choice, not in VALL-E 2 (Tacotron 2 and open implementations of VALL-E have prenets): to find
    neighbours by learned positions takes longer than a small model trains.

    Args:
        width: channels D.
        span: positions K that one sees.
        causal: those are itself and what is before; else it is in the middle.
    """

    def __init__(self, width: int, span: int, causal: bool = False):
        super().__init__()
        self.span = span
        self.before = span - 1 if causal else span // 2
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.inner = nn.Linear(span * width, width)
        self.outer = nn.Linear(width, width)
        # As large as the embeddings that it is added to.
        nn.init.normal_(self.outer.weight, std=_START_DEVIATION * width**-0.5)
        nn.init.zeros_(self.outer.bias)

    def forward(self, x: Tensor, mask: Tensor | None = None, place: Tensor | None = None) -> Tensor:
        """Let each position hear of its neighbours.

        Args:
            x: ``(B, T, D)``.
            mask: ``(B, T)`` bool, True = real.
            place: ``(B, T)`` where they stand, if some are left out: those beside a gap are no
                neighbours.

        Returns:
            ``(B, T, D)``.
        """
        normed = self.norm(x)
        if mask is not None:
            normed = normed * mask[..., None]
        around = (self.before, self.span - 1 - self.before)
        windows = F.pad(normed, (0, 0, *around)).unfold(1, self.span, 1)
        if place is not None:
            offsets = torch.arange(self.span, device=place.device) - self.before
            near = F.pad(place, around).unfold(1, self.span, 1) == place[..., None] + offsets
            windows = windows * near[:, :, None]
        return x + self._heard(windows)

    def next(self, window: Tensor) -> Tensor:
        """Map the last of K positions ``(B, K, D)``, those before the first 0: ``(B, D)``."""
        return window[:, -1] + self._heard(self.norm(window).transpose(1, 2))

    def _heard(self, windows: Tensor) -> Tensor:
        """Map windows ``(…, D, K)`` to ``(…, D)``: a convolution as one product."""
        heard: Tensor = self.outer(F.gelu(self.inner(windows.flatten(-2))))
        return heard


class TextEmbedding(nn.Module):
    """Symbols, the end of the text, and learned positions.

    Args:
        symbol_count: size of the vocabulary; two more rows are the end and an unknown text.
        longest: positions.
        width: channels D.
        prenet: symbols that its convolution spans; 0: there is none.
    """

    def __init__(self, symbol_count: int, longest: int, width: int, prenet: int = 0):
        super().__init__()
        self.prenet = Prenet(width, prenet) if prenet else None
        self.end, self.hidden = symbol_count, symbol_count + 1
        self.symbols = _embedding(symbol_count + 2, width)
        self.positions = _positions(longest + 1, width)

    def forward(
        self, symbols: Tensor, mask: Tensor, dropped: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Embed a text and its end.

        Args:
            symbols: ``(B, N)`` ids.
            mask: ``(B, N)`` bool, True = real, padding at the end.
            dropped: ``(B,)`` bool, items whose text is hidden, all but its length.

        Returns:
            ``(B, N + 1, D)`` and its mask ``(B, N + 1)``.
        """
        count = symbols.shape[1] + 1
        if count > len(self.positions.weight):
            raise ConfigError(
                f"a text of {count - 1} symbols with that of its prompt; this model reads "
                f"{len(self.positions.weight) - 1}: shorten the text or the prompt"
            )
        if dropped is not None:
            symbols = torch.where(dropped[:, None], self.hidden, symbols)
        lengths = mask.sum(1, keepdim=True)
        ids = F.pad(symbols, (0, 1)).scatter(1, lengths, self.end)
        place = torch.arange(count, device=ids.device)
        embedded, real = self.symbols(ids), place[None] <= lengths
        if self.prenet is not None:
            embedded = self.prenet(embedded, real)
        return embedded + self.positions(place), real


@dataclass
class Generation:
    """Where a generation stands: the cache, groups heard or spoken so far, ``(B,)``, and the
    embeddings ``(B, K - 1, D)`` of the last, which the prenet still reads."""

    cache: Cache
    groups: Tensor
    recent: Tensor


class AutoregressiveModel(nn.Module):
    """First-level codes from text and the codes before, G at a time.

    Source: VALL-E 2, section 3 (grouped code modelling): the embeddings of a group are joined and
    projected to one; one state is projected to G, each compared with the code embeddings (tied
    weights). With G = 1 both projections are absent.

    Choice: an utterance's codes are filled up with ends to whole groups; there is one end at least,
    and every end is learnt.

    Args:
        config: sizes.
        symbol_count: size V of the symbol vocabulary.
    """

    def __init__(self, config: VALLE2Config, symbol_count: int):
        super().__init__()
        width, group = config.autoregressive.width, config.group
        self.group = group
        self.end = config.codebook_size
        self.watched_layers = config.watched_layers
        self.text = TextEmbedding(symbol_count, config.longest_symbols, width, config.text_prenet)
        self.codes = _embedding(config.codebook_size + 1, width)
        self.begin = nn.Parameter(torch.randn(width) * _START_DEVIATION)
        self.positions = _positions(config.longest_frames // group + 2, width)
        self.group_input = nn.Linear(group * width, width) if group > 1 else nn.Identity()
        self.group_output = nn.Linear(width, group * width) if group > 1 else nn.Identity()
        span = config.code_prenet
        self.prenet = Prenet(width, span, causal=True) if span else None
        self.body = _transformer(config.autoregressive, causal=True)

    def forward(
        self,
        symbols: Tensor,
        symbol_mask: Tensor,
        codes: Tensor,
        code_mask: Tensor,
        dropped: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Predict every group of whole sequences from what is before it.

        Args:
            symbols: ``(B, N)``.
            symbol_mask: ``(B, N)``.
            codes: ``(B, L)``, L a multiple of G, ends included.
            code_mask: ``(B, L)``, padding at the end, in whole groups.
            dropped: ``(B,)`` items whose text is hidden.

        Returns:
            logits ``(B, L, V)``, end included; with W ``watched_layers`` also
            ``(W, B, L / G, M)``, where their first heads look when they predict a group, before
            the softmax: first in the text with its end, then in the groups, -inf in later ones.
        """
        text, text_mask = self.text(symbols, symbol_mask, dropped)
        # What is predicted last is never read: the sequence is moved one group to the right.
        speech = self._placed(self._groups(codes[:, : codes.shape[1] - self.group]))
        speech_mask = code_mask[:, :: self.group]
        x = torch.cat([text, speech], dim=1)
        packed, _, where = pack(x, torch.cat([text_mask, speech_mask], dim=1), grid=GRID)
        looks = None
        if self.watched_layers:
            states, looks = self.body.watched(packed, self.watched_layers)
        else:
            states = self.body(packed)
        last = packed.shape[1] - 1
        rows = where[:, text.shape[1] :].clamp(max=last)
        if looks is not None:
            later = torch.arange(last + 1, device=rows.device) > rows[..., None]
            row = rows[None, ..., None].expand(len(looks), -1, -1, last + 1)
            looks = looks.gather(2, row).masked_fill(later, -torch.inf)
        states = states.gather(1, rows[..., None].expand(-1, -1, states.shape[2]))
        return self._logits(states).flatten(1, 2), looks

    def start(
        self, symbols: Tensor, symbol_mask: Tensor, prompts: Sequence[Tensor], hide: bool = False
    ) -> tuple[Tensor, Generation]:
        """Read texts and prompts.

        Args:
            symbols: ``(B, N)``, of prompt and target.
            symbol_mask: ``(B, N)``.
            prompts: B tensors ``(P,)``, each of whole groups, possibly empty.
            hide: hide the texts, for guidance.

        Returns:
            logits of the first group ``(B, G, V)``, and what :meth:`advance` goes on from.
        """
        dropped = torch.full((len(symbols),), hide, device=symbols.device)
        text, text_mask = self.text(symbols, symbol_mask, dropped)
        counts = torch.tensor([len(prompt) // self.group for prompt in prompts])
        codes = symbols.new_zeros(len(prompts), int(counts.max()) * self.group)
        for row, prompt in enumerate(prompts):
            codes[row, : len(prompt)] = prompt
        counts = counts.to(symbols.device)
        groups = self._groups(codes)
        speech = self._placed(groups)
        place = torch.arange(speech.shape[1], device=symbols.device)
        mask = torch.cat([text_mask, place[None] <= counts[:, None]], dim=1)
        # Padding goes to the front, so that all items go on at the same place.
        packed, mask, _ = pack(torch.cat([text, speech], dim=1), mask, left=True)
        cache = Cache(len(self.body.layers), mask)
        states = self.body(packed, cache=cache)
        kept = 0 if self.prenet is None else self.prenet.span - 1
        padded = F.pad(groups, (0, 0, kept, 0))
        rows = counts[:, None] + 1 + torch.arange(kept, device=counts.device)
        recent = padded.gather(1, rows[..., None].expand(-1, -1, padded.shape[2]))
        return self._logits(states[:, -1:])[:, 0], Generation(cache, counts, recent)

    def advance(self, codes: Tensor, generation: Generation) -> Tensor:
        """Read a group ``(B, G)`` and return the logits ``(B, G, V)`` of the next."""
        generation.groups = generation.groups + 1
        x = self.group_input(self.codes(codes).flatten(1))
        if self.prenet is not None:
            window = torch.cat([generation.recent, x[:, None]], dim=1)
            generation.recent = window[:, 1:]
            x = self.prenet.next(window)
        x = x + self.positions(generation.groups)
        states = self.body(x[:, None], cache=generation.cache)
        return self._logits(states)[:, 0]

    def _groups(self, codes: Tensor) -> Tensor:
        """Embed the begin symbol and the groups of ``(B, L)``: ``(B, 1 + L / G, D)``."""
        count = codes.shape[1] // self.group
        groups = self.codes(codes).unflatten(1, (count, self.group)).flatten(2)
        groups = self.group_input(groups)
        begin = self.begin.expand(len(codes), 1, -1).to(groups.dtype)
        x = torch.cat([begin, groups], dim=1)
        if x.shape[1] > len(self.positions.weight):
            raise ConfigError(
                f"{codes.shape[1]} frames with those of the prompt; this model has learnt "
                f"{(len(self.positions.weight) - 1) * self.group}: shorten the text or the prompt"
            )
        return x

    def _placed(self, groups: Tensor) -> Tensor:
        """Tell embedded groups ``(B, L', D)`` of those before, and of their positions."""
        x = groups if self.prenet is None else self.prenet(groups)
        return x + self.positions(torch.arange(x.shape[1], device=x.device))

    def _logits(self, states: Tensor) -> Tensor:
        """Compare states ``(B, L', D)`` with the code embeddings: ``(B, L', G, V)``."""
        slots = self.group_output(states).unflatten(-1, (self.group, -1))
        return F.linear(slots, self.codes.weight)


class NonAutoregressiveModel(nn.Module):
    """The codes of one further level, all frames at once.

    Source: VALL-E 2, section 3: text, the acoustic condition with all its levels, the target with
    the levels below, an end, and the level as one more token; full attention; output weights are
    the level's embeddings. Every part has its own positions, so their order means nothing.

    Args:
        config: sizes.
        symbol_count: size V of the symbol vocabulary.
    """

    def __init__(self, config: VALLE2Config, symbol_count: int):
        super().__init__()
        width = config.nonautoregressive.width
        self.levels = config.levels
        self.text = TextEmbedding(symbol_count, config.longest_symbols, width, config.text_prenet)
        self.prenet = Prenet(width, config.code_prenet) if config.code_prenet else None
        self.codes = nn.ModuleList(
            [_embedding(config.codebook_size, width) for _ in range(config.levels)]
        )
        self.end = nn.Parameter(torch.randn(width) * _START_DEVIATION)
        self.level = _embedding(config.levels, width)
        self.positions = _positions(config.longest_frames + 1, width)
        self.body = _transformer(config.nonautoregressive, causal=False)

    def forward(
        self,
        symbols: Tensor,
        symbol_mask: Tensor,
        codes: Tensor,
        code_mask: Tensor,
        condition: Tensor,
        level: Tensor,
        positions: Tensor | None = None,
    ) -> Tensor:
        """Predict one level of every frame.

        Args:
            symbols: ``(B, N)``.
            symbol_mask: ``(B, N)``.
            codes: ``(B, Q', T)``, Q' at least the level: levels from ``level`` on are read in the
                condition only.
            code_mask: ``(B, T)``, padding at the end.
            condition: ``(B, T)`` bool, True for frames of which all Q' levels are known.
            level: ``(B,)`` the level to predict, 1 to Q - 1, counted from 0.
            positions: ``(B, T)`` places of frames; by default they are counted.

        Returns:
            ``(B, T, V)`` logits.
        """
        text, text_mask = self.text(symbols, symbol_mask)
        place = positions
        if place is None:
            place = torch.arange(codes.shape[2], device=codes.device).expand_as(code_mask)
        lengths = torch.where(code_mask, place + 1, 0).amax(1)
        limit = len(self.positions.weight)
        counted = positions is None and codes.shape[2] < limit  # then no item can be longer
        if not counted and int(lengths.max()) >= limit:
            raise ConfigError(
                f"{int(lengths.max())} frames with those of the prompt; this model has learnt "
                f"{limit - 1}: shorten the text or the prompt"
            )
        frames = self._frames(codes, condition, level)
        if self.prenet is not None:
            frames = self.prenet(frames, code_mask, positions)
        frames = frames + self.positions(place)
        tokens = torch.stack([self.level(level), self.end + self.positions(lengths)], dim=1)
        mask = torch.cat([torch.ones_like(text_mask[:, :2]), text_mask, code_mask], dim=1)
        x = torch.cat([tokens, text, frames], dim=1)
        states = self.body(x, None if bool(mask.all()) else mask)[:, -codes.shape[2] :]
        table = torch.stack([each.get_parameter("weight") for each in self.codes])[level]
        return states @ table.transpose(1, 2).to(states.dtype)

    def _frames(self, codes: Tensor, condition: Tensor, level: Tensor) -> Tensor:
        """Sum the embeddings of all levels in the condition, and of those below elsewhere."""
        total = self.codes[0](codes[:, 0])
        for index in range(1, codes.shape[1]):
            known = (condition | (index < level)[:, None])[..., None]
            total = total + self.codes[index](codes[:, index]) * known
        return total


class VALLE2(nn.Module):
    """Both networks; they share nothing.

    Args:
        config: sizes.
        symbol_count: size V of the symbol vocabulary.
    """

    def __init__(self, config: VALLE2Config, symbol_count: int):
        super().__init__()
        self.group = config.group
        self.levels = config.levels
        self.level_order = list(config.level_order or range(config.levels))
        self.longest_frames = config.longest_frames
        self.longest_symbols = config.longest_symbols
        self.longest_prompt_frames = config.longest_prompt_frames
        self.repetition_window = config.repetition_window
        self.top_p = config.top_p
        self.end_threshold = config.end_threshold
        self.guidance = config.guidance
        self.autoregressive = AutoregressiveModel(config, symbol_count)
        self.nonautoregressive = NonAutoregressiveModel(config, symbol_count)

    def ordered(self, codes: Tensor) -> Tensor:
        """Take the modelled levels of a codec's ``(B, Q', T)`` in their order: ``(B, Q, T)``."""
        return codes[:, self.level_order]

    def as_in_codec(self, codes: Tensor) -> Tensor:
        """Put ``(B, Q, T)`` back in the order of the codec."""
        return codes[:, sorted(range(self.levels), key=self.level_order.__getitem__)]

    @torch.no_grad()
    def start_from_codebooks(self, codebooks: Tensor) -> None:
        """Start code embeddings at randomly projected codebook vectors: like sounds, like rows.

        Args:
            codebooks: ``(Q, V, D')`` of the codec, of at least as many levels as the model has.
        """
        codebooks = codebooks[self.level_order]
        for tables in (
            [self.autoregressive.codes.weight],
            [table.get_parameter("weight") for table in self.nonautoregressive.codes],
        ):
            turn = torch.randn(codebooks.shape[-1], tables[0].shape[1], device=codebooks.device)
            for book, table in zip(codebooks, tables, strict=False):
                rows = (book - book.mean(0)) @ turn
                rows = rows * (_START_DEVIATION / rows.std())
                table[: len(rows)] = rows.to(table)


def _embedding(count: int, width: int) -> nn.Embedding:
    table = nn.Embedding(count, width)
    nn.init.normal_(table.weight, std=_START_DEVIATION)
    return table


def _positions(count: int, width: int) -> nn.Embedding:
    """Learned positions that start as sinusoids: those that training never reached keep order."""
    table = nn.Embedding(count, width)
    with torch.no_grad():
        table.weight.copy_(sinusoids(count, width, scale=_START_DEVIATION))
    return table


def _transformer(config: TransformerConfig, causal: bool) -> Transformer:
    return Transformer(
        width=config.width,
        layers=config.layers,
        heads=config.heads,
        filter_width=config.filter_width,
        dropout=config.dropout,
        causal=causal,
    )
