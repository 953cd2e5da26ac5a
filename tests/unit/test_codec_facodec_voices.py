"""What teaches the factorized codec that codes are no voice: disguises, and exchanged timbres."""

import pytest
import torch
from facodeclike import decoder_inputs, labelled, objective


def test_disguised_items_have_a_dropout_of_their_own():
    trained = objective("joint", detail_dropout=0.0)
    trained.codec.quantizers.eval()
    batch = labelled()
    disguised = torch.tensor([True, False, True, False])
    marked = batch | {"source": batch["waveform"], "disguised": disguised}
    with torch.no_grad():
        latents = trained.codec.factorize(trained.codec.features(batch["waveform"])).latents
    seen = decoder_inputs(trained)
    trained("generator", marked, 0, None)
    told = latents["prosody"] + latents["content"]
    assert torch.equal((seen[0] - told).abs().amax(dim=(1, 2)) < 1e-4, disguised)


def test_codes_come_of_the_source_and_timbre_and_target_of_the_waveform():
    trained = objective("joint").eval()
    batch = labelled()
    other = batch["waveform"].roll(1, 0)
    features = trained.codec.features
    with torch.no_grad():
        expected = trained.codec.factorize(features(other)).codes
        timbre = trained.codec.timbre_of(features(batch["waveform"]), batch["frame_mask"])
        factors, told = trained._encode(batch["waveform"], batch | {"source": other})
    assert torch.equal(factors.codes, expected)
    torch.testing.assert_close(told, timbre)


def test_phases_of_disguised_items_do_not_count():
    trained = objective("autoencoder")
    batch = labelled()
    batch |= {"source": batch["waveform"]}
    trained.codec.decode = lambda latent, timbre: -batch["waveform"]
    losses = []
    for disguised in (False, True):
        marked = batch | {"disguised": torch.full((len(batch["waveform"]),), disguised)}
        losses.append(trained("generator", marked, 0).losses)
    assert losses[0]["complex"] > 0.1
    assert losses[1]["complex"] < 1e-5
    assert losses[0]["mel"] < 1e-5


def test_who_is_heard_is_asked_of_exchanged_timbres_without_detail():
    trained = objective("joint", exchange_weight=2.0, exchange_share=0.5, detail_dropout=0.0)
    batch = labelled()
    heard, seen = [], decoder_inputs(trained)
    trained.codec.conditioning.register_forward_pre_hook(lambda _, given: heard.append(given[1]))
    losses = trained("generator", batch, 0, None).losses
    assert [len(latent) for latent in seen] == [4, 2]
    torch.testing.assert_close(heard[1], heard[0].roll(-1, 0)[:2])
    # What is heard of the others teaches the codec, and not the listener, which recordings teach.
    listener = list(trained.listener.parameters())
    codec_weight = trained.codec.encoder.output.weight
    for name, teaches in (("exchange", False), ("listener", True)):
        gradients = torch.autograd.grad(
            losses[name], [codec_weight, *listener], retain_graph=True, allow_unused=True
        )
        assert (gradients[0] is not None) is not teaches
        assert all((each is not None) is teaches for each in gradients[1:])
    assert losses["exchange"] > 0.0
    halved = objective("joint", exchange_weight=2.0, reversal_warmup_steps=4)
    assert halved("generator", batch, 0, None).losses["exchange"] == 0.0


def test_an_exchange_may_go_beyond_the_other_timbre():
    trained = objective("joint", exchange_weight=2.0, exchange_share=1.0, exchange_strength=3.0)
    heard = []
    trained.codec.conditioning.register_forward_pre_hook(lambda _, given: heard.append(given[1]))
    for _ in range(8):
        trained("generator", labelled(), 0, None)
    strengths = []
    for own, exchanged in zip(heard[::2], heard[1::2], strict=True):
        way = own.roll(-1, 0) - own
        found = ((exchanged - own) * way).sum(-1) / way.square().sum(-1)
        torch.testing.assert_close(exchanged, own + found[:, None] * way, rtol=1e-3, atol=1e-4)
        strengths.append(found)
    drawn = torch.cat(strengths)
    assert drawn.min() > 0.99
    assert drawn.max() < 3.01
    assert drawn.std() > 0.3


@pytest.mark.parametrize("stage", ["detail", "decoder"])
def test_the_decoder_alone_may_learn_from_the_exchange(stage):
    trained = objective(stage, exchange_weight=2.0, reversal_warmup_steps=0)
    losses = trained("generator", labelled(), 0, None).losses
    learning = trained.parameters_of("generator")
    gradients = torch.autograd.grad(losses["exchange"], learning, allow_unused=True)
    reached = {id(p) for p, g in zip(learning, gradients, strict=True) if g is not None}
    assert reached == {
        id(p)
        for part in ("conditioning", "decoder")
        for p in getattr(trained.codec, part).parameters()
    }


def test_an_exchange_among_one_speaker_counts_nothing():
    trained = objective("joint", exchange_weight=2.0)
    alone = labelled() | {"speaker": torch.zeros(4, dtype=torch.int64)}
    result = trained("generator", alone, 0, None)
    assert result.losses["exchange"] == 0.0
    assert result.logs["exchange/speaker_accuracy"] == 0.0


def test_the_listener_begins_anew_in_the_next_stage():
    trained, later = (objective("joint", exchange_weight=1.0) for _ in range(2))
    state = {name: tensor + 1.0 for name, tensor in trained.state_dict().items()}
    before = {name: tensor.clone() for name, tensor in later.listener.state_dict().items()}
    assert later.take_readers(state)
    for name, tensor in later.listener.state_dict().items():
        assert torch.equal(tensor, before[name])
