"""Attention and rotary positions."""

import pytest
import torch

from parlando.nn.attention import Attention, attend, rotary


def test_rotation_keeps_norms_and_first_position():
    x = torch.randn(2, 3, 7, 8)
    turned = rotary(x)
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    torch.testing.assert_close(turned[:, :, 0], x[:, :, 0])
    assert not torch.allclose(turned[:, :, 1], x[:, :, 1])


def test_rotated_products_depend_on_the_distance_only():
    query, key = torch.randn(8), torch.randn(8)
    queries = rotary(query.expand(1, 1, 12, 8))[0, 0]
    keys = rotary(key.expand(1, 1, 12, 8))[0, 0]
    products = queries @ keys.T
    for distance in (-3, 0, 2):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand(len(diagonal)))
    assert abs(products[0, 0] - products[0, 3]) > 1e-4


@pytest.mark.parametrize("rotary_positions", [False, True])
def test_attention_is_the_softmax_of_scaled_products(rotary_positions):
    attention = Attention(8, 2, rotary_positions=rotary_positions).eval()
    x, memory = torch.randn(1, 5, 8), torch.randn(1, 4, 8)
    heads = [
        part.unflatten(-1, (2, 4)).transpose(1, 2)
        for part in (attention.query(x), *attention.key_value(memory).chunk(2, dim=-1))
    ]
    query, key, value = heads
    if rotary_positions:
        query, key = rotary(query), rotary(key)
    weights = (query @ key.transpose(2, 3) / 4**0.5).softmax(-1)
    expected = attention.output((weights @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x, memory), expected)


def test_hidden_memory_is_neither_read_nor_taught():
    attention = Attention(8, 2).eval()
    x, memory = torch.randn(2, 3, 8), torch.randn(2, 6, 8, requires_grad=True)
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    attended = attention(x, memory, mask)
    torch.testing.assert_close(attended[1:], attention(x[1:], memory[1:, :4]))
    attended.sum().backward()
    assert memory.grad[1, 4:].abs().sum() == 0.0
    assert memory.grad[1, :4].abs().min() > 0.0


def test_training_in_bfloat16_on_a_cpu_keeps_type_and_result():
    query, key, value = (torch.randn(2, 2, 9, 64).bfloat16() for _ in range(3))
    mask = torch.arange(9)[None] < 7
    exact = attend(query.double(), key.double(), value.double(), mask=mask)
    query.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        attended = attend(query, key, value, mask=mask)
    assert attended.dtype == torch.bfloat16
    torch.testing.assert_close(attended.double(), exact, rtol=2**-8, atol=1e-6)
    attended.sum().backward()
    assert query.grad.isfinite().all()
