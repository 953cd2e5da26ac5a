"""The ConvNeXt block."""

import torch

from parlando.nn.convolution import ConvNeXtBlock


def test_output_depends_on_half_a_kernel_to_each_side():
    block = ConvNeXtBlock(6, kernel=5)
    x = torch.randn(1, 15, 6, requires_grad=True)
    block(x)[0, 7].sum().backward()
    reached = x.grad[0].abs().sum(-1) > 0.0
    assert reached.nonzero().flatten().tolist() == [5, 6, 7, 8, 9]


def test_scale_weighs_the_residual():
    block = ConvNeXtBlock(4, kernel=3, scale=0.0)
    x = torch.randn(2, 5, 4)
    torch.testing.assert_close(block(x), x)
    block(x).square().sum().backward()
    assert block.scale.grad.abs().min() > 0.0
