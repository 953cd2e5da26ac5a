"""Masked diffusion of codes: hide some, guess them, keep the surest, guess the rest again.

Time runs from 0 (nothing hidden) to 1 (everything hidden). The network is an argument. Every item
of a batch has a generator of its own: what an item becomes does not depend on the others.

Source: NaturalSpeech 3 (arXiv 2403.03100), section 3.3; MaskGIT (arXiv 2202.04200); SoundStorm
(arXiv 2305.09636) for codes of several levels.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Generator, Tensor
from torch.nn import functional

from parlando.contracts import ConfigError
from parlando.generative.autoregression import choose

MaskSchedule = Callable[[Tensor], Tensor]
"""Share of the codes that is hidden at times of any shape: 0 at 0, 1 at 1, growing."""

MaskedPredictor = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Maps codes ``(B, T)``, where they are hidden ``(B, T)`` and times ``(B,)`` to logits.

These are ``(B, T, V)``. A hidden code is given as 0; minus infinity forbids a code."""

STEEPNESS_BITS = 8.0
"""Of the exponential and logarithmic schedules. Choice: MaskGIT's depend on the number of codes,
256 for an image; this is its binary logarithm, for any number."""


def linear(t: Tensor) -> Tensor:
    """Return ``t``."""
    return t


def sine(t: Tensor) -> Tensor:
    """Return ``sin(pi t / 2)``, NaturalSpeech 3's; MaskGIT's cosine, whose time runs backwards."""
    return (t * (math.pi / 2)).sin()


def square(t: Tensor) -> Tensor:
    """Return ``1 - (1 - t)^2``."""
    return 1.0 - (1.0 - t).square()


def cubic(t: Tensor) -> Tensor:
    """Return ``1 - (1 - t)^3``."""
    return 1.0 - (1.0 - t) ** 3


def exponential(t: Tensor) -> Tensor:
    """Return ``(1 - 2^-8t) / (1 - 2^-8)``.

    Deviation: MaskGIT's is not divided, and so leaves a code of 256 visible at time 1.
    """
    return (1.0 - torch.exp2(-STEEPNESS_BITS * t)) / (1.0 - 2.0**-STEEPNESS_BITS)


def square_root(t: Tensor) -> Tensor:
    """Return ``1 - sqrt(1 - t)``."""
    return 1.0 - (1.0 - t).sqrt()


def logarithmic(t: Tensor) -> Tensor:
    """Return ``-log2(1 - (1 - 2^-8) t) / 8``, the inverse of :func:`exponential`."""
    return (1.0 - (1.0 - 2.0**-STEEPNESS_BITS) * t).log2() / -STEEPNESS_BITS


MASK_SCHEDULES: Mapping[str, MaskSchedule] = MappingProxyType(
    {
        "linear": linear,
        "cosine": sine,
        "sine": sine,
        "square": square,
        "cubic": cubic,
        "exponential": exponential,
        "square_root": square_root,
        "logarithmic": logarithmic,
    }
)
"""The schedules by the names that users type; ``cosine`` and ``sine`` are the same function."""


def find_schedule(name: str) -> MaskSchedule:
    """Return the schedule of a name.

    Raises:
        ConfigError: there is none.
    """
    if name not in MASK_SCHEDULES:
        raise ConfigError(f"mask schedule is {name!r}; use one of {', '.join(MASK_SCHEDULES)}")
    return MASK_SCHEDULES[name]


def hidden_count(length: Tensor, t: float, schedule: str) -> Tensor:
    """Return ``floor(N sigma(t))``, how many of ``length`` ``(B,)`` codes are hidden at ``t``."""
    share = find_schedule(schedule)(torch.tensor(t, dtype=torch.float64))
    # sin(pi / 6) is rounded to just below a half; a billionth keeps whole products whole.
    return (length * share + 1e-9).floor().long()


@dataclass(frozen=True, kw_only=True)
class MaskedSampling:
    """How hidden codes are guessed, step by step."""

    steps: int = 4
    """Evaluations of the predictor, 1 or more."""
    schedule: str = "sine"
    """Key of :data:`MASK_SCHEDULES`: how many codes are hidden again after each step."""
    top_k: int = 20
    """Likeliest codes among which is drawn, 1 or more."""
    temperature: float = 1.5
    """Divides the logits in the first step, and falls linearly to 0 in the last; 0 or more."""
    gumbel: float = 1.0
    """Noise on the confidence, times the time after the step; 0 always keeps the surest."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.top_k < 1:
            raise ConfigError(
                f"steps are {self.steps} and top_k is {self.top_k}; use 1 or more of each"
            )
        if not self.temperature >= 0.0 or not self.gumbel >= 0.0:
            raise ConfigError(
                f"temperature is {self.temperature} and gumbel {self.gumbel}; use 0 or more"
            )
        find_schedule(self.schedule)


@torch.no_grad()
def sample_masked(
    predict: MaskedPredictor,
    codes: Tensor,
    decided: Tensor,
    mask: Tensor,
    *,
    sampling: MaskedSampling,
    generators: Sequence[Generator],
) -> Tensor:
    """Draw the undecided codes, the surest first.

    Each step draws every hidden code, and hides the least sure of them again, until none is left:
    after it, ``floor(N sigma(t))`` of an item's N undecided codes are hidden. The last step takes
    the likeliest codes.

    Source: NaturalSpeech 3, section 3.3; MaskGIT, section 3.2. Choice: confidence
    is the log probability among *all* codes, before temperature and top-k, plus Gumbel noise
    scaled by the time after the step (as MaskGIT). N counts an item's own codes, without padding
    and prompt.

    Args:
        predict: the network with its conditions bound; it is called once a step.
        codes: ``(B, T)`` int64; only the decided ones are looked at.
        decided: ``(B, T)``, True where a code is given: a prompt, or what an edit keeps.
        mask: ``(B, T)``, True where real.
        sampling: steps, schedule and randomness.
        generators: one of each item, on the CPU.

    Returns:
        ``(B, T)`` int64: the decided codes and those drawn; 0 where padded.

    Raises:
        ConfigError: there is not one generator for each item.
    """
    if len(generators) != len(codes):
        raise ConfigError(f"{len(generators)} generators for {len(codes)} items; give one each")
    device, steps = codes.device, sampling.steps
    codes = codes.masked_fill(~(decided & mask), 0)
    target = (mask & ~decided).cpu()
    hidden, length = target, target.sum(1)
    for step in range(steps):
        time, after = (steps - step) / steps, (steps - step - 1) / steps
        masked = hidden.to(device)
        logits = predict(codes, masked, torch.full((len(codes),), time, device=device))
        noise = item_noise(target, generators, 2)[:, hidden]
        temperature = sampling.temperature * after * steps / max(steps - 1, 1)
        drawn, surety = _guess(logits[masked].float(), noise[0], temperature, sampling.top_k)
        codes = codes.masked_scatter(masked, drawn.to(device))
        # What is decided is never hidden again: the schedule only falls.
        confidence = torch.full(target.shape, torch.inf, dtype=torch.float64)
        confidence[hidden] = surety - sampling.gumbel * after * (-noise[1].log()).log()
        place = confidence.argsort(dim=1, stable=True).argsort(dim=1, stable=True)
        hidden = hidden & (place < hidden_count(length, after, sampling.schedule)[:, None])
        codes = codes.masked_fill(hidden.to(device), 0)
    return codes


def _guess(
    logits: Tensor, uniform: Tensor, temperature: float, top_k: int
) -> tuple[Tensor, Tensor]:
    """Draw codes of logits ``(M, V)``, and tell their log probabilities, ``(M,)`` on the CPU."""
    total = logits.logsumexp(-1).cpu()
    if temperature == 0.0:
        likeliest, codes = (each.cpu() for each in logits.max(-1))
        return codes, (likeliest - total).double()
    best, order = (each.cpu() for each in logits.topk(min(top_k, logits.shape[-1]), dim=-1))
    slot = choose(best.double() / temperature, uniform)[:, None]
    return order.gather(1, slot)[:, 0], (best.gather(1, slot)[:, 0] - total).double()


def item_noise(target: Tensor, generators: Sequence[Generator], count: int) -> Tensor:
    """Draw numbers in (0, 1) for every target, from its item's generator, whatever the padding.

    Args:
        target: ``(B, T)`` on the CPU.
        generators: one of each item, on the CPU.
        count: numbers for each target.

    Returns:
        ``(count, B, T)`` float64, a half where there is no target.
    """
    noise = torch.full((count, *target.shape), 0.5, dtype=torch.float64)
    for item, (wanted, generator) in enumerate(zip(target, generators, strict=True)):
        size = (count, int(wanted.sum()))
        noise[:, item, wanted] = torch.rand(size, generator=generator, dtype=torch.float64)
    return noise.clamp_min(1e-300)


def network_evaluations(steps: int, *, levels: int = 1, guided: bool = True) -> int:
    """Count the evaluations of a network that sampling needs; guidance doubles them.

    Source: NaturalSpeech 3, table of inference times: with 4 steps 8 for the prosody of phones, 4
    for durations, which are not guided, and 48 for six levels of frames are 60; with 1 step 15.

    Args:
        steps: steps a level.
        levels: levels, drawn one after the other.
        guided: whether each step also predicts without the prompt.
    """
    return levels * steps * (2 if guided else 1)


@dataclass(frozen=True)
class MaskedCodes:
    """What a network sees of a batch in training, and what it shall say.

    ``codes`` ``(B, Q, T)`` int64, 0 where hidden; ``visible`` ``(B, Q, T)``, True where a code may
    be seen; ``level`` ``(B,)`` the level that is learnt, ``t`` ``(B,)`` its time; ``labels``
    ``(B, T)`` the true codes of that level, and ``learnt`` ``(B, T)`` where they are to be said.
    """

    codes: Tensor
    visible: Tensor
    level: Tensor
    t: Tensor
    labels: Tensor
    learnt: Tensor

    @property
    def masked(self) -> Tensor:
        """Where the codes of the level that is learnt are hidden, ``(B, T)``."""
        return self.learnt & ~at_level(self.visible, self.level)


def draw_times(count: int, generator: Generator | None = None) -> Tensor:
    """Draw times in (0, 1], evenly spread over the batch: ``(count,)``.

    Each is uniform; together they are ``1 / count`` apart, so that losses vary less.

    Source: Kingma et al. 2021, "Variational Diffusion Models", appendix.
    """
    device = "cpu" if generator is None else generator.device
    start = torch.rand((), generator=generator, device=device)
    return 1.0 - (start + torch.arange(count, device=device) / count).frac()


def draw_levels(
    count: int,
    levels: int,
    generator: Generator | None = None,
    weights: Sequence[float] | None = None,
) -> Tensor:
    """Draw the level that each item learns: ``(count,)`` int64, evenly spread over the batch.

    Each is drawn with its chance; together they are as near to the chances as a batch allows, so
    that losses vary less (as :func:`draw_times` does it).

    Args:
        count: items.
        levels: levels Q.
        generator: source of randomness.
        weights: of each level; all alike by default, as in NaturalSpeech 3.

    Raises:
        ConfigError: there is not one weight for each level.
    """
    chances = torch.ones(levels) if weights is None else torch.tensor(weights)
    if len(chances) != levels:
        raise ConfigError(f"{len(chances)} weights for {levels} levels; give one each")
    device = "cpu" if generator is None else generator.device
    start = torch.rand((), generator=generator, device=device)
    place = (start + torch.randperm(count, generator=generator, device=device)) / count
    ends = (chances / chances.sum()).to(device).cumsum(0)
    ends[chances.nonzero()[-1] :] = 1.0  # whatever the sum was rounded to
    return torch.searchsorted(ends, place, right=True)


def mask_tokens(
    target: Tensor, t: Tensor, schedule: str = "sine", generator: Generator | None = None
) -> Tensor:
    """Choose what to hide, each code by itself with probability ``sigma(t)``.

    Source: NaturalSpeech 3, section 3.3.

    Args:
        target: ``(B, T)``, True where a code may be hidden: real, and not of the prompt.
        t: ``(B,)``, 0 to 1.
        schedule: key of :data:`MASK_SCHEDULES`.
        generator: source of randomness.

    Returns:
        ``(B, T)``, True where hidden.
    """
    device = target.device if generator is None else generator.device
    uniform = torch.rand(target.shape, generator=generator, device=device).to(target.device)
    return target & (uniform < find_schedule(schedule)(t.to(target.device))[:, None])


def mask_codes(
    codes: Tensor,
    target: Tensor,
    mask: Tensor,
    *,
    schedule: str = "sine",
    level_weights: Sequence[float] | None = None,
    level: Tensor | None = None,
    t: Tensor | None = None,
    mask_rate: float = 1.0,
    entries: int | None = None,
    generator: Generator | None = None,
) -> MaskedCodes:
    """Hide codes of one level of each item: those below it are seen, those above it are not.

    The prompt, what is real and no target, is seen at all levels and never changed.

    Source: NaturalSpeech 3, section 3.3; SoundStorm; for ``mask_rate`` see
    :class:`~parlando.generative.transitions.TransitionProcess`.

    Args:
        codes: ``(B, Q, T)`` int64.
        target: ``(B, T)``, True where codes are to be learnt.
        mask: ``(B, T)``, True where real.
        schedule: key of :data:`MASK_SCHEDULES`.
        level_weights: see :func:`draw_levels`.
        level: ``(B,)`` levels instead of drawn ones.
        t: ``(B,)`` times instead of drawn ones.
        mask_rate: share of the chosen codes that is hidden; the others are replaced by random
            ones, which the network is to put right.
        entries: number of codes K, needed where ``mask_rate`` is below 1.
        generator: source of randomness.

    Raises:
        ConfigError: ``mask_rate`` is below 1 without ``entries``.
    """
    batch, levels, _ = codes.shape
    target = target & mask
    t = draw_times(batch, generator) if t is None else t
    if level is None:
        level = draw_levels(batch, levels, generator, level_weights)
    t = t.to(codes.device, non_blocking=True)
    level = level.to(codes.device, non_blocking=True)
    learnt = mask_tokens(target, t, schedule, generator)
    labels = at_level(codes, level)
    hidden, own = learnt, labels
    if mask_rate < 1.0:
        if entries is None:
            raise ConfigError(f"mask_rate is {mask_rate}; entries, the number of codes, is needed")
        source = codes.device if generator is None else generator.device
        draw = torch.rand((2, *own.shape), generator=generator, device=source).to(codes.device)
        hidden = learnt & (draw[0] < mask_rate)
        own = torch.where(learnt & ~hidden, (draw[1] * entries).long().clamp_max(entries - 1), own)
    index = torch.arange(levels, device=codes.device)[None, :, None]
    here = index == level[:, None, None]
    seen = (index < level[:, None, None]) | (here & ~hidden[:, None]) | ~target[:, None]
    visible = seen & mask[:, None]
    given = torch.where(here, own[:, None], codes).masked_fill(~visible, 0)
    return MaskedCodes(given, visible, level, t, labels.masked_fill(~mask, 0), learnt)


def at_level(codes: Tensor, level: Tensor) -> Tensor:
    """Take one level of each item: ``(B, T)`` of ``(B, Q, T)`` and ``(B,)``."""
    return codes[torch.arange(len(codes), device=codes.device), level]


def masked_loss(logits: Tensor, labels: Tensor, learnt: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy of the hidden codes, and how many of them are right.

    Source: NaturalSpeech 3, section 3.3, divided by the number of hidden codes.

    Args:
        logits: ``(B, T, V)``.
        labels: ``(B, T)`` int64.
        learnt: ``(B, T)``, True where the loss is taken.

    Returns:
        mean loss in nats and accuracy, both 0 where nothing is hidden.
    """
    return code_loss(logits[learnt], labels[learnt])


def code_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Do the same as :func:`masked_loss` where hidden codes are already picked.

    Args:
        logits: ``(M, V)``.
        labels: ``(M,)`` int64.
    """
    said, count = logits.float(), max(len(labels), 1)
    loss = functional.cross_entropy(said, labels, reduction="sum") / count
    return loss, (said.detach().argmax(-1) == labels).sum() / count


def masked_bound(
    logits: Tensor,
    labels: Tensor,
    learnt: Tensor,
    target: Tensor,
    t: Tensor,
    schedule: str = "sine",
) -> Tensor:
    """Weigh the loss so that its mean over times bounds the codes' negative log likelihood.

    The weight is ``sigma'(t) / sigma(t)``; it is the limit, of many steps, of the variational bound
    of the absorbing process. A number to compare models by; training does well without weights.

    Source: Shi et al. 2024 (arXiv 2406.04329), the objective in continuous time.

    Args:
        logits: ``(B, T, V)``.
        labels: ``(B, T)`` int64.
        learnt: ``(B, T)``, True where hidden.
        target: ``(B, T)``, True where a code may be hidden.
        t: ``(B,)``, uniform in (0, 1].
        schedule: key of :data:`MASK_SCHEDULES`.

    Returns:
        ``(B,)``, nats a target code.
    """
    # Some schedules start with infinite slope, others end with it.
    with torch.enable_grad():
        time = t.detach().double().clamp(1e-6, 1.0 - 1e-6).requires_grad_()
        share = find_schedule(schedule)(time)
        (slope,) = torch.autograd.grad(share.sum(), time)
    each = functional.cross_entropy(logits.float().transpose(1, 2), labels, reduction="none")
    total = each.masked_fill(~learnt, 0.0).sum(1) / target.sum(1).clamp_min(1)
    return (slope / share.detach()).to(total.dtype) * total
