"""Training the factorized codec: four stages, four means of disentanglement, each a switch."""

import dataclasses

import pytest
import torch
from facodeclike import PHONES, SPEAKERS, codec, decoder_inputs, labelled, objective
from torch import Tensor

from parlando.codecs.facodec.config import (
    FACodecObjectiveConfig,
    paper,
    paper_objective,
    tiny,
)
from parlando.codecs.facodec.model import ATTRIBUTES, FACodec, build_facodec
from parlando.codecs.facodec.objective import FACodecObjective, build_facodec_objective
from parlando.codecs.facodec.supervision import (
    AttributeReaders,
    AttributeWeights,
    phone_loss,
    pitch_loss,
)
from parlando.contracts import ConfigError, Objective
from parlando.nn.discriminators import BandCritic, PeriodCritic

STAGES = ("autoencoder", "joint", "detail", "decoder")
SUPERVISED = {"pitch", "phone", "speaker"}
REVERSED = {
    "reversed_prosody_phone",
    "reversed_content_pitch",
    "reversed_detail_phone",
    "reversed_detail_pitch",
    "reversed_sum_speaker",
}


def readers(**weights: float) -> AttributeReaders:
    torch.manual_seed(1)
    return AttributeReaders(
        latent_width=6,
        timbre_width=5,
        hidden_width=8,
        phones=PHONES,
        speakers=SPEAKERS,
        weights=AttributeWeights(**weights),
    )


@pytest.mark.parametrize("stage", STAGES)
def test_fulfils_the_contract(stage):
    with_critics, without = objective(stage, critics=True), objective(stage)
    assert isinstance(without, Objective)
    assert without.phases == ("generator",)
    assert with_critics.phases == ("generator", "discriminator")
    assert isinstance(with_critics.trained(), FACodec)
    with pytest.raises(ConfigError, match="discriminator"):
        without.parameters_of("discriminator")


@pytest.mark.parametrize("stage", STAGES)
def test_gradients_reach_what_learns_and_nothing_else(stage):
    trained = objective(stage, critics=True, detail_dropout=0.0)
    result = trained("generator", labelled(), 0, None)
    sum(result.losses.values()).backward()
    learning = {id(p) for p in trained.parameters_of("generator")}
    for name, parameter in trained.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.any())
        assert reached == (id(parameter) in learning), name
    modules = {n.split(".")[1] for n, p in trained.named_parameters() if id(p) in learning}
    expected = {"conditioning", "decoder"}
    if stage != "decoder":
        expected |= {"quantizers"}
    if stage in ("autoencoder", "joint"):
        expected |= {"encoder", "timbre_extractor", "pitch_head", "readers"}
    assert modules == expected


@pytest.mark.parametrize("stage", STAGES[:2])
def test_each_loss_reaches_the_encoder(stage):
    trained = objective(stage, critics=True, detail_dropout=0.0)
    losses = trained("generator", labelled(), 0, None).losses
    named = SUPERVISED | REVERSED | {"mel", "complex", "adversarial", "feature"}
    assert set(losses) == named | ({"commitment"} if stage == "joint" else set())
    for name, loss in losses.items():
        weight = trained.codec.encoder.output.weight
        (gradient,) = torch.autograd.grad(loss, weight, retain_graph=True)
        assert gradient.any(), name


def test_each_switch_removes_its_losses_and_readers():
    everything = set(objective("autoencoder")("generator", labelled(), 0, None).losses)
    for options, gone in (
        ({"supervision": False}, SUPERVISED),
        ({"reversal": False}, REVERSED),
        ({"supervision": False, "reversal": False}, SUPERVISED | REVERSED),
        ({"phone_weight": 0.0}, {"phone"}),
        ({"pitch_weight": 0.0}, {"pitch"}),
        ({"reversed_phone_weight": 0.0}, {"reversed_prosody_phone", "reversed_detail_phone"}),
        ({"reversed_speaker_weight": 0.0}, {"reversed_sum_speaker"}),
    ):
        trained = objective("autoencoder", **options)
        result = trained("generator", labelled(), 0, None)
        assert set(result.losses) == everything - gone, options
        sum(result.losses.values()).backward()
        assert all(p.grad is not None for p in trained.parameters_of("generator"))
        assert trained.validate(labelled())["mel"] > 0.0


@pytest.mark.parametrize("stage", STAGES[:2])
def test_learns_without_the_bottleneck(stage):
    torch.manual_seed(0)
    made = build_facodec(dataclasses.replace(tiny(), code_width=12))
    config = FACodecObjectiveConfig(stage=stage, head_width=8, detail_dropout=0.0)
    trained = build_facodec_objective(made, config, phones=PHONES, speakers=SPEAKERS)
    before = trained.eval().validate(labelled())["mel"]
    learn(trained.train(), labelled(), 20)
    assert trained.eval().validate(labelled())["mel"] < 0.9 * before


def test_without_labels_it_learns_where_no_loss_needs_them():
    trained = objective("joint", supervision=False, reversal=False)
    result = trained("generator", {"waveform": labelled()["waveform"]}, 0, None)
    assert set(result.losses) == {"mel", "complex", "commitment"}


def test_reversed_gradients_reach_attributes_negated_and_scaled():
    batch = labelled()
    trained = readers(
        pitch=1.0, phone=1.0, speaker=1.0,
        reversed_pitch=2.0, reversed_phone=3.0, reversed_speaker=0.5,
    )  # fmt: skip
    torch.manual_seed(2)
    latents = {name: torch.randn(4, 20, 6, requires_grad=True) for name in ATTRIBUTES}
    timbre = torch.randn(4, 5, requires_grad=True)
    pitch = torch.randn(4, 20, 2, requires_grad=True)
    losses, _ = trained(latents, timbre, pitch, batch, 0.5)

    def gradients(loss):
        inputs = [*latents.values(), timbre, pitch]
        return torch.autograd.grad(loss, inputs, retain_graph=True, allow_unused=True)

    def assert_reaches(found, place, expected):
        for number, name in enumerate((*ATTRIBUTES, "timbre", "pitch")):
            if name == place:
                torch.testing.assert_close(found[number], expected)
                assert expected.any()
            else:
                assert found[number] is None or not found[number].any(), name

    for name, what, weight in (
        ("prosody_phone", phone_loss, 3.0),
        ("content_pitch", pitch_loss, 2.0),
        ("detail_phone", phone_loss, 3.0),
        ("detail_pitch", pitch_loss, 2.0),
    ):
        place = name.split("_")[0]
        plain = what(trained.readers[name](latents[place]), batch)[0]
        (wanted,) = torch.autograd.grad(plain, latents[place])
        assert_reaches(gradients(losses[f"reversed_{name}"]), place, -0.5 * weight * wanted)
    plain = phone_loss(trained.readers["phone"](latents["content"]), batch)[0]
    (wanted,) = torch.autograd.grad(plain, latents["content"])
    assert_reaches(gradients(losses["phone"]), "content", wanted)
    (wanted,) = torch.autograd.grad(pitch_loss(pitch, batch)[0], pitch)
    assert_reaches(gradients(losses["pitch"]), "pitch", wanted)
    assert gradients(losses["speaker"])[3].any()
    found = gradients(losses["reversed_sum_speaker"])[:3]
    total = torch.stack(list(latents.values())).sum(0)
    logits = trained.readers["sum_speaker"](total, batch["frame_mask"])
    plain = torch.nn.functional.cross_entropy(logits, batch["speaker"])
    (wanted,) = torch.autograd.grad(plain, latents["detail"])
    for gradient in found:
        torch.testing.assert_close(gradient, -0.25 * wanted)


def test_adversaries_themselves_learn():
    batch, trained = labelled(), readers(reversed_phone=1.0)
    latents = {name: torch.randn(4, 20, 6) for name in ATTRIBUTES}
    latents["detail"] = torch.nn.functional.one_hot(batch["phones"], 7)[..., 1:].float()
    optimizer = torch.optim.Adam(trained.parameters(), lr=1e-2)
    for _ in range(60):
        losses, figures = trained(latents, torch.zeros(4, 5), torch.zeros(4, 20, 2), batch, 1.0)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    assert figures["detail/phone_accuracy"] > 0.95


def test_reversal_grows_over_its_warmup():
    batch, found = labelled(), []
    for step in (0, 5, 10, 30):
        trained = objective("autoencoder", reversal_warmup_steps=10, reversal_scale=0.8)
        torch.manual_seed(0)
        losses = trained("generator", batch, step, None).losses
        weight = trained.codec.encoder.output.weight
        (gradient,) = torch.autograd.grad(losses["reversed_detail_phone"], weight)
        found.append(gradient)
    assert not found[0].any()
    torch.testing.assert_close(found[2], 2.0 * found[1])
    torch.testing.assert_close(found[3], found[2])


def test_losses_count_known_frames_only():
    batch = labelled()
    read = torch.zeros(4, 20, PHONES, requires_grad=True)
    phone_loss(read, batch)[0].backward()
    known = (batch["phones"] > 0) & batch["frame_mask"]
    assert torch.equal(read.grad.abs().amax(-1) > 0, known)
    read = torch.ones(4, 20, 2, requires_grad=True)
    pitch_loss(read, batch)[0].backward()
    assert torch.equal(read.grad[..., 0] != 0, batch["voiced"])
    assert torch.equal(read.grad[..., 1] != 0, batch["frame_mask"])
    nothing = {name: torch.zeros_like(value) for name, value in batch.items()}
    assert float(phone_loss(torch.zeros(4, 20, PHONES), nothing)[0]) == 0.0
    assert float(pitch_loss(torch.zeros(4, 20, 2), nothing)[0]) == 0.0


@pytest.mark.parametrize("stage", STAGES)
def test_detail_is_dropped_by_whole_items(stage):
    batch = labelled(24)
    for share, low, high in ((0.0, 0, 0), (1.0, 24, 24), (0.5, 4, 20)):
        trained = objective(stage, detail_dropout=share, level_bits=60.0)
        trained.codec.quantizers.eval()  # so that the codebooks hold still
        with torch.no_grad():
            features = trained.codec.features(batch["waveform"])
            noise = 60.0 if stage == "autoencoder" else None
            latents = trained.codec.factorize(features, noise).latents
        seen = decoder_inputs(trained)
        trained("generator", batch, 0, None)
        told = latents["prosody"] + latents["content"]
        missing = (seen[0].detach() - told).abs().amax(dim=(1, 2)) < 0.05
        assert low <= int(missing.sum()) <= high
        whole = (seen[0].detach() - told - latents["detail"]).abs().amax(dim=(1, 2)) < 0.05
        assert torch.equal(whole, ~missing)


def test_the_distance_may_train_detail_alone():
    trained = objective("joint", reconstruct_detail_only=True, detail_dropout=0.0)
    losses = trained("generator", labelled(), 0, None).losses
    for name in ATTRIBUTES:
        up = trained.codec.quantizer(name).up[0].weight
        (gradient,) = torch.autograd.grad(losses["mel"], up, retain_graph=True, allow_unused=True)
        assert (gradient is not None and bool(gradient.any())) == (name == "detail")


def test_discriminator_phase_touches_critics_alone():
    trained = objective("joint", critics=True, critic_start_step=5)
    batch = labelled()
    early, late = (trained("generator", batch, step, None) for step in (4, 5))
    assert set(late.losses) - set(early.losses) == {"adversarial", "feature"}
    assert trained("discriminator", batch, 4, early.carry).losses["discriminator"].item() == 0.0
    sum(trained("discriminator", batch, 5, late.carry).losses.values()).backward()
    assert all(p.grad is None for p in trained.codec.parameters())
    assert any(p.grad.any() for p in trained.critics.parameters())


@pytest.mark.parametrize("stage", STAGES[2:])
def test_late_stages_leave_what_they_freeze_valid(stage):
    trained, batch = objective(stage, detail_dropout=0.0), labelled()
    before = {k: v.clone() for k, v in trained.codec.state_dict().items()}
    trained.eval()
    trained.train()
    optimizer = torch.optim.SGD(trained.parameters_of("generator"), lr=0.1)
    sum(trained("generator", batch, 0, None).losses.values()).backward()
    optimizer.step()
    moved = {k for k, v in trained.codec.state_dict().items() if not torch.equal(v, before[k])}
    detail = {name for name in before if name.startswith("quantizers.detail.")}
    assert {name.split(".")[0] for name in moved - detail} == {"decoder", "conditioning"}
    assert moved & detail == (detail if stage == "detail" else set())


@pytest.mark.parametrize("stage", STAGES[2:])
def test_timbre_may_learn_on_while_the_codes_stay(stage):
    trained, batch = objective(stage, detail_dropout=0.0, timbre_learns_on=True), labelled()
    before = {k: v.clone() for k, v in trained.codec.state_dict().items()}
    codes = trained.codec.encode(batch["waveform"])
    optimizer = torch.optim.SGD(trained.parameters_of("generator"), lr=0.1)
    sum(trained("generator", batch, 0, None).losses.values()).backward()
    optimizer.step()
    moved = {k for k, v in trained.codec.state_dict().items() if not torch.equal(v, before[k])}
    detail = {name for name in before if name.startswith("quantizers.detail.")}
    expected = {"decoder", "conditioning", "timbre_extractor"}
    assert {name.split(".")[0] for name in moved - detail} == expected
    assert moved & detail == (detail if stage == "detail" else set())
    kept = trained.codec.levels if stage == "decoder" else trained.codec.levels_of["detail"].start
    assert torch.equal(trained.codec.encode(batch["waveform"])[:, :kept], codes[:, :kept])


def test_detail_learns_by_what_the_reconstruction_lacks():
    trained = objective("detail", detail_dropout=0.0)
    assert set(trained("generator", labelled(), 0, None).losses) == {"mel", "complex", "commitment"}
    before = trained.eval().validate(labelled())
    learn(trained.train(), labelled(), 30)
    after = trained.eval().validate(labelled())
    for name in ("mel", "complex"):
        assert after[name] < before[name]


def test_joint_stage_moves_codebooks_in_training_only():
    trained, batch = objective("joint"), labelled()
    books = [trained.codec.quantizer(name).codebooks for name in ATTRIBUTES]
    before = [book.clone() for book in books]
    trained.eval()
    trained.validate(batch)
    trained.audio(batch)
    assert all(torch.equal(book, old) for book, old in zip(books, before, strict=True))
    trained.train()
    trained("generator", batch, 0, None)
    assert not any(torch.equal(book, old) for book, old in zip(books, before, strict=True))


def test_resumes_bit_for_bit_with_its_moving_averages():
    batch = labelled()
    trained, resumed = objective("joint"), objective("joint")
    learn(trained, batch, 3)
    resumed.load_state_dict(trained.state_dict())
    results = []
    for one in (trained, resumed):
        for step in range(2):  # the second step sees the codebooks that the first one moved
            torch.manual_seed(step)
            results.append(one("generator", batch, step, None).losses)
    for name, loss in results[1].items():
        assert torch.equal(loss, results[3][name]), name
    assert not any("counts" in name for name in trained.trained().state_dict())


def test_readers_go_on_in_the_next_stage_where_they_fit():
    trained, later = objective("autoencoder"), objective("joint")
    learn(trained, labelled(), 2)
    state = trained.state_dict()
    assert later.take_readers(state)
    for name, tensor in trained.readers.state_dict().items():
        assert torch.equal(tensor, later.readers.state_dict()[name])
    assert not objective("joint", head_width=6).take_readers(state)
    assert not objective("joint", reversal=False).take_readers(state)


@pytest.mark.parametrize("stage", STAGES)
def test_losses_keep_full_precision_under_autocast(stage):
    trained = objective(stage, critics=True)
    trained.codec.quantizers.eval()
    found = []
    for enabled in (False, True):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            result = trained("generator", labelled(), 0, None)
        assert all(loss.dtype == torch.float32 for loss in result.losses.values())
        found.append(result.losses)
    for name in ("mel", "complex"):
        assert found[1][name].item() == pytest.approx(found[0][name].item(), rel=0.05)


@pytest.mark.parametrize("stage", STAGES)
def test_validation_repeats_itself_and_tells_every_reader(stage):
    trained = objective(stage).eval()
    torch.manual_seed(7)
    first, second = (trained.validate(labelled()) for _ in range(2))
    drawn = torch.rand(1)
    torch.manual_seed(7)
    assert torch.equal(drawn, torch.rand(1))  # training's own noise is not touched
    assert first == second
    expected = {"mel", "complex", "mel_without_detail", "complex_without_detail"}
    if stage in ("autoencoder", "joint"):
        read = ("phone_accuracy", "pitch_error", "voicing_accuracy", "speaker_accuracy")
        expected |= {*read, "prosody/phone_accuracy", "detail/phone_accuracy"}
        expected |= {f"{a}/{w}" for a in ("content", "detail") for w in read[1:3]}
        expected |= {"sum/speaker_accuracy"}
    if stage != "autoencoder":
        expected |= {f"entries/{name}" for name in ATTRIBUTES}
    assert set(first) == expected


@pytest.mark.parametrize("stage", STAGES)
def test_audio_is_one_item_of_whole_frames(stage):
    sounds = objective(stage).eval().audio(labelled())
    assert set(sounds) == {"reference", "reconstruction", "without_detail", "other_timbre"}
    for samples, rate_hz in sounds.values():
        assert samples.shape == (20 * 200,)
        assert rate_hz == 16_000


def learn(trained: FACodecObjective, batch: dict[str, Tensor], steps: int) -> None:
    groups = {
        phase: torch.optim.AdamW(trained.parameters_of(phase), lr=4e-3, betas=(0.8, 0.99))
        for phase in trained.phases
    }
    for step in range(steps):
        carry = None
        for phase, optimizer in groups.items():
            result = trained(phase, batch, step, carry)
            carry = result.carry
            optimizer.zero_grad()
            sum(result.losses.values()).backward()
            torch.nn.utils.clip_grad_norm_(trained.parameters_of(phase), 10.0)
            optimizer.step()


def test_stages_overfit_one_batch_in_turn():
    batch = labelled()
    options = {"reversal": False, "detail_dropout": 0.2, "speaker_weight": 5.0}
    first = objective("autoencoder", **options)
    start = first.eval().validate(batch)
    learn(first.train(), batch, 90)
    encoded = first.eval().validate(batch)
    assert encoded["mel"] < 0.7 * start["mel"]
    assert encoded["phone_accuracy"] > 0.6
    assert encoded["pitch_error"] < 0.6 * start["pitch_error"]
    assert encoded["speaker_accuracy"] == 1.0
    trained = first.trained()
    trained.fit([batch["waveform"]])
    config = FACodecObjectiveConfig(stage="joint", head_width=8, **options)
    joint = build_facodec_objective(trained, config, phones=PHONES, speakers=SPEAKERS)
    assert joint.take_readers(first.state_dict())
    fitted = joint.eval().validate(batch)
    learn(joint.train(), batch, 50)
    joined = joint.eval().validate(batch)
    assert joined["mel"] < 0.95 * fitted["mel"]
    last = build_facodec_objective(
        trained,
        dataclasses.replace(
            config,
            stage="decoder",
            critic_windows=(128,),
            critic_width=2,
            adversarial_weight=0.67,
            feature_weight=1.33,
        ),
        phones=PHONES,
        speakers=SPEAKERS,
    )
    learn(last, batch, 40)
    assert last.eval().validate(batch)["mel"] < joined["mel"]


def test_reversal_hides_phones_from_an_encoder_that_has_to_keep_something_else():
    batch, read = labelled(12, 8), []
    phones = torch.nn.functional.one_hot(batch["phones"], PHONES).float()
    other = torch.randn(*phones.shape[:2], 3, generator=torch.Generator().manual_seed(5))
    for scale in (0.0, 1.0):
        trained = readers(reversed_phone=1.0)
        encoder, decoder = torch.nn.Linear(PHONES + 3, 6), torch.nn.Linear(6, 3)
        learning = [*trained.parameters(), *encoder.parameters(), *decoder.parameters()]
        optimizer = torch.optim.Adam(learning, lr=1e-2)
        reads = []
        for _ in range(200):
            detail = encoder(torch.cat([phones, other], dim=-1))
            latents = {name: torch.zeros_like(detail) for name in ATTRIBUTES} | {"detail": detail}
            losses, figures = trained(latents, torch.zeros(12, 5), detail[..., :2], batch, scale)
            kept = (decoder(detail) - other).square().mean()
            optimizer.zero_grad()
            (sum(losses.values()) + kept).backward()
            optimizer.step()
            reads.append(figures["detail/phone_accuracy"])
        assert kept.item() < 0.1
        # The two chase each other: the mean over many steps tells.
        read.append(sum(reads[100:]) / 100)
    assert read[0] > 0.9
    assert read[1] < 0.7


def test_configurations_are_checked():
    with pytest.raises(ConfigError, match="stage"):
        FACodecObjectiveConfig(stage="all")
    with pytest.raises(ConfigError, match="detail_dropout"):
        FACodecObjectiveConfig(detail_dropout=1.5)
    with pytest.raises(ConfigError, match="disguised_detail_dropout"):
        FACodecObjectiveConfig(disguised_detail_dropout=-0.1)
    with pytest.raises(ConfigError, match="exchange_strength"):
        FACodecObjectiveConfig(exchange_strength=0.9)
    with pytest.raises(ConfigError, match="level_bits"):
        FACodecObjectiveConfig(level_bits=0.0)
    with pytest.raises(ConfigError, match="multiples of 4"):
        FACodecObjectiveConfig(critic_windows=(1022,))
    with pytest.raises(ConfigError, match="1 speaker in the data"):
        build_facodec_objective(codec(), FACodecObjectiveConfig(), phones=7, speakers=1)


@pytest.mark.slow
@pytest.mark.parametrize("prosody_input", ["encoder", "mel"])
def test_paper_preset_learns_at_full_width(prosody_input):
    config = dataclasses.replace(
        paper(), timbre_layers=1, prosody_layers=1, prosody_input=prosody_input
    )
    critics = dataclasses.replace(paper_objective("joint"), critic_periods=(2,))
    trained = build_facodec_objective(codec(config), critics, phones=PHONES, speakers=SPEAKERS)
    kinds = [type(critic) for critic in trained.critics.critics]
    assert kinds == [BandCritic, BandCritic, BandCritic, PeriodCritic]
    batch = labelled(2, 3)
    sounds = trained.codec.reconstruct(batch["waveform"])
    assert sounds.shape == batch["waveform"].shape
    result = trained("generator", batch, 2000, None)
    sum(result.losses.values()).backward()
    named = trained.codec.named_parameters()
    still = [name for name, p in named if p.grad is None or not p.grad.any()]
    assert [name for name in still if not name.endswith("key_value.bias")] == []
    trained("discriminator", batch, 2000, result.carry).losses["discriminator"].backward()
    assert all(p.grad is not None for p in trained.critics.parameters())
