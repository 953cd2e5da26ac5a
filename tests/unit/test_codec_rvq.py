"""The ``rvq`` codec: lengths, latents, statistics; its spectral backbone."""

import math

import pytest
import torch

from parlando.codecs.rvq.config import paper, small, tiny
from parlando.codecs.rvq.model import build_rvq
from parlando.codecs.spectral import SpectralDecoder, SpectralEncoder
from parlando.contracts import Codec

HOP = 200


def _codec():
    torch.manual_seed(0)
    return build_rvq(tiny()).eval()


def _waveform(batch=2, frames=12, seed=0):
    return 0.1 * torch.randn(batch, frames * HOP, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("frames", [1, 2, 7, 33])
def test_lengths_are_exact(frames):
    codec, waveform = _codec(), _waveform(frames=frames)
    codes = codec.encode(waveform)
    assert codes.shape == (2, 4, frames)
    assert codes.dtype == torch.int64
    latent = codec.embed(codes)
    assert latent.shape == (2, frames, 8)
    assert codec.decode(latent).shape == waveform.shape


def test_it_is_a_codec():
    assert isinstance(_codec(), Codec)


def test_decoding_is_deterministic_and_reads_the_latent_alone():
    codec = _codec()
    codes = codec.encode(_waveform())
    with torch.no_grad():
        first = codec.decode(codec.embed(codes))
        assert torch.equal(codec.decode(codec.embed(codes)), first)
        torch.testing.assert_close(
            codec.decode(codec.embed(codes[1:])), first[1:], rtol=1e-4, atol=1e-6
        )


def test_items_do_not_see_each_other():
    codec, waveform = _codec(), _waveform(batch=3)
    together = codec.encoder(waveform)
    torch.testing.assert_close(codec.encoder(waveform[1:2]), together[1:2], rtol=1e-4, atol=1e-5)


def test_normalising_can_be_undone():
    codec, latent = _codec(), torch.randn(2, 5, 8)
    codec.latent_mean.uniform_(-1.0, 1.0)
    codec.latent_std.uniform_(0.5, 2.0)
    torch.testing.assert_close(codec.denormalize(codec.normalize(latent)), latent)


def test_statistics_approach_those_of_the_latents():
    codec = _codec()
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        codec.observe(3.0 + 0.2 * torch.randn(4, 50, 8, generator=generator), decay=0.95)
    normalised = codec.normalize(3.0 + 0.2 * torch.randn(4, 5000, 8, generator=generator))
    assert normalised.mean().item() == pytest.approx(0.0, abs=0.05)
    assert normalised.std().item() == pytest.approx(1.0, abs=0.05)


def test_fitting_lowers_the_error_and_sets_the_statistics():
    codec = _codec()
    waveforms = [_waveform(batch=4, seed=seed) for seed in range(3)]
    gains = codec.fit(waveforms)
    assert len(gains) == 4
    assert gains == sorted(gains)
    assert gains[0] > 0.0
    latents = torch.cat([codec.encoder(waveform).flatten(0, 1) for waveform in waveforms])
    normalised = codec.normalize(latents)
    torch.testing.assert_close(normalised.mean(0), torch.zeros(8), rtol=0, atol=1e-4)
    assert normalised.square().mean().item() == pytest.approx(1.0, abs=0.05)


def test_bit_rates():
    assert _codec().bits_per_second == pytest.approx(4 * 4 * 80)
    with torch.device("meta"):
        assert build_rvq(paper()).quantizer.levels * 10 * 80 == 12_800
        assert build_rvq(small()).quantizer.levels * 10 * 80 <= 9_600


def test_one_hop_later_is_one_frame_later():
    codec, waveform = _codec(), _waveform(batch=1, frames=40)
    later = torch.cat([torch.zeros(1, HOP), waveform[:, :-HOP]], dim=1)
    first, second = codec.encoder(waveform), codec.encoder(later)
    torch.testing.assert_close(second[:, 11:30], first[:, 10:29], rtol=1e-3, atol=1e-4)


def _encoder(phase_hz):
    torch.manual_seed(0)
    return SpectralEncoder(
        rate_hz=16_000,
        hop_samples=HOP,
        fft_samples=640,
        phase_hz=phase_hz,
        width=16,
        layers=1,
        latent_width=4,
    )


def test_polarity_is_seen_where_phases_are_only():
    waveform = _waveform()
    with torch.no_grad():
        blind, seeing = _encoder(0.0), _encoder(600.0)
        torch.testing.assert_close(blind(-waveform), blind(waveform), rtol=1e-4, atol=1e-4)
        assert (seeing(-waveform) - seeing(waveform)).abs().max() > 1e-2


def test_the_codec_tells_how_far_it_sees_phases():
    assert _codec().phase_hz == 600.0
    with torch.device("meta"):
        assert build_rvq(paper()).phase_hz == math.inf


def test_silence_and_clipping_stay_finite():
    codec = _codec()
    for waveform in (torch.zeros(1, 10 * HOP), torch.ones(1, 10 * HOP)):
        waveform.requires_grad_()
        codec.decode(codec.encoder(waveform)).square().sum().backward()
        assert waveform.grad.isfinite().all()


def test_the_decoder_is_bounded_and_full_precision_under_autocast():
    decoder = SpectralDecoder(hop_samples=HOP, fft_samples=640, width=16, layers=1, latent_width=4)
    with torch.autocast("cpu", torch.bfloat16):
        waveform = decoder(1e3 * torch.randn(1, 9, 4))
    assert waveform.dtype == torch.float32
    assert waveform.isfinite().all()


def test_every_weight_of_the_spectral_backbone_learns():
    codec = _codec()
    codec.decode(codec.encoder(_waveform())).square().sum().backward()
    parameters = [*codec.encoder.named_parameters(), *codec.decoder.named_parameters()]
    assert [name for name, p in parameters if p.grad is None or not p.grad.any()] == []


def test_the_released_codec_has_at_most_eight_million_parameters():
    with torch.device("meta"):
        codec = build_rvq(small())
    assert sum(tensor.numel() for tensor in codec.state_dict().values()) <= 8e6
