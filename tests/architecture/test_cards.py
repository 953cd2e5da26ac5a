"""Model cards say what the files beside the weights say."""

import json
import tomllib
from pathlib import Path

import pytest
from benchmarks import cards
from benchmarks.results import read_aims

from parlando.registry import RELEASES, UNRELEASED

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / cards.WEIGHTS
RECIPES = ROOT / "recipes"
PESQ = {
    "key": "pesq",
    "title": "PESQ",
    "unit": "",
    "better": "higher",
    "condition": {"levels": "12"},
    "value": 3.071,
    "low": 3.04,
    "high": 3.1,
    "count": 20,
    "human": None,
    "control": None,
    "aim": "codec: PESQ, wideband",
    "bound": 2.6,
    "reached": True,
}
RATE = PESQ | {"key": "bit_rate", "title": "Bit rate", "unit": "kbit/s", "value": 9.6}
PHONES = PESQ | {"key": "per", "title": "Phone error rate", "unit": "%", "value": 0.21234}
for plain in (RATE, PHONES):
    del plain["aim"], plain["bound"], plain["reached"]
QUALITY = {
    "codec": {
        "name": "rvq-small",
        "utterances": 20,
        "judges": {"voice": "resemblyzer"},
        "remarks": ["a quick look"],
        "figures": [PESQ, RATE, PESQ | {"condition": {"levels": "8"}, "value": 2.9}],
        "every_level_pays": {"pesq": True},
    },
    "recogniser": {
        "figures": [PHONES | {"condition": {}, "low": None}],
    },
}
QUALITY["codec"]["figures"][2].pop("aim")


@pytest.mark.parametrize("name", cards.released(WEIGHTS))
def test_released_cards_are_up_to_date(name):
    written = (WEIGHTS / name / cards.CARD_NAME).read_text(encoding="utf-8")
    assert written == cards.card_text(name, WEIGHTS, RECIPES), "run python -m benchmarks.cards"


def test_every_release_has_its_facts_and_recipes():
    facts = tomllib.loads((ROOT / "benchmarks" / "cards.toml").read_text(encoding="utf-8"))
    # Facts may wait for their weights, never the other way round.
    assert RELEASES.keys() <= facts["models"].keys() <= RELEASES.keys() | UNRELEASED.keys()
    for model in facts["models"].values():
        assert set(model["sources"]) <= facts["sources"].keys()
        assert model["limits"]
        assert all(read_aims(part) for part in model["aims"])
        for recipe in model["recipes"]:
            assert (RECIPES / f"{recipe}.toml").exists()


@pytest.fixture
def weights(tmp_path):
    folder = tmp_path / "rvq-small"
    folder.mkdir()
    config = {"kind": "codec", "config": {}, "schema": 1, "step": 1604, "minutes": 14.07}
    (folder / "config.json").write_text(json.dumps(config))
    return tmp_path


def test_what_is_missing_is_called_so_and_nothing_is_invented(weights):
    text = cards.card_text("rvq-small", weights, RECIPES)
    for title in ("Measured", "Last validation while training", "Learning curve"):
        assert f"## {title}\n\nNot measured.\n" in text
    assert "1,604 steps in 14 minutes" in text
    assert "PESQ" not in text


def test_a_card_tells_every_figure_how_it_was_measured_and_the_licences(weights):
    folder = weights / "rvq-small"
    curve = [{"step": step, "pesq": step / 1000} for step in range(0, 5001, 100)]
    curve[-1]["stoi"] = 0.94
    stages = [{"recipe": "codec-small-2-joint", "steps": 6096, "minutes": 31.0}]
    for name, content in (("quality", QUALITY), ("curve", curve), ("stages", stages)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    text = cards.card_text("rvq-small", weights, RECIPES)
    for line in (
        "| codec: PESQ, wideband | 3.07 (3.04 to 3.10) | – | – | ≥ 2.6 | yes |",
        "| levels | PESQ | Bit rate (kbit/s) |",
        "| 12 | 3.07 | 9.60 |",
        "| 8 | 2.90 | – |",
        "| codec: pesq is better with every further level |  |  |  |  | yes |",
        "| codec, at most 9.6 kbit/s: STOI | not measured |  |  |  |  |",
        "| recogniser: Phone error rate | 21.2% | – | – |  |  |",
        "- utterances: 20",
        "- judges voice: resemblyzer",
        "- remarks: a quick look",
        "| codec-small-2-joint | 6,096 | 31 |",
        "| step | pesq | stoi |",
        "| 0 | 0 | – |",
        "| 5000 | 5 | 0.94 |",
        "- `recipes/codec-small-2-joint.toml`: speechocean762 drawn 0.35 times as often",
    ):
        assert f"\n{line}\n" in text
    curve_table = text.split("## Learning curve")[1].split("##")[0]
    assert len(curve_table.strip().splitlines()) == 2 + 40  # of 51 points
    for word in ("CC0 1.0", "CC BY 4.0", "ODC-By 1.0", "public domain", "docs/responsible-use.md"):
        assert word in text
