"""Levels of either codec by their names, and what is left of them."""

import pytest
import torch

from parlando.codecs.codes import decode_codes, kept_levels, level_names, timbre_of
from parlando.codecs.facodec import config as facodec
from parlando.codecs.facodec.model import build_facodec
from parlando.codecs.rvq import config as rvq
from parlando.codecs.rvq.model import build_rvq
from parlando.contracts import ConfigError


@pytest.fixture(scope="module")
def factorized():
    torch.manual_seed(0)
    return build_facodec(facodec.tiny()).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def residual():
    torch.manual_seed(0)
    return build_rvq(rvq.tiny()).eval().requires_grad_(False)


def test_levels_of_attributes_are_named_in_the_order_of_the_codes(factorized, residual):
    names = level_names(factorized)
    assert len(names) == factorized.levels
    assert names[0] == "prosody 1"
    for attribute, levels in factorized.levels_of.items():
        assert {name.split()[0] for name in names[levels]} == {attribute}
    count = residual.quantizer.levels
    assert level_names(residual) == tuple(map(str, range(1, count + 1)))


def test_leaving_out_an_attribute_keeps_the_levels_of_the_others(factorized, residual):
    every = list(range(factorized.levels))
    assert kept_levels(factorized) == every
    detail = factorized.levels_of["detail"]
    kept = kept_levels(factorized, without=("detail",))
    assert sorted(kept + every[detail]) == every
    assert kept_levels(residual, 2) == [0, 1]


def test_what_is_left_out_changes_nothing_in_the_sound(factorized):
    wave = torch.randn(1, 20 * factorized.hop_samples) * 0.1
    codes, timbre = factorized.encode(wave), timbre_of(factorized, wave)
    others = codes.clone()
    others[:, factorized.levels_of["detail"]] = 0
    sound, same = (
        decode_codes(factorized, given, timbre, without=("detail",)) for given in (codes, others)
    )
    assert torch.equal(sound, same)
    wanted = factorized.reconstruct(wave, without=("detail",)).clamp(-1.0, 1.0)
    torch.testing.assert_close(sound, wanted)
    assert not torch.allclose(sound, decode_codes(factorized, codes, timbre), atol=1e-4)


def test_levels_that_a_codec_does_not_have_are_refused(factorized, residual):
    with pytest.raises(ConfigError, match="do not refine each other"):
        kept_levels(factorized, 2)
    with pytest.raises(ConfigError, match="has no attributes"):
        kept_levels(residual, without=("detail",))
    with pytest.raises(ConfigError, match="99 levels; the codec has 1 to "):
        kept_levels(residual, 99)
    with pytest.raises(ConfigError, match="name one or two of"):
        factorized.embed(torch.zeros(1, factorized.levels, 3, dtype=torch.long), without=("tone",))
