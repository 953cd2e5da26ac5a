"""The Transformer encoder: padding, positions, gradients."""

import pytest
import torch

from parlando.nn.transformer import ConvolutionalFeedForward, TransformerEncoder


def _encoder(dropout=0.0):
    torch.manual_seed(0)
    return TransformerEncoder(
        width=16, layers=2, heads=2, filter_width=24, kernel=5, dropout=dropout
    ).eval()


def test_padding_changes_nothing():
    encoder = _encoder()
    x = torch.randn(3, 11, 16)
    lengths = [11, 7, 1]
    mask = torch.arange(11)[None] < torch.tensor(lengths)[:, None]
    together = encoder(x, mask)
    for row, length in enumerate(lengths):
        alone = encoder(x[row : row + 1, :length], mask[row : row + 1, :length])
        torch.testing.assert_close(together[row, :length], alone[0], rtol=1e-4, atol=1e-5)
        assert together[row, length:].abs().sum() == 0.0


def test_masked_positions_have_no_gradient():
    encoder = _encoder()
    x = torch.randn(2, 9, 16, requires_grad=True)
    mask = torch.arange(9)[None] < torch.tensor([[9], [5]])
    encoder(x, mask).square().sum().backward()
    assert x.grad[1, 5:].abs().sum() == 0.0
    assert (x.grad[mask].abs().sum(-1) > 0.0).all()


def test_order_matters():
    """Without positions a shuffled sequence would give the shuffled output."""
    encoder = _encoder()
    x = torch.randn(1, 8, 16)
    mask = torch.ones(1, 8, dtype=torch.bool)
    shuffle = torch.tensor([3, 1, 4, 0, 5, 7, 2, 6])
    assert not torch.allclose(encoder(x[:, shuffle], mask), encoder(x, mask)[:, shuffle], atol=1e-2)


def test_attention_alone_knows_positions():
    """Far apart, where no convolution reaches, distance still tells."""
    encoder = _encoder()
    x = torch.randn(1, 40, 16) * 1.0
    mask = torch.ones(1, 40, dtype=torch.bool)
    swapped = x.clone()
    swapped[:, [30, 36]] = x[:, [36, 30]]
    first, second = encoder(x, mask)[0, 0], encoder(swapped, mask)[0, 0]
    assert (first - second).abs().max() > 1e-5


def test_the_place_in_the_batch_does_not_matter():
    encoder = _encoder()
    x = torch.randn(1, 6, 16).expand(4, -1, -1)
    encoded = encoder(x, torch.ones(4, 6, dtype=torch.bool))
    torch.testing.assert_close(encoded, encoded[:1].expand(4, -1, -1))


def test_dropout_acts_in_training_only():
    encoder = _encoder(dropout=0.5)
    x, mask = torch.randn(1, 6, 16), torch.ones(1, 6, dtype=torch.bool)
    torch.testing.assert_close(encoder(x, mask), encoder(x, mask))
    encoder.train()
    assert not torch.allclose(encoder(x, mask), encoder(x, mask))


@pytest.mark.parametrize("kernel", [1, 3, 9])
def test_training_convolves_as_speaking_does(kernel):
    network = ConvolutionalFeedForward(8, 12, kernel, dropout=0.0)
    x = torch.randn(2, 11, 8, requires_grad=True)
    results = []
    for training in (True, False):
        network.train(training)
        y = network(x)
        results.append((y, *torch.autograd.grad(y.square().sum(), [x, network.inner.weight])))
    for trained, spoken in zip(*results, strict=True):
        torch.testing.assert_close(trained, spoken, rtol=1e-4, atol=1e-5)
