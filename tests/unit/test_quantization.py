"""The residual quantizer: levels, gradients, moving codebooks."""

import itertools

import pytest
import torch

from parlando.nn.quantization import ResidualVectorQuantizer


def _latent(batch=2, frames=50, width=4, seed=0):
    return torch.randn(batch, frames, width, generator=torch.Generator().manual_seed(seed))


def _quantizer(levels=3, size=16, width=4, **options):
    torch.manual_seed(0)
    return ResidualVectorQuantizer(levels, size, width, **options)


def _error(quantizer, latent, levels):
    return float((latent - quantizer.embed(quantizer.encode(latent)[:, :levels])).square().mean())


def test_shapes_and_types():
    quantizer = _quantizer()
    codes = quantizer.encode(_latent())
    assert codes.shape == (2, 3, 50)
    assert codes.dtype == torch.int64
    assert quantizer.embed(codes).shape == (2, 50, 4)
    assert quantizer.levels == 3


def test_every_level_lowers_the_error_after_fitting():
    quantizer, latent = _quantizer(levels=5), _latent(frames=400)
    gains = quantizer.fit(latent.flatten(0, 1))
    errors = [_error(quantizer, latent, levels) for levels in range(1, 6)]
    assert all(after < 0.8 * before for before, after in itertools.pairwise(errors))
    expected = 10.0 * torch.log10(latent.square().mean() / torch.tensor(errors))
    assert gains == pytest.approx(expected.tolist(), abs=1e-3)


def test_codes_are_the_nearest_entries_of_each_residual():
    quantizer, latent = _quantizer(), _latent()
    codes = quantizer.encode(latent)
    residual = latent.clone()
    for level in range(3):
        expected = torch.cdist(residual, quantizer.codebooks[level][None]).argmin(-1)
        assert torch.equal(codes[:, level], expected)
        residual = residual - quantizer.codebooks[level][expected]


def test_embedding_sums_the_levels():
    quantizer = _quantizer()
    codes = quantizer.encode(_latent())
    parts = [quantizer.codebooks[level][codes[:, level]] for level in range(3)]
    torch.testing.assert_close(quantizer.embed(codes), parts[0] + parts[1] + parts[2])
    torch.testing.assert_close(quantizer.embed(codes[:, :2]), parts[0] + parts[1])


def test_forward_agrees_with_encode_and_embed():
    quantizer, latent = _quantizer().eval(), _latent()
    result = quantizer(latent)
    assert torch.equal(result.codes, quantizer.encode(latent))
    torch.testing.assert_close(result.latent, quantizer.embed(result.codes))


def test_evaluation_moves_nothing():
    quantizer = _quantizer().eval()
    before = quantizer.codebooks.clone()
    quantizer(_latent())
    assert torch.equal(quantizer.codebooks, before)


def test_the_gradient_passes_straight_through():
    quantizer, latent = _quantizer(), _latent().requires_grad_()
    weight = _latent(seed=1)
    (quantizer(latent).latent * weight).sum().backward()
    torch.testing.assert_close(latent.grad, weight)


def test_commitment_pulls_the_latent_to_its_entries():
    quantizer, latent = _quantizer(levels=1).eval(), _latent().requires_grad_()
    result = quantizer(latent)
    expected = (latent.detach() - result.latent.detach()).square().mean()
    torch.testing.assert_close(result.commitment.detach(), expected)
    result.commitment.backward()
    torch.testing.assert_close(
        latent.grad, 2.0 * (latent - result.latent).detach() / latent.numel(), rtol=1e-4, atol=1e-7
    )


def test_fewer_levels_give_the_prefix_and_all_codes():
    quantizer, latent = _quantizer().eval(), _latent(batch=3)
    result = quantizer(latent, torch.tensor([1, 3, 2]))
    codes = quantizer.encode(latent)
    assert torch.equal(result.codes, codes)
    for row, levels in enumerate([1, 3, 2]):
        expected = quantizer.embed(codes[row : row + 1, :levels])
        torch.testing.assert_close(result.latent[row : row + 1], expected)


def test_commitment_counts_the_levels_in_use_only():
    quantizer, latent = _quantizer().eval(), _latent(batch=1)
    codes = quantizer.encode(latent)
    residuals = [latent - quantizer.embed(codes[:, :levels]) for levels in (1, 2, 3)]
    for levels in (1, 2, 3):
        found = quantizer(latent, torch.tensor([levels])).commitment
        expected = torch.stack([part.square().mean() for part in residuals[:levels]]).mean()
        torch.testing.assert_close(found, expected)


def test_codebooks_follow_their_data():
    quantizer = _quantizer(levels=1, size=2, width=1, decay=0.5, restart_below=0.0)
    quantizer.codebooks.copy_(torch.tensor([[[-1.0], [1.0]]]))
    quantizer.restart_statistics()
    data = torch.tensor([[[-3.0], [2.0], [4.0], [-3.0]]])
    quantizer(data)
    # Half of the old mean with count 1, half of the new one with count 2.
    torch.testing.assert_close(
        quantizer.codebooks[0, :, 0], torch.tensor([(-1.0 - 6.0) / 3.0, (1.0 + 6.0) / 3.0])
    )
    for _ in range(30):
        quantizer(data)
    torch.testing.assert_close(quantizer.codebooks[0, :, 0], torch.tensor([-3.0, 3.0]))


def test_dead_entries_restart_on_the_data():
    quantizer = _quantizer(levels=1, size=4, width=2, decay=0.5)
    far = torch.tensor([[0.0, 0.0], [90.0, 0.0], [0.0, 90.0], [-90.0, 90.0]])
    quantizer.codebooks[0] = far
    quantizer.restart_statistics()
    latent = 0.1 * _latent(width=2)
    for _ in range(12):
        quantizer(latent)
    assert quantizer.codebooks.abs().max() < 1.0
    assert len(quantizer.encode(latent).unique()) > 1


def test_training_lowers_the_error():
    quantizer, latent = _quantizer(decay=0.9), _latent(frames=300)
    before = _error(quantizer, latent, 3)
    for _ in range(40):
        quantizer(latent)
    assert _error(quantizer, latent, 3) < 0.5 * before


def test_only_codebooks_are_released():
    assert list(_quantizer().state_dict()) == ["codebooks"]
