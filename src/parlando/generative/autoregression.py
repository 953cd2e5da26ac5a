"""Draw code sequences from a network group by group; the network is an argument.

Everything that is random comes in as uniform numbers, and every item of a batch has a generator of
its own: what an item becomes does not depend on the others.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from parlando.contracts import ConfigError

NOTHING = -1
"""Fills a history that is shorter than the window; no code is equal to it."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a code is chosen from its distribution."""

    top_p: float = 0.8
    """Mass of the nucleus, 0 to 1; 0 takes the likeliest code, 1 draws from all."""
    temperature: float = 1.0
    """Divides the logits, above 0."""
    repetition_window: int = 10
    """Earlier codes K among which a candidate is sought; 0 is plain nucleus sampling."""
    repetition_threshold: float = 0.1
    """Share t_r of the window above which a candidate is replaced; it counts itself."""
    exclude_repeated: bool = False
    """Never replace a repeated candidate by itself (not in the paper)."""
    end_threshold: float = 0.0
    """Probability below which the end is hidden, 0 to 1 (not in the paper, where it is 0). A flat
    distribution has a nucleus of hundreds of codes, in which an end of 0.5 % lies too."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.top_p <= 1.0:
            raise ConfigError(f"top_p is {self.top_p}; expected 0 to 1")
        if not self.temperature > 0.0:
            raise ConfigError(f"temperature is {self.temperature}; expected more than 0")
        if not 0.0 <= self.end_threshold <= 1.0:
            raise ConfigError(f"end_threshold is {self.end_threshold}; expected 0 to 1")
        if self.repetition_window < 0 or not 0.0 <= self.repetition_threshold <= 1.0:
            raise ConfigError(
                f"repetition window {self.repetition_window} and threshold "
                f"{self.repetition_threshold}; expected 0 or more, and 0 to 1"
            )


@dataclass(frozen=True)
class Group:
    """One step of :func:`decode`: G codes of each item.

    ``codes`` ``(B, G)`` int64, 0 where ``real`` ``(B, G)`` is False: from the end symbol on, and
    for items that ended earlier. ``repeated`` ``(B, G)`` tells where a candidate was replaced,
    ``ended`` ``(B,)`` which items chose to end in this group, ``cut`` ``(B,)`` which ones reached
    their greatest length instead.
    """

    codes: Tensor
    real: Tensor
    repeated: Tensor
    ended: Tensor
    cut: Tensor


def nucleus(logits: Tensor, top_p: float) -> Tensor:
    """Hide all but the smallest set of codes whose probability reaches ``top_p``.

    Source: Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration", section 3.1.

    Args:
        logits: ``(..., V)``.
        top_p: 0 to 1; the likeliest code always stays.

    Returns:
        ``(..., V)``, minus infinity outside the set.
    """
    if top_p >= 1.0:
        return logits
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)
    probabilities = ordered.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities
    outside = before >= top_p
    outside[..., 0] = False
    return logits.masked_fill(outside.scatter(-1, order, outside), -torch.inf)


def choose(logits: Tensor, uniform: Tensor) -> Tensor:
    """Draw a code of each distribution by its inverse cumulative function.

    Args:
        logits: ``(B, V)``, of which one at least is finite in every row.
        uniform: ``(B,)`` in [0, 1).

    Returns:
        ``(B,)`` int64; a code of probability 0 is never drawn.
    """
    cumulative = logits.double().softmax(-1).cumsum(-1)
    total = cumulative[:, -1]
    # Rounded up, a number just below 1 would point beyond the last code that is possible.
    target = torch.minimum(
        uniform.double() * total, torch.nextafter(total, torch.zeros_like(total))
    )
    return (cumulative <= target[:, None]).sum(-1)


def repetition_aware(
    logits: Tensor, history: Tensor, uniforms: Tensor, sampling: Sampling
) -> tuple[Tensor, Tensor]:
    """Draw from the nucleus; where the code occurred a moment ago, draw from all codes instead.

    Source: VALL-E 2 (arXiv 2406.05370), repetition-aware sampling. The algorithm's sum runs over
    k = 0 to K, so the candidate counts itself: with K = 10 and t_r = 0.1 one earlier occurrence is
    enough.

    Args:
        logits: ``(B, V)``.
        history: ``(B, K)`` the codes before, :data:`NOTHING` where there are fewer.
        uniforms: ``(B, 2)`` in [0, 1): for the candidate and for its replacement.
        sampling: nucleus, window and threshold.

    Returns:
        codes ``(B,)`` int64, and ``(B,)`` bool: True where a candidate was replaced.
    """
    logits = logits / sampling.temperature
    candidate = choose(nucleus(logits, sampling.top_p), uniforms[:, 0])
    window = sampling.repetition_window
    if window == 0:
        return candidate, torch.zeros_like(candidate, dtype=torch.bool)
    recent = history[:, max(0, history.shape[1] - window) :]
    count = 1 + (recent == candidate[:, None]).sum(-1)
    # A ratio such as 3 / 10 is rounded; a billionth keeps the comparison that of whole numbers.
    repeated = count > sampling.repetition_threshold * window + 1e-9
    if sampling.exclude_repeated:
        logits = logits.scatter(1, candidate[:, None], -torch.inf)
    # Where all else is forbidden there is nothing to replace the candidate by.
    repeated &= logits.isfinite().any(-1)
    logits = torch.where(repeated[:, None], logits, 0.0)
    return torch.where(repeated, choose(logits, uniforms[:, 1]), candidate), repeated


def sample_group(
    logits: Tensor, history: Tensor, uniforms: Tensor, sampling: Sampling
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw the codes of one group slot by slot, each one history for the next.

    Args:
        logits: ``(B, G, V)``.
        history: ``(B, K)``, see :func:`repetition_aware`.
        uniforms: ``(B, G, 2)``.
        sampling: how to draw.

    Returns:
        codes ``(B, G)``, replaced ``(B, G)``, and the history ``(B, K)`` after them.
    """
    codes, replaced = [], []
    for slot in range(logits.shape[1]):
        code, repeated = repetition_aware(logits[:, slot], history, uniforms[:, slot], sampling)
        history = torch.cat([history, code[:, None]], dim=1)[:, 1:]
        codes.append(code)
        replaced.append(repeated)
    return torch.stack(codes, dim=1), torch.stack(replaced, dim=1), history


def recent_codes(codes: Sequence[Tensor], window: int) -> Tensor:
    """Take the last ``window`` codes of each ``(T,)``: ``(B, window)``, padded at the front."""
    history = torch.full((len(codes), window), NOTHING, dtype=torch.int64)
    for row, item in enumerate(codes):
        count = min(window, len(item))
        if count:
            history[row, window - count :] = item[len(item) - count :].cpu()
    return history


def decode(
    advance: Callable[[Tensor], Tensor],
    logits: Tensor,
    history: Tensor,
    generators: Sequence[Generator],
    *,
    end: int,
    shortest: Tensor,
    longest: Tensor,
    sampling: Sampling,
) -> Iterator[Group]:
    """Draw group after group until every item has ended.

    The end symbol is hidden before an item's least length and where it is less likely than
    ``sampling.end_threshold``, so nothing is drawn twice and no item is empty; at its greatest
    length an item is cut.

    Args:
        advance: maps the codes ``(B, G)`` of a group to the logits ``(B, G, V)`` of the next.
        logits: ``(B, G, V)`` of the first group.
        history: ``(B, K)`` from :func:`recent_codes`.
        generators: one of each item, on the CPU.
        end: code that ends an item.
        shortest: ``(B,)`` least codes, 1 or more.
        longest: ``(B,)`` most codes, not below ``shortest``.
        sampling: how to draw.

    Yields:
        one group after another; the last is the one in which the last item ended.

    Raises:
        ConfigError: the lengths are not possible.
    """
    shortest, longest = shortest.cpu(), longest.cpu()
    if bool((shortest < 1).any()) or bool((longest < shortest).any()):
        raise ConfigError(
            f"lengths of {shortest.tolist()} to {longest.tolist()} codes; expected 1 or more, "
            "the greatest not below the least"
        )
    device, group = logits.device, logits.shape[1]
    running = torch.ones(len(logits), dtype=torch.bool)
    done = 0
    while True:
        place = done + torch.arange(group)
        scores = logits.detach().float().cpu().clone()
        too_early = place[None] < shortest[:, None]
        unlikely = scores.softmax(-1)[..., end] < sampling.end_threshold
        scores[..., end].masked_fill_(too_early | unlikely, -torch.inf)
        uniforms = torch.stack(
            [torch.rand(group, 2, generator=each, dtype=torch.float64) for each in generators]
        )
        codes, repeated, history = sample_group(scores, history, uniforms, sampling)
        before_end = (codes != end).cumprod(1).bool()
        real = running[:, None] & before_end & (place[None] < longest[:, None])
        done += group
        ended = running & ~before_end[:, -1] & (real.sum(1) < longest - (done - group))
        cut = running & ~ended & (longest <= done)
        yield Group(torch.where(real, codes, 0), real, repeated & real, ended, cut)
        running = running & ~ended & ~cut
        if not bool(running.any()):
            return
        # Items that ended go on with a code that is valid; nothing reads what comes of it.
        logits = advance(torch.where(real, codes, 0).to(device))
