"""Laws of the mel spectrogram that is predicted before the diffusion."""

import dataclasses

import pytest
import torch
from tinysystem import batch, tiny_model, tiny_objective

from parlando.contracts import ConfigError
from parlando.generative.diffusion import VPSchedule
from parlando.systems.naturalspeech2.model import standardized_mel

SWITCHES = {"mel_bands": 10, "global_prompt": True}


def _states(model, given):
    latent = torch.randn(2, 12, 8, generator=torch.Generator().manual_seed(3))
    prompt = model.encode_prompt(latent, given["prompt_mask"], given["prompt_log_f0"])
    hidden = model.encode_symbols(given["symbols"], given["symbol_mask"])
    expanded, mask = model.expand(hidden, given["durations"])
    condition = model.condition(expanded, given["f0"].clamp_min(40.0).log(), given["voiced"])
    return condition, mask, prompt


def _estimate(model, condition, mask, prompt):
    z_t = torch.randn(2, 20, 8, generator=torch.Generator().manual_seed(4))
    times = torch.full((2,), 0.5)
    told, scale = model.tell(condition, prompt), VPSchedule().mean_scale(times)
    return model.denoise(z_t, times, told, prompt, mask, scale)


def test_the_standardised_scale_fits_speech():
    generator = torch.Generator().manual_seed(0)
    # Speech at -23 dB whose spectrum falls by 6 dB an octave.
    noise = torch.randn(1, 16_000, generator=generator).cumsum(1)
    noise = noise - torch.nn.functional.avg_pool1d(noise[:, None], 801, 1, 400)[:, 0]
    sound = 0.07 * noise / noise.std()
    mel = standardized_mel(sound, 16_000, 200, 80)
    assert mel.shape == (1, 80, 80)
    assert abs(float(mel.mean())) < 1.0
    assert 0.2 < float(mel.std()) < 1.5


def test_the_predicted_mel_depends_on_text_and_prompt():
    model, given = tiny_model(**SWITCHES).eval(), batch()
    condition, mask, prompt = _states(model, given)
    mel = model.predict_mel(condition, mask, prompt).mel
    assert mel.shape == (2, 20, 10)
    other_text = model.predict_mel(condition.roll(1, 1), mask, prompt).mel
    other_voice = model.predict_mel(condition, mask, _states(model, batch(1))[2]).mel
    assert (mel - other_text)[mask].abs().max() > 0.01
    torch.testing.assert_close(mel, other_voice)  # the same prompt latents
    louder = model.encode_prompt(
        2.0 * torch.randn(2, 12, 8), given["prompt_mask"], given["prompt_log_f0"]
    )
    assert (mel - model.predict_mel(condition, mask, louder).mel)[mask].abs().max() > 0.01


def test_the_diffusion_reads_the_mel_and_forgets_it_with_the_prompt():
    model, given = tiny_model(**SWITCHES).eval(), batch()
    condition, mask, prompt = _states(model, given)
    states = model.predict_mel(condition, mask, prompt)
    estimate = _estimate(model, condition, mask, states)
    moved = model.predict_mel(condition.roll(1, 1), mask, prompt)
    assert (_estimate(model, condition, mask, moved) - estimate)[mask].abs().max() > 1e-3
    dropped = torch.tensor([True, False])
    first, second = (
        _estimate(model, condition, mask, model.drop_prompt(one, dropped))
        for one in (states, moved)
    )
    torch.testing.assert_close(first[0], second[0])
    assert (first[1] - second[1]).abs().max() > 1e-3
    with pytest.raises(ConfigError, match="predict_mel"):
        _estimate(model, condition, mask, prompt)


def test_the_mel_is_learnt_where_frames_are_real():
    torch.manual_seed(0)
    objective, given = tiny_objective(**SWITCHES), batch()
    optimizer = torch.optim.Adam(objective.parameters_of("all"), lr=5e-3)
    first = float(objective("all", given, 0).losses["mel"].detach())
    for step in range(80):
        loss = objective("all", given, step).losses["mel"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.5 * first
    del given["waveform"]
    with pytest.raises(ConfigError, match="waveform = true"):
        objective("all", given, 0)


def test_with_the_mel_only_nothing_else_of_the_prompt_is_heard():
    model, given = tiny_model(**SWITCHES).eval(), batch()
    condition, mask, prompt = _states(model, given)
    states = model.predict_mel(condition, mask, prompt)
    louder = model.encode_prompt(
        2.0 * torch.randn(2, 12, 8), given["prompt_mask"], given["prompt_log_f0"]
    )
    same_mel = dataclasses.replace(louder, mel=states.mel)
    every = torch.ones(2, dtype=torch.bool)
    first, second = (
        _estimate(model, condition, mask, model.drop_prompt(one, every, keep_mel=True))
        for one in (states, same_mel)
    )
    torch.testing.assert_close(first, second)
    whole = _estimate(model, condition, mask, model.drop_prompt(states, every))
    assert (whole - first)[mask].abs().max() > 1e-3


def test_validation_measures_the_mel_alone():
    figures = tiny_objective(**SWITCHES).eval().validate(batch())
    assert len({figures[f"data{name}"] for name in ("", "_with_mel_only", "_without_prompt")}) == 3
