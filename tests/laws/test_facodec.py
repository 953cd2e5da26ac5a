"""Laws of the factorized codec, for any weights: batches, padding, time."""

import dataclasses

import pytest
import torch

from parlando.codecs.facodec.config import tiny
from parlando.codecs.facodec.model import build_facodec

HOP = 200


@pytest.fixture(params=["encoder", "mel"])
def codec(request):
    torch.manual_seed(0)
    codec = build_facodec(dataclasses.replace(tiny(), prosody_input=request.param))
    torch.nn.init.normal_(codec.conditioning.projection.weight)
    return codec.eval().requires_grad_(False)


def _waveform(batch=3, frames=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(batch, frames * HOP, generator=generator)


def test_items_of_a_batch_are_strangers(codec):
    waveform = _waveform()
    codes, timbre = codec.encode(waveform), codec.timbre(waveform)
    sound = codec.decode(codec.embed(codes), timbre)
    for item in range(3):
        one = waveform[item : item + 1]
        assert (codec.encode(one) == codes[item : item + 1]).float().mean() > 0.99
        torch.testing.assert_close(codec.timbre(one)[0], timbre[item], rtol=1e-4, atol=1e-5)
        again = codec.decode(codec.embed(codes[item : item + 1]), timbre[item : item + 1])
        torch.testing.assert_close(again[0], sound[item], rtol=1e-4, atol=1e-5)


def test_padding_changes_edges_only(codec):
    waveform = _waveform(1)
    padded = torch.cat([waveform, torch.zeros(1, 13 * HOP)], dim=1)
    # The STFT, one block of seven frames and that of the mel network see 8 frames ahead at most.
    before, after = codec.encode(waveform)[:, :, :32], codec.encode(padded)[:, :, :32]
    assert (before == after).float().mean() > 0.99


def test_timbre_depends_on_frames_of_the_mask_alone(codec):
    waveform = _waveform(1)
    other = waveform.clone()
    other[:, 33 * HOP :] = _waveform(1, 7, seed=9)
    mask = torch.arange(40)[None] < 24
    first, second = codec.timbre(waveform, mask), codec.timbre(other, mask)
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)
    assert (codec.timbre(other) - codec.timbre(waveform)).abs().max() > 1e-4


def test_one_hop_later_is_one_frame_later(codec):
    waveform = _waveform(1)
    later = torch.cat([torch.zeros(1, HOP), waveform[:, :-HOP]], dim=1)
    first, second = codec.encode(waveform), codec.encode(later)
    assert (second[:, :, 11:30] == first[:, :, 10:29]).float().mean() > 0.98
