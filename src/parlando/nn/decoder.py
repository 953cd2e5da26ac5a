"""A plain transformer, causal or not, that can go on from cached keys and values."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from parlando.nn.attention import attend


class LayerCache:
    """Keys and values of one layer; room is doubled when it is used up."""

    def __init__(self) -> None:
        self.length = 0
        self._store: Tensor | None = None

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add ``(B, H, T, d)`` each, and return all that is held."""
        new = torch.stack([key, value])
        needed = self.length + key.shape[2]
        store = self._store
        if store is None or store.shape[3] < needed:
            grown = new.new_empty((*new.shape[:3], max(64, 2 * needed), new.shape[4]))
            if store is not None:
                grown[:, :, :, : self.length] = store[:, :, :, : self.length]
            self._store = store = grown
        store[:, :, :, self.length : needed] = new
        self.length = needed
        return store[0, :, :, :needed], store[1, :, :, :needed]


class Cache:
    """What a causal transformer has computed so far: a step costs no more than its attention.

    Args:
        layers: of the transformer.
        mask: ``(B, P)`` bool, True where the first P positions are real; later ones all are. None:
            all are.
    """

    def __init__(self, layers: int, mask: Tensor | None = None) -> None:
        self.layers = [LayerCache() for _ in range(layers)]
        self.mask = None if mask is None or bool(mask.all()) else mask

    @property
    def length(self) -> int:
        """Positions that are held."""
        return self.layers[0].length


class DecoderLayer(nn.Module):
    """Self-attention and a feed-forward network, each with pre-norm and a residual.

    Args:
        width: channels D, a multiple of ``heads``.
        heads: attention heads H.
        filter_width: inner channels of the feed-forward network.
        dropout: of attention weights, and after both parts.
    """

    def __init__(self, width: int, heads: int, filter_width: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, filter_width)
        self.outer = nn.Linear(filter_width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, mask: Tensor | None, causal: bool, cache: LayerCache | None
    ) -> Tensor:
        """Map ``(B, T, D)`` to ``(B, T, D)``; see :class:`Transformer`."""
        query, key, value = self._heads(x)
        if cache is not None:
            key, value = cache.append(key, value)
        attended = attend(
            query,
            key,
            value,
            mask=mask,
            dropout=self.dropout.p if self.training else 0.0,
            causal=causal and mask is None and query.shape[2] > 1,
        )
        x = x + self.dropout(self.output(attended.transpose(1, 2).flatten(2)))
        y = F.gelu(self.inner(self.feed_forward_norm(x)))
        return x + self.dropout(self.outer(self.dropout(y)))

    def scores(self, x: Tensor, head: int = 0) -> Tensor:
        """Return one head's products of queries and keys before any mask, ``(B, T, T)``."""
        query, key, _ = self._heads(x)
        product: Tensor = query[:, head] @ key[:, head].transpose(1, 2)
        return product / query.shape[-1] ** 0.5

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        split = self.query_key_value(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1))
        query, key, value = split.permute(2, 0, 3, 1, 4)
        return query, key, value


class Transformer(nn.Module):
    """A stack of layers with a final norm; positions are the caller's.

    Args:
        width: channels D.
        layers: number of layers.
        heads: attention heads.
        filter_width: inner width of the feed-forward networks.
        dropout: see :class:`DecoderLayer`.
        causal: each position sees itself and those before.
    """

    def __init__(
        self,
        *,
        width: int,
        layers: int,
        heads: int,
        filter_width: int,
        dropout: float,
        causal: bool,
    ):
        super().__init__()
        self.causal = causal
        self.layers = nn.ModuleList(
            [DecoderLayer(width, heads, filter_width, dropout) for _ in range(layers)]
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """Map ``(B, T, D)`` to ``(B, T, D)``; of no meaning where ``mask`` is False.

        Args:
            x: the sequence, or with a cache what follows the positions it holds.
            mask: ``(B, T)`` bool, True = real. A causal transformer needs none for padding at the
                end, which no real position sees; with a cache its own is used.
            cache: of a causal transformer; it grows by T.
        """
        attended = self._attention_mask(x, mask, cache)
        for index, layer in enumerate(self.layers):
            x = layer(x, attended, self.causal, None if cache is None else cache.layers[index])
        normed: Tensor = self.norm(x)
        return normed

    def watched(self, x: Tensor, layers: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Do the same for a whole sequence, and show where the first heads of W layers look.

        Returns:
            ``(B, T, D)``, and those heads' products of queries and keys ``(W, B, T, T)``.
        """
        shown = []
        for index, each in enumerate(self.layers):
            if index in layers:
                shown.append(each.scores(x))  # type: ignore[operator]
            x = each(x, None, self.causal, None)
        return self.norm(x), torch.stack(shown)

    def _attention_mask(self, x: Tensor, mask: Tensor | None, cache: Cache | None) -> Tensor | None:
        """Return which keys each query sees, ``(B, 1, T or 1, M)``; None: the rule alone says."""
        count, before = x.shape[1], 0
        if cache is not None:
            mask, before = cache.mask, cache.length
            if mask is not None:
                real = mask.new_ones(len(mask), max(0, before + count - mask.shape[1]))
                mask = torch.cat([mask, real], dim=1)[:, : before + count]
        if not self.causal:
            return None if mask is None else mask[:, None, None, :]
        if mask is None and (before == 0 or count == 1):
            return None
        column = torch.arange(before + count, device=x.device)
        row = column[before:, None]
        allowed = (column[None] <= row)[None, None]
        if mask is None:
            return allowed
        # Padding at the front sees itself: a row without any key would become NaN.
        return (allowed & mask[:, None, None, :]) | (column[None] == row)


def sinusoids(count: int, width: int, scale: float = 1.0) -> Tensor:
    """Return ``(count, width)`` sines and cosines of positions: a start for learned positions.

    Source: Vaswani et al. 2017, section 3.5.
    """
    half = width // 2
    frequency = 10_000.0 ** (-torch.arange(half, dtype=torch.float32) / max(half - 1, 1))
    angle = torch.arange(count, dtype=torch.float32)[:, None] * frequency
    table = torch.cat([angle.sin(), angle.cos(), torch.zeros(count, width - 2 * half)], dim=1)
    return scale * table


def pack(
    x: Tensor, mask: Tensor, *, left: bool = False, grid: int = 1, limit: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Move the real positions of each item together, in order.

    Args:
        x: ``(B, T, D)``.
        mask: ``(B, T)`` bool, True = real.
        left: pad at the front instead of at the end.
        grid: round M up to a multiple of it, T at the most.
        limit: and not beyond this, such as the positions that a network has.

    Returns:
        ``(B, M, D)`` with M the longest item, its mask ``(B, M)``, and ``(B, T)`` int64: where
        each real position went.
    """
    room = mask.shape[1]
    needed = int(mask.sum(1).max())
    longest = min(room, -(-needed // grid) * grid, max(needed, room if limit is None else limit))
    order = (mask if left else ~mask).to(torch.uint8).argsort(dim=1, stable=True)
    where = torch.empty_like(order)
    where.scatter_(1, order, torch.arange(mask.shape[1], device=mask.device).expand_as(order))
    first = mask.shape[1] - longest if left else 0
    order = order[:, first : first + longest]
    packed = x.gather(1, order[..., None].expand(-1, -1, x.shape[-1]))
    return packed, mask.gather(1, order), where - first
