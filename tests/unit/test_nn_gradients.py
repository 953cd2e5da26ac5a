"""Gradients that are turned round."""

import pytest
import torch

from parlando.nn.gradients import gradient_reversal


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 3.0])
def test_values_pass_and_gradients_turn_round(scale):
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found = gradient_reversal(x, scale)
    assert torch.equal(found, x)
    (gradient,) = torch.autograd.grad((found.square() * 0.5).sum(), x)
    torch.testing.assert_close(gradient, -scale * x.detach())


def test_the_classifier_learns_what_its_features_unlearn():
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(20, 4, generator=generator).requires_grad_()
    weight = torch.randn(3, 4, generator=generator).requires_grad_()
    target = torch.randint(3, (20,), generator=generator)

    def loss(features, weight):
        return torch.nn.functional.cross_entropy(features @ weight.T, target)

    before = loss(features, weight)
    along, against = torch.autograd.grad(
        loss(gradient_reversal(features), weight), (weight, features)
    )
    assert loss(features, weight - 0.1 * along) < before
    assert loss(features - 0.1 * against, weight) > before
