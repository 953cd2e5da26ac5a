"""What holds for the networks and the objective of VALL-E 2, whatever their weights."""

from dataclasses import replace

import pytest
import torch
from tinyvalle import batch, tiny_model, tiny_objective

from parlando.contracts import ConfigError
from parlando.data.batching import mask_of, pad
from parlando.generative.autoregression import Sampling, decode, recent_codes
from parlando.systems.valle2.accounting import format_parameter_table, parameter_table
from parlando.systems.valle2.config import (
    TransformerConfig,
    VALLE2Config,
    VALLE2ObjectiveConfig,
    paper,
    small,
    valle,
)
from parlando.systems.valle2.model import VALLE2, Prenet
from parlando.systems.valle2.objective import VALLE2Objective, alignment_loss, with_ends
from parlando.systems.valle2.objective import join as join_within
from parlando.text.vocabulary import SYMBOLS

GROUPS = (1, 2, 4, 8)


def join(given, group, longest_frames=1400, longest_symbols=400):
    return join_within(given, group, longest_frames, longest_symbols)


def joined(group=2, seed=0):
    return join(batch(seed), group)


def first_level(model, found, dropped=None):
    """Closed codes, their mask and the logits of whole sequences."""
    network = model.autoregressive
    codes, mask = with_ends(found.codes[:, 0], found.code_mask, network.group, network.end)
    logits, looks = network(found.symbols, found.symbol_mask, codes, mask, dropped)
    return codes, mask, logits, looks


def finer(model, found, level, codes=None):
    return model.nonautoregressive(
        found.symbols,
        found.symbol_mask,
        found.codes if codes is None else codes,
        found.code_mask,
        found.condition,
        torch.full((len(found.codes),), level),
    )


@pytest.mark.parametrize("group", GROUPS)
def test_step_by_step_is_what_teacher_forcing_saw(group):
    model, found = tiny_model(group=group).eval(), joined(group)
    codes, mask, logits, _ = first_level(model, found)
    heard = found.condition.sum(1)
    prompts = [row[:count] for row, count in zip(found.codes[:, 0], heard, strict=True)]
    step, going = model.autoregressive.start(found.symbols, found.symbol_mask, prompts)
    for number in range(3):
        for row in range(2):
            begin = int(heard[row]) + number * group
            if begin >= int(mask[row].sum()):
                continue
            expected = logits[row, begin : begin + group]
            torch.testing.assert_close(step[row], expected, rtol=1e-4, atol=1e-4)
        begins = [int(count) + number * group for count in heard]
        given = [row[begin : begin + group] for row, begin in zip(codes, begins, strict=True)]
        padded = [torch.cat([each, each.new_zeros(group - len(each))]) for each in given]
        step = model.autoregressive.advance(torch.stack(padded), going)


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_sees_what_is_before_it_and_nothing_of_itself(group):
    """A later code changes nothing; codes of one group do not see each other."""
    model, found = tiny_model(group=group).eval(), joined(group)
    codes, mask, logits, _ = first_level(model, found)
    changed = codes.clone()
    begin = 2 * group
    changed[0, begin] = (changed[0, begin] + 1) % 16
    other, _ = model.autoregressive(found.symbols, found.symbol_mask, changed, mask)
    torch.testing.assert_close(other[0, : begin + group], logits[0, : begin + group])
    if begin + group < int(mask[0].sum()):
        moved = (other[0, begin + group :] - logits[0, begin + group :]).abs().amax(-1)
        assert (moved[: int(mask[0].sum()) - begin - group] > 0.0).all()


def test_symbols_are_told_apart_by_their_order():
    model, found = tiny_model(text_prenet=0).eval(), joined()
    logits = first_level(model, found)[2]
    swapped = found.symbols.clone()
    swapped[0, [4, 5]] = found.symbols[0, [5, 4]]
    other = first_level(model, replace(found, symbols=swapped))[2]
    assert (other[0] - logits[0]).abs().max() > 1e-3
    swapped_finer = finer(model, replace(found, symbols=swapped), 1)
    assert (swapped_finer[0] - finer(model, found, 1)[0]).abs().max() > 1e-3


@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_level_is_predicted_from_those_below_and_from_all_of_the_condition(level):
    model, found = tiny_model().eval(), joined()
    before = finer(model, found, level)
    target = found.code_mask & ~found.condition
    for index in range(4):
        for where, read in ((target, index < level), (found.condition, True)):
            codes = found.codes.clone()
            codes[:, index] = torch.where(where, (codes[:, index] + 1) % 16, codes[:, index])
            after = finer(model, found, level, codes)[found.code_mask]
            same = torch.allclose(after, before[found.code_mask], atol=1e-6)
            assert same is not read, (index, read)


def test_levels_are_told_apart():
    model, found = tiny_model().eval(), joined()
    states = [finer(model, found, level) for level in (1, 2)]
    table = [model.nonautoregressive.codes[level].weight for level in (1, 2)]
    assert not torch.allclose(states[0] @ torch.linalg.pinv(table[0]).T,
                              states[1] @ torch.linalg.pinv(table[1]).T, atol=1e-3)  # fmt: skip


def _prediction_gradients(objective, network, prompt_weight=0.0):
    """Gradients of the loss with respect to the logits, ``(B, T)`` norms."""
    kept = []

    def keep(module, arguments, output):
        logits = output[0] if isinstance(output, tuple) else output
        logits.retain_grad()
        kept.append(logits)

    handle = getattr(objective.model, network).register_forward_hook(keep)
    torch.stack(list(objective("all", batch(), 0).losses.values())).sum().backward()
    handle.remove()
    return kept[0].grad.norm(dim=-1)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_the_prompt_is_learnt_only_where_that_is_wanted(weight):
    settings = VALLE2ObjectiveConfig(prompt_weight=weight, drop_text=0.0)
    found = joined()
    norms = _prediction_gradients(tiny_objective(objective=settings), "autoregressive")
    condition = found.condition[:, : norms.shape[1]]
    inside = torch.zeros_like(norms, dtype=torch.bool)
    inside[:, : condition.shape[1]] = condition
    _, mask, _, _ = first_level(tiny_model(), found)
    assert bool((norms[inside] > 0.0).all()) is (weight > 0.0)
    assert weight > 0.0 or float(norms[inside].sum()) == 0.0
    assert (norms[mask & ~inside] > 0.0).all()
    assert norms[~mask].sum() == 0.0


def test_only_target_frames_are_learnt_by_the_other_network():
    found = joined()
    norms = _prediction_gradients(tiny_objective(), "nonautoregressive")
    target = found.code_mask & ~found.condition
    assert (norms[target] > 0.0).all()
    assert norms[~target].sum() == 0.0


def test_every_loss_teaches_every_part_of_its_network():
    objective = tiny_objective(
        objective=VALLE2ObjectiveConfig(alignment_weight=1.0, drop_text=0.0, prompt_weight=1.0)
    )
    result = objective("all", batch(), 0)
    assert set(result.losses) == {"autoregressive", "alignment", "nonautoregressive"}
    for name, network in (
        ("autoregressive", objective.model.autoregressive),
        ("nonautoregressive", objective.model.nonautoregressive),
    ):
        objective.zero_grad()
        result.losses[name].backward(retain_graph=True)
        for which, parameter in network.named_parameters():
            if "codes" in which and name == "nonautoregressive":
                continue  # a table is read in the condition, but not by every draw of the level
            assert parameter.grad is not None, which
            assert parameter.grad.abs().sum() > 0.0, which
    objective.zero_grad()
    result.losses["alignment"].backward()
    watched = objective.model.autoregressive.body.layers[1].query_key_value.weight.grad
    width = watched.shape[1]
    assert watched[: width // 2].abs().sum() > 0.0  # the queries of the first head
    assert watched[width // 2 : width].abs().sum() == 0.0  # and of no other
    assert watched[2 * width :].abs().sum() == 0.0


@pytest.mark.parametrize("group", GROUPS)
def test_padding_and_company_change_nothing(group):
    model, both = tiny_model(group=group).eval(), batch()
    together = join(both, group)
    _, mask, logits, _ = first_level(model, together)
    levels = [finer(model, together, level) for level in (1, 3)]
    widths = {"prompt_codes": 7, "prompt_mask": 7, "prompt_symbols": 2, "prompt_symbol_mask": 2}
    widths |= {"codes": 13, "frame_mask": 13, "symbols": 3, "symbol_mask": 3}
    widths |= {"durations": 3, "prompt_durations": 2}
    single = join({name: both[name][1:, ..., :width] for name, width in widths.items()}, group)
    _, single_mask, single_logits, _ = first_level(model, single)
    assert int(single_mask.sum()) == int(mask[1].sum())
    torch.testing.assert_close(
        logits[1][mask[1]], single_logits[0][single_mask[0]], rtol=1e-4, atol=1e-4
    )
    for level, whole in zip((1, 3), levels, strict=True):
        real = whole[1][together.code_mask[1]]
        alone = finer(model, single, level)[single.code_mask]
        torch.testing.assert_close(real, alone, rtol=1e-4, atol=1e-4)


def test_rubbish_in_the_padding_changes_nothing():
    objective, clean = tiny_objective().eval(), batch()
    dirty = dict(clean)
    for name, mask in (
        ("codes", "frame_mask"),
        ("prompt_codes", "prompt_mask"),
        ("symbols", "symbol_mask"),
        ("durations", "symbol_mask"),
        ("prompt_symbols", "prompt_symbol_mask"),
        ("prompt_durations", "prompt_symbol_mask"),
    ):
        real = clean[mask][:, None] if clean[name].dim() == 3 else clean[mask]
        dirty[name] = torch.where(real, clean[name], 7)
    expected = objective.validate(clean)
    for name, value in objective.validate(dirty).items():
        assert value == pytest.approx(expected[name], abs=1e-5), name


def test_joining_trims_leading_codes_so_that_groups_begin_with_the_target():
    both = batch()
    found = join(both, 4)
    assert found.trimmed.tolist() == [0, 3]
    assert found.condition.sum(1).tolist() == [12, 4]
    assert found.code_mask.sum(1).tolist() == [33, 17]
    assert torch.equal(found.codes[1, :, :4], both["prompt_codes"][1, :, 3:7])
    assert torch.equal(found.codes[1, :, 4:17], both["codes"][1, :, :13])
    assert found.symbols[1, :5].tolist() == [11, 1, 22, 4, 1]
    assert found.symbol_mask.sum(1).tolist() == [7, 5]


def test_a_prompt_loses_leading_symbols_that_the_model_cannot_read():
    both = batch()
    found = join(both, 2, longest_symbols=5)
    # Of 3 symbols before 4 the last one stays, with 3 frames of 12, of which one is trimmed.
    assert found.symbols[0].tolist() == [15, 1, 9, 40, 12]
    assert found.durations[0].tolist() == [3, 2, 5, 10, 4]
    assert found.condition.sum(1).tolist() == [2, 6]
    assert found.trimmed.tolist() == [1, 1]
    assert torch.equal(found.codes[0, :, :2], both["prompt_codes"][0, :, 10:12])
    assert torch.equal(found.codes[0, :, 2:23], both["codes"][0])
    assert found.symbol_mask.sum(1).tolist() == [5, 5]


def test_on_a_grid_shapes_are_few_and_losses_the_same():
    clean, gridded = batch(), {}
    for name, value in clean.items():
        wide = pad(list(value), 32 if "symbol" in name or "durations" in name else 64)
        gridded[name] = wide
    found = join(gridded, 2)
    assert found.codes.shape[2] == found.code_mask.shape[1] == 64
    assert found.symbols.shape[1] == found.durations.shape[1] == 32
    # Padding alone never takes more positions than there are.
    near = join(gridded, 2, longest_frames=40, longest_symbols=10)
    assert (near.codes.shape[2], near.symbols.shape[1]) == (40, 10)
    learning, lengths = tiny_objective(watched_layers=()).eval(), set()
    learning.model.autoregressive.body.register_forward_hook(
        lambda body, given, states: lengths.add(states.shape[1])
    )
    expected = learning.validate(clean)
    lengths.clear()
    for name, value in learning.validate(gridded).items():
        assert value == pytest.approx(expected[name], rel=1e-4), name
    assert lengths == {32}


@pytest.mark.parametrize("group", GROUPS)
def test_every_item_is_closed_by_whole_groups_of_one_end_or_more(group):
    codes = torch.arange(11).expand(4, -1)
    mask = mask_of([11, 8, 1, 0])
    closed, closed_mask = with_ends(codes, mask, group, 99)
    assert closed.shape[1] % group == 0
    for row, length in enumerate([11, 8, 1, 0]):
        real = closed[row][closed_mask[row]].tolist()
        assert real[:length] == list(range(length))
        assert set(real[length:]) == {99}
        assert 1 <= len(real) - length <= group
        assert len(real) % group == 0


def test_each_group_is_asked_to_look_at_its_first_phone():
    """Targets by hand: durations 4 5 3 | 2 5 10 4, and 7 0 | 3 10 0 with one frame trimmed."""
    found = joined(group=2)
    columns = [
        [0, 0, 1, 1, 1, 2, 3, 4, 4, 4, 5, 5, 5, 5, 5, 6, 6],
        [0, 0, 0, 2, 2, 3, 3, 3, 3, 3],
    ]
    looks = torch.zeros(1, 2, 17, 8)
    for row, wanted in enumerate(columns):
        looks[0, row, range(len(wanted)), wanted] = 40.0
    mask = mask_of([17, 10])
    assert float(alignment_loss(looks, found, mask, 2)) < 1e-6
    assert float(alignment_loss(looks.roll(1, dims=2), found, mask, 2)) > 1.0
    # A group of nothing but ends looks at the end of the text.
    looks = torch.zeros(1, 2, 34, 8)
    looks[0, 0, 33, 7] = 40.0
    only = torch.zeros(2, 34, dtype=torch.bool)
    only[0, 33] = True
    assert float(alignment_loss(looks, joined(group=1), only, 1)) < 1e-6


def test_heads_are_shown_all_that_they_see_and_nothing_later():
    model, found = tiny_model(watched_layers=(0, 1)).eval(), joined()
    _, mask, _, looks = first_level(model, found)
    counts = found.symbol_mask.sum(1)
    assert looks.shape[:3] == (2, 2, mask.shape[1] // 2)
    for row, count in enumerate(counts):
        # The text and its end, the begin symbol, and the groups before the one to predict.
        groups = torch.arange(int(mask[row].sum()) // 2)
        seen = looks[:, row, : len(groups)].isfinite().sum(-1)
        assert torch.equal(seen, (int(count) + 1 + 1 + groups).expand(2, -1))
        assert looks[:, row, 0, : int(count) + 2].isfinite().all()


def test_a_batch_without_the_text_of_prompts_is_refused():
    poor = {name: value for name, value in batch().items() if name != "prompt_symbols"}
    with pytest.raises(ConfigError, match="symbols = true"):
        tiny_objective()("all", poor, 0)
    with pytest.raises(ConfigError, match="4 levels, the model has 9"):
        tiny_objective(levels=9)("all", batch(), 0)


def test_levels_are_modelled_in_their_order_and_put_back():
    """Modelling reordered levels of codes is modelling reordered codes."""
    order, both = (2, 0, 3, 1), batch()
    model = tiny_model(level_order=order).eval()
    plain = tiny_model().eval()
    plain.load_state_dict(model.state_dict())
    turned = {
        name: value[:, order] if name.endswith("codes") else value for name, value in both.items()
    }
    objectives = [VALLE2Objective(each, VALLE2ObjectiveConfig()) for each in (model, plain)]
    assert objectives[0].validate(both) == objectives[1].validate(turned)
    assert objectives[0].validate(both) != objectives[1].validate(both)
    codes = both["codes"]
    assert torch.equal(model.ordered(codes), codes[:, order])
    assert torch.equal(model.as_in_codec(model.ordered(codes)), codes)
    books = torch.randn(4, 16, 8)
    for each, given in ((model, books), (plain, books[list(order)])):
        torch.manual_seed(0)
        each.start_from_codebooks(given)
    assert torch.equal(model.autoregressive.codes.weight, plain.autoregressive.codes.weight)


def test_frames_beside_a_gap_do_not_hear_each_other():
    prenet, x = Prenet(8, 5), torch.randn(1, 9, 8)
    whole = prenet(x, None, torch.arange(9)[None])
    torch.testing.assert_close(whole, prenet(x))
    gap = torch.tensor([[0, 1, 2, 3, 20, 21, 22, 23, 24]])
    parts = torch.cat([prenet(x[:, :4]), prenet(x[:, 4:])], dim=1)
    torch.testing.assert_close(prenet(x, None, gap), parts)
    assert (whole - parts)[0, 2:6].abs().amax(-1).min() > 1e-5


@pytest.mark.parametrize("name", ["autoregressive", "nonautoregressive"])
def test_a_network_of_weight_zero_is_left_as_it_is(name):
    settings = VALLE2ObjectiveConfig(**{f"{name}_weight": 0.0})
    objective = tiny_objective(objective=settings)
    torch.stack(list(objective("all", batch(), 0).losses.values())).sum().backward()
    for network, parts in objective.model.named_children():
        learnt = [parameter.grad is not None for parameter in parts.parameters()]
        assert any(learnt) == (network != name)


def test_hidden_text_is_not_read():
    model, found = tiny_model().eval(), joined()
    hidden = torch.tensor([True, False])
    logits = first_level(model, found, hidden)[2]
    other = replace(found, symbols=torch.where(found.symbol_mask, 50, 0))
    changed = first_level(model, other, hidden)[2]
    torch.testing.assert_close(changed[0], logits[0])
    assert (changed[1] - logits[1]).abs().max() > 1e-3


def test_without_groups_there_is_no_group_layer_and_the_output_is_tied():
    names = [name for name, _ in tiny_model(group=1).autoregressive.named_parameters()]
    assert not any("group" in name for name in names)
    assert any("group_input" in name for name, _ in tiny_model(group=2).named_parameters())
    # One table of codes serves input and output.
    assert [name for name in names if "codes" in name] == ["codes.weight"]


def test_what_is_longer_than_the_positions_is_refused():
    model = tiny_model(longest_frames=40, longest_prompt_frames=20, longest_symbols=8)
    ids, mask = torch.ones(1, 9, dtype=torch.int64), mask_of([9])
    with pytest.raises(ConfigError, match="9 symbols"):
        model.autoregressive.start(ids, mask, [torch.zeros(2, dtype=torch.int64)])
    with pytest.raises(ConfigError, match="46 frames"):
        model.autoregressive.start(ids[:, :8], mask[:, :8], [torch.zeros(46, dtype=torch.int64)])
    codes = torch.zeros(1, 4, 41, dtype=torch.int64)
    everywhere = torch.ones(1, 41, dtype=torch.bool)
    with pytest.raises(ConfigError, match="41 frames"):
        model.nonautoregressive(
            ids[:, :8], mask[:, :8], codes, everywhere, everywhere, torch.tensor([1])
        )


def test_codebooks_start_the_embeddings_of_like_codes_alike():
    model = tiny_model(thawed=False)
    books = torch.randn(5, 16, 32)
    books[0, 3] = books[0, 9] + 0.01
    end = model.autoregressive.codes.weight[16].clone()
    model.start_from_codebooks(books)
    table = model.autoregressive.codes.weight
    distance = torch.cdist(table[:16], table[:16]) + 9.0 * torch.eye(16)
    assert divmod(int(distance.argmin()), 16) == (3, 9)
    assert float(table.detach().std()) == pytest.approx(0.02, rel=0.2)
    assert torch.equal(table[16], end)


@pytest.mark.parametrize("prenets", [{}, {"text_prenet": 0, "code_prenet": 0}], ids=["near", "far"])
@pytest.mark.parametrize("group", GROUPS)
def test_one_batch_is_learnt_and_said_again_greedily(group, prenets):
    """Both networks learn two utterances by heart; text, prompt and likeliest codes return them."""
    torch.manual_seed(0)
    shape = TransformerConfig(width=32, layers=2, heads=2, filter_width=64, dropout=0.0)
    objective = tiny_objective(
        False,
        group=group,
        autoregressive=shape,
        nonautoregressive=shape,
        **prenets,
    ).train()
    both = batch()
    optimizer = torch.optim.Adam(objective.parameters(), lr=5e-3)
    for step in range(220):
        losses = objective("all", both, step).losses
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), 1.0)
        optimizer.step()
    figures = objective.eval().validate(both)
    assert figures["autoregressive"] < 0.1
    assert figures["nonautoregressive"] < 0.1
    for loss in ("autoregressive", "nonautoregressive"):
        assert figures[f"{loss}_without_prompt"] > 2.0 * figures[loss]
        if prenets:  # with them two utterances are known by heart without their text
            assert figures[f"{loss}_without_text"] > 2.0 * figures[loss]
    with torch.inference_mode():
        _say_again(objective.model, join(both, group))


def _say_again(model, found):
    heard = found.condition.sum(1).tolist()
    total = found.code_mask.sum(1).tolist()
    network = model.autoregressive
    prompts = [row[:count] for row, count in zip(found.codes[:, 0], heard, strict=True)]
    logits, going = network.start(found.symbols, found.symbol_mask, prompts)
    steps = list(
        decode(
            lambda codes: network.advance(codes, going),
            logits,
            recent_codes(prompts, 0),
            [torch.Generator(), torch.Generator()],
            end=network.end,
            shortest=torch.tensor([1, 1]),
            longest=torch.tensor([60, 60]),
            sampling=Sampling(top_p=0.0, repetition_window=0),
        )
    )
    codes = torch.cat([step.codes for step in steps], dim=1)
    real = torch.cat([step.real for step in steps], dim=1)
    for row in range(2):
        expected = found.codes[row, 0, heard[row] : total[row]].tolist()
        assert codes[row][real[row]].tolist() == expected
    spoken = torch.where(found.condition[:, None], found.codes, 0)
    spoken[:, 0] = found.codes[:, 0]
    for level in (1, 2, 3):
        best = finer(model, found, level, spoken).argmax(-1)
        spoken[:, level] = torch.where(found.condition, spoken[:, level], best)
    spoken = torch.where(found.code_mask[:, None], spoken, 0)
    known = torch.where(found.code_mask[:, None], found.codes, 0)
    assert torch.equal(spoken, known)


@pytest.mark.parametrize(
    ("config", "values", "message"),
    [
        (VALLE2Config, {"group": 9}, "group is 9"),
        (VALLE2Config, {"levels": 1}, "levels 1"),
        (VALLE2Config, {"level_order": (1, 0)}, r"level_order is \(1, 0\).*each of 0 to 7 once"),
        (VALLE2Config, {"level_order": (0, 1, 2, 3, 4, 5, 6, 6)}, "each of 0 to 7 once"),
        (VALLE2Config, {"text_prenet": 4}, "text_prenet is 4; give an odd number"),
        (VALLE2Config, {"code_prenet": -1}, "code_prenet is -1; give an odd number"),
        (VALLE2Config, {"codebook_size": 0}, "codebook_size is 0; give 1 or more"),
        (VALLE2Config, {"longest_symbols": -5}, "longest_symbols is -5; give 1 or more"),
        (VALLE2Config, {"longest_prompt_frames": 4800}, "room to speak"),
        (VALLE2Config, {"repetition_window": -1}, "repetition_window is -1; give 0 or more"),
        (VALLE2Config, {"guidance": -1.0}, "guidance is -1.0; give 0 or more"),
        (VALLE2Config, {"top_p": 4.0}, "top_p is 4.0; give 0 to 1"),
        (VALLE2Config, {"end_threshold": 4.0}, "end_threshold is 4.0; give 0 to 1"),
        (VALLE2Config, {"watched_layers": (3, 12)}, r"watched_layers is \(3, 12\)"),
        (VALLE2Config, {"watched_layers": (3, 1)}, "expected ascending ones, 0 to 11"),
        (TransformerConfig, {"width": 10, "heads": 4}, "multiple of the heads"),
        (TransformerConfig, {"layers": 0}, "layers is 0; give 1 or more"),
        (TransformerConfig, {"filter_width": 0}, "filter_width is 0; give 1 or more"),
        (TransformerConfig, {"dropout": 3.0}, "dropout is 3.0; give 0 or more, below 1"),
        (VALLE2ObjectiveConfig, {"autoregressive_weight": -1.0}, "autoregressive_weight is -1.0"),
        (VALLE2ObjectiveConfig, {"nonautoregressive_weight": -0.1}, "give 0 or more"),
        (
            VALLE2ObjectiveConfig,
            {"autoregressive_weight": 0.0, "nonautoregressive_weight": 0.0},
            "both networks' weights are 0",
        ),
        (
            VALLE2ObjectiveConfig,
            {"autoregressive_weight": 0.0, "alignment_weight": 1.0},
            "whose autoregressive_weight is 0",
        ),
        (VALLE2ObjectiveConfig, {"prompt_weight": float("nan")}, "prompt_weight is nan"),
        (VALLE2ObjectiveConfig, {"alignment_weight": float("inf")}, "alignment_weight is inf"),
        (VALLE2ObjectiveConfig, {"drop_text": 5.0}, "drop_text is 5.0; give 0 or more, below 1"),
        (VALLE2ObjectiveConfig, {"label_smoothing": 2.0}, "label_smoothing is 2.0"),
    ],
)
def test_impossible_settings_are_refused(config, values, message):
    with pytest.raises(ConfigError, match=message):
        config(**values)


def test_showing_where_to_look_needs_a_layer_that_is_watched():
    with pytest.raises(ConfigError, match="watched_layers"):
        tiny_objective(objective=VALLE2ObjectiveConfig(alignment_weight=1.0), watched_layers=())


@pytest.mark.parametrize("preset", [paper, valle])
def test_the_paper_has_its_parameters(preset):
    with torch.device("meta"):
        model = VALLE2(preset(), len(SYMBOLS))
    rows = {row.name: row for row in parameter_table(model)}
    body = 12 * (4 * 1024**2 + 2 * 1024 * 4096) / 1e6
    for count in (rows["transformer"].autoregressive, rows["transformer"].nonautoregressive):
        assert count / 1e6 == pytest.approx(body, rel=0.002)
    assert bool(rows["group projections"].autoregressive) is (preset is paper)
    counted = sum(row.autoregressive + row.nonautoregressive for row in rows.values())
    assert counted == sum(parameter.numel() for parameter in model.parameters())
    assert "| total | " in format_parameter_table(list(rows.values()))


def test_small_fits_its_budget():
    with torch.device("meta"):
        model = VALLE2(small(), len(SYMBOLS))
    assert sum(parameter.numel() for parameter in model.parameters()) < 12e6
