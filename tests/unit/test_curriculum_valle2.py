"""What VALL-E 2 learns from: every preset and recipe reads all that it is given."""

import dataclasses
from pathlib import Path

import pytest
import tinycorpus
import torch

from parlando.contracts import ConfigError
from parlando.curriculum import trainable
from parlando.data.annotate import prepare_codes
from parlando.data.store import PreparedCorpus
from parlando.recipes import SECTIONS, read_recipe
from parlando.systems.valle2.objective import join

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("valle*.toml"))
PRESETS = ("paper", "small", "tiny", "valle")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sentences of three speakers, one of whom has no texts, with codes of eight levels."""
    place = tmp_path_factory.mktemp("corpus")
    prepared = tinycorpus.prepare(place, count=24).folder

    def count(waveform):
        return tinycorpus.counting_codes(waveform).repeat(1, 2, 1)

    prepare_codes(prepared, count, "eight levels")
    return prepared


def source_of(what, folder, batch_seconds=6.0):
    settings = dataclasses.replace(what.training, batch_seconds=batch_seconds)
    return what.build_source(folder, settings)


def of_recipe(path):
    """Resolve a recipe; the sources that it names are of another corpus."""
    recipe = read_recipe(path, SECTIONS)
    recipe["data"] = {**recipe["data"], "source_weights": {}}
    sections = {name: recipe.get(name, {}) for name in ("model", "objective", "data")}
    return trainable(recipe["kind"], recipe["preset"], sections), recipe


@pytest.mark.parametrize("preset", PRESETS)
def test_the_longest_utterance_after_the_longest_prompt_fits(preset):
    what = trainable("valle2", preset)
    model, data = what.config, what.sections["data"]
    low, high = data.prompts.joined_frames
    assert low == min(240, model.longest_prompt_frames)
    assert high == model.longest_prompt_frames
    assert high + data.longest_frames <= model.longest_frames
    assert data.longest_symbols <= model.longest_symbols


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_gives_what_its_model_reads(path):
    what, _ = of_recipe(path)
    model, data = what.config, what.sections["data"]
    assert data.prompts.joined_frames[1] + data.longest_frames <= model.longest_frames
    assert data.prompts.joined_frames[1] <= model.longest_prompt_frames


def test_prompts_of_valle_are_the_beginnings_of_their_utterances(folder):
    (path,) = (path for path in RECIPES if path.stem == "valle-small")
    what, recipe = of_recipe(path)
    assert recipe["objective"]["loss"]["prompt_weight"] == 1.0
    assert what.sections["data"].prompts.joined_frames == (240, 240)
    assert (what.config.group, what.config.repetition_window, what.config.top_p) == (1, 0, 1.0)
    source, corpus = source_of(what, folder), PreparedCorpus(folder)
    index = {row["id"]: number for number, row in enumerate(corpus.rows)}
    seen = 0
    for step in range(8):
        batch = source.batch(step, 0, 1)
        for place, name in enumerate(batch["id"]):
            whole = corpus.item(index[name], ("codes", "durations"))
            heard = int(batch["prompt_mask"][place].sum())
            prompt = batch["prompt_codes"][place, :, :heard]
            rest = batch["codes"][place, :, : int(batch["frame_mask"][place].sum())]
            assert torch.equal(torch.cat([prompt, rest], dim=1), whole["codes"])
            length = min(240, whole["codes"].shape[1] / 2)
            assert abs(heard - length) <= int(whole["durations"].max()) / 2
            seen += 1
    assert seen > 8


@pytest.mark.parametrize("preset", ["small", "tiny"])
def test_without_a_recipe_the_longest_batches_are_read(preset):
    """Quick speech, 25 symbols a second, as long as it may be: more than all positions of text."""
    what = trainable("valle2", preset)
    model, data = what.config, what.sections["data"]
    lengths = {"prompt_": data.prompts.joined_frames[1], "": data.longest_frames}
    batch = {}
    for name, frames in lengths.items():
        symbols = frames * 25 // 80 + 30
        batch[f"{name}codes"] = torch.zeros(1, model.levels, frames, dtype=torch.int64)
        batch[f"{name}symbols"] = torch.ones(1, symbols, dtype=torch.int64)
        batch[f"{name}durations"] = torch.full((1, symbols), frames // symbols)
        batch[f"{name}symbol_mask"] = torch.ones(1, symbols, dtype=torch.bool)
    batch["frame_mask"] = torch.ones(1, lengths[""], dtype=torch.bool)
    batch["prompt_mask"] = torch.ones(1, lengths["prompt_"], dtype=torch.bool)
    assert batch["symbols"].shape[1] + batch["prompt_symbols"].shape[1] > model.longest_symbols
    found = join(batch, model.group, model.longest_frames, model.longest_symbols)
    assert found.symbols.shape[1] == model.longest_symbols
    assert found.codes.shape[2] <= model.longest_frames


def test_small_learns_without_a_recipe(folder):
    what = trainable("valle2", "small")
    torch.manual_seed(0)
    objective = what.build_objective(folder, None)
    source = source_of(what, folder)
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-3)
    found = []
    for step in range(4):
        losses = objective("all", source.batch(0, 0, 1), step).losses
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        found.append(float(losses["autoregressive"].detach()))
    assert found[-1] < found[0] - 0.5
    assert objective.eval().validate(next(source.validation()))["autoregressive"] < found[0]


def test_utterances_of_too_many_symbols_are_left_out(folder):
    counts = {row["n_symbols"] for row in PreparedCorpus(folder).rows if row["n_symbols"]}
    assert len(counts) > 1
    limit = max(counts) - 1
    for longest, all_read in ((limit, False), (max(counts), True)):
        what = trainable("valle2", "small", {"data": {"longest_symbols": longest}})
        batches = [source_of(what, folder).batch(step, 0, 1) for step in range(6)]
        known = {row["id"]: row["n_symbols"] for row in PreparedCorpus(folder).rows}
        spoken = {known[name] for batch in batches for name in batch["id"]}
        assert (max(counts) in spoken) is all_read
        assert spoken


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"data": {"prompts": {"joined_frames": [240, 1041]}}}, "prompts of 1041 frames and utter"),
        ({"data": {"longest_frames": 1441}}, "utterances of 1441 do not fit into the model's 2000"),
        ({"model": {"longest_frames": 1500}}, "do not fit into the model's 1500; lower prompts"),
        ({"data": {"longest_symbols": 501}}, "of 501 symbols do not fit into the model's 500"),
    ],
)
def test_data_that_the_model_cannot_read_is_refused_before_training(sections, message):
    with pytest.raises(ConfigError, match=message):
        trainable("valle2", "small", sections)
