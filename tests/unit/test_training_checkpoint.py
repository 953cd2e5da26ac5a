"""Checkpoints are whole or refused."""

import json

import pytest
import torch
from torch import nn

from parlando.contracts import CheckpointError, ConfigError
from parlando.training.checkpoint import (
    Card,
    load_state,
    load_weights,
    read_card,
    save_checkpoint,
    save_release,
)

CARD = Card(kind="toy", config={"width": 3}, step=7, minutes=1.5, numbers={"loss": 0.25})


def module() -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    made.register_buffer("large", torch.tensor([1e6, 1.0]))
    return made


@pytest.fixture
def saved(tmp_path):
    folder = tmp_path / "deep" / "step-1"
    save_checkpoint(folder, CARD, module().state_dict(), {"step": 7, "x": torch.ones(2)})
    return folder


def test_round_trip(saved):
    assert read_card(saved) == CARD
    assert read_card(saved, "toy").numbers == {"loss": 0.25}
    other = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    other.register_buffer("large", torch.zeros(2))
    load_weights(saved, other)
    for name, tensor in module().state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor)
    assert load_state(saved)["step"] == 7


def test_saving_again_replaces_and_leaves_nothing_else(saved):
    (saved.parent / f".{saved.name}.partial").mkdir()  # as a killed run leaves
    save_checkpoint(saved, Card(kind="toy", config={}, step=8), module().state_dict(), {"step": 8})
    assert read_card(saved).step == 8
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_a_failed_save_leaves_the_old_one(saved):
    with pytest.raises(TypeError):
        save_checkpoint(saved, Card(kind="toy", config={"bad": object()}), {}, {})
    assert read_card(saved) == CARD
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_tied_weights_are_saved(tmp_path):
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    save_release(tmp_path / "tied", tied, CARD, bits=32)
    load_weights(tmp_path / "tied", tied)


def test_release_is_half_precision_where_it_fits(tmp_path):
    made = module()
    save_release(tmp_path / "release", made, CARD)
    other = module()
    nn.init.zeros_(other[0].weight)
    load_weights(tmp_path / "release", other)
    assert other[0].weight.dtype == torch.float32
    torch.testing.assert_close(other[0].weight, made[0].weight, rtol=1e-3, atol=1e-4)
    assert other.large.tolist() == [1e6, 1.0]
    assert not (tmp_path / "release" / "state.pt").exists()
    with pytest.raises(CheckpointError, match=r"state\.pt: missing.*--init"):
        load_state(tmp_path / "release")
    full = tmp_path / "full"
    save_release(full, made, CARD, bits=32)
    sizes = [(path / "weights.safetensors").stat().st_size for path in (tmp_path / "release", full)]
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize(("bits", "most"), [(8, 127), (6, 31)])
def test_few_bits_keep_every_weight_within_half_a_step_of_its_row(tmp_path, bits, most):
    torch.manual_seed(0)
    made = nn.ModuleList([nn.Linear(64, 40), nn.Conv1d(8, 12, 3), nn.Embedding(9, 33)])
    with torch.no_grad():
        made[0].weight[3] *= 100.0
    save_release(tmp_path / "release", made, CARD, bits=bits)
    loaded = nn.ModuleList([nn.Linear(64, 40), nn.Conv1d(8, 12, 3), nn.Embedding(9, 33)])
    load_weights(tmp_path / "release", loaded)
    # Rows that do not divide into fours, as of kernels of three taps, have eight bits anyway.
    for index, steps in ((0, most), (1, 127), (2, 127)):
        true, found = made[index].weight.detach(), loaded[index].weight.detach()
        largest = true.abs().flatten(1).amax(1)
        limit = (0.502 / steps * largest).view(-1, *[1] * (true.dim() - 1))
        assert ((found - true).abs() <= limit).all()
    assert not torch.equal(loaded[0].weight, made[0].weight)


def test_six_bits_take_six_bits_and_others_are_refused(tmp_path):
    made = nn.Linear(1024, 1024, bias=False)
    save_release(tmp_path / "release", made, CARD, bits=6)
    size = (tmp_path / "release" / "weights.safetensors").stat().st_size
    assert size == pytest.approx(1024 * (1024 * 6 / 8 + 2), rel=0.001)
    with pytest.raises(ConfigError, match=r"got 5 bits .* expected 6, 8, 16 or 32"):
        save_release(tmp_path / "other", made, CARD, bits=5)


def test_wrong_kind_or_schema(saved):
    with pytest.raises(CheckpointError, match="got weights of 'toy', expected 'codec'"):
        read_card(saved, "codec")
    content = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**content, "schema": 99}))
    with pytest.raises(CheckpointError, match="got schema 99, expected 1"):
        read_card(saved)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1}', '{"schema": 1, "odd": 2}'])
def test_damaged_card(saved, text):
    (saved / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json: damaged"):
        read_card(saved)


def test_missing_parts(tmp_path, saved):
    with pytest.raises(CheckpointError, match=r"not a checkpoint, it has no config\.json"):
        read_card(tmp_path / "nothing")
    (saved / "weights.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: missing"):
        load_weights(saved, module())


@pytest.mark.parametrize("kept", [0, 5, 0.5, 0.99])
@pytest.mark.parametrize("name", ["weights.safetensors", "state.pt"])
def test_truncated(saved, name, kept):
    path = saved / name
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(CheckpointError, match="damaged or cut short") as raised:
        load_weights(saved, module()) if name.startswith("weights") else load_state(saved)
    assert "\n" not in str(raised.value)


def test_state_runs_no_code(saved):
    torch.save({"step": CARD}, saved / "state.pt")
    with pytest.raises(CheckpointError, match="damaged"):
        load_state(saved)


def test_tensors_of_another_configuration(saved):
    wider = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4))
    wider.register_buffer("large", torch.zeros(2))
    with pytest.raises(CheckpointError, match=r"'0\.weight' has shape \(3, 2\), expected \(4, 2\)"):
        load_weights(saved, wider)
    with pytest.raises(CheckpointError, match=r"has unknown 1 of .* 'large'"):
        load_weights(saved, nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)))
    more = module()
    more.register_buffer("more", torch.zeros(1))
    with pytest.raises(CheckpointError, match=r"lacks 1 of .* 'more'"):
        load_weights(saved, more)
