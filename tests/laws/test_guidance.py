"""Laws of classifier-free guidance."""

import pytest
import torch

from parlando.contracts import ConfigError
from parlando.generative.guidance import guide, guided_logits


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(2, 6, 3, generator=generator) for _ in range(2))


def test_strength_zero_is_the_conditional_prediction(pair):
    assert torch.equal(guide(*pair, 0.0), pair[0])
    assert torch.equal(guide(*pair, 0.0, rescale=1.0), pair[0])


def test_guidance_extrapolates_along_the_difference(pair):
    conditional, unconditional = pair
    torch.testing.assert_close(guide(*pair, 2.0), 3 * conditional - 2 * unconditional)


def test_full_rescale_restores_the_deviation_of_each_item(pair):
    rescaled = guide(*pair, 3.0, rescale=1.0)
    torch.testing.assert_close(rescaled.std(dim=(1, 2)), pair[0].std(dim=(1, 2)))
    half = guide(*pair, 3.0, rescale=0.5)
    torch.testing.assert_close(half, 0.5 * (guide(*pair, 3.0) + rescaled))


def test_rescale_ignores_padding(pair):
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    alone = guide(pair[0][1:, :4], pair[1][1:, :4], 3.0, rescale=0.7)
    loud = [value.clone() for value in pair]
    loud[0][1, 4:] = 100.0
    torch.testing.assert_close(guide(*loud, 3.0, rescale=0.7, mask=mask)[1:, :4], alone)


def test_a_constant_prediction_survives_rescaling():
    constant = torch.ones(1, 4, 2)
    assert guide(constant, constant, 2.0, rescale=1.0).isfinite().all()


def test_rescale_is_checked(pair):
    with pytest.raises(ConfigError, match="from 0 to 1"):
        guide(*pair, 1.0, rescale=1.5)


def test_guided_logits_go_from_the_conditional_ones_outwards(pair):
    conditional, unconditional = pair
    assert torch.equal(guided_logits(*pair, 0.0), conditional)
    torch.testing.assert_close(
        guided_logits(*pair, 2.0, rescale=0.0), 3 * conditional - 2 * unconditional
    )


def test_rescaled_logits_have_the_contrast_of_the_conditional_ones(pair):
    full = guided_logits(*pair)
    torch.testing.assert_close(full.std(-1), pair[0].std(-1))
    plain = guided_logits(*pair, rescale=0.0)
    torch.testing.assert_close(guided_logits(*pair, rescale=0.3), 0.3 * full + 0.7 * plain)


@pytest.mark.parametrize("rescale", [0.0, 0.4, 1.0])
def test_a_constant_added_to_the_logits_of_a_frame_means_nothing(pair, rescale):
    shift = torch.tensor([5.0, -3.0, 0.0, 1.0, 2.0, 9.0])[None, :, None]
    shifted = guided_logits(pair[0] + shift, pair[1] - 2 * shift, 1.5, rescale)
    expected = guided_logits(*pair, 1.5, rescale).softmax(-1)
    torch.testing.assert_close(shifted.softmax(-1), expected)


def test_guided_logits_check_the_rescale_and_survive_a_constant():
    constant = torch.ones(1, 4, 2)
    assert torch.equal(guided_logits(constant, constant), torch.zeros(1, 4, 2))
    with pytest.raises(ConfigError, match="from 0 to 1"):
        guided_logits(constant, constant, rescale=-0.1)
