"""Laws of NaturalSpeech 2's networks and objective, for any weights."""

from dataclasses import replace

import pytest
import torch
from tinysystem import batch, tiny_model, tiny_objective

from parlando.contracts import ConfigError, Objective
from parlando.generative.diffusion import VPSchedule
from parlando.systems.naturalspeech2.accounting import format_parameter_table, parameter_table
from parlando.systems.naturalspeech2.config import paper, small
from parlando.systems.naturalspeech2.model import NaturalSpeech2
from parlando.systems.naturalspeech2.objective import NaturalSpeech2ObjectiveConfig
from parlando.text.vocabulary import SYMBOLS

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
ABLATIONS = [
    {"prompt_in_diffusion": False},
    {"prompt_in_predictors": False},
    {"query_attention": False},
    {"precondition": True},
    {"relative_pitch": True},
    {"global_prompt": True, "pitch_harmonics": 3},
    {"global_prompt": True, "mel_bands": 10},
    {"prompt_in_diffusion": False, "prompt_in_predictors": False},
]
SWITCHES = pytest.mark.parametrize(
    "switches", [{}, *ABLATIONS], ids=lambda s: "+".join(s) or "none"
)


def _prompt(model, given, rows=slice(None), frames=None):
    latent = torch.randn(2, 12, 8, generator=torch.Generator().manual_seed(3))
    mask = given["prompt_mask"]
    return model.encode_prompt(
        latent[rows, :frames], mask[rows, :frames], given["prompt_log_f0"][rows]
    )


def _denoise(model, given, prompt, t=0.5, z_t=None, rows=slice(None), frames=None):
    """Encode, expand and denoise fixed noise; the second item alone with rows and frames."""
    symbols = None if frames is None else 3
    mask = given["symbol_mask"][rows, :symbols]
    hidden = model.encode_symbols(given["symbols"][rows, :symbols], mask)
    expanded, _ = model.expand(hidden, given["durations"][rows, :symbols])
    log_f0 = given["f0"][rows, :frames].clamp_min(40.0).log()
    condition = model.condition(expanded, log_f0, given["voiced"][rows, :frames])
    frame_mask = given["frame_mask"][rows, :frames]
    prompt = model.predict_mel(condition, frame_mask, prompt)
    if z_t is None:
        z_t = torch.randn(2, 20, 8, generator=torch.Generator().manual_seed(4))
    times = torch.full((len(mask),), t)
    return model.denoise(
        z_t[rows, :frames],
        times,
        model.tell(condition, prompt),
        prompt,
        frame_mask,
        VPSchedule().mean_scale(times),
    )


# Padding, order, batches


@SWITCHES
def test_padding_changes_nothing(switches):
    model, given = tiny_model(**switches).eval(), batch()
    one = slice(1, 2)
    prompt, alone = _prompt(model, given), _prompt(model, given, one, 8)
    torch.testing.assert_close(prompt.states[one, :8], alone.states, **CLOSE)
    if model.summary_attention is not None:
        torch.testing.assert_close(prompt.summary[one], alone.summary, **CLOSE)

    mask = given["symbol_mask"]
    hidden = model.encode_symbols(given["symbols"], mask)
    hidden_alone = model.encode_symbols(given["symbols"][one, :3], mask[one, :3])
    torch.testing.assert_close(hidden[one, :3], hidden_alone, **CLOSE)

    lengths = model.predict_durations(hidden, mask, prompt)
    lengths_alone = model.predict_durations(hidden_alone, mask[one, :3], alone)
    torch.testing.assert_close(lengths[one, :3], lengths_alone, **CLOSE)

    expanded, frames = model.expand(hidden, given["durations"])
    assert torch.equal(frames, given["frame_mask"])
    pitch = model.predict_pitch(expanded, frames, prompt)
    pitch_alone = model.predict_pitch(expanded[one, :13], frames[one, :13], alone)
    for together, single in zip(pitch, pitch_alone, strict=True):
        torch.testing.assert_close(together[one, :13], single, **CLOSE)

    estimate = _denoise(model, given, prompt)
    estimate_alone = _denoise(model, given, alone, rows=one, frames=13)
    torch.testing.assert_close(estimate[one, :13], estimate_alone, **CLOSE)


@SWITCHES
def test_what_lies_in_padding_does_not_reach_the_losses(switches):
    objective, given = tiny_objective(**switches).eval(), batch()
    soiled = {name: value.clone() for name, value in given.items()}
    soiled["codes"][1, :, 13:] = 7
    soiled["f0"][1, 13:] = 700.0
    soiled["voiced"][1, 13:] = True
    soiled["symbols"][1, 3:] = 33
    soiled["prompt_codes"][1, :, 8:] = 5
    losses = []
    for variant in (given, soiled):
        torch.manual_seed(5)
        losses.append(objective("all", variant, 0).losses)
    assert losses[0].keys() == losses[1].keys()
    for name, value in losses[0].items():
        torch.testing.assert_close(losses[1][name], value, **CLOSE)


def test_masked_positions_have_no_gradient():
    model, given = tiny_model().eval(), batch()
    z_t = torch.randn(2, 20, 8, requires_grad=True)
    _denoise(model, given, _prompt(model, given), z_t=z_t)[given["frame_mask"]].sum().backward()
    assert z_t.grad[1, 13:].abs().sum() == 0.0
    assert (z_t.grad[given["frame_mask"]].abs().sum(-1) > 0.0).all()


def test_the_order_of_symbols_matters():
    """Catches positions that are indexed by the item in the batch: then order is invisible."""
    model = tiny_model().eval()
    symbols, mask = torch.tensor([[9, 40, 12, 20, 33]]), torch.ones(1, 5, dtype=torch.bool)
    order = torch.tensor([3, 0, 4, 1, 2])
    encoded = model.encode_symbols(symbols, mask)
    shuffled = model.encode_symbols(symbols[:, order], mask)
    assert (shuffled - encoded[:, order]).abs().max() > 0.05


def test_identical_items_are_encoded_identically():
    model = tiny_model().eval()
    symbols = torch.tensor([[9, 40, 12, 20, 33]]).expand(4, -1)
    encoded = model.encode_symbols(symbols, torch.ones(4, 5, dtype=torch.bool))
    torch.testing.assert_close(encoded, encoded[:1].expand(4, -1, -1), **CLOSE)


# Expansion and pitch


def test_expansion_repeats_each_symbol_for_its_frames():
    model = tiny_model()
    torch.nn.init.zeros_(model.progress.weight)
    torch.nn.init.zeros_(model.progress.bias)
    hidden = torch.randn(2, 4, 16)
    durations = torch.tensor([[2, 0, 3, 1], [0, 1, 0, 2]])
    expanded, mask = model.expand(hidden, durations)
    assert mask.tolist() == [[True] * 6, [True] * 3 + [False] * 3]
    for row in range(2):
        expected = hidden[row].repeat_interleave(durations[row], dim=0)
        torch.testing.assert_close(expanded[row, mask[row]], expected)
        assert expanded[row, ~mask[row]].abs().sum() == 0.0


def test_expansion_tells_the_place_within_a_symbol():
    model = tiny_model()
    expanded, _ = model.expand(torch.zeros(1, 2, 16), torch.tensor([[3, 2]]))
    seen = []
    model.progress.register_forward_pre_hook(lambda _, given: seen.append(given[0].exp()))
    model.expand(torch.zeros(1, 2, 16), torch.tensor([[3, 2]]))
    assert seen[0][0].round().int().tolist() == [
        [1, 3, 3],
        [2, 2, 3],
        [3, 1, 3],
        [1, 2, 2],
        [2, 1, 2],
    ]
    assert torch.pdist(expanded[0]).min() > 1e-3


def test_unvoiced_pitch_is_not_read():
    model, expanded = tiny_model(), torch.zeros(1, 3, 16)
    voiced = torch.tensor([[True, False, True]])
    low = model.condition(expanded, torch.full((1, 3), 4.7), voiced)
    high = model.condition(expanded, torch.full((1, 3), 5.5), voiced)
    torch.testing.assert_close(low[:, 1], high[:, 1])
    assert (low[:, 0] - high[:, 0]).abs().max() > 0.01


@pytest.mark.parametrize("relative", [False, True])
def test_relative_pitch_moves_with_the_prompt(relative):
    model, given = tiny_model(relative_pitch=relative).eval(), batch()
    prompt = _prompt(model, given)
    raised = replace(prompt, log_f0=prompt.log_f0 + 0.5)
    expanded, mask = torch.randn(2, 20, 16), given["frame_mask"]
    change = (
        model.predict_pitch(expanded, mask, raised)[0]
        - model.predict_pitch(expanded, mask, prompt)[0]
    )
    torch.testing.assert_close(change, torch.full_like(change, 0.5 if relative else 0.0))


def test_harmonics_turn_by_their_share_of_a_frame():
    model = tiny_model(pitch_harmonics=2).eval()
    with torch.no_grad():
        model.pitch_embedding.weight.zero_()
        model.pitch_embedding.weight[0, -4:] = torch.tensor([1.0, 10.0, 100.0, 1000.0])
        model.pitch_embedding.bias.zero_()
    # 20 Hz above a whole number of turns a frame: a quarter turn, and half a turn of the second.
    log_f0 = torch.full((1, 1), 180.0).log()
    voiced = torch.ones(1, 1, dtype=torch.bool)
    features = model.condition(torch.zeros(1, 1, 16), log_f0, voiced)[0, 0, 0]
    torch.testing.assert_close(features, torch.tensor(0.0 - 10.0 + 100.0 + 0.0), atol=0.1, rtol=0)
    silent = model.condition(torch.zeros(1, 1, 16), log_f0, ~voiced)[0, 0, 0]
    assert silent.item() == 0.0


def test_the_phase_of_the_fundamental_is_read_where_voiced_and_must_be_given():
    model = tiny_model(pitch_phases=2).eval()
    expanded, log_f0 = torch.zeros(1, 2, 16), torch.full((1, 2), 5.0)
    voiced, phase = torch.tensor([[True, False]]), torch.tensor([[0.5, 0.5]])
    first = model.condition(expanded, log_f0, voiced, phase)
    second = model.condition(expanded, log_f0, voiced, phase + 1.0)
    whole_turn = model.condition(expanded, log_f0, voiced, phase + 2 * torch.pi)
    assert (first - second)[0, 0].abs().max() > 1e-3
    assert torch.equal(first[0, 1], second[0, 1])
    torch.testing.assert_close(first, whole_turn)
    with pytest.raises(ConfigError, match="phase"):
        model.condition(expanded, log_f0, voiced)
    given = batch()
    del given["waveform"]
    with pytest.raises(ConfigError, match="waveform = true"):
        tiny_objective(pitch_phases=2)("all", given, 0, None)


def test_preconditioning_copies_a_clean_input():
    model, given = tiny_model(precondition=True).eval(), batch()
    z_t = torch.randn(2, 20, 8)
    clean = _denoise(model, given, _prompt(model, given), t=0.0, z_t=z_t)
    torch.testing.assert_close(clean, z_t)
    fresh = tiny_model(thawed=False, precondition=True).eval()
    noisy = _denoise(fresh, given, _prompt(fresh, given), t=0.5, z_t=z_t)
    torch.testing.assert_close(noisy, VPSchedule().mean_scale(torch.tensor(0.5)) * z_t)


# Conditions


def test_prompt_and_text_reach_every_network():
    model, given = tiny_model().eval(), batch()
    other = given | {"symbols": torch.where(given["symbol_mask"], 30, 0)}
    prompt = _prompt(model, given)
    changed = model.encode_prompt(
        torch.randn(2, 12, 8), given["prompt_mask"], given["prompt_log_f0"]
    )
    mask, frames = given["symbol_mask"], given["frame_mask"]
    hidden = model.encode_symbols(given["symbols"], mask)
    expanded, _ = model.expand(hidden, given["durations"])
    pairs = {
        "prompt to durations": (
            model.predict_durations(hidden, mask, prompt),
            model.predict_durations(hidden, mask, changed),
        ),
        "prompt to pitch": (
            model.predict_pitch(expanded, frames, prompt)[0],
            model.predict_pitch(expanded, frames, changed)[0],
        ),
        "prompt to diffusion": (_denoise(model, given, prompt), _denoise(model, given, changed)),
        "text to diffusion": (_denoise(model, given, prompt), _denoise(model, other, prompt)),
        "text to encoder": (hidden, model.encode_symbols(other["symbols"], mask)),
    }
    for name, (first, second) in pairs.items():
        assert (first - second).abs().max() > 1e-3, name


@pytest.mark.parametrize("query_attention", [True, False])
def test_a_dropped_prompt_is_forgotten_item_by_item(query_attention):
    switches = {"query_attention": query_attention, "global_prompt": True}
    model, given = tiny_model(**switches).eval(), batch()
    torch.nn.init.normal_(model.prompt_vector.weight)
    other = torch.randn(2, 12, 8)
    prompts = [
        _prompt(model, given),
        model.encode_prompt(other, given["prompt_mask"], given["prompt_log_f0"]),
    ]
    dropped = torch.tensor([True, False])
    hidden = [model.drop_prompt(prompt, dropped) for prompt in prompts]
    for name in ("summary", "vector"):
        before = [getattr(prompt, name) for prompt in prompts]
        after = [getattr(prompt, name) for prompt in hidden]
        torch.testing.assert_close(after[0][0], after[1][0])
        assert (before[0][0] - before[1][0]).abs().max() > 1e-3
        for shown, kept in zip(after, before, strict=True):
            torch.testing.assert_close(shown[1], kept[1])


def test_ablated_prompts_are_not_read():
    given = batch()
    switches = {"prompt_in_diffusion": False, "prompt_in_predictors": False}
    model = tiny_model(**switches).eval()
    prompts = [_prompt(model, given), _prompt(model, given)]
    prompts[1] = replace(prompts[1], states=prompts[1].states + 1.0)
    hidden = model.encode_symbols(given["symbols"], given["symbol_mask"])
    lengths = [model.predict_durations(hidden, given["symbol_mask"], p) for p in prompts]
    assert torch.equal(lengths[0], lengths[1])
    assert prompts[0].summary is None


# Learning


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("duration", {"duration_predictor", "phoneme_encoder", "prompt_encoder"}),
        ("pitch", {"pitch_predictor", "progress", "phoneme_encoder", "prompt_encoder"}),
        ("voicing", {"pitch_predictor"}),
        ("data", {"diffusion", "time", "pitch_embedding", "phoneme_encoder", "prompt_encoder"}),
        ("score", {"diffusion", "time", "pitch_embedding", "phoneme_encoder", "prompt_encoder"}),
        ("ce_rvq", {"diffusion", "time", "pitch_embedding", "phoneme_encoder", "prompt_encoder"}),
    ],
)
def test_every_loss_teaches_its_networks(name, own):
    """Catches a loss that is computed and never added, and one that is cut off its network."""
    objective = tiny_objective()
    torch.manual_seed(0)
    result = objective("all", batch(), 0)
    assert result.losses[name].item() > 0.0
    result.losses[name].backward()
    taught = {
        part.split(".")[0]
        for part, parameter in objective.model.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().sum() > 0.0
    }
    assert own <= taught
    heads = {"duration_predictor", "pitch_predictor", "diffusion"}
    assert taught & heads == own & heads


@SWITCHES
def test_every_parameter_learns(switches):
    objective = tiny_objective(objective=NaturalSpeech2ObjectiveConfig(drop_prompt=0.5), **switches)
    for seed in range(6):
        torch.manual_seed(seed)
        sum(objective("all", batch(seed), 0).losses.values()).backward()
    idle = [
        name
        for name, parameter in objective.model.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    # Without a prompt anywhere, nothing reads its encoder.
    unread = {"prompt_input", "prompt_encoder"} if switches == ABLATIONS[-1] else set()
    assert {name.split(".")[0] for name in idle} == unread


@SWITCHES
def test_a_fresh_model_trains(switches):
    """From its own initialisation, zeros included, one batch is learnt."""
    objective = tiny_objective(thawed=False, **switches)
    optimizer = torch.optim.AdamW(objective.parameters_of("all"), lr=5e-3)
    given = batch()
    before = objective.eval().validate(given)
    objective.train()
    for step in range(60):
        torch.manual_seed(step)
        losses = objective("all", given, step).losses
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
    after = objective.eval().validate(given)
    assert after["duration"] < 0.25 * before["duration"]
    assert after["pitch"] < 0.6 * before["pitch"]
    assert after["voicing"] < 0.5 * before["voicing"]
    assert after["data"] < 0.8 * before["data"]
    assert after["ce_rvq"] < before["ce_rvq"]


def test_one_batch_is_learnt_and_its_conditions_are_used():
    torch.manual_seed(0)
    objective = tiny_objective(thawed=False, width=32, precondition=True)
    optimizer = torch.optim.AdamW(objective.parameters_of("all"), lr=5e-3)
    given = batch()
    before = objective.eval().validate(given)
    objective.train()
    for step in range(250):
        torch.manual_seed(step)
        losses = objective("all", given, step).losses
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
    after = objective.eval().validate(given)
    assert after["data"] < 0.4 * before["data"]
    assert after["code_accuracy"] > 2.0 * before["code_accuracy"]
    assert after["data_without_text"] > 1.2 * after["data"]


def test_the_noise_of_validation_is_fixed_and_its_own():
    objective, given = tiny_objective().eval(), batch()
    torch.manual_seed(3)
    expected = torch.randn(4)
    torch.manual_seed(3)
    first = objective.validate(given)
    assert torch.equal(torch.randn(4), expected)
    assert objective.validate(given) == first
    assert {"duration", "pitch", "voicing", "data", "score", "ce_rvq"} <= first.keys()
    assert {"data_without_text", "data_without_prompt", "code_accuracy"} <= first.keys()


def test_half_precision_gives_nearly_the_same_losses():
    objective, given = tiny_objective(precondition=True).eval(), batch()
    losses = []
    for enabled in (False, True):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses.append(objective("all", given, 0).losses)
    torch.stack(list(losses[1].values())).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in objective.parameters())
    for name, value in losses[0].items():
        assert losses[1][name].dtype == torch.float32, name
        torch.testing.assert_close(losses[1][name], value, rtol=0.05, atol=0.02)


def test_ce_rvq_can_be_ablated():
    objective = tiny_objective(objective=NaturalSpeech2ObjectiveConfig(ce_rvq_weight=0.0))
    result = objective("all", batch(), 0)
    assert "ce_rvq" not in result.losses
    assert result.losses.keys() == {"duration", "pitch", "voicing", "data", "score"}


def test_weights_scale_their_loss():
    losses = []
    for weight in (0.1, 0.2):
        config = NaturalSpeech2ObjectiveConfig(ce_rvq_weight=weight)
        objective = tiny_objective(objective=config)
        torch.manual_seed(0)
        losses.append(objective("all", batch(), 0).losses["ce_rvq"])
    torch.testing.assert_close(losses[1], 2.0 * losses[0])


def test_latents_are_the_codecs():
    """What is diffused is what the codec embeds, normalised; and decoding it is deterministic."""
    from tinysystem import tiny_codec

    codec, objective = tiny_codec(), tiny_objective()
    codes = batch()["codes"]
    latent = codec.normalize(codec.embed(codes))
    torch.testing.assert_close(objective.latent(codes), latent, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        decoded = codec.decode(codec.embed(codes))
        assert torch.equal(codec.decode(codec.embed(codes)), decoded)
    torch.testing.assert_close(codec.denormalize(latent), codec.embed(codes), **CLOSE)


def test_the_objective_keeps_its_contract():
    objective = tiny_objective()
    assert isinstance(objective, Objective)
    assert objective.trained() is objective.model
    listed = {id(parameter) for parameter in objective.parameters_of("all")}
    assert listed == {id(parameter) for parameter in objective.model.parameters()}
    assert not objective.codebooks.requires_grad


# The paper's shape


def _on_paper(config):
    with torch.device("meta"):
        return NaturalSpeech2(config, len(SYMBOLS))


def test_parameters_are_those_of_table_11(capsys):
    rows = {row.name: row for row in parameter_table(_on_paper(paper()))}
    print(format_parameter_table(list(rows.values())))
    tolerance = {
        "duration predictor": 0.03,
        "pitch predictor": 0.03,
        "speech prompt encoder": 0.01,
        "phoneme encoder": 0.05,
    }
    for name, relative in tolerance.items():
        row = rows[name]
        assert row.count / 1e6 == pytest.approx(row.paper_millions, rel=relative)
    # The listed layers make 148 million; the paper's 183 follow from no reading of them.
    assert rows["diffusion"].count / 1e6 == pytest.approx(148.0, rel=0.02)
    assert "| diffusion | 148.6 | 183 |" in capsys.readouterr().out


@pytest.mark.parametrize("preset", [paper, small])
def test_the_table_counts_every_parameter_once(preset):
    model = _on_paper(preset())
    total = sum(parameter.numel() for parameter in model.parameters())
    assert sum(row.count for row in parameter_table(model)) == total


def test_the_released_shape_is_small():
    model = _on_paper(small())
    assert sum(parameter.numel() for parameter in model.parameters()) < 12e6
