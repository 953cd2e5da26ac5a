"""The factorized codec's stages as ``parlando train`` strings them together."""

import dataclasses

import pytest
import tinycorpus
import torch

from parlando.codecs.rvq.config import RVQConfig
from parlando.codecs.rvq.model import build_rvq
from parlando.contracts import ConfigError
from parlando.curriculum import trainable
from parlando.recipes import to_mapping
from parlando.training.checkpoint import STATE_NAME, Card, load_state, save_release
from parlando.training.loop import train


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tinycorpus.prepare(tmp_path_factory.mktemp("corpus")).folder


@pytest.fixture(scope="module")
def rvq(tmp_path_factory):
    config = RVQConfig(
        latent_width=12,
        levels=2,
        codebook_size=16,
        encoder_width=16,
        encoder_layers=1,
        decoder_width=16,
        decoder_layers=1,
    )
    torch.manual_seed(4)
    folder = tmp_path_factory.mktemp("weights") / "rvq"
    save_release(folder, build_rvq(config), Card(kind="codec", config=to_mapping(config)), 32)
    return folder


def _stage(start="", fit_frames=0, **loss):
    objective = {"start": str(start), "fit_frames": fit_frames, "loss": {"head_width": 8} | loss}
    return trainable("facodec", "tiny", {"objective": objective})


@pytest.fixture(scope="module")
def checkpoint(data, rvq, tmp_path_factory):
    """Return what a first stage of two steps from the ``rvq`` codec leaves."""
    what = _stage(rvq)
    settings = dataclasses.replace(
        what.training, steps=2, batch_seconds=2.4, precision="fp32", device="cpu", threads=1
    )
    torch.manual_seed(0)
    objective = what.build_objective(data, None)
    run = tmp_path_factory.mktemp("run")
    source = what.build_source(data, settings)
    return train(objective, source, settings, run, "facodec", to_mapping(what.config)).checkpoint


def test_the_first_stage_starts_from_another_codec(data, rvq):
    from parlando.registry import load_codec

    started, given = _stage(rvq).build_objective(data, None).codec, load_codec(rvq)
    for part in ("encoder", "decoder"):
        own = getattr(started, part).state_dict()
        for name, tensor in getattr(given, part).state_dict().items():
            assert torch.equal(own[name], tensor), name
    assert all(p.requires_grad for p in started.encoder.parameters())
    with pytest.raises(ConfigError, match="of the encoder differ"):
        _stage("rvq-small").build_objective(data, None)


def test_the_second_stage_goes_on_with_weights_and_readers_and_fits_codebooks(data, checkpoint):
    state = load_state(checkpoint)["objective"]
    torch.manual_seed(9)
    plain = _stage(stage="joint").build_objective(data, checkpoint)
    fitted = _stage(stage="joint", fit_frames=2048).build_objective(data, checkpoint)
    for objective in (plain, fitted):
        for name, tensor in objective.readers.state_dict().items():
            assert torch.equal(tensor, state[f"readers.{name}"]), name
        for name in ("prosody", "content", "detail"):
            quantizer = objective.codec.quantizer(name)
            assert torch.equal(quantizer.sums, quantizer.codebooks)
    books = [one.codec.quantizer("content").codebooks for one in (plain, fitted)]
    assert not torch.equal(*books)
    waveform = next(iter(_stage().build_source(data, _stage().training).validation()))["waveform"]
    with torch.no_grad():
        features = [one.codec.eval().features(waveform) for one in (plain, fitted)]
        assert torch.equal(features[0].hidden, features[1].hidden)
        errors = [one.codec.factorize(features[0]).commitment for one in (plain, fitted)]
    assert errors[1] < 0.8 * errors[0]


def test_released_weights_without_readers_are_a_start_too(data, checkpoint, tmp_path):
    from parlando.registry import load_facodec

    given = load_facodec(checkpoint)
    folder = tmp_path / "released"
    save_release(folder, given, Card(kind="facodec", config=to_mapping(_stage().config)), 32)
    assert not (folder / STATE_NAME).exists()
    started = _stage(stage="decoder").build_objective(data, folder)
    assert torch.equal(started.codec.decoder.output.weight, given.decoder.output.weight)


def test_a_corpus_without_alignment_is_refused(data, tmp_path):
    from parlando.data.prepare import AudioOptions, prepare_audio

    recordings = tinycorpus.recordings(tmp_path / "corpus", 6)
    prepare_audio(recordings, tmp_path / "audio", AudioOptions(), processes=1)
    what = _stage()
    with pytest.raises(ConfigError, match="run 'parlando prepare --stages align'"):
        what.build_source(tmp_path / "audio", what.training)
