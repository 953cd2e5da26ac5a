"""Monotonic alignment of frames to symbols: forward-sum likelihood and Viterbi path.

A frame sequence visits the symbols in order; every symbol lasts one frame or more, except those
marked skippable (pauses, word boundaries), which may last none.
"""

import math

import numpy as np
import torch
from torch import Tensor

IMPOSSIBLE = -1e4
"""Log-probability of what cannot happen: finite, so that gradients stay finite."""


def beta_binomial_log_prior(frames: Tensor, symbols: Tensor, scale: float = 1.0) -> Tensor:
    """Log-probability of symbol n at frame t along a loose diagonal.

    Source: Badlani et al. 2021, "One TTS Alignment To Rule Them All", section 3.2:
    ``BetaBinomial(N - 1, scale * (t + 1), scale * (T - t))``.

    Args:
        frames: ``(B,)`` frame counts T.
        symbols: ``(B,)`` symbol counts N.
        scale: concentration; larger is a narrower diagonal.

    Returns:
        ``(B, max T, max N)`` float32, :data:`IMPOSSIBLE` outside each item.
    """
    steps, places = int(frames.max()), int(symbols.max())
    t = torch.arange(steps, device=frames.device)[None, :, None].float()
    n = torch.arange(places, device=frames.device)[None, None, :].float()
    total = (symbols[:, None, None] - 1).float()
    length = frames[:, None, None].float()
    inside = (t < length) & (n <= total)
    alpha = scale * (t + 1.0)
    beta = scale * (length - t).clamp_min(1e-3)
    rest = (total - n).clamp_min(0.0)
    log_choose = (total + 1).lgamma() - (n + 1).lgamma() - (rest + 1).lgamma()
    numerator = (n + alpha).lgamma() + (rest + beta).lgamma() - (total + alpha + beta).lgamma()
    denominator = alpha.lgamma() + beta.lgamma() - (alpha + beta).lgamma()
    return torch.where(inside, log_choose + numerator - denominator, IMPOSSIBLE)


def forward_sum(emission: Tensor, frames: Tensor, symbols: Tensor, skippable: Tensor) -> Tensor:
    """Sum the probability of all monotonic alignments.

    Args:
        emission: ``(B, T, N)`` log-probability of each symbol at each frame.
        frames: ``(B,)`` frame counts.
        symbols: ``(B,)`` symbol counts.
        skippable: ``(B, N)`` bool, symbols that may last zero frames; never two in a row.

    Returns:
        ``(B,)`` log-likelihood.
    """
    batch, steps, places = emission.shape
    wall = emission.new_full((batch, 2), IMPOSSIBLE)
    can_jump = torch.zeros_like(skippable)
    can_jump[:, 2:] = skippable[:, 1:-1]
    alpha = emission.new_full((batch, places), IMPOSSIBLE)
    alpha[:, 0] = emission[:, 0, 0]
    if places > 1:
        alpha[:, 1] = torch.where(skippable[:, 0], emission[:, 0, 1], IMPOSSIBLE)
    for step in range(1, steps):
        padded = torch.cat([wall, alpha], dim=1)
        jump = torch.where(can_jump, padded[:, :-2], IMPOSSIBLE)
        moved = torch.logsumexp(torch.stack([alpha, padded[:, 1:-1], jump]), dim=0)
        alpha = torch.where((step < frames)[:, None], moved + emission[:, step], alpha)
    last = (symbols - 1)[:, None]
    final = alpha.gather(1, last)[:, 0]
    before = (last - 1).clamp_min(0)
    may_end_early = skippable.gather(1, last)[:, 0] & (symbols > 1)
    early = torch.where(may_end_early, alpha.gather(1, before)[:, 0], IMPOSSIBLE)
    return torch.logaddexp(final, early)


def viterbi(emission: np.ndarray, skippable: np.ndarray) -> tuple[list[int], float]:
    """Find the best monotonic alignment of one item.

    Args:
        emission: ``(T, N)`` log-probabilities.
        skippable: ``(N,)`` bool.

    Returns:
        frames of each symbol, summing to T, and the mean log-probability per frame. When T is
        too short for the symbols, the score is minus infinity and the durations are all zero.
    """
    steps, places = emission.shape
    if steps < int((~skippable).sum()):
        return [0] * places, -math.inf
    can_jump = np.zeros(places, dtype=bool)
    can_jump[2:] = skippable[1:-1]
    alpha = np.full(places, -np.inf)
    alpha[0] = emission[0, 0]
    if places > 1 and skippable[0]:
        alpha[1] = emission[0, 1]
    moves = np.zeros((steps, places), dtype=np.int8)
    for step in range(1, steps):
        options = np.full((3, places), -np.inf)
        options[0] = alpha
        options[1, 1:] = alpha[:-1]
        options[2, 2:] = np.where(can_jump[2:], alpha[:-2], -np.inf)
        best = options.argmax(0)
        moves[step] = best
        alpha = options[best, np.arange(places)] + emission[step]
    place = places - 1
    if places > 1 and skippable[-1] and alpha[-2] > alpha[-1]:
        place = places - 2
    score = float(alpha[place]) / steps
    durations = [0] * places
    for step in range(steps - 1, -1, -1):
        durations[place] += 1
        place -= int(moves[step, place])
    return durations, score
