"""Names and folders to models: released or trained, right or wrong."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from sines import RATE, babble

from parlando import curriculum, registry
from parlando.aligner import config as aligner_config
from parlando.aligner.model import Aligner
from parlando.cli import release
from parlando.codecs.facodec import config as facodec_config
from parlando.codecs.facodec.model import build_facodec
from parlando.codecs.rvq import config as rvq_config
from parlando.codecs.rvq.model import build_rvq
from parlando.contracts import CheckpointError, ConfigError, Synthesizer
from parlando.recipes import to_mapping
from parlando.speaking import Speaker
from parlando.systems.naturalspeech2 import config as naturalspeech2_config
from parlando.systems.naturalspeech2.model import NaturalSpeech2
from parlando.systems.valle2 import config as valle2_config
from parlando.systems.valle2.model import VALLE2
from parlando.text.vocabulary import SYMBOLS
from parlando.training.checkpoint import Card, save_release


def _release(folder, kind, config, module):
    save_release(folder, module, Card(kind=kind, config=to_mapping(config)))
    return folder


@pytest.fixture(scope="module")
def codec_folder(tmp_path_factory):
    config = rvq_config.tiny()
    torch.manual_seed(0)
    return _release(tmp_path_factory.mktemp("w") / "codec", "codec", config, build_rvq(config))


@pytest.fixture
def system_folder(tmp_path, codec_folder):
    config = naturalspeech2_config.tiny()
    torch.manual_seed(1)
    model = NaturalSpeech2(config, len(SYMBOLS))
    folder = _release(tmp_path / "my-system", "naturalspeech2", config, model)
    (folder / "codec").symlink_to(codec_folder, target_is_directory=True)
    return folder


def test_codec_comes_back_as_it_was_in_half_precision(codec_folder):
    torch.manual_seed(0)
    saved, loaded = build_rvq(rvq_config.tiny()), registry.load_codec(codec_folder)
    for name, tensor in saved.state_dict().items():
        assert torch.allclose(loaded.state_dict()[name], tensor, rtol=1e-3, atol=1e-4), name
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert all(p.dtype == torch.float32 for p in loaded.parameters())


def test_factorized_codec_comes_back_and_is_found_by_its_kind(tmp_path):
    config = facodec_config.tiny()
    torch.manual_seed(0)
    saved = build_facodec(config).eval()
    folder = _release(tmp_path / "factors", "facodec", config, saved)
    loaded = registry.load_facodec(folder)
    assert type(registry.load_trained(folder)) is type(loaded)
    waveform = torch.from_numpy(babble(1.0))[None]
    sounds = [codec.reconstruct(waveform).detach() for codec in (saved, loaded)]
    assert (sounds[0] - sounds[1]).abs().mean() < 0.2 * sounds[0].abs().mean()
    with pytest.raises(CheckpointError, match="expected 'codec'"):
        registry.load_codec(folder)


def test_aligner_loads_and_aligns_to_the_last_frame(tmp_path):
    config = aligner_config.tiny()
    aligner = registry.load_aligner(
        _release(tmp_path / "aligner", "aligner", config, Aligner(config))
    )
    waveform = torch.from_numpy(babble(1.0))
    durations, _ = aligner.align(waveform, ["h", "ə", "l", "ˈoʊ"])
    assert sum(durations) == RATE // config.hop_samples


def test_system_of_random_weights_speaks_any_text(system_folder):
    speaker = registry.load(path=system_folder)
    assert not speaker.match_timbre
    assert isinstance(speaker, Speaker)
    assert speaker.name == "my-system"
    voice = (babble(3.0), RATE)
    whole = speaker.speak("One sentence. And 2 more!", voice, seed=4, steps=2)
    parts = list(speaker.stream("One sentence. And 2 more!", voice, seed=4, steps=2))
    assert np.array_equal(np.concatenate([part.samples for part in parts]), whole.samples)
    assert sum(whole.durations_frames) * whole.hop_samples == len(whole.samples)
    assert np.isfinite(whole.samples).all()


@pytest.fixture
def language_folder(tmp_path, codec_folder):
    config = valle2_config.tiny()
    torch.manual_seed(1)
    folder = _release(tmp_path / "talker", "valle2", config, VALLE2(config, len(SYMBOLS)))
    (folder / "codec").symlink_to(codec_folder, target_is_directory=True)
    return folder


def test_language_model_of_random_weights_speaks_any_text(language_folder):
    speaker = registry.load(path=language_folder)
    # Its phones are heard by the released recogniser, so it has to be speech.
    voice = registry.example_prompt()
    options = {"seed": 4, "voice_text": None, "top_p": 0.9}
    whole = speaker.speak("One sentence. And 2 more!", voice, **options)
    parts = list(speaker.stream("One sentence. And 2 more!", voice, **options))
    assert np.array_equal(np.concatenate([part.samples for part in parts]), whole.samples)
    assert sum(whole.durations_frames) * whole.hop_samples == len(whole.samples)
    assert np.isfinite(whole.samples).all()


def test_candidates_are_judged_by_what_the_registry_wires_in(language_folder):
    synthesizer = registry.load_system(language_folder)
    likeness, intelligible = synthesizer.scorer(babble(2.0), ["h", "ə", "l"], babble(2.0))
    assert likeness == pytest.approx(1.0, abs=0.01)
    assert intelligible <= 1.0
    silent, _ = synthesizer.scorer(np.zeros(RATE, np.float32), ["h"], babble(2.0))
    assert silent == -1.0


def test_codec_of_other_codes_is_refused(language_folder):
    config = rvq_config.RVQConfig(**{**to_mapping(rvq_config.tiny()), "levels": 3})
    (language_folder / "codec").unlink()
    _release(language_folder / "codec", "codec", config, build_rvq(config))
    with pytest.raises(CheckpointError, match="speaks 4 levels of 16 codes, the codec has 3 of 16"):
        registry.load_system(language_folder)


def test_what_is_built_but_not_released_says_how_to_train_it():
    with pytest.raises(ConfigError, match="no released weights yet; train it with 'parlando train"):
        registry.load_system("valle2-small-group1")
    assert not registry.UNRELEASED.keys() & registry.RELEASES.keys()


def test_codec_of_another_width_is_refused(system_folder, tmp_path):
    config = rvq_config.RVQConfig(
        **{**to_mapping(rvq_config.tiny()), "latent_width": rvq_config.tiny().latent_width + 1}
    )
    (system_folder / "codec").unlink()
    _release(system_folder / "codec", "codec", config, build_rvq(config))
    with pytest.raises(CheckpointError, match="latents of width"):
        registry.load_system(system_folder)


def test_weights_of_another_kind_are_refused(codec_folder, system_folder):
    with pytest.raises(CheckpointError, match="expected 'aligner'"):
        registry.load_aligner(codec_folder)
    with pytest.raises(CheckpointError, match="expected a system"):
        registry.load_system(codec_folder)
    with pytest.raises(CheckpointError, match="expected 'codec'"):
        registry.load_codec(system_folder)


@pytest.mark.parametrize("size", [0, 4, 1000])
def test_truncated_weights_are_refused(codec_folder, tmp_path, size):
    folder = tmp_path / "cut"
    folder.mkdir()
    (folder / "config.json").write_text((codec_folder / "config.json").read_text())
    whole = (codec_folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(whole[:size])
    with pytest.raises(CheckpointError, match="damaged or cut short"):
        registry.load_codec(folder)


def test_what_can_be_trained_is_resolved():
    what = curriculum.trainable("codec", "tiny", {"model": {"levels": 3}})
    assert what.config == dataclasses.replace(rvq_config.tiny(), levels=3)
    with pytest.raises(ConfigError, match="did you mean 'small'"):
        curriculum.trainable("aligner", "smal", {})


def test_names_are_answered_with_the_nearest_of_their_kind():
    with pytest.raises(ConfigError, match="did you mean 'rvq-small'"):
        registry.release_folder("rvq-smal", "codec")
    with pytest.raises(ConfigError, match="known are rvq-small"):
        registry.release_folder("nothing like it", "codec")


@pytest.mark.parametrize("name", ["abacus", "cuda:97", ""])
def test_unusable_device_is_refused(name):
    with pytest.raises(ConfigError, match=r"cannot be used .*; choose cpu"):
        registry.choose_device(name)


def test_automatic_device_can_be_used():
    assert torch.zeros(1, device=registry.choose_device("auto")).item() == 0.0


def test_example_prompt_is_a_usable_voice():
    from parlando.audio.waveform import read_metadata
    from parlando.speech import Voice

    voice = Voice.from_file(registry.example_prompt())
    assert 3.0 <= len(voice.samples) / voice.rate_hz <= 10.0
    assert "ynthetic" in read_metadata(registry.example_prompt())["comment"]


@pytest.mark.parametrize("name", registry.RELEASES)
def test_released_weights_are_whole_and_have_a_card(name):
    folder = registry.release_folder(name)
    assert (folder / "card.md").read_text().startswith("# ")
    match registry.RELEASES[name]:
        case "aligner":
            assert registry.load_aligner(name).rate_hz == RATE
        case "codec" | "facodec":
            assert registry.load_any_codec(name).rate_hz == RATE
        case _:
            system: Synthesizer = registry.load_system(name)
            assert (system.name, system.rate_hz) == (name, RATE)


def test_a_system_speaks_through_the_codec_it_was_trained_on(tmp_path):
    checkpoint = tmp_path / "run" / "checkpoints" / "step-00000002"
    checkpoint.mkdir(parents=True)
    assert registry.codec_of(checkpoint) == "rvq-small"
    recipe = {"kind": "naturalspeech2", "objective": {"codec": "my/codec"}}
    (tmp_path / "run" / "recipe.json").write_text(json.dumps(recipe))
    assert registry.codec_of(checkpoint) == "my/codec"
    (checkpoint / "codec").mkdir()
    assert registry.codec_of(checkpoint) == checkpoint / "codec"


def test_a_release_names_the_released_codec_that_it_was_trained_on(tmp_path):
    run, config = tmp_path / "run", valle2_config.tiny()
    model = VALLE2(config, len(SYMBOLS))
    _release(run / "checkpoints" / "step-00000002", "valle2", config, model)
    recipe = {"kind": "valle2", "objective": {"codec": "facodec-small"}}
    (run / "recipe.json").write_text(json.dumps(recipe))
    release.run(release.Options(source=run, out=tmp_path / "released"))
    assert registry.codec_of(tmp_path / "released", "valle2") == "facodec-small"
    assert not (tmp_path / "released" / "codec").exists()


def test_a_device_without_memory_is_refused():
    with pytest.raises(ConfigError, match="'meta' cannot be used"):
        registry.choose_device("meta")
