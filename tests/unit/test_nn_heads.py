"""Small networks that read attributes off features."""

import torch

from parlando.nn.heads import FrameHead, PooledHead, pooled


def test_frames_see_three_neighbours_on_each_side():
    torch.manual_seed(0)
    head, x = FrameHead(5, 8, 3), torch.randn(1, 21, 5, requires_grad=True)
    head(x)[0, 10].sum().backward()
    assert x.grad[0].any(1).nonzero()[:, 0].tolist() == list(range(7, 14))


def test_pooling_ignores_padding():
    torch.manual_seed(0)
    x, mask = torch.randn(2, 9, 5), torch.arange(9) < torch.tensor([[9], [4]])
    torch.testing.assert_close(pooled(x, mask)[1], x[1, :4].mean(0))
    assert not pooled(x, torch.zeros_like(mask)).any()
    assert PooledHead(5, 8, 3)(x, mask).shape == (2, 3)
