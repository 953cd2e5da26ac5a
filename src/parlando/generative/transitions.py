"""Diffusion of codes by transition matrices: a code stays, becomes any code, or is masked for good.

With K codes and a mask, the state K, the matrix of the step to time t has the rows "from" and the
columns "to", and each row sums to 1:

    Q_t = alpha_t I + beta_t / K 1 1^T + gamma_t 1 e_mask^T    for codes; the mask stays a mask.

Products of such matrices have the same form. So nothing here ever builds a matrix: three numbers a
step, ``alpha + beta + gamma = 1``, are enough, and all costs are linear in K.

Source: Austin et al. 2021 (arXiv 2107.03006), section 3; Gu et al. 2022, "Vector
Quantized Diffusion Model" (arXiv 2111.14822), section 4. Deviation: there, and in slides made from
it, beta is the share of each code and matrices are printed transposed; here it is that of all K.
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional

from parlando.contracts import ConfigError
from parlando.generative.autoregression import choose
from parlando.generative.masking import MaskedPredictor, find_schedule, item_noise

TINY = 1e-300
"""Keeps logarithms and divisions finite."""

LEAST_PROBABILITY = 1e-100
"""Of a code; that of float32 logits is seldom below 1e-80."""


class TransitionProcess:
    """The general process: how much is kept, and how much is masked, at each of S + 1 times.

    Times are whole numbers, 0 for data to S. What is neither kept nor masked is spread evenly over
    all K codes.

    Args:
        entries: number of codes K; K itself is the mask.
        kept: ``(S + 1,)``, or ``(S + 1, T)`` for places that differ; from 1 at time 0, falling.
        masked: of the same shape, from 0, growing.

    Raises:
        ConfigError: there is no process with these shares.
    """

    def __init__(self, entries: int, kept: Tensor, masked: Tensor):
        kept, masked = kept.double(), masked.double()
        if kept.shape != masked.shape or kept.ndim not in (1, 2) or len(kept) < 2:
            raise ConfigError(
                f"kept and masked have shapes {tuple(kept.shape)} and {tuple(masked.shape)}; "
                "expected the same, of one step at least"
            )
        if kept.ndim == 1:
            kept, masked = kept[:, None], masked[:, None]
        self.entries = entries
        self.kept = kept
        self.masked = masked
        self.spread = 1.0 - kept - masked
        times = torch.arange(len(kept))
        shares = [kept, self.spread, -kept.diff(dim=0), masked.diff(dim=0)]
        shares += self.step(times[:-1], times[1:])
        if not bool((kept[0] == 1.0).all()) or min(float(each.min()) for each in shares) < -1e-9:
            raise ConfigError(
                "kept and masked are shares of no process; let the first fall from 1, the second "
                "grow from 0, and kept / (1 - masked) never grow"
            )
        self.spread = self.spread.clamp_min(0.0)

    @property
    def steps(self) -> int:
        """Number of steps S."""
        return len(self.kept) - 1

    def step(self, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return alpha, beta and gamma of the transition between two times.

        Args:
            start: ``(B,)`` int64, below ``end``.
            end: ``(B,)`` int64.

        Returns:
            three of ``(B, 1)``, or ``(B, T)`` where places differ. From a time at which nothing is
            kept, or all is masked, any number would do; it is 0.
        """
        kept, bare = self.kept, 1.0 - self.masked
        alpha = _ratio(kept[end], kept[start])
        unmasked = _ratio(bare[end], bare[start])
        return alpha, unmasked - alpha, 1.0 - unmasked

    def marginal(self, x_0: Tensor, t: Tensor) -> Tensor:
        """Return ``q(x_t | x_0)``.

        Args:
            x_0: ``(B, T)`` int64 codes.
            t: ``(B,)`` int64 times.

        Returns:
            ``(B, T, K + 1)`` float64.
        """
        clean = functional.one_hot(x_0, self.entries).double()
        return self._forward(clean, t)

    def corrupt(self, x_0: Tensor, t: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw ``x_t`` from ``q(x_t | x_0)``: ``(B, T)``, K where masked."""
        device = x_0.device if generator is None else generator.device
        draw = torch.rand((2, *x_0.shape), generator=generator, device=device, dtype=torch.float64)
        kind, other = draw.to(x_0.device)
        return self._mix(x_0, self._at(self.kept, t), self._at(self.masked, t), kind, other)

    def posterior(
        self, x_t: Tensor, x_0: Tensor, t: Tensor, before: Tensor | None = None
    ) -> Tensor:
        """Return ``q(x_s | x_t, x_0)`` by Bayes' rule.

        Args:
            x_t: ``(B, T)`` int64, K where masked.
            x_0: ``(B, T)`` int64 codes.
            t: ``(B,)`` int64 times, 1 or more.
            before: ``(B,)`` int64 earlier times s; ``t - 1`` by default.

        Returns:
            ``(B, T, K + 1)`` float64; zeros where ``x_t`` cannot come from ``x_0``.
        """
        before = t - 1 if before is None else before
        return self._backward(functional.one_hot(x_0, self.entries).double(), x_t, t, before)

    def reverse(
        self, logits: Tensor, x_t: Tensor, t: Tensor, before: Tensor | None = None
    ) -> Tensor:
        """Return ``p(x_s | x_t)``, the mean of the posteriors over the codes a network expects.

        Where these are the true ``p(x_0 | x_t)``, so is the result. Codes that ``x_t`` cannot come
        from have no part in it.

        Source: Gu et al. 2022, section 4. Deviation from Austin et al., equation 4, who leave
        out the division by ``q(x_t | x_0)``; that is exact for the mask alone.

        Args:
            logits: ``(B, T, K)`` of ``x_0``.
            x_t: ``(B, T)`` int64, K where masked.
            t: ``(B,)`` int64 times, 1 or more.
            before: ``(B,)`` int64 earlier times s; ``t - 1`` by default.

        Returns:
            ``(B, T, K + 1)`` float64.
        """
        before = t - 1 if before is None else before
        expected = logits.double().softmax(-1).clamp_min(LEAST_PROBABILITY)
        spread = self._at(self.spread, t)[..., None] / self.entries
        evidence = spread + self._at(self.kept, t)[..., None] * self._is(x_t)
        possible = torch.where(self._masked(x_t), expected, _ratio(expected, evidence))
        return self._backward(possible, x_t, t, before)

    def divergence(self, logits: Tensor, x_t: Tensor, x_0: Tensor, t: Tensor) -> Tensor:
        """Return the term of the variational bound at ``t``, KL of posterior and reverse step.

        At time 1 it is the cross-entropy of ``x_0``. Summed over all times, averaged over what
        ``x_t`` may be, it bounds the negative log likelihood of a process that keeps nothing.

        Source: Austin et al. 2021, equation 1.

        Args:
            logits: ``(B, T, K)`` of ``x_0``.
            x_t: ``(B, T)`` int64.
            x_0: ``(B, T)`` int64.
            t: ``(B,)`` int64 times, 1 or more.

        Returns:
            ``(B, T)`` nats.
        """
        truth = self.posterior(x_t, x_0, t)
        model = self.reverse(logits, x_t, t).clamp_min(TINY)
        return (torch.xlogy(truth, truth) - truth * model.log()).sum(-1)

    def loss(
        self,
        logits: Tensor,
        x_t: Tensor,
        x_0: Tensor,
        t: Tensor,
        mask: Tensor,
        cross_entropy_weight: float = 1e-3,
    ) -> Tensor:
        """Return the variational bound, from one time of each item, and a share of cross-entropy.

        Source: Austin et al. 2021, equation 5.

        Args:
            logits: ``(B, T, K)`` of ``x_0``.
            x_t: ``(B, T)`` int64.
            x_0: ``(B, T)`` int64.
            t: ``(B,)`` int64 times, uniform in 1 to S.
            mask: ``(B, T)``, True where real and no prompt.
            cross_entropy_weight: of the cross-entropy of ``x_0``.

        Returns:
            mean over real codes, in nats.
        """
        # A non-finite padding would still poison the gradient of what is left out.
        logits = logits.masked_fill(~mask[..., None], 0.0)
        bound = self.steps * self.divergence(logits, x_t, x_0, t)[mask].sum()
        direct = functional.cross_entropy(logits[mask].double(), x_0[mask], reduction="sum")
        return (bound + cross_entropy_weight * direct) / mask.sum().clamp_min(1)

    @torch.no_grad()
    def sample(
        self,
        predict: MaskedPredictor,
        codes: Tensor,
        decided: Tensor,
        mask: Tensor,
        *,
        generators: Sequence[Generator],
        steps: int | None = None,
    ) -> Tensor:
        """Draw the undecided codes by going from time S to 0; ancestral sampling.

        Other than :func:`~parlando.generative.masking.sample_masked` it may change a code that it
        has drawn, unless the process only masks. Top-k and temperature are the predictor's.

        Args:
            predict: the network with its conditions bound; it is called once a step, with times
                divided by S.
            codes: ``(B, T)`` int64; only the decided ones are looked at.
            decided: ``(B, T)``, True where a code is given.
            mask: ``(B, T)``, True where real.
            generators: one of each item, on the CPU.
            steps: at most S, which is the default; fewer leap over times.

        Returns:
            ``(B, T)`` int64; 0 where padded.

        Raises:
            ConfigError: something is kept at time S, or there are too many or no steps.
        """
        steps = self.steps if steps is None else steps
        if bool((self.kept[-1] > 0.0).any()):
            raise ConfigError("this process keeps codes to its end: nothing tells where to start")
        if not 1 <= steps <= self.steps:
            raise ConfigError(f"steps is {steps}; use 1 to {self.steps}, those of the process")
        device = codes.device
        fixed = codes.masked_fill(~(decided & mask), 0)
        target = mask & ~decided
        wanted = target.cpu()
        times = torch.linspace(self.steps, 0, steps + 1, dtype=torch.float64).round().long()
        latest = times[:1].expand(len(codes)).to(device)
        kind, other = item_noise(wanted, generators, 2).to(device)
        shares = self._at(self.kept, latest), self._at(self.masked, latest)
        x_t = torch.where(target, self._mix(fixed, *shares, kind, other), fixed)
        for time, before in zip(times.tolist(), times[1:].tolist(), strict=False):
            t = torch.full((len(codes),), time, device=device)
            masked = x_t == self.entries
            logits = predict(x_t.masked_fill(masked, 0), masked, t.float() / self.steps)
            chances = self.reverse(logits, x_t, t, torch.full_like(t, before)).cpu()
            uniform = item_noise(wanted, generators, 1)
            drawn = choose(chances.log().flatten(0, 1), uniform.flatten()).reshape(codes.shape)
            x_t = torch.where(target, drawn.to(device), fixed)
        return x_t

    def _mix(
        self, x_0: Tensor, kept: Tensor, masked: Tensor, kind: Tensor, other: Tensor
    ) -> Tensor:
        """Keep, mask or replace codes, as uniform numbers say."""
        changed = torch.where(kind < kept + masked, self.entries, (other * self.entries).long())
        return torch.where(kind < kept, x_0, changed)

    def _forward(self, weights: Tensor, t: Tensor) -> Tensor:
        """Multiply weights of the codes ``(B, T, K)`` by the matrix of all steps up to ``t``."""
        kept, masked = self._at(self.kept, t)[..., None], self._at(self.masked, t)[..., None]
        total = weights.sum(-1, keepdim=True)
        spread = self._at(self.spread, t)[..., None] / self.entries
        return torch.cat([kept * weights + spread * total, masked * total], dim=-1)

    def _backward(self, weights: Tensor, x_t: Tensor, t: Tensor, before: Tensor) -> Tensor:
        """Multiply what is before ``x_t`` by how likely it becomes ``x_t``, and normalise."""
        alpha, beta, gamma = (
            share.to(x_t.device)[..., None] for share in self.step(before.cpu(), t.cpu())
        )
        masked = self._masked(x_t)
        codes = torch.where(masked, gamma, beta / self.entries + alpha * self._is(x_t))
        joint = self._forward(weights, before) * torch.cat([codes, masked.double()], dim=-1)
        return joint / joint.sum(-1, keepdim=True).clamp_min(TINY)

    def _is(self, x_t: Tensor) -> Tensor:
        """Return ``x_t`` as ``(B, T, K)``, one where it is that code."""
        return functional.one_hot(x_t, self.entries + 1)[..., :-1].double()

    def _masked(self, x_t: Tensor) -> Tensor:
        return (x_t == self.entries)[..., None]

    def _at(self, shares: Tensor, t: Tensor) -> Tensor:
        """Look shares up: ``(B, 1)``, or ``(B, T)`` where places differ."""
        return shares.to(t.device)[t]


def mixed_process(
    entries: int, steps: int, mask_rate: float = 0.9, schedule: str = "linear"
) -> TransitionProcess:
    """Build the process that masks some codes and replaces others; at its end nothing is kept.

    With the linear schedule what is kept falls from 1 to 0, what is masked grows to 0.9, and what
    is replaced to 0.1.

    Source: Gu et al. 2022, section 4; with these rates Yang et al. 2022, "Diffsound".

    Args:
        entries: number of codes K.
        steps: steps S.
        mask_rate: share masked at the end, 0 to 1: 0 is the uniform process, 1 the masked one.
        schedule: key of :data:`~parlando.generative.masking.MASK_SCHEDULES`, of what is not kept.

    Raises:
        ConfigError: ``mask_rate`` is outside 0 to 1.
    """
    if not 0.0 <= mask_rate <= 1.0:
        raise ConfigError(f"mask_rate is {mask_rate}; use a number from 0 to 1")
    changed = find_schedule(schedule)(torch.arange(steps + 1, dtype=torch.float64) / steps)
    return TransitionProcess(entries, 1.0 - changed, mask_rate * changed)


def bert_process(
    entries: int, chosen: float = 0.15, masked: float = 0.8, replaced: float = 0.1
) -> TransitionProcess:
    """Build BERT's corruption, a process of one step.

    Source: Devlin et al. 2019, section 3.1; as a process Austin et al. 2021.

    Args:
        entries: number of codes K.
        chosen: share of the codes that are learnt.
        masked: share of these that is masked.
        replaced: share of these that is replaced by any code; the rest stays.
    """
    kept = torch.tensor([1.0, 1.0 - chosen * (masked + replaced)], dtype=torch.float64)
    return TransitionProcess(
        entries, kept, torch.tensor([0.0, chosen * masked], dtype=torch.float64)
    )


def autoregressive_process(entries: int, length: int) -> TransitionProcess:
    """Build the process that masks one place a step, the last first; its reverse writes in order.

    Its variational bound is the sum of the cross-entropies of each code given those before it.

    Source: Austin et al. 2021.

    Args:
        entries: number of codes K.
        length: places T, and steps.
    """
    time, place = torch.arange(length + 1)[:, None], torch.arange(length)
    kept = (place < length - time).double()
    return TransitionProcess(entries, kept, 1.0 - kept)


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """Divide, 0 where ``whole`` is."""
    return torch.where(whole > 0.0, part / whole.clamp_min(TINY), 0.0)
