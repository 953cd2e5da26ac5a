"""VALL-E 2 over the codes of the factorized codec: the timbre is the prompt's."""

import dataclasses
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from sines import babble
from tinyfactorized import tiny_facodec
from tinyvalle import EvenReader, tiny_model

from parlando import registry
from parlando.codecs.codes import decode_codes
from parlando.codecs.facodec import config as facodec
from parlando.contracts import CheckpointError, ConfigError, SpeakOptions
from parlando.recipes import to_mapping
from parlando.systems.valle2.config import tiny
from parlando.systems.valle2.model import AutoregressiveModel
from parlando.systems.valle2.synthesis import VALLE2Synthesizer
from parlando.training.checkpoint import Card, save_release

TEXT = ["h", "ə", "l", "ˈoʊ", ",", "w", "ˈɜː", "l", "d"]


@pytest.fixture(scope="module")
def synthesizer():
    return VALLE2Synthesizer(tiny_model(levels=6), tiny_facodec(), EvenReader(), name="tiny")


@pytest.fixture(scope="module")
def voice(synthesizer):
    return synthesizer.encode_prompt(torch.from_numpy(babble(1.5)))


def seeded():
    return torch.Generator().manual_seed(1)


def test_codes_are_decoded_in_the_timbre_of_the_prompt(synthesizer, voice):
    codec, prompt = synthesizer.codec, torch.from_numpy(babble(1.5))
    torch.testing.assert_close(voice.timbre, codec.timbre(prompt[None]))
    made = synthesizer.render(TEXT, voice, SpeakOptions(), seeded())
    assert len(made.samples) == sum(made.durations_frames) * 200
    other = replace(voice, timbre=-voice.timbre)
    changed = synthesizer.render(TEXT, other, SpeakOptions(), seeded())
    # The codes are the same, and so is the length.
    assert changed.samples.shape == made.samples.shape
    assert np.abs(changed.samples - made.samples).max() > 1e-3


def test_chunks_joined_are_as_long_as_the_whole_and_in_the_same_timbre(synthesizer, voice):
    options = SpeakOptions(chunk_seconds=0.5)
    whole = synthesizer.render(TEXT * 3, voice, options, seeded())
    parts = [part.samples for part in synthesizer.stream(TEXT * 3, voice, options, seeded())]
    assert len(parts) > 1
    assert sum(map(len, parts)) == len(whole.samples)
    other = replace(voice, timbre=-voice.timbre)
    first = next(synthesizer.stream(TEXT * 3, other, options, seeded())).samples
    assert np.abs(first - parts[0]).max() > 1e-3


def released(folder, levels):
    config = dataclasses.replace(tiny(), levels=levels)
    card = Card(kind="valle2", config=to_mapping(config))
    save_release(folder, tiny_model(levels=levels), card)
    card = Card(kind="facodec", config=to_mapping(facodec.tiny()))
    save_release(folder / "codec", tiny_facodec(), card)
    return str(folder)


def test_a_folder_with_such_a_codec_speaks_and_other_levels_are_refused(tmp_path):
    speaker = registry.load(released(tmp_path / "levels-6", 6))
    speech = speaker.speak("Hello.", registry.example_prompt(), seed=1)
    assert speech.duration_seconds > 0.1
    with pytest.raises(CheckpointError, match="speaks 4 levels of 16 codes, the codec has 6 of 16"):
        registry.load(released(tmp_path / "levels-4", 4))


def test_without_the_judges_package_several_candidates_are_refused_before_any_is_made(
    tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "resemblyzer", None)
    speaker, drawn = registry.load(released(tmp_path / "levels-6", 6)), []
    start = AutoregressiveModel.start
    monkeypatch.setattr(
        AutoregressiveModel,
        "start",
        lambda *given, **more: drawn.append(1) or start(*given, **more),
    )
    with pytest.raises(ConfigError, match=r"best_of needs.*pip install 'parlando\[evaluate\]'"):
        speaker.speak("Hello.", registry.example_prompt(), best_of=2)
    assert not drawn
    speaker.speak("Hello.", registry.example_prompt())
    assert drawn


def test_reordered_levels_are_decoded_as_the_codec_holds_them(voice):
    order = (1, 2, 0, 3, 4, 5)
    turned = VALLE2Synthesizer(
        tiny_model(levels=6, level_order=order), tiny_facodec(), EvenReader(), name="tiny"
    )
    heard = turned.encode_prompt(torch.from_numpy(babble(1.5)))
    assert torch.equal(heard.codes, voice.codes[list(order)])
    with torch.inference_mode():
        expected = decode_codes(turned.codec, voice.codes[None], voice.timbre)[0]
        assert torch.equal(turned._decode(heard.codes, heard), expected)
