"""What everything that can be trained owes: it is built, learns, resumes, and reads strictly."""

import dataclasses
import itertools

import pytest
import tinycorpus
import torch
from safetensors.torch import load_file

from parlando.codecs.facodec.config import tiny as tiny_facodec
from parlando.codecs.facodec.model import build_facodec
from parlando.codecs.rvq.config import tiny as tiny_codec
from parlando.codecs.rvq.model import build_rvq
from parlando.contracts import CheckpointError, ConfigError, Objective
from parlando.curriculum import _KINDS, trainable
from parlando.data.annotate import AlignmentLimits, prepare_alignment, prepare_codes
from parlando.data.prepare import AudioOptions, prepare_audio
from parlando.recipes import from_mapping, to_mapping
from parlando.registry import CODEC_OF, load_trained
from parlando.training.checkpoint import WEIGHTS_NAME, Card, read_card, save_release
from parlando.training.loop import train

PRESETS = [(kind, preset) for kind, entry in _KINDS.items() for preset in entry.presets]
SECTIONS = ("model", "objective", "data")


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    folder = tmp_path_factory.mktemp("codec") / "tiny-codec"
    torch.manual_seed(0)
    save_release(
        folder, build_rvq(tiny_codec()), Card(kind="codec", config=to_mapping(tiny_codec()))
    )
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    out = folder / "prepared"
    recordings = tinycorpus.recordings(folder / "corpus")
    prepare_audio(recordings, out, AudioOptions(shard_utterances=5), processes=1)
    prepare_alignment(out, tinycorpus.even_alignment, "even", AlignmentLimits())
    entries = tiny_codec().codebook_size
    prepare_codes(out, lambda wave: tinycorpus.counting_codes(wave) % entries, "counting")
    return out


@pytest.fixture(scope="module")
def facodec(tmp_path_factory):
    folder = tmp_path_factory.mktemp("codec") / "tiny-facodec"
    torch.manual_seed(0)
    config = dataclasses.replace(tiny_facodec(), content_levels=1, detail_levels=2)
    save_release(folder, build_facodec(config), Card(kind="facodec", config=to_mapping(config)))
    return folder


@pytest.fixture
def tiny(codec, facodec):
    """Resolve a kind's preset ``tiny`` against the tiny codec of its sort."""

    def resolve(kind):
        own = {"rvq-small": codec, "facodec-small": facodec}
        objective = {"codec": str(own[CODEC_OF[kind]])} if kind in CODEC_OF else {}
        return trainable(kind, "tiny", {"objective": objective})

    return resolve


def _settings(kind, **differences):
    return dataclasses.replace(
        _KINDS[kind].training,
        **{
            "steps": 4,
            "batch_seconds": 6.0,
            "warmup_steps": 0,
            "schedule": "constant",
            "cooldown_fraction": 0.0,
            "precision": "fp32",
            "device": "cpu",
            "threads": 1,
            **differences,
        },
    )


class OneBatch:
    """The same batch again and again."""

    def __init__(self, source):
        self._only = source.batch(0, 0, 1)

    def batch(self, step, rank, world):
        return self._only

    def validation(self):
        return iter(())


@pytest.mark.parametrize(("kind", "preset"), PRESETS)
def test_configurations_survive_text(kind, preset):
    what = trainable(kind, preset)
    for config in (what.config, what.training, *what.sections.values()):
        assert from_mapping(type(config), to_mapping(config)) == config


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("kind", _KINDS)
def test_unknown_key_of_a_recipe_is_refused(kind, section):
    with pytest.raises(ConfigError, match=f"{section} has no 'no_such_key'"):
        trainable(kind, "tiny", {section: {"no_such_key": 1}})


@pytest.mark.parametrize("kind", ["valle2", "naturalspeech3"])
def test_codes_of_another_codec_are_refused(kind, data, tmp_path):
    config = tiny_facodec()
    release = Card(kind="facodec", config=to_mapping(config))
    save_release(tmp_path / "six", build_facodec(config), release)
    differences = {"objective": {"codec": str(tmp_path / "six")}, "model": {"levels": 6}}
    with pytest.raises(ConfigError, match=r"holds 4 codes a frame, the codec .*six makes 6"):
        trainable(kind, "tiny", differences).build_objective(data, None)


@pytest.mark.parametrize("kind", _KINDS)
def test_objective_keeps_its_contract(kind, tiny, data):
    objective = tiny(kind).build_objective(data, None)
    assert isinstance(objective, Objective)
    groups = [objective.parameters_of(phase) for phase in objective.phases]
    assert all(groups)
    # Two phases never step the same weight, and all that is released belongs to the objective.
    names = [id(parameter) for parameter in itertools.chain(*groups)]
    assert len(names) == len(set(names))
    inside = {id(module) for module in objective.modules()}
    assert id(objective.trained()) in inside


@pytest.mark.parametrize("kind", _KINDS)
def test_one_batch_is_learnt(kind, tiny, data):
    torch.manual_seed(0)
    what, settings = tiny(kind), _settings(kind)
    objective = what.build_objective(data, None)
    batch = OneBatch(what.build_source(data, settings)).batch(0, 0, 1)
    optimizer = torch.optim.Adam(objective.parameters_of(objective.phases[0]), lr=3e-3)
    losses = []
    for _ in range(40):
        torch.manual_seed(1)  # the same noise: what falls is the loss, not its luck
        found = objective(objective.phases[0], batch, 0, None).losses
        total = torch.stack(list(found.values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(float(total.detach()))
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("kind", _KINDS)
def test_resumes_bit_for_bit(kind, tiny, data, tmp_path):
    def run(folder, steps):
        torch.manual_seed(0)
        what, settings = tiny(kind), _settings(kind, steps=steps)
        objective = what.build_objective(data, None)
        source = what.build_source(data, settings)
        return train(objective, source, settings, folder, kind, to_mapping(what.config)).checkpoint

    whole = run(tmp_path / "whole", 4)
    run(tmp_path / "parts", 2)
    resumed = run(tmp_path / "parts", 4)
    expected = load_file(whole / WEIGHTS_NAME)
    assert read_card(resumed).step == 4
    for name, tensor in load_file(resumed / WEIGHTS_NAME).items():
        assert tensor.equal(expected[name]), name
    # What the loop wrote, the registry reads.
    module = load_trained(resumed)
    assert not module.training
    with pytest.raises(CheckpointError, match="expected 'another'"):
        read_card(resumed, "another")
