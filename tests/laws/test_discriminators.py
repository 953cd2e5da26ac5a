"""Laws of critics and of the adversarial losses, for any weights."""

import pytest
import torch
from torch import Tensor

from parlando.nn.discriminators import (
    BandCritic,
    Critics,
    PeriodCritic,
    STFTCritic,
    Verdict,
    adversarial_loss,
    discriminator_loss,
    feature_matching_loss,
)


def some_critics() -> Critics:
    torch.manual_seed(0)
    critics = Critics((64, 32), width=3)
    critics.critics.append(PeriodCritic(3, width=1))
    critics.critics.append(BandCritic(64, width=2))
    return critics


def noise(items: int, samples: int, seed: int = 1) -> Tensor:
    return 0.1 * torch.randn(items, samples, generator=torch.Generator().manual_seed(seed))


def scored(*values: float) -> list[Verdict]:
    return [Verdict(torch.tensor([[value]], requires_grad=True), []) for value in values]


def test_one_verdict_per_critic():
    verdicts = Critics((64, 32), width=2, periods=())(noise(2, 333))
    assert len(verdicts) == 2
    assert all(verdict.score.shape[:2] == (2, 1) for verdict in verdicts)
    assert [f.shape[1] for f in verdicts[0].features] == [2, 4, 8, 8]


def test_published_period_critic_has_eight_million_parameters():
    with torch.device("meta"):
        critic = PeriodCritic(2)
    assert sum(p.numel() for p in critic.parameters()) == pytest.approx(8.2e6, rel=0.01)


@pytest.mark.parametrize("samples", [200, 331])
def test_items_are_judged_alone(samples):
    critics, waveform = some_critics().double(), noise(3, samples).double()
    together = critics(waveform)
    alone = critics(waveform[1:2])
    for many, one in zip(together, alone, strict=True):
        torch.testing.assert_close(many.score[1:2], one.score, atol=1e-5, rtol=1e-4)


def test_period_critic_keeps_phases_of_the_period_apart():
    critic = PeriodCritic(5, width=1)
    waveform = noise(1, 53).requires_grad_()
    critic(waveform).score[..., 2].sum().backward()
    reached = waveform.grad[0].nonzero()[:, 0]
    # The last two samples come back by reflection: 53 and 54 mirror 51 and 50.
    assert set((reached[reached < 50] % 5).tolist()) == {2}


@pytest.mark.parametrize("kind", [STFTCritic, BandCritic])
def test_spectral_critics_are_differentiable_at_silence(kind):
    waveform = torch.zeros(1, 256, requires_grad=True)
    kind(64, width=2)(waveform).score.sum().backward()
    assert waveform.grad.isfinite().all()


def test_bands_are_judged_apart():
    torch.manual_seed(0)
    critic, time = BandCritic(128, width=2), torch.arange(4000)
    low, high = ((2 * torch.pi * share / 2.0 * time).sin()[None] for share in (0.05, 0.9))
    verdicts = [critic(0.1 * wave) for wave in (low, low + high)]
    layers = len(critic.bands[0])
    assert len(verdicts[0].features) == 5 * layers
    changed = [
        (two.abs().mean() / one.abs().mean().clamp_min(1e-6)).log().abs().item()
        for one, two in zip(*(v.features[::layers] for v in verdicts), strict=True)
    ]
    assert max(changed[:3]) < 0.2 * changed[4]


def test_critics_in_bands_are_chosen_by_name():
    kinds = [type(critic) for critic in Critics((64, 32), 2, (3,), bands=True).critics]
    assert kinds == [BandCritic, BandCritic, PeriodCritic]


def test_stft_critic_sees_quiet_as_severely_as_loud():
    """A power of 0.3: 40 dB less is only 12 dB less to the first layer."""
    critic, waveform, seen = STFTCritic(64, width=2), noise(1, 4096), []
    critic.layers[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    for gain in (1.0, 0.01):
        critic(gain * waveform)
    loud, quiet = (spectrum.abs().mean() for spectrum in seen)
    assert (loud / quiet).item() == pytest.approx(100**0.3, rel=0.05)


def test_hinge_counts_critics_alike():
    ignorant = discriminator_loss(scored(0.0, 0.0, 0.0), scored(0.0, 0.0, 0.0))
    assert ignorant.item() == 2.0
    assert discriminator_loss(scored(-1.5), scored(1.5)).item() == 0.0
    assert discriminator_loss(scored(1.0), scored(-1.0)).item() == 4.0
    assert adversarial_loss(scored(0.0, -2.0)).item() == 2.0
    assert adversarial_loss(scored(1.5)).item() == 0.0


def test_critics_and_generator_pull_against_each_other():
    produced, reference = scored(0.3), scored(0.3)
    discriminator_loss(produced, reference).backward()
    assert produced[0].score.grad.item() == 1.0  # descent lowers the score of the produced
    assert reference[0].score.grad.item() == -1.0  # and raises that of the real
    produced = scored(0.3)
    adversarial_loss(produced).backward()
    assert produced[0].score.grad.item() == -1.0  # the generator raises its own


def test_feature_matching_is_zero_on_identical_and_only_there():
    critics, waveform = some_critics(), noise(2, 400)
    same = feature_matching_loss(critics(waveform), critics(waveform.clone()))
    other = feature_matching_loss(critics(noise(2, 400, seed=2)), critics(waveform))
    assert same.item() == 0.0
    assert other.item() > 0.1


def test_feature_matching_is_relative_to_the_reference():
    one, other = torch.rand(2, 3, 4), torch.rand(2, 3, 4)
    small = feature_matching_loss([Verdict(one, [one])], [Verdict(other, [other])])
    large = feature_matching_loss([Verdict(one, [9 * one])], [Verdict(other, [9 * other])])
    torch.testing.assert_close(small, large)
    torch.testing.assert_close(small, (one - other).abs().mean() / other.mean())


def test_feature_matching_moves_the_produced_alone():
    critics = some_critics()
    produced = noise(1, 400).requires_grad_()
    reference = noise(1, 400, seed=2).requires_grad_()
    feature_matching_loss(critics(produced), critics(reference)).backward()
    assert produced.grad.abs().sum() > 0
    assert reference.grad is None


@pytest.mark.parametrize("side", [0, 1])
def test_discriminator_loss_reaches_every_weight(side):
    critics = some_critics()
    verdicts = critics(noise(2, 400))
    settled = [Verdict(verdict.score.detach(), []) for verdict in verdicts]
    sides = (verdicts, settled) if side == 0 else (settled, verdicts)
    discriminator_loss(*sides).backward()
    untouched = [n for n, p in critics.named_parameters() if p.grad is None or not p.grad.any()]
    assert untouched == []


def test_critics_learn_to_tell_a_tone_from_noise():
    critics = some_critics()
    tone = 0.1 * torch.sin(torch.arange(400) * torch.tensor([[0.2], [0.31]]))
    optimizer = torch.optim.Adam(critics.parameters(), lr=5e-3)
    for step in range(40):
        loss = discriminator_loss(critics(noise(2, 400, seed=step)), critics(tone))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5
