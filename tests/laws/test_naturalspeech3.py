"""What holds for the networks and the objective of NaturalSpeech 3, whatever their weights."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tinyfactorized import tiny_facodec

from parlando.contracts import ConfigError
from parlando.curriculum import builders, trainable
from parlando.data.batching import mask_of
from parlando.systems.naturalspeech3.config import (
    NaturalSpeech3ObjectiveConfig,
    paper,
    paper_1b,
    small,
    tiny,
)
from parlando.systems.naturalspeech3.model import (
    DURATION,
    PROSODY,
    CodeNetwork,
    NaturalSpeech3,
)
from parlando.systems.naturalspeech3.objective import NaturalSpeech3Objective
from parlando.systems.naturalspeech3.sequences import (
    join,
    phone_of_frame,
    phone_prosody,
    split_long,
)
from parlando.text.vocabulary import SYMBOLS


def tiny_model(**differences):
    torch.manual_seed(0)
    model = NaturalSpeech3(replace(tiny(), **differences), len(SYMBOLS)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "projection" in name:  # as after some training: adaptive norms start as plain ones
                parameter.normal_(std=0.3)
    return model


def entries():
    vectors = torch.randn(16, 3, generator=torch.Generator().manual_seed(1))
    return vectors / vectors.norm(dim=1, keepdim=True)


def tiny_objective(objective=None, **differences):
    config = objective or NaturalSpeech3ObjectiveConfig(drop_prompt=0.0)
    return NaturalSpeech3Objective(tiny_model(**differences), config, entries())


def batch(seed=0):
    """Two items: 4 symbols over 21 frames after 3 over 12, and 3 over 13 after 2 over 7."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randint(16, shape, generator=generator)

    return {
        "symbols": draw(2, 4),
        "symbol_mask": mask_of([4, 3]),
        "durations": torch.tensor([[5, 6, 4, 6], [4, 5, 4, 0]]),
        "codes": draw(2, 4, 21),
        "frame_mask": mask_of([21, 13]),
        "prompt_symbols": draw(2, 3),
        "prompt_symbol_mask": mask_of([3, 2]),
        "prompt_durations": torch.tensor([[4, 4, 4], [3, 4, 0]]),
        "prompt_codes": draw(2, 4, 12),
        "prompt_mask": mask_of([12, 7]),
    }


def test_an_edit_leaves_one_span_to_draw_with_codes_on_both_sides():
    joined = join(batch(), 4, 15)
    spans = set()
    for seed in range(40):
        chosen = torch.tensor([True, False])
        edited = joined.around(chosen, torch.Generator().manual_seed(seed))
        for name in ("symbol_prompt", "frame_prompt"):
            assert torch.equal(getattr(edited, name)[1], getattr(joined, name)[1])
        target = (edited.symbol_mask & ~edited.symbol_prompt)[0].nonzero()[:, 0].tolist()
        assert target == list(range(target[0], target[-1] + 1))
        assert target[0] >= 3  # the prompt stays one
        assert target[-1] <= 6
        spans.add((target[0], target[-1]))
        frames = (edited.frame_mask & ~edited.frame_prompt)[0].nonzero()[:, 0].tolist()
        ends = [0, *edited.durations[0].cumsum(0).tolist()]
        assert frames == list(range(ends[target[0]], ends[target[-1] + 1]))
    assert len(spans) > 4


def test_codes_are_as_loud_as_what_is_said():
    # Output weights are small; added as they are, codes would drown in what is said.
    model = NaturalSpeech3(small(), len(SYMBOLS)).eval()
    seen = []
    model.frames.network.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    codes = torch.randint(1024, (2, 6, 50), generator=torch.Generator().manual_seed(0))
    visible = torch.zeros(2, 6, 50, dtype=torch.bool)
    visible[:, 0] = True
    args = (torch.tensor([1, 1]), torch.ones(2), torch.ones(2, 50, dtype=torch.bool))
    with torch.no_grad():
        model.read_frames(torch.zeros(2, 50, 192), codes, visible, *args)
    assert 1.0 < float(seen[0].std()) < 2.0


def test_prompts_come_first_and_durations_sum_to_frames():
    given, joined = batch(), join(batch(), 4, 15)
    assert joined.frame_mask.sum(1).tolist() == [33, 20]
    assert joined.durations.sum(1).tolist() == [33, 20]
    assert joined.frame_prompt.sum(1).tolist() == [12, 7]
    assert joined.symbol_prompt.sum(1).tolist() == [3, 2]
    assert torch.equal(joined.codes[1, :, :7], given["prompt_codes"][1, :, :7])
    assert torch.equal(joined.codes[1, :, 7:20], given["codes"][1, :, :13])
    assert torch.equal(joined.symbols[1, 2:5], given["symbols"][1, :3])
    del given["prompt_symbols"]
    with pytest.raises(ConfigError, match="symbols = true"):
        join(given, 4, 15)
    with pytest.raises(ConfigError, match="4 levels, the model has 5"):
        join(batch(), 5, 15)


def test_every_frame_has_its_phone():
    durations = torch.tensor([[2, 0, 3], [1, 4, 0]])
    assert phone_of_frame(durations, 5).tolist() == [[0, 0, 2, 2, 2], [0, 1, 1, 1, 1]]


def test_the_prosody_of_a_phone_is_the_entry_nearest_to_its_mean():
    codes = torch.tensor([[3, 3, 3, 7, 5, 5]])
    durations, mask = torch.tensor([[3, 0, 1, 1]]), mask_of([5])
    mask = torch.nn.functional.pad(mask, (0, 1))
    found = phone_prosody(codes, durations, mask, entries())
    assert found.tolist() == [[3, 0, 7, 5]]
    mixed = phone_prosody(torch.tensor([[3, 8]]), torch.tensor([[2]]), mask_of([2]), entries())
    mean = entries()[[3, 8]].mean(0)
    assert int(mixed) == int((entries() - mean / mean.norm()).square().sum(1).argmin())


def predicted(model, joined, level=2):
    """Logits of frames and of durations, with half of what is to be drawn hidden."""
    states = model.encode_symbols(joined.symbols, joined.symbol_mask)
    expanded = model.expand(states, joined.durations, joined.frame_mask)
    place = torch.arange(joined.codes.shape[2])
    seen = (place % 2 == 0) | joined.frame_prompt
    levels = torch.arange(4)[None, :, None]
    visible = (levels < level) | ((levels == level) & seen[:, None])
    t = torch.full((len(states),), 0.5)
    frames = model.read_frames(
        expanded,
        joined.codes,
        visible & joined.frame_mask[:, None],
        torch.full((len(states),), level),
        t,
        joined.frame_mask,
    )
    codes = torch.stack([joined.durations % 16, joined.durations], dim=1)
    known = torch.stack([joined.symbol_mask, joined.symbol_prompt], dim=1)
    phones = model.read_phones(states, codes, known, DURATION, t, joined.symbol_mask)
    return model.frames.logits(frames, level), model.phones.logits(phones, DURATION)


def test_batching_changes_nothing():
    model, together = tiny_model(), join(batch(), 4, 15)
    frames, phones = predicted(model, together)
    alone = {
        name: value[1:, ..., : {4: 3, 21: 13, 3: 2, 12: 7}[value.shape[-1]]]
        for name, value in batch().items()
    }
    own_frames, own_phones = predicted(model, join(alone, 4, 15))
    torch.testing.assert_close(frames[1, :20], own_frames[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(phones[1, :5], own_phones[0, :5], rtol=1e-4, atol=1e-5)


def test_only_what_is_visible_is_seen():
    model, joined = tiny_model(), join(batch(), 4, 15)
    frames, _ = predicted(model, joined)
    hidden = joined.codes.clone()
    place = torch.arange(hidden.shape[2])
    drawn = ~joined.frame_prompt[:, None] & (torch.arange(4)[None, :, None] >= 2)
    drawn[:, 2] &= place % 2 == 1
    hidden = torch.where(drawn, (hidden + 5) % 16, hidden)
    changed, _ = predicted(model, replace(joined, codes=hidden))
    assert torch.equal(frames, changed)
    seen = joined.codes.clone()
    seen[0, 2, 20] = (seen[0, 2, 20] + 5) % 16
    other, _ = predicted(model, replace(joined, codes=seen))
    assert not torch.allclose(frames[0], other[0])
    assert torch.equal(frames[1], other[1])


def test_a_dropped_prompt_is_not_there_at_all():
    model, joined = tiny_model(), join(batch(), 4, 15).without_prompt(torch.tensor([True, False]))
    frames, phones = predicted(model, joined)
    other = batch(1) | {k: v for k, v in batch().items() if not k.startswith("prompt")}
    other |= {"prompt_durations": batch()["prompt_durations"]}
    changed = join(other, 4, 15).without_prompt(torch.tensor([True, False]))
    told = predicted(model, changed)
    torch.testing.assert_close(frames[0, 12:33], told[0][0, 12:33])
    torch.testing.assert_close(phones[0, 3:7], told[1][0, 3:7])
    assert not torch.allclose(frames[1, 7:20], told[0][1, 7:20])


def test_time_level_and_task_are_told():
    model, joined = tiny_model(), join(batch(), 4, 15)
    states = model.encode_symbols(joined.symbols, joined.symbol_mask)
    codes = torch.stack([joined.durations % 16, joined.durations], dim=1)
    nothing = torch.zeros_like(codes, dtype=torch.bool)

    def say(task, time):
        t = torch.full((2,), time)
        return model.read_phones(states, codes, nothing, task, t, joined.symbol_mask)

    assert not torch.allclose(say(DURATION, 0.2), say(DURATION, 0.9))
    assert not torch.allclose(say(PROSODY, 0.5), say(DURATION, 0.5))


def test_longer_symbols_become_several():
    durations, mask = torch.tensor([[4, 33, 0, 2], [15, 16, 9, 9]]), mask_of([4, 2])
    source, parts, real = split_long(durations, mask, 15)
    assert real.sum(1).tolist() == [6, 3]
    assert parts.tolist() == [[4, 11, 11, 11, 0, 2], [15, 8, 8, 0, 0, 0]]
    assert source[0].tolist() == [0, 1, 1, 1, 2, 3]
    assert source[1, :3].tolist() == [0, 1, 1]
    longer = batch()
    longer["durations"] = torch.tensor([[20, 1, 0, 0], [4, 5, 4, 0]])
    joined = join(longer, 4, 15)
    assert joined.durations.sum(1).tolist() == [33, 20]
    assert int(joined.durations.max()) <= 15
    assert joined.symbols[0, 3] == joined.symbols[0, 4] == longer["symbols"][0, 0]


def test_weights_and_switches_act():
    torch.manual_seed(0)
    plain = tiny_objective()("all", batch(), 0).losses
    torch.manual_seed(0)
    config = NaturalSpeech3ObjectiveConfig(
        drop_prompt=0.0, duration_weight=3.0, phone_prosody_weight=0.5
    )
    heavy = tiny_objective(config)("all", batch(), 0).losses
    torch.testing.assert_close(heavy["duration"], 3.0 * plain["duration"])
    torch.testing.assert_close(heavy["phone_prosody"], 0.5 * plain["phone_prosody"])
    torch.testing.assert_close(heavy["frames"], plain["frames"])
    plain_codes = NaturalSpeech3Objective(tiny_model(phone_prosody=False), config)
    assert set(plain_codes("all", batch(), 0).losses) == {"duration", "frames"}
    with pytest.raises(ConfigError, match="phone_prosody = false"):
        NaturalSpeech3Objective(tiny_model(), config)


def test_levels_are_learnt_as_often_as_their_weights_say():
    """What is said of a level moves its own bias, and no other."""

    def moved(*weights):
        config = NaturalSpeech3ObjectiveConfig(level_weights=weights)
        objective = tiny_objective(config)
        for step in range(8):
            objective("all", batch(step), step).losses["frames"].backward()
        biases = objective.model.frames.bias
        return [bias.grad is not None and bool(bias.grad.any()) for bias in biases]

    torch.manual_seed(0)
    assert moved() == [True, True, True, True]
    assert moved(0.0, 0.0, 1.0, 0.0) == [False, False, True, False]
    assert moved(2.0, 0.0, 0.0, 1.0) == [True, False, False, True]


def test_weights_of_other_levels_are_refused_before_training():
    config = NaturalSpeech3ObjectiveConfig(level_weights=(1.0, 1.0, 1.0))
    with pytest.raises(ConfigError, match="level_weights has 3 weights, the model has 4 levels"):
        tiny_objective(config)


@pytest.mark.parametrize(
    ("differences", "told"),
    [
        ({"levels": 0}, "levels is 0; give 1 or more"),
        ({"longest_prompt_frames": 14}, "longest_prompt_frames is 14; give longest_phone_frames"),
        ({"phoneme_heads": 3}, "phoneme_width is 16 with phoneme_heads 3; give a multiple"),
        ({"heads": 16}, "width is 16 with heads 16; give a multiple of twice"),
        ({"heads": 0}, "width is 16 with heads 0"),
        ({"width": 0}, "width is 0 with heads 2"),
        ({"guidance": -0.1}, "guidance is -0.1; give 0 to 20"),
        ({"guidance": math.nan}, "guidance is nan; give 0 to 20"),
        ({"guidance_rescale": 1.1}, "guidance_rescale is 1.1; give 0 to 1"),
        ({"duration_objective": "regress"}, "choose 'diffusion' or 'regression'"),
    ],
)
def test_shapes_that_cannot_work_are_refused(differences, told):
    with pytest.raises(ConfigError, match=told):
        replace(tiny(), **differences)


@pytest.mark.parametrize(
    ("differences", "told"),
    [
        ({"drop_prompt": 1.0}, "drop_prompt is 1.0; give 0 or more, below 1"),
        ({"edit_share": -0.1}, "edit_share is -0.1"),
        ({"schedule": "cosinus"}, "cosinus"),
        ({"duration_weight": -1.0}, "duration_weight is -1.0; give 0 or more"),
        ({"phone_prosody_weight": math.inf}, "phone_prosody_weight is inf"),
        ({"level_weights": (1.0, -1.0)}, "level_weights are"),
        ({"level_weights": (0.0, 0.0)}, "one above 0"),
    ],
)
def test_objectives_that_cannot_work_are_refused(differences, told):
    with pytest.raises(ConfigError, match=told):
        NaturalSpeech3ObjectiveConfig(**differences)


def test_embeddings_start_as_far_apart_as_the_codecs_vectors():
    torch.manual_seed(0)
    network = CodeNetwork((64, 64, 64), 192, torch.nn.Identity())
    untouched = network.embeddings[2].weight.clone()
    vectors = 5.0 + 3.0 * torch.randn(2, 64, 8)
    network.start_from_vectors(list(vectors))
    for given, embedding in zip(vectors, network.embeddings, strict=False):
        rows = embedding.weight.detach()
        assert rows.std().item() == pytest.approx(192**-0.5, rel=1e-3)
        assert rows.mean(0).abs().max() < 1e-6
        distances = torch.stack([torch.pdist(given), torch.pdist(rows)])
        assert torch.corrcoef(distances)[0, 1] > 0.9
    assert torch.equal(network.embeddings[2].weight, untouched)


@pytest.mark.parametrize("start", [True, False])
def test_a_new_training_starts_at_the_codecs_vectors_if_it_is_to(start, monkeypatch):
    monkeypatch.setattr(builders, "_codec_of_codes", lambda *asked: tiny_facodec())
    recipe = {"model": {"levels": 6}, "objective": {"loss": {"codebook_start": start}}}
    objective = trainable("naturalspeech3", "tiny", recipe).build_objective(Path(), None)
    # Codes have eight dimensions, embeddings sixteen.
    ranks = [int(torch.linalg.matrix_rank(e.weight)) for e in objective.model.frames.embeddings]
    assert ranks == ([8] * 6 if start else [16] * 6)


def like_their_prompts(seed, count=8):
    """Items of one tune and one pace each, those of their prompts; the text tells neither."""
    generator = torch.Generator().manual_seed(seed)

    def draw(most, *shape):
        return torch.randint(most, shape, generator=generator)

    tune, pace = 2 + 7 * draw(2, count, 1, 1), 2 + 2 * draw(2, count, 1)
    given = {}
    for name, symbols in (("", 4), ("prompt_", 3)):
        mask = mask_of((symbols * pace[:, 0]).tolist())
        given |= {
            f"{name}symbols": draw(16, count, symbols),
            f"{name}symbol_mask": torch.ones(count, symbols, dtype=torch.bool),
            f"{name}durations": pace.repeat(1, symbols),
            f"{name}codes": (tune + torch.arange(4)[:, None]).repeat(1, 1, mask.shape[1]),
            "prompt_mask" if name else "frame_mask": mask,
        }
    return given


def test_without_the_prompt_everything_is_told_worse():
    torch.manual_seed(0)
    objective = tiny_objective(NaturalSpeech3ObjectiveConfig(drop_prompt=0.2)).train()
    optimizer = torch.optim.Adam(objective.parameters_of("all"), lr=1e-2)
    for step in range(120):
        optimizer.zero_grad()
        losses = objective("all", like_their_prompts(step), step).losses
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
    found = objective.eval().validate(like_their_prompts(1000, count=64))
    for name in ("phone_prosody", "duration", "frames"):
        assert found[name] < 0.1 < found[f"{name}_without_prompt"]


def test_one_batch_is_learnt_and_validated():
    torch.manual_seed(0)
    objective = tiny_objective().train()
    before = objective.eval().validate(batch())
    optimizer = torch.optim.Adam(objective.parameters_of("all"), lr=1e-2)
    for step in range(200):
        objective.train()
        optimizer.zero_grad()
        torch.stack(list(objective("all", batch(), step).losses.values())).sum().backward()
        optimizer.step()
    after = objective.eval().validate(batch())
    assert before["frames"] > 2.0
    assert after["frames"] < 0.4 * before["frames"]
    assert after["duration"] < 0.3 * before["duration"]
    assert after["frames_without_text"] > after["frames"]
    assert objective.validate(batch()) == after


def test_sizes():
    def millions(config):
        with torch.device("meta"):
            model = NaturalSpeech3(config, len(SYMBOLS))
        return sum(p.numel() for p in model.parameters()) / 1e6

    assert millions(small()) <= 7.2
    assert 380 < millions(paper()) < 420
    assert 580 < millions(paper_1b()) < 630


@pytest.mark.slow
def test_the_papers_width_runs():
    config = replace(paper(), phoneme_layers=1, phone_layers=1, frame_layers=1, dropout=0.0)
    torch.manual_seed(0)
    given = batch()
    for name in ("codes", "prompt_codes"):
        given[name] = given[name].repeat(1, 2, 1)[:, :6] * 60
    codebook = torch.nn.functional.normalize(torch.randn(1024, 8), dim=1)
    model = NaturalSpeech3(config, len(SYMBOLS))
    objective = NaturalSpeech3Objective(model, NaturalSpeech3ObjectiveConfig(), codebook)
    losses = objective("all", given, 0).losses
    torch.stack(list(losses.values())).sum().backward()
    # Untrained, all codes are about equally likely.
    assert abs(losses["frames"].item() - math.log(1024)) < 1.5
    assert model.frames.network.layers[0].attention.query.weight.grad.abs().sum() > 0
