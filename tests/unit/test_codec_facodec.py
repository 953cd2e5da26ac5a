"""The factorized codec: shapes, attributes, timbre, prosody of phones."""

import dataclasses

import pytest
import torch

from parlando.cli.prepare import _fingerprint
from parlando.codecs.facodec.config import FACodecConfig, paper, small, tiny
from parlando.codecs.facodec.model import ATTRIBUTES, FACodec, build_facodec
from parlando.codecs.rvq.config import RVQConfig
from parlando.codecs.rvq.model import build_rvq
from parlando.contracts import ConfigError

HOP = 200


def _waveform(batch=2, frames=30, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(batch, frames * HOP, generator=generator)


def _codec(**differences) -> FACodec:
    torch.manual_seed(0)
    codec = build_facodec(dataclasses.replace(tiny(), **differences)).eval()
    # As after training: at first all timbres sound alike.
    torch.nn.init.normal_(codec.conditioning.projection.weight)
    return codec.requires_grad_(False)


@pytest.mark.parametrize("prosody_input", ["encoder", "mel"])
@pytest.mark.parametrize("frames", [1, 2, 7, 31])
def test_shapes_at_odd_sizes(frames, prosody_input):
    codec, waveform = _codec(prosody_input=prosody_input), _waveform(3, frames)
    codes, timbre = codec.encode(waveform), codec.timbre(waveform)
    assert codes.shape == (3, 6, frames)
    assert codes.dtype == torch.int64
    assert timbre.shape == (3, 8)
    latent = codec.embed(codes)
    assert latent.shape == (3, frames, 12)
    assert codec.decode(latent, timbre).shape == waveform.shape
    assert codec.pitch_head(latent).shape == (3, frames, 2)


def test_levels_come_in_the_order_of_the_attributes():
    codec = _codec(prosody_levels=2, content_levels=1)
    assert codec.levels_of == {
        "prosody": slice(0, 2),
        "content": slice(2, 3),
        "detail": slice(3, 6),
    }
    assert (codec.levels, codec.codebook_size, codec.latent_width) == (6, 16, 12)
    assert codec.bits_per_second == pytest.approx(6 * 4 * 80)


def test_the_latent_is_the_sum_of_attributes_and_these_of_their_entries():
    codec = _codec()
    codes = codec.encode(_waveform())
    parts = [codec.embed_attribute(codes[:, codec.levels_of[a]], a) for a in ATTRIBUTES]
    torch.testing.assert_close(codec.embed(codes), sum(parts))
    entries = [codec.codebook_vectors(level)[codes[:, level]] for level in range(6)]
    torch.testing.assert_close(codec.embed(codes), sum(entries))
    with pytest.raises(ConfigError, match="no level 6"):
        codec.codebook_vectors(6)
    with pytest.raises(ConfigError, match="no attribute 'pitch'"):
        codec.embed_attribute(codes, "pitch")


@pytest.mark.parametrize("prosody_input", ["encoder", "mel"])
def test_training_parts_waveforms_as_encode_does(prosody_input):
    codec, waveform = _codec(prosody_input=prosody_input), _waveform()
    factors = codec.factorize(codec.features(waveform))
    assert torch.equal(factors.codes, codec.encode(waveform))
    torch.testing.assert_close(sum(factors.latents.values()), codec.embed(factors.codes))


def test_detail_codes_what_the_others_leave_over():
    codec, waveform = _codec(), _waveform()
    before = codec.encode(waveform)
    codec.quantizer("content").codebooks.neg_()
    after = codec.encode(waveform)
    assert torch.equal(after[:, 0], before[:, 0])
    assert not torch.equal(after[:, 3:], before[:, 3:])


def test_timbre_changes_the_sound_and_no_code():
    codec, waveform = _codec(), _waveform()
    codes, sound = codec.encode(waveform), codec.reconstruct(waveform)
    for parameter in codec.timbre_extractor.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    assert torch.equal(codec.encode(waveform), codes)
    assert (codec.reconstruct(waveform) - sound).abs().max() > 1e-3
    latent, voices = codec.embed(codes), codec.timbre(waveform)
    converted = codec.decode(latent, voices.flip(0))
    assert (converted - codec.decode(latent, voices)).abs().amax(1).min() > 1e-4


def test_attributes_can_be_left_out():
    codec, waveform = _codec(), _waveform()
    codes = codec.encode(waveform)
    kept = [codec.embed_attribute(codes[:, codec.levels_of[a]], a) for a in ATTRIBUTES[:2]]
    torch.testing.assert_close(
        codec.reconstruct(waveform, without=("detail",)),
        codec.decode(sum(kept), codec.timbre(waveform)),
    )
    assert not torch.equal(
        codec.reconstruct(waveform, without=("detail",)), codec.reconstruct(waveform)
    )
    for without in (("timbre",), ATTRIBUTES):
        with pytest.raises(ConfigError, match="name one or two of"):
            codec.reconstruct(waveform, without=without)


def test_prosody_of_mel_sees_the_lowest_bands_alone():
    codec = _codec(prosody_input="mel")
    time = torch.arange(40 * HOP) / 16_000
    low = 0.1 * (2 * torch.pi * 200.0 * time).sin()[None]
    high = low + 0.01 * (2 * torch.pi * 6000.0 * time).sin()
    low_too = low + 0.01 * (2 * torch.pi * 300.0 * time).sin()
    seen = [codec.features(wave).prosody[:, 5:-5] for wave in (low, high, low_too)]
    assert (seen[2] - seen[0]).abs().max() > 20.0 * (seen[1] - seen[0]).abs().max()


def test_fitting_uses_the_entries():
    codec = _codec()
    cosines = codec.fit([_waveform(4, 60, seed) for seed in range(3)])
    assert [len(cosines[name]) for name in ATTRIBUTES] == [1, 2, 3]
    assert all(value > 0.5 for values in cosines.values() for value in values)
    codes = codec.encode(_waveform(4, 60))
    assert all(len(level.unique()) > 8 for level in codes.unbind(1))


def _rvq(latent_width=12, width=16):
    torch.manual_seed(5)
    return build_rvq(
        RVQConfig(
            latent_width=latent_width,
            levels=2,
            codebook_size=16,
            encoder_width=width,
            encoder_layers=1,
            decoder_width=16,
            decoder_layers=1,
        )
    ).requires_grad_(False)


@pytest.mark.parametrize("prosody_input", ["encoder", "mel"])
def test_starts_from_a_codec_of_the_same_shape(prosody_input):
    torch.manual_seed(0)
    given, codec = _rvq(), build_facodec(dataclasses.replace(tiny(), prosody_input=prosody_input))
    waveforms = [_waveform(4, 60, seed) for seed in range(3)]
    codec.start_from(given.encoder, given.decoder, waveforms, 9.0)
    hidden = torch.cat([given.encoder(wave).flatten(0, 1) for wave in waveforms])
    with torch.no_grad():
        features = codec.features(waveforms[0])
        latents = codec.factorize(features, 30.0).latents
        torch.testing.assert_close(features.hidden, given.encoder(waveforms[0]))
        # The decoder reads latents of the scale it was trained on.
        parts = [latents[name] for name in ATTRIBUTES[prosody_input == "mel" :]]
        read = codec.conditioning(sum(parts), codec.timbre_of(features)).flatten(0, 1)
    assert (read.mean(0) - hidden.mean(0)).square().mean().sqrt() < 0.2 * hidden.std()
    assert read.std().item() == pytest.approx(hidden.std().item(), rel=0.3)


def test_a_codec_of_another_shape_is_refused():
    given, codec = _rvq(width=24), build_facodec(tiny())
    with pytest.raises(ConfigError, match="of the encoder differ"):
        codec.start_from(given.encoder, given.decoder, [_waveform(4, 60)], 9.0)


def test_silence_and_clipping_stay_finite():
    codec = _codec()
    for waveform in (torch.zeros(1, 10 * HOP), torch.ones(1, 10 * HOP)):
        waveform.requires_grad_()
        features = codec.features(waveform)
        latents = codec.factorize(features).latents
        sound = codec.decode(sum(latents.values()), codec.timbre_of(features))
        sound.square().sum().backward()
        assert sound.isfinite().all()
        assert waveform.grad.isfinite().all()


def test_sizes_of_the_presets():
    with torch.device("meta"):
        counts = {
            name: sum(p.numel() for p in build_facodec(config).parameters()) / 1e6
            for name, config in (("small", small()), ("paper", paper()))
        }
        levels = build_facodec(paper()).levels
    assert counts["small"] < 7.9
    assert counts["paper"] == pytest.approx(28.2, abs=0.1)
    assert levels == 6


def test_small_has_the_shapes_of_the_released_codec():
    with torch.device("meta"):
        own, given = build_facodec(small()), build_rvq(RVQConfig())
    for part in ("encoder", "decoder"):
        shapes = [
            {name: tensor.shape for name, tensor in getattr(codec, part).state_dict().items()}
            for codec in (own, given)
        ]
        assert shapes[0] == shapes[1]


def test_configurations_are_checked():
    with pytest.raises(ConfigError, match="content_levels"):
        FACodecConfig(content_levels=0)
    with pytest.raises(ConfigError, match="code_width"):
        FACodecConfig(code_width=65)


def test_corpora_stay_valid_while_the_decoder_learns():
    codec = _codec()
    before = _fingerprint(codec)
    with torch.no_grad():
        for part in (codec.decoder, codec.conditioning, codec.timbre_extractor):
            next(part.parameters()).add_(1.0)
            assert _fingerprint(codec) == before
        next(codec.encoder.parameters()).add_(1.0)
    assert _fingerprint(codec) != before
