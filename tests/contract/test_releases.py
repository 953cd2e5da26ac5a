"""What all released weights owe: they load, repeat themselves, and refuse what is damaged."""

import shutil

import numpy as np
import pytest
import torch

from parlando.contracts import CheckpointError
from parlando.registry import (
    DEFAULT_SYSTEM,
    RELEASES,
    example_prompt,
    load,
    load_trained,
    release_folder,
)
from parlando.training.checkpoint import WEIGHTS_NAME, load_weights, read_card

PRESENT = [name for name in RELEASES if release_folder(name).is_dir()]
SYSTEMS = [name for name in PRESENT if RELEASES[name] == "naturalspeech2"]


def test_all_releases_are_there():
    assert sorted(PRESENT) == sorted(RELEASES)
    assert DEFAULT_SYSTEM in RELEASES
    assert example_prompt().is_file()


@pytest.mark.parametrize("name", PRESENT)
def test_release_loads_and_says_what_it_is(name):
    card = read_card(release_folder(name), RELEASES[name])
    assert card.step > 0
    module = load_trained(release_folder(name))
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert all(tensor.isfinite().all() for tensor in module.state_dict().values())


@pytest.mark.parametrize("name", PRESENT)
def test_wrong_kind_is_refused(name):
    other = next(kind for kind in RELEASES.values() if kind != RELEASES[name])
    with pytest.raises(CheckpointError, match=f"expected '{other}'"):
        read_card(release_folder(name), other)


@pytest.mark.parametrize("name", PRESENT)
def test_truncated_weights_are_refused(name, tmp_path):
    folder = tmp_path / name
    shutil.copytree(release_folder(name), folder)
    weights = folder / WEIGHTS_NAME
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    with pytest.raises(CheckpointError, match="cut short"):
        load_trained(folder)


@pytest.mark.parametrize("name", PRESENT)
def test_weights_of_another_shape_are_refused(name):
    with pytest.raises(CheckpointError, match="another configuration"):
        load_weights(release_folder(name), torch.nn.Linear(2, 2))


@pytest.mark.parametrize("name", SYSTEMS)
def test_same_seed_gives_the_same_sound(name):
    speaker = load(name)
    first, again, other = (speaker.speak("It works.", seed=seed, steps=2) for seed in (1, 1, 2))
    assert np.array_equal(first.samples, again.samples)
    assert not np.array_equal(first.samples, other.samples)
