"""The plain transformer: causality, cache, padding at either end."""

import pytest
import torch

from parlando.nn.decoder import Cache, Transformer, pack, sinusoids


def transformer(causal=True, **differences):
    torch.manual_seed(0)
    shape = {"width": 16, "layers": 3, "heads": 2, "filter_width": 24, "dropout": 0.0}
    return Transformer(**{**shape, **differences}, causal=causal).eval()


def test_cached_is_uncached_to_rounding():
    network, x = transformer(), torch.randn(2, 150, 16)
    whole = network(x)
    cache = Cache(3)
    parts, start = [], 0
    for length in (5, 1, 1, 60, 1, 7, *[1] * 75):
        parts.append(network(x[:, start : start + length], cache=cache))
        start += length
    assert cache.length == start == 150
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-4, atol=1e-5)


def test_padding_at_the_front_of_a_cache_changes_nothing():
    network, x = transformer(), torch.randn(3, 12, 16)
    lengths = [12, 7, 1]
    mask = torch.arange(12)[None] >= 12 - torch.tensor(lengths)[:, None]
    later = torch.randn(3, 4, 16)
    cache = Cache(3, mask)
    found = [network(x, cache=cache)[:, -1:]]
    found += [network(later[:, step : step + 1], cache=cache) for step in range(2)]
    found += [network(later[:, 2:], cache=cache)]
    together = torch.cat(found, dim=1)
    for row, length in enumerate(lengths):
        alone = network(torch.cat([x[row, 12 - length :], later[row]])[None])[:, length - 1 :]
        torch.testing.assert_close(together[row], alone[0], rtol=1e-4, atol=1e-5)


def test_no_position_sees_a_later_one():
    network, x = transformer(), torch.randn(1, 9, 16, requires_grad=True)
    # Weighted: a plain sum of normalised states never changes, and has no gradient.
    (network(x)[0, 4] * torch.randn(16)).sum().backward()
    assert x.grad[0, 5:].abs().sum() == 0.0
    assert (x.grad[0, :5].abs().sum(-1) > 0.0).all()


def test_without_causality_all_real_positions_are_seen():
    network, x = transformer(causal=False), torch.randn(2, 9, 16, requires_grad=True)
    mask = torch.arange(9)[None] < torch.tensor([[9], [5]])
    states = network(x, mask)
    torch.testing.assert_close(states[1, :5], network(x[1:, :5])[0], rtol=1e-4, atol=1e-5)
    (states * torch.randn(16))[mask].sum().backward()
    assert x.grad[1, 5:].abs().sum() == 0.0
    assert (x.grad[mask].abs().sum(-1) > 0.0).all()


@pytest.mark.parametrize("layers", [(0,), (2,), (0, 2)])
def test_watching_changes_nothing_and_shows_the_products(layers):
    network, x = transformer(), torch.randn(2, 6, 16)
    states, shown = network.watched(x, layers)
    torch.testing.assert_close(states, network(x))
    assert shown.shape == (len(layers), 2, 6, 6)
    for layer, products in zip(layers, shown, strict=True):
        state = x
        for before in network.layers[:layer]:
            state = before(state, None, True, None)
        chosen = network.layers[layer]
        query, key, _ = chosen.query_key_value(chosen.attention_norm(state)).chunk(3, dim=-1)
        expected = query[..., :8] @ key[..., :8].transpose(1, 2) / 8**0.5
        torch.testing.assert_close(products, expected)


def test_dropout_acts_in_training_only():
    network, x = transformer(dropout=0.5), torch.randn(1, 6, 16)
    torch.testing.assert_close(network(x), network(x))
    network.train()
    assert not torch.allclose(network(x), network(x))


@pytest.mark.parametrize("left", [False, True])
def test_packing_keeps_order_and_says_where_all_went(left):
    x = torch.arange(12.0).view(2, 6, 1)
    mask = torch.tensor([[1, 0, 1, 1, 0, 0], [0, 1, 0, 0, 0, 1]]).bool()
    packed, packed_mask, where = pack(x, mask, left=left)
    assert packed.shape == (2, 3, 1)
    for row, expected in enumerate([[0.0, 2.0, 3.0], [7.0, 11.0]]):
        assert packed[row, packed_mask[row], 0].tolist() == expected
        moved = packed[row, where[row, mask[row]], 0]
        assert torch.equal(moved, x[row, mask[row], 0])
    assert packed_mask[1].tolist() == ([False, True, True] if left else [True, True, False])


@pytest.mark.parametrize(
    ("grid", "limit", "length"), [(1, None, 3), (4, None, 4), (8, None, 6), (4, 3, 3), (4, 2, 3)]
)
def test_packing_rounds_up_to_a_grid_within_what_there_is_and_what_is_read(grid, limit, length):
    mask = torch.tensor([[1, 0, 1, 1, 0, 0], [0, 1, 0, 0, 0, 1]]).bool()
    packed, packed_mask, _ = pack(torch.zeros(2, 6, 1), mask, grid=grid, limit=limit)
    assert packed.shape[1] == packed_mask.shape[1] == length
    assert packed_mask.sum(1).tolist() == [3, 2]


def test_sinusoids_tell_all_positions_apart():
    table = sinusoids(500, 17, scale=2.0)
    assert table.shape == (500, 17)
    assert float(table.abs().max()) <= 2.0
    assert torch.pdist(table).min() > 1e-2
