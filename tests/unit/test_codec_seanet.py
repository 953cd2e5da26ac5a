"""The strided-convolution backbone of the ``rvq`` codec."""

import math

import pytest
import torch

from parlando.codecs.rvq.config import paper
from parlando.codecs.rvq.model import build_rvq
from parlando.codecs.seanet import SEANetDecoder, SEANetEncoder, Snake
from parlando.contracts import ConfigError


def pair(strides: tuple[int, ...]) -> tuple[SEANetEncoder, SEANetDecoder]:
    torch.manual_seed(0)
    encoder = SEANetEncoder(strides=strides, width=2, latent_width=6)
    return encoder, SEANetDecoder(strides=strides, width=2 << len(strides), latent_width=6)


@pytest.mark.parametrize("strides", [(2, 3), (5, 2, 3), (2, 4, 5, 5)])
@pytest.mark.parametrize("frames", [1, 3, 8])
def test_lengths_are_exact(strides, frames):
    encoder, decoder = pair(strides)
    hop = math.prod(strides)
    latent = encoder(0.1 * torch.randn(2, frames * hop))
    assert latent.shape == (2, frames, 6)
    assert decoder(latent).shape == (2, frames * hop)


def test_samples_after_the_last_whole_frame_are_left_out():
    encoder, _ = pair((2, 3))
    waveform = 0.1 * torch.randn(1, 29)
    torch.testing.assert_close(encoder(waveform), encoder(waveform[:, :24]))


def test_one_hop_later_is_one_frame_later():
    encoder, decoder = pair((2, 3))
    waveform = 0.1 * torch.randn(1, 6 * 120)
    latent, later = encoder(waveform), encoder(waveform.roll(6, dims=1))
    inside = slice(40, 80)  # away from the edges, which are padded with zeros
    torch.testing.assert_close(later[:, 41:81], latent[:, inside])
    produced, shifted = decoder(latent), decoder(latent.roll(1, dims=1))
    torch.testing.assert_close(shifted[:, 246:486], produced[:, 240:480])


def test_every_weight_learns():
    encoder, decoder = pair((2, 3))
    decoder(encoder(0.1 * torch.randn(2, 60))).square().sum().backward()
    for module in (encoder, decoder):
        idle = [n for n, p in module.named_parameters() if p.grad is None or not p.grad.any()]
        assert idle == []


def test_latents_are_heard_over_unit_noise_from_the_start():
    torch.manual_seed(0)
    encoder = SEANetEncoder(strides=(2, 4, 5, 5), width=8, latent_width=256)
    with torch.no_grad():
        latent = encoder(0.1 * torch.randn(2, 8000))
    power = latent.flatten(0, 1).var(0)
    assert float(0.5 * (1.0 + power).log2().sum()) > 2.0  # bits per frame


def test_waveform_is_bounded_and_full_precision_under_autocast():
    _, decoder = pair((2, 3))
    with torch.autocast("cpu", torch.bfloat16):
        waveform = decoder(1e4 * torch.randn(2, 7, 6))
    assert waveform.dtype == torch.float32
    assert float(waveform.detach().abs().max()) <= 1.0


def test_paper_has_27_million_parameters():
    with torch.device("meta"):
        codec = build_rvq(paper())
    count = sum(p.numel() for p in codec.parameters()) + codec.quantizer.codebooks.numel()
    print(f"rvq paper: {count / 1e6:.2f}M parameters; NaturalSpeech 2, table 11: 27M")
    assert count == pytest.approx(27e6, rel=0.02)
    assert codec.quantizer.codebooks.shape == (16, 1024, 256)


def test_decoder_width_must_be_halved_at_each_stride():
    with pytest.raises(ConfigError, match="multiple of 16"):
        SEANetDecoder(strides=(2, 4, 5, 5), width=1000, latent_width=6)


def test_snake_is_the_identity_plus_a_ripple_of_the_learnt_frequency():
    snake = Snake(2)
    with torch.no_grad():
        snake.log_frequency.copy_(torch.tensor([0.0, math.log(3.0)]))
    x = torch.randn(1, 2, 50)
    expected = torch.stack(
        [x[:, 0] + x[:, 0].sin() ** 2, x[:, 1] + (3 * x[:, 1]).sin() ** 2 / 3], 1
    )
    torch.testing.assert_close(snake(x), expected)
