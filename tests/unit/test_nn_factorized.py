"""Factorized codes: a sphere, straight-through gradients, noise that foretells."""

import math

import pytest
import torch
import torch.nn.functional as F

from parlando.nn.factorized import FactorizedQuantizer, noise_strength, sphere


def _input(batch=2, frames=50, width=12, seed=0):
    return torch.randn(batch, frames, width, generator=torch.Generator().manual_seed(seed))


def _quantizer(levels=3, size=16, width=12, code_width=4, **options):
    torch.manual_seed(0)
    return FactorizedQuantizer(levels, size, width, code_width, **options)


def test_shapes_and_types():
    quantizer = _quantizer()
    codes = quantizer.encode(_input(frames=7))
    assert codes.shape == (2, 3, 7)
    assert codes.dtype == torch.int64
    assert quantizer.embed(codes).shape == (2, 7, 12)
    assert quantizer.entries(1).shape == (16, 12)
    assert quantizer.levels == 3


def test_vectors_and_entries_lie_on_the_sphere():
    quantizer = _quantizer()
    quantizer.codebooks.mul_(3.0)
    vectors = quantizer.vectors(100.0 * _input())
    torch.testing.assert_close(vectors.square().mean(-1), torch.ones(2, 50))
    quantizer.up[0].weight.data = torch.eye(12)[:, :4]
    torch.testing.assert_close(quantizer.entries(0).square().sum(-1), torch.full((16,), 4.0))


def test_codes_are_the_nearest_directions_of_what_is_left():
    quantizer, left = _quantizer(), _input()
    codes = quantizer.encode(left)
    for level in range(3):
        vectors = quantizer.vectors(left, level)
        book = quantizer.codebooks[level]
        far = torch.cdist(F.normalize(vectors, dim=-1), F.normalize(book, dim=-1)[None])
        assert torch.equal(codes[:, level], far.argmin(-1))
        left = left - quantizer.entries(level)[codes[:, level]]


def test_length_of_what_comes_in_does_not_change_the_code():
    quantizer = _quantizer(levels=1)
    vectors = quantizer.vectors(_input())
    assert torch.equal(quantizer.nearest(0.1 * vectors, 0), quantizer.nearest(vectors, 0))


def test_forward_agrees_with_encode_and_embed():
    quantizer, x = _quantizer().eval(), _input()
    result = quantizer(x)
    assert torch.equal(result.codes, quantizer.encode(x))
    torch.testing.assert_close(result.latent, quantizer.embed(result.codes))
    parts = [quantizer.entries(i)[result.codes[:, i]] for i in range(2)]
    torch.testing.assert_close(quantizer.embed(result.codes[:, :2]), parts[0] + parts[1])


def test_the_gradient_passes_straight_through():
    quantizer, weight = _quantizer(levels=1), _input(seed=1)
    found = []
    for quantized in (True, False):
        x = _input().requires_grad_()
        latent = quantizer.eval()(x).latent if quantized else quantizer.up[0](quantizer.vectors(x))
        (latent * weight).sum().backward()
        found.append(x.grad)
    torch.testing.assert_close(found[0], found[1])
    assert found[0].any()


def test_each_level_sends_gradients_to_its_own_projection_alone():
    quantizer = _quantizer().eval()
    (quantizer(_input()).latent * _input(seed=1)).sum().backward()
    assert all(layer.weight.grad.any() for layer in quantizer.down)
    quantizer.zero_grad()
    latent = quantizer(_input()).latent
    # What level 0 leaves is taken as given: nothing of level 1 pulls at level 0.
    quantizer.up[0].weight.data.zero_()
    torch.autograd.grad(latent.sum(), quantizer.up[2].weight, retain_graph=True)
    assert quantizer.down[0].weight.grad is None


def test_commitment_pulls_vectors_to_their_entries():
    quantizer, x = _quantizer(levels=1).eval(), _input()
    vectors = quantizer.vectors(x)
    chosen = sphere(quantizer.codebooks[0])[quantizer.nearest(vectors, 0)]
    torch.testing.assert_close(quantizer(x).commitment, (vectors - chosen).square().mean())


def test_evaluation_moves_nothing_and_training_lowers_the_error():
    quantizer, x = _quantizer(decay=0.9), _input(frames=300)
    before = quantizer.codebooks.clone()
    quantizer.eval()
    first = quantizer(x).commitment.item()
    assert torch.equal(quantizer.codebooks, before)
    quantizer.train()
    for _ in range(40):
        quantizer(x)
    assert quantizer.eval()(x).commitment.item() < 0.6 * first


def test_fitting_brings_entries_near_and_uses_all():
    quantizer, x = _quantizer(levels=2), _input(frames=500)
    before = quantizer(x).commitment.item()
    cosines = quantizer.fit(x.flatten(0, 1))
    assert all(0.75 < cosine < 1.0 for cosine in cosines)
    codes = quantizer.encode(x)
    assert all(len(level.unique()) == 16 for level in codes.unbind(1))
    # On a sphere of mean square 1, the error is 2 - 2 cos.
    expected = sum(2.0 - 2.0 * cosine for cosine in cosines) / 2
    assert quantizer.eval()(x).commitment.item() == pytest.approx(expected, rel=0.02)
    assert expected < 0.7 * before


def test_noise_leaves_a_gaussian_channel_its_bits():
    for bits, width in ((10.0, 8), (3.0, 4)):
        strength = noise_strength(bits, width)
        assert width / 2 * math.log2(1.0 + strength**-2) == pytest.approx(bits)


def test_noise_of_a_little_over_nine_bits_errs_as_a_thousand_entries_do():
    torch.manual_seed(0)
    vectors, others = sphere(torch.randn(40_960, 8)).split((32_768, 8192))
    strength = noise_strength(9.25, 8)
    noisy = sphere(vectors + strength * torch.randn_like(vectors))
    foretold = F.cosine_similarity(noisy, vectors, dim=-1).mean()
    quantizer = FactorizedQuantizer(1, 1024, 8)
    quantizer.down[0].weight.data, quantizer.down[0].bias.data = torch.eye(8), torch.zeros(8)
    quantizer.fit(vectors, iterations=6)
    # Entries for vectors that they were not fitted to; on this sphere the error is 2 - 2 cos.
    error = quantizer.eval()(others[None]).commitment.item()
    assert 1.0 - error / 2.0 == pytest.approx(foretold.item(), abs=0.01)


def test_more_bits_disturb_less_and_gradients_pass():
    quantizer, x = _quantizer(levels=1), _input().requires_grad_()
    calm = quantizer.up[0](quantizer.vectors(x))
    far = []
    for bits in (2.0, 8.0, 40.0):
        torch.manual_seed(0)
        far.append((quantizer.disturb(x, bits) - calm).square().mean().item())
    assert far[0] > far[1] > 10.0 * far[2]
    quantizer.disturb(x, 8.0).square().sum().backward()
    assert x.grad.any()


def test_span_finds_the_main_directions():
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(12, 12)).Q
    powers = torch.tensor([5.0] * 4 + [2.0] * 4 + [0.01] * 4)
    x = 3.0 + (torch.randn(2000, 12) * powers) @ basis
    quantizer = _quantizer(levels=2)
    left = quantizer.span(x, 30.0)
    assert left.var(0).mean() < 0.3 * x.var(0).mean()
    whitened = quantizer.down[0](x)
    torch.testing.assert_close(whitened.T.cov(), torch.eye(4), atol=1e-2, rtol=0)
    assert (F.normalize(quantizer.down[0].weight, dim=1) @ basis[:4].T).norm() > 1.99
    second = _quantizer(levels=1)
    second.span(x, 30.0, skip=4)
    assert (F.normalize(second.down[0].weight, dim=1) @ basis[4:8].T).norm() > 1.99


def test_codes_as_wide_as_the_latent_are_allowed():
    quantizer = _quantizer(code_width=12)
    assert quantizer.vectors(_input()).shape == (2, 50, 12)
    quantizer.span(_input().flatten(0, 1), 10.0, skip=5)


def test_only_projections_and_codebooks_are_released():
    names = {name.split(".")[0] for name in _quantizer().state_dict()}
    assert names == {"down", "up", "codebooks"}
