"""Listening tests: what is played, that it is blind, and that true scores are recovered."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from listeners import RATE, write_result, write_speech_report
from speechlike import speechlike

from parlando.audio.waveform import active_level_db, load
from parlando.cli.evaluate.listen import (
    ListenOptions,
    ListenResultsOptions,
    contestants_of,
    papers_of,
    run_listen,
    run_listen_results,
)
from parlando.contracts import ConfigError
from parlando.evaluation.intervals import ratio_interval
from parlando.reporting.listening.crossed import crossed_mean, krippendorff_alpha
from parlando.reporting.listening.design import design_test, low_anchor, with_beeps
from parlando.reporting.listening.results import read_key, read_results
from parlando.reporting.listening.scoring import score
from parlando.reporting.listening.tables import markdown_of, table_of

KINDS = ("cmos", "smos", "mushra")


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    return (
        write_speech_report(folder / "one", "first-system", pitch_hz=110.0),
        write_speech_report(folder / "two", "second-system", pitch_hz=150.0, level=0.2),
    )


@pytest.fixture(scope="module")
def pages(reports, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    for kind in KINDS:
        key = folder / f"{kind}.json"
        run_listen(ListenOptions(reports=reports, out=folder / kind, key=key, kind=kind))
    return folder


def _key(pages, kind):
    return json.loads((pages / f"{kind}.json").read_text())


def _settings(page):
    return json.loads(re.search(r"start\((\{.*\})\);", (page / "index.html").read_text())[1])


# --- what is played --------------------------------------------------------------------------


def test_every_system_is_heard_with_the_same_utterances(reports):
    contestants = contestants_of(reports, human=True)
    test = design_test(contestants, kind="smos", trials=3)
    heard = [(s.item, s.stimuli[0].label) for s in test.screens if s.check is None]
    items = {item for item, _ in heard}
    assert len(items) == 3
    assert sorted(heard) == sorted(
        (item, name) for item in items for name in ("first-system", "second-system", "human")
    )
    assert test.practice.item not in items


def test_cmos_compares_each_system_with_the_first(reports):
    test = design_test(contestants_of(reports, human=True), kind="cmos", trials=2)
    pairs = sorted(sorted(x.label for x in s.stimuli) for s in test.screens if s.check is None)
    assert pairs == [["first-system", "human"]] * 2 + [["first-system", "second-system"]] * 2


def test_mushra_holds_the_reference_twice_and_a_low_anchor(reports):
    test = design_test(contestants_of(reports), kind="mushra", trials=4)
    assert len(test.screens) == 4
    for screen in test.screens:
        sounds = {x.label: x for x in screen.stimuli}
        assert set(sounds) == {"first-system", "second-system", "reference", "anchor"}
        assert sounds["reference"].file != screen.shown.file
        np.testing.assert_array_equal(sounds["reference"].samples, screen.shown.samples)


def test_the_same_seed_gives_the_same_test_and_another_seed_another(reports):
    contestants = contestants_of(reports)
    one, again, other = (design_test(contestants, kind="cmos", seed=seed) for seed in (1, 1, 2))
    assert [s.id for s in one.screens] == [s.id for s in again.screens]
    assert one.id == again.id != other.id
    assert not {s.id for s in one.screens} & {s.id for s in other.screens}


@pytest.mark.parametrize("kind", KINDS)
def test_sounds_of_a_screen_have_one_level(reports, kind):
    for screen in design_test(contestants_of(reports), kind=kind).screens:
        if screen.check is None:
            sounds = [x.samples for x in (screen.shown, *screen.stimuli) if x is not None]
            levels = [active_level_db(sound, RATE) for sound in sounds]
            assert np.ptp(levels) < 0.1
            assert max(np.abs(sound).max() for sound in sounds) <= 1.0


def test_cmos_checks_are_equal_sounds_and_a_noisy_one(reports):
    screens = design_test(contestants_of(reports), kind="cmos").screens
    checks = {s.check.rule: {x.label: x for x in s.stimuli} for s in screens if s.check}
    assert set(checks) == {"same", "worse"}
    same, worse = checks["same"], checks["worse"]
    np.testing.assert_array_equal(same["clean"].samples, same["degraded"].samples)
    assert same["clean"].file != same["degraded"].file
    noise = worse["degraded"].samples - worse["clean"].samples
    assert np.std(noise) > 0.5 * np.std(worse["clean"].samples)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_beeps_can_be_counted(count):
    speech = speechlike(0.5)
    tail = with_beeps(speech, count)[len(speech) :]
    loud = np.abs(tail).reshape(-1, RATE // 100).max(1) > 0.03
    assert np.sum(np.diff(loud.astype(int)) == -1) + loud[-1] == count


def test_low_anchor_follows_the_recommendation():
    noise = np.random.default_rng(0).standard_normal(RATE)
    gains = np.abs(np.fft.rfft(low_anchor(noise)) / np.fft.rfft(noise))  # one bin is one hertz
    decibels = 20 * np.log10(gains + 1e-9)
    assert np.abs(decibels[:3500]).max() < 0.1
    assert decibels[4000:].max() < -25
    assert decibels[4500:].max() < -50


# --- blind -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_that_raters_get_tells_the_systems(pages, kind):
    page = pages / kind
    document = (page / "index.html").read_text()
    names = [path.name for path in page.rglob("*")]
    for secret in ("first-system", "second-system", "t0", "degraded", '"check"', "anchor"):
        assert secret not in document
        assert not any(secret in name for name in names)
    assert "://" not in document
    assert not [name for name in names if name.endswith(".json")]
    raw = b"".join(path.read_bytes() for path in (page / "audio").iterdir())
    assert b"system" not in raw
    assert b"Parlando" not in raw


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_and_its_key_hold_the_same_screens(pages, kind):
    settings, key = _settings(pages / kind), _key(pages, kind)
    assert settings["test"] == key["test"]
    shown = {screen["id"]: set(screen["stimuli"]) for screen in settings["screens"]}
    assert shown == {name: set(screen["stimuli"]) for name, screen in key["screens"].items()}
    screens = [*settings["screens"], settings["practice"]]
    files = [file for s in screens for file in [*s["stimuli"], s["shown"]] if file]
    assert sorted(files) == sorted(path.stem for path in (pages / kind / "audio").iterdir())
    assert all(load(pages / kind / "audio" / f"{file}.wav").duration_seconds > 0 for file in files)


def test_the_order_in_the_page_does_not_follow_the_systems(pages):
    screens = _key(pages, "mushra")["screens"].values()
    assert len({tuple(screen["stimuli"].values()) for screen in screens}) > 1


# --- scores ----------------------------------------------------------------------------------


def test_alpha_is_that_of_the_published_example():
    # Krippendorff 2011, example with four observers, twelve units and gaps: interval, 0.849.
    nan = np.nan
    data = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, nan, nan, nan],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, nan, 3],
        [nan, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, nan],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, nan],
    ]
    assert krippendorff_alpha(np.array(data)) == pytest.approx(0.849, abs=5e-4)
    assert krippendorff_alpha(np.array([[1.0, 2.0], [1.0, 2.0]])) == 1.0
    assert krippendorff_alpha(np.array([[1.0, nan], [nan, 2.0]])) is None
    assert krippendorff_alpha(np.array([[1.0, 1.0], [1.0, 1.0]])) is None


def _simulated(random, raters, items, rater_sd, item_sd, noise_sd):
    scores = 0.5 + rater_sd * random.standard_normal((raters, 1))
    scores = scores + item_sd * random.standard_normal((1, items))
    return scores + noise_sd * random.standard_normal((raters, items))


def test_intervals_cover_the_true_mean_as_often_as_they_say():
    random = np.random.default_rng(0)
    hits = narrow = 0
    for seed in range(300):
        scores = _simulated(random, 16, 16, 0.5, 0.5, 0.7)
        mean = crossed_mean(scores, resamples=300, seed=seed)
        hits += mean.low <= 0.5 <= mean.high
        each = scores.ravel().tolist()
        plain = ratio_interval(each, [1.0] * len(each), resamples=300, seed=seed)
        narrow += plain.low <= 0.5 <= plain.high
    assert 0.91 <= hits / 300 <= 0.985
    # Drawing ratings as if they were strangers misses far too often: why raters are drawn whole.
    assert narrow / 300 < 0.6


def test_mean_leaves_gaps_out():
    mean = crossed_mean(np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, 2.0], [np.nan] * 3]))
    assert mean.value == 2.0
    assert (mean.ratings, mean.raters, mean.items) == (3, 2, 2)
    with pytest.raises(ValueError, match="no ratings"):
        crossed_mean(np.full((2, 2), np.nan))


def _score(pages, kind, tmp_path, opinion, *, raters=12, careless=(), other=()):
    key = _key(pages, kind)
    for seed in range(raters):
        write_result(
            tmp_path / f"{seed}.json",
            key,
            lambda system, item, seed=seed: opinion(system, item, seed),
            seed=seed,
            language="other" if seed in other else "native",
            attentive=seed not in careless,
        )
    key = read_key(pages / f"{kind}.json")
    return score(read_results(sorted(tmp_path.glob("*.json")), key), key)


def test_cmos_recovers_which_system_is_better_whatever_the_order(pages, tmp_path):
    better = {"first-system": 0.0, "second-system": 1.0}
    scores = _score(pages, "cmos", tmp_path, lambda system, item, rater: better[system])
    (row,) = scores.rows
    assert (row.system, row.mean.value, row.mean.low, row.mean.high) == ("second-system", 1, 1, 1)
    assert scores.baseline == "first-system"


def test_smos_recovers_true_means_by_system_and_language(pages, tmp_path):
    def opinion(system, item, rater):
        random = np.random.default_rng([rater, int(item[1:]), len(system)])
        true = {"first-system": 3.0, "second-system": 4.0}[system] - 0.5 * (rater >= 12)
        return float(np.clip(np.round(2 * (true + 0.4 * random.standard_normal())) / 2, 1, 5))

    scores = _score(pages, "smos", tmp_path, opinion, raters=24, other=range(12, 24))
    means = {(row.system, row.raters): row for row in scores.rows}
    assert scores.given == {"all": 24, "native": 12, "other": 12}
    for system, true in (("first-system", 3.0), ("second-system", 4.0)):
        assert means[system, "native"].mean.value == pytest.approx(true, abs=0.1)
        assert means[system, "other"].mean.value == pytest.approx(true - 0.5, abs=0.1)
        assert means[system, "all"].mean.value == pytest.approx(true - 0.25, abs=0.1)
    difference = means["second-system", "all"].difference
    assert difference.value == pytest.approx(1.0, abs=0.1)
    assert difference.low > 0.5
    assert means["first-system", "all"].difference is None
    assert 0.3 < scores.alpha < 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_careless_raters_are_left_out_and_counted(pages, tmp_path, kind):
    opinions = {"first-system": 2.0, "second-system": 3.0}
    wild = {"first-system": 5.0, "second-system": 2.0}
    scores = _score(
        pages,
        kind,
        tmp_path,
        lambda system, item, rater: (wild if rater in (3, 7) else opinions)[system],
        careless=(3, 7),
    )
    assert sorted(scores.excluded) == ["r3", "r7"]
    assert all(re.fullmatch(r"failed \d of \d checks", x) for x in scores.excluded.values())
    (row,) = [one for one in scores.rows if one.system == "second-system"]
    assert row.mean.value == (1.0 if kind == "cmos" else 3.0)
    assert row.mean.raters == 10
    assert "10 of 12 raters counted, 2 excluded: r3 failed" in markdown_of(scores)
    assert {row.system for row in scores.rows} >= (
        {"reference", "anchor"} if kind == "mushra" else {"second-system"}
    )


def test_results_are_printed_and_written(pages, tmp_path, capsys):
    files = [
        write_result(tmp_path / f"{x}.json", _key(pages, "smos"), lambda *_: 3.5, seed=x)
        for x in (1, 2)
    ]
    again = write_result(tmp_path / "1b.json", _key(pages, "smos"), lambda *_: 3.5, seed=1)
    run_listen_results(
        ListenResultsOptions(
            results=(*files, again), key=pages / "smos.json", out=tmp_path / "scores"
        )
    )
    printed = capsys.readouterr().out
    assert "1 files left out" in printed
    assert re.search(r"second-system +all \(2\) +3\.50 +3\.50 to 3\.50", printed)
    written = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert [row["mean"]["value"] for row in written["rows"]] == [3.5, 3.5]
    lines = (tmp_path / "scores" / "scores.md").read_text().splitlines()
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        ("smos", {"Ground truth": "3.33", "YourTTS": "2.03", "NaturalSpeech 2": "3.28"}),
        ("cmos", {"Ground truth": "+0.04", "YourTTS": "-0.65", "NaturalSpeech 2": "+0.00"}),
        ("mushra", {}),
    ],
)
def test_papers_stand_beside_the_scores_of_their_protocol(kind, rows, tmp_path, capsys):
    papers = ("naturalspeech2-librispeech",)
    reports = tuple(
        write_speech_report(tmp_path / name, name, pitch_hz=pitch, papers=papers)
        for name, pitch in (("one", 110.0), ("two", 150.0))
    )
    key = tmp_path / "key.json"
    run_listen(ListenOptions(reports=reports, out=tmp_path / "page", key=key, kind=kind))
    result = write_result(tmp_path / "r.json", json.loads(key.read_text()), lambda *_: 3.0, seed=1)
    out = tmp_path / "scores"
    run_listen_results(ListenResultsOptions(results=(result,), key=key, out=out))
    printed, page = capsys.readouterr().out, (out / "scores.md").read_text()
    for system, value in rows.items():
        assert re.search(rf"^  {system} +{re.escape(value)}$", printed, re.MULTILINE)
        assert f"| {system} | {value} |" in page
    figures = json.loads((out / "scores.json").read_text())["papers"]
    assert {figure["system"] for figure in figures} == set(rows)
    assert not any(figure["comparable"] for figure in figures)
    assert ("not to be compared with ours: other raters" in page) == bool(rows)
    assert ("against the system that has 0" in page) == (kind == "cmos")


def test_reports_of_unlike_protocols_have_no_papers_in_common(tmp_path):
    tables = {"one": ("naturalspeech2-librispeech",), "two": (), "three": ()}
    folders = {
        name: write_speech_report(tmp_path / name, name, pitch_hz=110.0, papers=papers)
        for name, papers in tables.items()
    }
    assert papers_of([folders["one"], folders["one"]]) == tables["one"]
    assert papers_of([folders["one"], folders["two"]]) == ()
    assert papers_of([folders["two"], folders["three"]]) == ()


def test_few_utterances_are_told_of(pages, tmp_path):
    few = "fewer than 6 raters or utterances"
    scores = _score(pages, "smos", tmp_path, lambda *_: 3.0)
    assert few in markdown_of(scores)  # there are five utterances
    rows = [replace(row, mean=replace(row.mean, items=6)) for row in scores.rows]
    assert few not in markdown_of(replace(scores, rows=tuple(rows)))


def test_a_significant_cmos_is_marked(pages, tmp_path):
    better = {"first-system": 0.0, "second-system": 2.0}
    scores = _score(pages, "cmos", tmp_path, lambda system, item, rater: better[system])
    assert table_of(scores)[1][2:4] == ["+2.00", "+2.00 to +2.00 *"]


# --- errors ----------------------------------------------------------------------------------

BAD_DESIGNS = {
    "one report": ({"reports": 1}, "cmos test of 1 systems"),
    "no report": ({"reports": 0}, "no reports"),
    "too many trials": ({"trials": 6}, "share 5 utterances"),
    "no trials": ({"trials": 0}, "give 1 to 5"),
    "human reference twice": ({"kind": "mushra", "human": True}, "leave it out"),
    "key among the page": ({"key": "page/key.json"}, "put it elsewhere"),
    "no address": ({"post": "example"}, "begins with https"),
}


@pytest.mark.parametrize("name", BAD_DESIGNS)
def test_a_test_that_cannot_be_made_says_why(reports, tmp_path, name):
    given, message = BAD_DESIGNS[name]
    given = {"reports": 2, **given}
    given["reports"] = reports[: given["reports"]]
    if "key" in given:
        given["key"] = tmp_path / given["key"]
    with pytest.raises(ConfigError, match=message) as caught:
        run_listen(ListenOptions(out=tmp_path / "page", **given))
    assert "\n" not in str(caught.value)


def test_neither_a_page_nor_another_tests_key_is_written_over(reports, tmp_path):
    run_listen(ListenOptions(reports=reports, out=tmp_path / "page", trials=1))
    assert (tmp_path / "key.json").exists()
    with pytest.raises(ConfigError, match="is there already"):
        run_listen(ListenOptions(reports=reports, out=tmp_path / "page", trials=1))
    with pytest.raises(ConfigError, match="belongs to another test"):
        run_listen(ListenOptions(reports=reports, out=tmp_path / "new", trials=1, seed=1))
    # The same test may be made again.
    run_listen(ListenOptions(reports=reports, out=tmp_path / "again", trials=1))


def test_reports_of_other_texts_are_refused(reports, tmp_path):
    path = write_speech_report(tmp_path / "other", "third", pitch_hz=100.0) / "report.json"
    path.write_text(path.read_text().replace("Text 3.", "Something else."))
    with pytest.raises(ConfigError, match="trial t3 has one text in"):
        contestants_of([reports[0], path.parent])


def test_systems_of_one_name_are_told_apart_by_their_folders(tmp_path):
    folders = [
        write_speech_report(tmp_path / x, "same", pitch_hz=100.0, trials=1) for x in ("a", "b")
    ]
    assert [one.name for one in contestants_of(folders)] == ["a", "b"]


def _damage(pages, tmp_path, change):
    path = write_result(tmp_path / "r.json", _key(pages, "smos"), lambda *_: 3.0, seed=0)
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    return path


DAMAGES = {
    "another test": (lambda d: d.update(test="abc"), "the results are of test abc, the key is"),
    "no result": (lambda d: d.update(format="x"), "is not the result of a listening test"),
    "later version": (lambda d: d.update(version=2), "has version 2"),
    "no rater": (lambda d: d.pop("rater"), "is damaged"),
    "score too high": (lambda d: d["answers"][0].update(scores=[7]), "scores .7.0. where 1 of 1"),
    "screen unknown": (lambda d: d["answers"][0].update(screen="x"), "'x' is not in the key"),
    "screen twice": (lambda d: d["answers"].append(d["answers"][0]), "is rated twice"),
    "nothing rated": (lambda d: d.update(answers=[]), "no valid rater: all 1"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_results_that_cannot_be_scored_say_why(pages, tmp_path, name):
    change, message = DAMAGES[name]
    path = _damage(pages, tmp_path, change)
    with pytest.raises(ConfigError, match=message) as caught:
        run_listen_results(ListenResultsOptions(results=(path,), key=pages / "smos.json"))
    assert "\n" not in str(caught.value)


def test_mixed_tests_and_wrong_keys_are_refused(pages, tmp_path):
    files = tuple(
        write_result(tmp_path / f"{kind}.json", _key(pages, kind), lambda *_: 3.0, seed=0)
        for kind in ("smos", "cmos")
    )
    with pytest.raises(ConfigError, match="score each test by itself"):
        run_listen_results(ListenResultsOptions(results=files, key=pages / "smos.json"))
    with pytest.raises(ConfigError, match="key of a listening test"):
        run_listen_results(ListenResultsOptions(results=files, key=files[0]))
    with pytest.raises(ConfigError, match="cannot be read"):
        run_listen_results(ListenResultsOptions(results=files, key=tmp_path / "none.json"))
    with pytest.raises(ConfigError, match="no results"):
        run_listen_results(ListenResultsOptions(results=(), key=pages / "smos.json"))
