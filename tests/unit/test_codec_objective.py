"""The three stages of training the ``rvq`` codec."""

import math

import pytest
import torch
from torch import Tensor, nn

from parlando.codecs.rvq.config import RVQObjectiveConfig, paper_objective, small, tiny
from parlando.codecs.rvq.model import RVQCodec, build_rvq
from parlando.codecs.rvq.objective import RVQObjective, build_rvq_objective
from parlando.contracts import ConfigError, Objective

STAGES = ("autoencoder", "joint", "decoder")


def speechlike(items: int = 2, frames: int = 20) -> Tensor:
    """Harmonics of a gliding fundamental with a little noise, ``(B, S)``."""
    generator = torch.Generator().manual_seed(3)
    time = torch.arange(frames * 200) / 16_000
    f0 = 100.0 + 60.0 * torch.rand(items, 1, generator=generator) + 40.0 * time
    phase = 2 * math.pi * (f0 / 16_000).cumsum(1)
    voice = sum((k * phase).sin() / k for k in range(1, 12))
    return 0.1 * voice + 0.005 * torch.randn(voice.shape, generator=generator)


def syllables(items: int = 4, count: int = 6) -> Tensor:
    """Syllables of four frames, each of its own pitch, level and noisiness, ``(B, S)``."""
    generator = torch.Generator().manual_seed(3)
    f0 = 80.0 + 160.0 * torch.rand(items, count, generator=generator)
    phase = 2 * math.pi * (f0.repeat_interleave(800, 1) / 16_000).cumsum(1)
    gains = 10.0 ** (-2.0 * torch.rand(2, items, count, generator=generator))
    voiced, noisy = gains.repeat_interleave(800, 2)
    voice = sum((k * phase).sin() / k for k in range(1, 12))
    return 0.15 * voiced * voice + 0.05 * noisy * torch.randn(voice.shape, generator=generator)


def objective(stage: str, critics: bool = False, **options) -> RVQObjective:
    torch.manual_seed(0)
    windows = (64, 128) if critics else ()
    config = RVQObjectiveConfig(stage=stage, critic_windows=windows, critic_width=2, **options)
    return build_rvq_objective(build_rvq(tiny()), config)


def decoder_inputs(trained: RVQObjective) -> list[Tensor]:
    """Return a list to which every forward pass adds what the decoder read."""
    seen: list[Tensor] = []
    trained.codec.decoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    return seen


class FixedLatent(nn.Module):
    """An encoder that says the same of every waveform."""

    def __init__(self, latent: Tensor):
        super().__init__()
        self.latent = nn.Parameter(latent)

    def forward(self, waveform: Tensor) -> Tensor:
        return self.latent


@pytest.mark.parametrize("stage", STAGES)
def test_fulfils_the_contract(stage):
    with_critics, without = objective(stage, critics=True), objective(stage)
    assert isinstance(without, Objective)
    assert without.phases == ("generator",)
    assert with_critics.phases == ("generator", "discriminator")
    assert isinstance(with_critics.trained(), RVQCodec)
    with pytest.raises(ConfigError, match="discriminator"):
        without.parameters_of("discriminator")


@pytest.mark.parametrize("stage", STAGES)
def test_gradients_reach_what_learns_and_nothing_else(stage):
    trained = objective(stage, critics=True, target_bits=0.01)
    result = trained("generator", {"waveform": speechlike()}, 0, None)
    sum(result.losses.values()).backward()
    learning = {id(p) for p in trained.parameters_of("generator")}
    for name, parameter in trained.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.any())
        assert reached == (id(parameter) in learning), name
    names = {n.split(".")[1] for n, p in trained.named_parameters() if id(p) in learning}
    assert names == ({"decoder"} if stage == "decoder" else {"encoder", "decoder"})


def test_each_loss_reaches_the_encoder():
    trained = objective("joint", critics=True)
    losses = trained("generator", {"waveform": speechlike()}, 0, None).losses
    assert set(losses) == {"commitment", "mel", "complex", "adversarial", "feature"}
    for name, loss in losses.items():
        (gradient,) = torch.autograd.grad(
            loss, trained.codec.encoder.output.weight, retain_graph=True
        )
        assert gradient.any(), name


def test_discriminator_phase_touches_critics_alone():
    trained = objective("joint", critics=True)
    batch = {"waveform": speechlike()}
    carry = trained("generator", batch, 0, None).carry
    sum(trained("discriminator", batch, 0, carry).losses.values()).backward()
    assert all(p.grad is None for p in trained.codec.parameters())
    # The last bias rests while all scores are between -1 and 1: real and produced pull alike.
    learning = trained.critics.named_parameters()
    assert all(p.grad.any() for n, p in learning if not n.endswith("output.bias"))


def test_critics_wait_for_their_step():
    trained = objective("autoencoder", critics=True, critic_start_step=5)
    batch = {"waveform": speechlike()}
    early, late = (trained("generator", batch, step, None) for step in (4, 5))
    assert set(late.losses) - set(early.losses) == {"adversarial", "feature"}
    waiting = trained("discriminator", batch, 4, early.carry).losses["discriminator"]
    waiting.backward()
    assert waiting.item() == 0.0
    assert not any(p.grad.any() for p in trained.parameters_of("discriminator"))
    assert trained("discriminator", batch, 5, late.carry).losses["discriminator"].item() > 1.0


def test_decoder_stage_leaves_codes_valid():
    trained = objective("decoder")
    batch = {"waveform": speechlike()}
    before = {k: v.clone() for k, v in trained.codec.state_dict().items()}
    codes = trained.codec.encode(batch["waveform"])
    trained.eval()
    trained.train()
    optimizer = torch.optim.SGD(trained.parameters_of("generator"), lr=0.1)
    sum(trained("generator", batch, 0, None).losses.values()).backward()
    optimizer.step()
    moved = {k for k, v in trained.codec.state_dict().items() if not torch.equal(v, before[k])}
    assert moved
    assert all(name.startswith("decoder.") for name in moved)
    assert torch.equal(trained.codec.encode(batch["waveform"]), codes)


def test_joint_stage_moves_codebooks_in_training_only():
    trained = objective("joint")
    batch = {"waveform": speechlike()}
    before = trained.codec.quantizer.codebooks.clone()
    trained.validate(batch)
    trained.audio(batch)
    assert torch.equal(trained.codec.quantizer.codebooks, before)
    trained("generator", batch, 0, None)
    assert not torch.equal(trained.codec.quantizer.codebooks, before)


def test_joint_stage_resumes_bit_for_bit():
    batch = {"waveform": speechlike()}
    trained, resumed = objective("joint", critics=True), objective("joint", critics=True)
    learn(trained, batch, 3)
    resumed.load_state_dict(trained.state_dict())
    results = []
    for one in (trained, resumed):
        for step in range(2):  # the second step sees the codebooks that the first one moved
            torch.manual_seed(step)
            results.append(one("generator", batch, step, None).losses)
    for name, loss in results[1].items():
        assert torch.equal(loss, results[3][name]), name
    assert "quantizer.counts" not in trained.trained().state_dict()


def test_rate_is_that_of_a_gaussian_channel_with_unit_noise():
    trained = objective("autoencoder", target_bits=5.0)
    # Half of the values at -a, half at +a: a variance of 3 carries one bit in each of 8 dimensions.
    values = torch.tensor([-1.0, 1.0]).repeat(10)[None, :, None].expand(2, 20, 8)
    trained.codec.encoder = FixedLatent(values / values.flatten(0, 1).std(0) * math.sqrt(3.0))
    result = trained("generator", {"waveform": speechlike()}, 0, None)
    assert result.logs["rate_bits"] == pytest.approx(8.0, rel=1e-4)
    assert result.losses["rate"].item() == pytest.approx(0.01 * 3.0, rel=1e-3)
    trained.target_bits = 9.0
    assert trained("generator", {"waveform": speechlike()}, 0, None).losses["rate"].item() == 0.0


def test_noise_of_the_autoencoder_has_its_own_strength_per_item():
    trained = objective("autoencoder")
    trained.codec.encoder = FixedLatent(torch.zeros(16, 100, 8))
    seen = decoder_inputs(trained)
    trained("generator", {"waveform": speechlike(16, 100)}, 0, None)
    strengths = seen[0].detach().flatten(1).std(1)
    assert 0.45 < float(strengths.min()) < 0.7
    assert 1.0 < float(strengths.max()) < 1.3


@pytest.mark.parametrize("stage", ["joint", "decoder"])
def test_decoder_reads_prefixes_of_the_levels(stage):
    waveform = speechlike(12)
    for share, most in ((0.0, 1), (1.0, 4)):
        trained = objective(stage, fewer_levels_share=share)
        trained.codec.quantizer.eval()  # so that the codebooks hold still
        codes = trained.codec.encode(waveform)
        prefixes = [trained.codec.embed(codes[:, :n]) for n in range(1, 5)]
        seen = decoder_inputs(trained)
        trained("generator", {"waveform": waveform}, 0, None)
        far = torch.stack([(seen[0].detach() - p).abs().amax(dim=(1, 2)) for p in prefixes])
        assert float(far.amin(0).max()) < 1e-4
        counts = far.argmin(0) + 1
        assert len(counts.unique()) == most
        assert int(counts.max()) == 4


@pytest.mark.parametrize("stage", STAGES)
def test_losses_keep_full_precision_under_autocast(stage):
    trained = objective(stage, critics=True)
    batch = {"waveform": speechlike()}
    trained.codec.quantizer.eval()
    found = []
    for enabled in (False, True):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            result = trained("generator", batch, 0, None)
        assert all(loss.dtype == torch.float32 for loss in result.losses.values())
        assert result.carry.produced.dtype == torch.float32
        found.append(result.losses)
    for name in ("mel", "complex"):
        assert found[1][name].item() == pytest.approx(found[0][name].item(), rel=0.05)


def test_validation_tells_every_number_of_levels():
    figures = objective("joint").validate({"waveform": speechlike()})
    table = {f"{name}/levels_{n:02d}" for name in ("mel", "complex") for n in range(1, 5)}
    assert set(figures) == table | {"mel", "complex"}
    assert figures["mel"] == figures["mel/levels_04"]


def test_validation_repeats_itself():
    trained = objective("autoencoder")
    first, second = (trained.validate({"waveform": speechlike()}) for _ in range(2))
    assert first == second
    assert set(first) == {"mel", "complex", "rate_bits", "mel_noisy"}


@pytest.mark.parametrize("stage", STAGES)
def test_audio_is_one_item_of_whole_frames(stage):
    sounds = objective(stage).audio({"waveform": speechlike()[:, :-50]})
    assert set(sounds) == {"reference", "reconstruction"}
    for samples, rate_hz in sounds.values():
        assert samples.shape == (19 * 200,)
        assert rate_hz == 16_000


def learn(trained: RVQObjective, batch: dict[str, Tensor], steps: int) -> None:
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
            optimizer.step()


def test_stages_overfit_one_batch_in_turn():
    batch = {"waveform": syllables()}
    first = objective("autoencoder", target_bits=30.0)
    start = first.validate(batch)
    learn(first, batch, 150)
    encoded = first.validate(batch)
    assert encoded["mel"] < 0.45 * start["mel"]
    assert encoded["complex"] < 0.6 * start["complex"]
    codec = first.trained()
    with torch.no_grad():
        codec.quantizer.fit(codec.encoder(batch["waveform"]).flatten(0, 1))
    joint = build_rvq_objective(codec, RVQObjectiveConfig(stage="joint"))
    fitted = joint.validate(batch)
    learn(joint, batch, 60)
    joined = joint.validate(batch)
    assert joined["mel"] < 0.9 * fitted["mel"]
    assert joined["mel"] < joined["mel/levels_01"]
    last = build_rvq_objective(
        codec, RVQObjectiveConfig(stage="decoder", critic_windows=(128,), critic_width=2)
    )
    learn(last, batch, 40)
    assert last.validate(batch)["mel"] < joined["mel"]


def test_configurations_are_checked():
    with pytest.raises(ConfigError, match="stage"):
        RVQObjectiveConfig(stage="all")
    with pytest.raises(ConfigError, match="share"):
        RVQObjectiveConfig(fewer_levels_share=1.5)
    with pytest.raises(ConfigError, match="multiples of 4"):
        RVQObjectiveConfig(critic_windows=(1022,))
    assert paper_objective("joint").critic_periods == (2, 3, 5, 7, 11)


def test_small_codec_has_less_than_eight_million_parameters():
    with torch.device("meta"):
        codec = build_rvq(small())
    count = sum(p.numel() for p in codec.parameters()) + codec.quantizer.codebooks.numel()
    assert count < 8e6
