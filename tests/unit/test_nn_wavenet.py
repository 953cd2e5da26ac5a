"""WaveNet with attention and FiLM: padding, conditions, receptive field."""

import pytest
import torch

from parlando.nn.wavenet import WaveNet


def _net(layers=4, dilations=(1, 2), attend_every=2):
    torch.manual_seed(0)
    net = WaveNet(
        input_width=3,
        width=8,
        layers=layers,
        kernel=3,
        dilations=dilations,
        heads=2,
        attend_every=attend_every,
        dropout=0.0,
    ).eval()
    # As after some training: the zeros of the start would hide every difference.
    for name, parameter in net.named_parameters():
        if name.startswith("output.") or "film" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return net


def _inputs(batch=2, frames=12, tokens=4):
    return {
        "x": torch.randn(batch, frames, 3),
        "time": torch.randn(batch, 8),
        "condition": torch.randn(batch, frames, 8),
        "summary": torch.randn(batch, tokens, 8),
        "mask": torch.ones(batch, frames, dtype=torch.bool),
    }


def _run(net, given, **options):
    """Run it on ``_inputs``."""
    others = {name: value for name, value in given.items() if name != "condition"}
    return net(told=net.tell(given["condition"]), **others, **options)


def test_a_fresh_network_is_silent():
    net = WaveNet(
        input_width=3,
        width=8,
        layers=2,
        kernel=3,
        dilations=(1,),
        heads=2,
        attend_every=1,
        dropout=0.0,
    )
    assert _run(net, _inputs()).abs().max() == 0.0


def test_padding_changes_nothing():
    net, given = _net(), _inputs()
    given["mask"][1, 7:] = False
    together = _run(net, given)
    alone = net(
        given["x"][1:, :7],
        given["time"][1:],
        net.tell(given["condition"][1:, :7]),
        given["summary"][1:],
        given["mask"][1:, :7],
    )
    torch.testing.assert_close(together[1:, :7], alone, rtol=1e-4, atol=1e-5)
    assert together[1, 7:].abs().sum() == 0.0


def test_hidden_summary_frames_change_nothing():
    net, given = _net(), _inputs()
    hidden = torch.tensor([[True] * 4, [True, True, False, False]])
    together = _run(net, given, summary_mask=hidden)
    one = {name: value[1:] for name, value in given.items()}
    alone = _run(net, one | {"summary": given["summary"][1:, :2]})
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-5)


def test_masked_positions_have_no_gradient():
    net, given = _net(), _inputs()
    given["mask"][1, 7:] = False
    given["x"].requires_grad_()
    given["condition"].requires_grad_()
    _run(net, given).square().sum().backward()
    for name in ("x", "condition"):
        assert given[name].grad[1, 7:].abs().sum() == 0.0
        assert (given[name].grad[given["mask"]].abs().sum(-1) > 0.0).all()


@pytest.mark.parametrize("name", ["time", "condition", "summary"])
def test_every_condition_counts(name):
    net, given = _net(), _inputs()
    changed = _run(net, given | {name: given[name] + 1.0})
    assert (changed - _run(net, given)).abs().max() > 1e-3


def test_without_summary_or_attention_it_still_runs():
    given = _inputs() | {"summary": None}
    assert _run(_net(), given).abs().sum() > 0.0
    plain = _net(attend_every=0)
    assert all(block.attention is None for block in plain.blocks)
    assert _run(plain, given).abs().sum() > 0.0


def test_attention_is_in_every_nth_block():
    net = _net(layers=7, attend_every=3)
    found = [index for index, block in enumerate(net.blocks) if block.attention is not None]
    assert found == [0, 3, 6]


def test_receptive_field_is_the_sum_of_the_dilations():
    net, given = _net(layers=3, dilations=(1, 2)), _inputs(batch=1, frames=25)
    given["x"].requires_grad_()
    _run(net, given)[0, 12].sum().backward()
    reached = (given["x"].grad[0].abs().sum(-1) > 0.0).nonzero().flatten()
    # 1 + 2 + 1 frames to each side.
    assert reached.tolist() == list(range(8, 17))
