"""Time embedding and feature-wise modulation."""

import torch

from parlando.nn.conditioning import FiLM, TimeEmbedding


def test_every_pair_of_times_is_told_apart():
    torch.manual_seed(0)
    embedding = TimeEmbedding(32)
    sinusoids: list[torch.Tensor] = []
    embedding.network[0].register_forward_pre_hook(lambda _, given: sinusoids.append(given[0]))
    embedding(torch.linspace(0.0, 1.0, 51))
    distance = torch.cdist(sinusoids[0], sinusoids[0]) + 10.0 * torch.eye(51)
    assert distance.min() > 0.5
    # Unscaled times would leave all but the first few channels as they are.
    assert (sinusoids[0].std(0) > 0.1).sum() >= 20


def test_embedding_is_per_item():
    embedding = TimeEmbedding(16)
    t = torch.tensor([0.1, 0.7, 0.1])
    found = embedding(t)
    assert found.shape == (3, 16)
    torch.testing.assert_close(found[0], found[2])
    torch.testing.assert_close(found[1:2], embedding(t[1:2]))


def test_film_starts_as_the_identity_and_learns():
    film = FiLM(6, 4)
    x, condition = torch.randn(2, 5, 4), torch.randn(2, 5, 6)
    torch.testing.assert_close(film(x, condition), x)
    film(x, condition).square().sum().backward()
    assert film.projection.weight.grad.abs().sum() > 0.0


def test_film_scales_and_shifts():
    film = FiLM(1, 2)
    with torch.no_grad():
        film.projection.weight.copy_(torch.tensor([[2.0], [0.0], [0.0], [-1.0]]))
    found = film(torch.tensor([[[3.0, 5.0]]]), torch.tensor([[[1.0]]]))
    torch.testing.assert_close(found, torch.tensor([[[9.0, 4.0]]]))
