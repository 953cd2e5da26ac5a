"""Laws of synthesis with NaturalSpeech 2, for any weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tinysystem import tiny_codec, tiny_objective, tiny_synthesizer

from parlando.codecs.rvq import config as rvq
from parlando.codecs.rvq.model import build_rvq
from parlando.contracts import ConfigError, SpeakOptions, Synthesizer, TextError
from parlando.generative.diffusion import VPSchedule
from parlando.nn.durations import fit_durations
from parlando.systems.naturalspeech2.config import paper
from parlando.systems.naturalspeech2.model import NaturalSpeech2
from parlando.systems.naturalspeech2.objective import (
    NaturalSpeech2Objective,
    NaturalSpeech2ObjectiveConfig,
)
from parlando.systems.naturalspeech2.synthesis import (
    NaturalSpeech2Synthesizer,
    NaturalSpeech2Voice,
)
from parlando.text.vocabulary import SYMBOLS, is_phone

TEXT = ["h", "ə", "l", "ˈoʊ", " ", "w", "ˈɜː", "l", "d", "."]
OPTIONS = SpeakOptions(steps=2)
SWITCHES = [
    {},
    {"prompt_in_diffusion": False},
    {"prompt_in_predictors": False},
    {"query_attention": False},
    {"precondition": True, "relative_pitch": True},
]


def _waveform(frames=100):
    time = torch.arange(frames * 200 + 37) / 16_000
    return 0.2 * torch.sin(2 * torch.pi * 150.0 * time) * (1.0 + torch.sin(20.0 * time)) / 2.0


def _render(synthesizer, symbols=TEXT, seed=0, prompt=None, **options):
    prompt = prompt or synthesizer.encode_prompt(_waveform())
    generator = torch.Generator().manual_seed(seed)
    return synthesizer.render(symbols, prompt, replace(OPTIONS, **options), generator)


@pytest.fixture(scope="module")
def synthesizer():
    made = tiny_synthesizer(precondition=True)
    # As if trained: about eight frames a phone.
    torch.nn.init.constant_(made.model.duration_predictor.output.bias, 2.2)
    return made


def test_it_is_a_synthesizer(synthesizer):
    assert isinstance(synthesizer.encode_prompt(_waveform()).states.states, torch.Tensor)
    for name in ("name", "rate_hz", "hop_samples", "encode_prompt", "render"):
        assert name in dir(Synthesizer) or name in Synthesizer.__annotations__
        assert hasattr(synthesizer, name)
    assert not synthesizer.model.training


def test_everything_has_one_length(synthesizer):
    made = _render(synthesizer)
    frames = sum(made.durations_frames)
    assert made.samples.shape == (frames * 200,)
    assert made.samples.dtype == np.float32
    assert np.abs(made.samples).max() <= 1.0
    assert made.f0_hz.shape == (frames,)
    assert len(made.symbols) == len(made.durations_frames)
    assert "".join(made.symbols).strip() == "".join(TEXT)


def test_every_phone_is_spoken(synthesizer):
    made = _render(synthesizer, speed=4.0)
    phones = [
        length
        for symbol, length in zip(made.symbols, made.durations_frames, strict=True)
        if is_phone(symbol)
    ]
    assert min(phones) >= 1


def test_a_seed_means_one_voice(synthesizer):
    first, again, other = (_render(synthesizer, seed=seed).samples for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-4


def test_the_global_random_state_is_left_alone(synthesizer):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    _render(synthesizer, solver="sde")
    assert torch.equal(torch.rand(3), expected)


def test_boundaries_are_added_where_none_are(synthesizer):
    assert _render(synthesizer, ["m"]).symbols == (" ", "m", " ")
    assert _render(synthesizer, [" ", "m", "."]).symbols == (" ", "m", ".")


@pytest.mark.parametrize("text", [[], [" "], [".", " "]])
def test_a_text_without_a_phone_is_refused(synthesizer, text):
    with pytest.raises(TextError, match="at least one phone"):
        _render(synthesizer, text)


def test_bad_options_are_refused(synthesizer):
    with pytest.raises(ConfigError, match="solver"):
        _render(synthesizer, solver="magic")
    with pytest.raises(ConfigError, match="steps"):
        _render(synthesizer, steps=0)


@pytest.mark.parametrize("solver", ["dpm", "euler", "sde"])
def test_every_solver_speaks(synthesizer, solver):
    assert np.isfinite(_render(synthesizer, solver=solver).samples).all()


@pytest.mark.parametrize("seconds", [0.5, 0.7503, 1.0, 2.37, 5.0])
def test_a_wanted_duration_is_met_to_the_frame(synthesizer, seconds):
    made = _render(synthesizer, duration_seconds=seconds)
    assert sum(made.durations_frames) == round(seconds * 80)


def test_a_duration_is_never_below_a_frame_per_phone(synthesizer):
    assert sum(_render(synthesizer, duration_seconds=0.01).durations_frames) == 8


def test_speed_divides_the_duration(synthesizer):
    slow, plain, fast = (
        sum(_render(synthesizer, speed=speed).durations_frames) for speed in (0.5, 1.0, 2.0)
    )
    assert slow == pytest.approx(2.0 * plain, rel=0.1)
    assert fast == pytest.approx(0.5 * plain, rel=0.1)


@pytest.mark.parametrize("seed", range(20))
def test_fitting_is_exact_and_respects_the_least(seed):
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 40))
    least = torch.from_numpy(random.integers(0, 2, count)).float()
    frames = torch.from_numpy(random.exponential(8.0, count)).float().maximum(least)
    total = int(least.sum()) + int(random.integers(0, 300))
    fitted = fit_durations(frames, least, total)
    assert int(fitted.sum()) == total
    assert (fitted >= least).all()


def test_fitting_keeps_proportions():
    frames, least = torch.tensor([2.0, 4.0, 6.0, 0.0]), torch.tensor([1.0, 1.0, 1.0, 0.0])
    assert fit_durations(frames, least, 24).tolist() == [4, 8, 12, 0]
    assert fit_durations(frames, least, 4).tolist() == [1, 1, 2, 0]
    assert fit_durations(frames, least, 3).tolist() == [1, 1, 1, 0]


def test_guidance_leans_away_from_the_promptless_estimate(synthesizer):
    prompt = synthesizer.encode_prompt(_waveform())
    plain = _render(synthesizer, prompt=prompt).samples
    guided = _render(synthesizer, prompt=prompt, guidance=1.0).samples
    assert np.abs(plain - guided).max() > 1e-4
    assert np.isfinite(guided).all()


def test_guidance_has_the_strength_of_the_model_where_none_is_asked_for():
    made = tiny_synthesizer(precondition=True, guidance=1.0)
    prompt = made.encode_prompt(_waveform())
    given = [_render(made, prompt=prompt, **asked).samples for asked in ({}, {"guidance": 1.0})]
    np.testing.assert_array_equal(*given)
    off = _render(made, prompt=prompt, guidance=0.0).samples
    assert off.shape == given[0].shape
    assert np.abs(off - given[0]).max() > 1e-4


@pytest.mark.parametrize(("start", "late"), [(0.0, 12), (0.5, 2), (1.5, 0)])
def test_guidance_costs_a_second_evaluation_where_it_is_applied(start, late):
    made = tiny_synthesizer(precondition=True, guidance=1.0, guidance_from=start)
    times = []
    whole = made.model.denoise
    made.model.denoise = lambda z, t, *rest: times.append(float(t[0])) or whole(z, t, *rest)
    told = []
    made.model.diffusion.blocks[0].condition.register_forward_hook(lambda *_: told.append(1))
    _render(made, steps=12)
    # The condition is the same at all times.
    assert len(told) == (2 if late else 1)
    assert len(times) == 12 + late
    guided = {t for t in times if times.count(t) == 2}
    assert all((t >= start) == (t in guided) for t in times)


def test_speaking_by_mel_hides_the_rest_of_the_prompt():
    whole, by_mel = (
        tiny_synthesizer(precondition=True, mel_bands=10, global_prompt=True, speak_by_mel=flag)
        for flag in (False, True)
    )
    for made in (whole, by_mel):
        torch.nn.init.constant_(made.model.duration_predictor.output.bias, 2.2)
    prompt = whole.encode_prompt(_waveform())
    louder = replace(prompt.states, vector=prompt.states.vector + 1.0)

    def moved(made, states):
        # The mel is predicted from the vector too: only the diffusion may not read it.
        made.model.predict_mel = lambda condition, mask, prompt: replace(
            prompt, mel=torch.zeros(1, condition.shape[1], 10)
        )
        return _render(made, prompt=NaturalSpeech2Voice(states)).samples

    assert np.abs(moved(whole, prompt.states) - moved(whole, louder)).max() > 1e-4
    np.testing.assert_array_equal(moved(by_mel, prompt.states), moved(by_mel, louder))


def test_guidance_without_a_prompt_in_the_diffusion_changes_nothing():
    made = tiny_synthesizer(prompt_in_diffusion=False)
    np.testing.assert_array_equal(_render(made).samples, _render(made, guidance=2.0).samples)


def test_zero_temperature_needs_no_seed(synthesizer):
    first, second = (_render(synthesizer, seed=seed, temperature=0.0).samples for seed in (1, 2))
    np.testing.assert_array_equal(first, second)


def test_the_prompts_pitch_reaches_relative_pitch():
    made = tiny_synthesizer(relative_pitch=True)
    prompt = made.encode_prompt(_waveform())
    assert prompt.states.log_f0.exp().item() == pytest.approx(150.0, rel=0.03)
    silent = made.encode_prompt(torch.zeros(16_000))
    assert silent.states.log_f0.item() == 5.0


@pytest.mark.parametrize("switches", SWITCHES, ids=lambda s: "+".join(s) or "none")
def test_every_ablation_trains_and_speaks(switches):
    from tinysystem import batch

    objective = tiny_objective(**switches)
    optimizer = torch.optim.AdamW(objective.parameters_of("all"), lr=1e-3)
    before = [parameter.detach().clone() for parameter in objective.parameters()]
    losses = objective("all", batch(), 0).losses
    torch.stack(list(losses.values())).sum().backward()
    optimizer.step()
    after = list(objective.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    made = NaturalSpeech2Synthesizer(objective.trained(), tiny_codec(), name="tiny")
    samples = _render(made, duration_seconds=0.4).samples
    assert samples.shape == (6400,)
    assert np.isfinite(samples).all()


def test_runaway_durations_are_capped():
    made = tiny_synthesizer()
    torch.nn.init.constant_(made.model.duration_predictor.output.bias, 12.0)
    torch.nn.init.zeros_(made.model.duration_predictor.output.weight)
    lengths = _render(made, ["m", "m"]).durations_frames
    assert lengths == (96, 48, 48, 96)


@pytest.mark.slow
def test_the_papers_networks_train_and_speak():
    """Full width, reduced depth: a training step and a synthesis on the paper's classes."""
    config = replace(
        paper(), phoneme_layers=2, prompt_layers=2, predictor_layers=3, diffusion_layers=3
    )
    torch.manual_seed(0)
    codec = build_rvq(replace(rvq.paper(), encoder_width=4, decoder_width=32))
    model = NaturalSpeech2(config, len(SYMBOLS))
    objective = NaturalSpeech2Objective(
        model,
        codec,
        codec.quantizer.codebooks,
        NaturalSpeech2ObjectiveConfig(),
        VPSchedule(),
    )
    mask = torch.ones(1, 20, dtype=torch.bool)
    given = {
        "symbols": torch.tensor([[1, 20, 40, 1]]),
        "symbol_mask": torch.ones(1, 4, dtype=torch.bool),
        "durations": torch.tensor([[2, 6, 9, 3]]),
        "codes": torch.randint(1024, (1, 16, 20)),
        "f0": torch.full((1, 20), 120.0),
        "voiced": mask,
        "frame_mask": mask,
        "prompt_codes": torch.randint(1024, (1, 16, 30)),
        "prompt_mask": torch.ones(1, 30, dtype=torch.bool),
        "prompt_log_f0": torch.tensor([4.8]),
    }
    optimizer = torch.optim.AdamW(objective.parameters_of("all"), lr=1e-5)
    totals = []
    for _ in range(2):
        torch.manual_seed(0)
        total = torch.stack(list(objective("all", given, 0).losses.values())).sum()
        optimizer.zero_grad()
        total.backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
        optimizer.step()
        totals.append(total.item())
    assert totals[1] < totals[0]
    made = NaturalSpeech2Synthesizer(model, codec, name="paper")
    samples = _render(made, duration_seconds=0.25).samples
    assert samples.shape == (4000,)
    assert np.isfinite(samples).all()
