"""Laws of naming the speaker by the prompt's vector."""

import math

import pytest
import torch
from tinysystem import batch, tiny_codec, tiny_model

from parlando.contracts import ConfigError
from parlando.generative.diffusion import VPSchedule
from parlando.systems.naturalspeech2.config import NaturalSpeech2ObjectiveConfig
from parlando.systems.naturalspeech2.objective import CosineClassifier, NaturalSpeech2Objective


def _objective(speakers=2, **differences):
    codec = tiny_codec()
    config = NaturalSpeech2ObjectiveConfig(speaker_weight=1.0, drop_prompt=0.0)
    return NaturalSpeech2Objective(
        tiny_model(**differences),
        codec,
        codec.quantizer.codebooks,
        config,
        VPSchedule(),
        speakers=speakers,
    )


def test_the_margin_is_taken_from_the_right_class_only():
    torch.manual_seed(0)
    head = CosineClassifier(8, 3, scale=10.0, margin=0.2)
    x, labels = torch.randn(4, 8), torch.tensor([0, 1, 2, 1])
    bare = CosineClassifier(8, 3, scale=10.0, margin=0.0)
    bare.load_state_dict(head.state_dict())
    lowered = bare(x, labels) - head(x, labels)
    expected = 2.0 * torch.nn.functional.one_hot(labels, 3)
    torch.testing.assert_close(lowered, expected.float(), rtol=0.0, atol=1e-5)
    # Only the angle counts.
    torch.testing.assert_close(head(5.0 * x, labels), head(x, labels))
    assert float(bare(x, labels).detach().abs().max()) <= 10.0


def test_speakers_are_learnt_from_their_prompts_and_by_the_prompt_encoder():
    torch.manual_seed(0)
    objective = _objective(global_prompt=True)
    given = batch() | {"speaker": torch.tensor([0, 1])}
    optimizer = torch.optim.Adam(objective.parameters_of("all"), lr=1e-2)
    first = float(objective("all", given, 0).losses["speaker"].detach())
    for step in range(40):
        loss = objective("all", given, step).losses["speaker"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.1 * max(first, math.log(2.0))
    assert objective.validate(given)["speaker_accuracy"] == 1.0
    assert objective.model.prompt_input.weight.grad.any()
    assert objective.model.prompt_vector.weight.grad.any()


@pytest.mark.parametrize(("speakers", "global_prompt"), [(1, True), (2, False)])
def test_naming_speakers_needs_speakers_and_the_prompts_vector(speakers, global_prompt):
    with pytest.raises(ConfigError, match="two speakers or more"):
        _objective(speakers, global_prompt=global_prompt)
