"""The benchmarks choose recordings, and set the figures of reports beside aims."""

import json
import sys
from dataclasses import replace

import pytest
from benchmarks import curves, quality, results, speed
from reportlike import report, row
from speechlike import padded, speechlike

from parlando.audio.waveform import save
from parlando.codecs.facodec import config as facodec
from parlando.codecs.facodec.model import build_facodec
from parlando.contracts import ConfigError
from parlando.evaluation.measure import Figure, Quantity
from parlando.evaluation.records import write_report
from parlando.recipes import to_mapping
from parlando.training.checkpoint import Card, save_release


def figure(key, value, *, human=None, control=None, count=50, people="", chance="", **condition):
    quantity = Quantity(key=key, title=key, human=people or None, control=chance or None)
    return Figure(
        quantity=quantity,
        value=value,
        low=value / 2,
        high=2 * value,
        count=count,
        human=human,
        control=control,
        condition=condition,
    )


def entries(part, *figures):
    return {(e["key"], *e["condition"].values()): e for e in results.entries(part, figures)}


def test_errors_may_go_two_fifths_of_the_way_from_people_to_chance():
    found = entries("speech", figure("wer", 0.5, human=0.4, control=1.2))["wer",]
    assert found["bound"] == pytest.approx(0.4 + 0.4 * 0.8)
    assert found["reached"]
    assert found["better"] == "lower"
    assert not entries("speech", figure("wer", 0.73, human=0.4, control=1.2))["wer",]["reached"]
    # Without recordings there is no bound, and nothing is called reached.
    assert "aim" not in entries("speech", figure("wer", 0.1, control=1.2))["wer",]


@pytest.fixture(scope="module")
def valle2(tmp_path_factory):
    """The card of a VALL-E 2; nothing else is read of it here."""
    folder = tmp_path_factory.mktemp("systems") / "tiny-valle2"
    folder.mkdir()
    card = {"schema": 1, "kind": "valle2", "config": {}}
    (folder / "config.json").write_text(json.dumps(card))
    return str(folder)


def test_a_system_is_held_to_the_aims_of_its_kind(valle2):
    assert results.aims_for("speech", valle2) == "valle2-speech"
    assert results.aims_for("hard", valle2) == "hard"
    assert results.aims_for("speech", "naturalspeech2-small") == "speech"
    for key in ("wer", "per"):
        (entry,) = results.entries("valle2-speech", [figure(key, 0.79, human=0.4, control=1.2)])
        assert entry["bound"] == pytest.approx(0.4 + 0.5 * 0.8)
        assert entry["reached"]


@pytest.mark.parametrize(("cut", "reached"), [(0.01, True), (0.015, False)])
def test_only_repetition_aware_sampling_has_to_find_its_end(cut, reached):
    found = entries(
        "valle2-guard",
        figure("cut", 0.2),
        figure("cut", cut, repetition_aware="on"),
        figure("cut", 0.4, repetition_aware="off"),
    )
    assert found.keys() == {("cut", "on"), ("cut", "off")}, "the mean is that of no sampling"
    assert (found["cut", "on"]["bound"], found["cut", "on"]["reached"]) == (0.01, reached)
    assert "aim" not in found["cut", "off"]


def test_two_hundred_runs_are_a_part_of_the_benchmark(valle2, tmp_path, monkeypatch):
    asked = []

    def spoken(options):
        asked.append(options)
        rows = [row(n, {"wer": (1.0, 10.0)}) for n in range(2)]
        write_report(report(rows, options.out))

    monkeypatch.setattr(quality, "run_speech", spoken)
    data = tmp_path / "corpus.jsonl"
    options = quality.Options(part="guard", data=data, out=tmp_path / "q.json", system=valle2)
    part = quality.measure(options)["guard"]
    (given,) = asked
    assert (given.protocol, given.system, given.data) == (
        "length-guard",
        (valle2,),
        ("jsonl", data),
    )
    assert part["utterances"] == 2
    every = replace(options, part="all")
    assert "guard" in quality.parts_of(every)
    assert "guard" not in quality.parts_of(replace(every, system="naturalspeech2-small"))


def test_aims_without_a_figure_are_called_not_measured():
    (entry,) = results.entries("valle2-speed", [figure("first_audio", 0.4)])
    lines = list(results.unmeasured_rows({"speed": {"figures": [entry]}}, ["valle2-speed"]))
    assert [line[:2] for line in lines] == [("VALL-E 2: real-time factor", "not measured")]
    assert {len(line) for line in lines} == {len(results.SUMMARY_HEAD)}


def test_likeness_is_held_against_the_halves_of_recordings():
    figures = (figure("sim_o", 0.61, human=0.95), figure("sim_halves", 0.8))
    found = entries("speech", *figures)["sim_o",]
    assert found["human"] == 0.8
    assert found["bound"] == pytest.approx(0.6)
    assert found["reached"]
    assert found["better"] == "higher"


def test_slips_are_counted_over_all_sentences_and_the_detector_is_held_to_account():
    found = entries(
        "hard",
        figure("skips", 0.22, control=2.5),
        figure("repeats", 0.0),
        figure("slipped", 0.16, people="slipped_human"),
        figure("detector_hits", 0.91, people="detector_hits_human"),
        figure("detector_hits_human", 0.95),
        figure("slipped_human", 0.06),
    )
    assert found["skips",]["value"] == pytest.approx(11.0)
    assert (found["skips",]["low"], found["skips",]["high"]) == (5.5, 22.0)
    assert found["skips",]["control"] == 125.0
    reached = {key: entry.get("reached") for (key,), entry in found.items()}
    assert reached == {
        "skips": False,
        "repeats": True,
        "slipped": None,
        "detector_hits": True,
        "slipped_human": False,  # a row of its own, for it has an aim; other floors stand beside
    }


def codec_figures(*rates):
    for levels, rate in enumerate(rates, 1):
        yield figure("bit_rate", rate, levels=str(levels))
        yield figure("pesq", 2.0 + levels / 10, levels=str(levels))
    yield figure("pesq", 2.2)
    yield figure("codebook_perplexity", 500.0)


def test_a_codec_is_judged_at_the_most_levels_within_its_bit_rate():
    found = entries("codec", *codec_figures(3.2, 6.4, 9.6, 12.8))
    assert [key for key, entry in found.items() if "aim" in entry] == [("pesq", "3")]
    assert ("pesq",) not in found  # the mean over bit rates
    assert ("codebook_perplexity",) in found
    assert not any("aim" in entry for entry in entries("codec", *codec_figures(12.8)).values())
    (alone,) = (
        e
        for e in results.entries("codec", [figure("bit_rate", 8.0), figure("pesq", 2.7)])
        if "aim" in e
    )
    assert (alone["bound"], alone["reached"]) == (2.6, True)


def test_a_factorized_codec_is_judged_with_all_its_attributes():
    def measured(kept, rate, pesq):
        yield figure("bit_rate", rate, attributes=kept)
        yield figure("pesq", pesq, attributes=kept)

    found = entries(
        "facodec",
        *measured("all", 4.8, 1.9),
        *measured("without detail", 2.4, 1.5),
        figure("pesq", 1.7),
    )
    assert [key for key, entry in found.items() if "aim" in entry] == [("pesq", "all")]
    assert found["pesq", "all"]["reached"]
    assert ("pesq",) not in found  # the mean over both


@pytest.mark.parametrize(("rate", "reached"), [(0.59, True), (0.61, False)])
def test_a_conversion_may_have_half_as_many_errors_again_as_its_resynthesis(rate, reached):
    figures = (
        figure("per", rate, human=0.3, people="per_human"),
        figure("per_human", 0.3),
        figure("per_resynthesis", 0.4),
        figure("per_resynthesis", 0.1, pair="one sex"),
        figure("nearer_target", 0.91, human=1.0, control=0.0),
    )
    found = entries("convert", *figures)
    assert found["per",]["bound"] == pytest.approx(0.6)
    assert (found["per",]["reached"], found["per",]["better"]) == (reached, "lower")
    assert found["per",]["human"] == 0.3
    assert found["nearer_target",]["reached"]
    assert "per_resynthesis" in {key for key, *_ in found}
    assert "aim" not in entries("convert", *figures[:2])["per",]


def test_every_level_has_to_pay():
    aims = results.read_aims("codec")
    figures = list(codec_figures(1.6, 3.2, 4.8))
    assert results.every_level_pays(figures, aims) == {"pesq": True}
    figures[3] = replace(figures[3], value=2.05)
    assert results.every_level_pays(figures, aims) == {"pesq": False}


def test_a_part_tells_how_it_was_measured(tmp_path):
    rows = [row(n, {"wer": (1.0, 10.0), "wer_human": (1.0, 20.0)}) for n in range(3)]
    rows.append(row(3, {}, failures={"output": "nothing came"}))
    part = results.part_of("speech", report(rows, tmp_path, remarks=("a remark",)))
    assert (part["utterances"], part["failed"]) == (4, 1)
    assert part["judges"]["voice"] == "resemblyzer 0.1 (GE2E)"
    assert part["remarks"][0] == "a remark"
    assert part["remarks"][1].startswith("1 of 4 outputs failed")
    assert {entry["key"] for entry in part["figures"]} == {"wer"}
    assert part["figures"][0]["human"] == 0.05
    assert json.loads(json.dumps(part)) == part
    assert str(tmp_path) not in json.dumps(part)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.776, "%", "77.6%"),
        (1.2313, "%", "123%"),
        (0.6, "%", "60%"),
        (11.0, "", "11"),
        (0, "", "0"),
        (2.9, "", "2.90"),
        (0.0108, "s", "0.0108 s"),
        (716.5, "", "716"),
        (1200.0, "MB", "1,200 MB"),
        (None, "s", "–"),
    ],
)
def test_numbers_have_three_digits_and_their_unit(value, unit, text):
    assert results.number(value, unit) == text


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Three recordings of no one, as a corpus."""
    folder = tmp_path_factory.mktemp("corpus")
    lines = []
    for number, split in enumerate(("train", "valid", "test", "test")):
        name = f"s/{number}"
        sound = padded(speechlike(1.5, pitch_hz=120.0 + 20.0 * number), 0.2, 0.2)
        save(folder / f"{number}.wav", sound, 16_000)
        text = None if number == 3 else f"Sentence number {number}."
        lines.append(
            {"id": name, "audio": f"{number}.wav", "speaker": name, "split": split, "text": text}
        )
    data = folder / "corpus.jsonl"
    data.write_text("\n".join(json.dumps(line) for line in lines))
    return data


def test_recogniser_and_codec_go_from_a_corpus_to_results_that_keep_each_other(
    corpus, tmp_path, capsys
):
    out = tmp_path / "quality.json"
    options = quality.Options(part="recogniser", data=corpus, out=out, processes=1)
    first = quality.measure(options)
    by_group = {tuple(e["condition"].values()): e for e in first["recogniser"]["figures"]}
    assert by_group[("test corpus",)]["count"] == by_group[("valid",)]["count"] == 1
    # Training speech and what has no text is left out.
    assert first["recogniser"]["utterances"] == 2
    again = quality.measure(replace(options, part="codec", levels=(1, 2), limit=2))
    assert again == json.loads(out.read_text())
    assert again["recogniser"] == first["recogniser"]
    assert (again["codec"]["utterances"], again["codec"]["limit"]) == (2, 2)
    assert "limit" not in again["recogniser"]
    (aimed,) = (e for e in again["codec"]["figures"] if e.get("aim", "").endswith("STOI"))
    assert aimed["condition"] == {"levels": "2"}
    assert (tmp_path / "quality.reports" / "codec" / "index.html").is_file()
    lines = list(results.summary_rows(again))
    assert [line[0] for line in lines if line[4]] == [
        aim.title for aim in results.read_aims("codec").values()
    ]
    assert lines[-1][0] == "codec: sim_o is better with every further level"
    results.print_summary(again)
    assert "codec, at most 9.6 kbit/s: PESQ, wideband" in capsys.readouterr().out


@pytest.fixture(scope="module")
def factorized(tmp_path_factory):
    """A factorized codec that has learnt nothing."""
    folder = tmp_path_factory.mktemp("codecs") / "tiny-facodec"
    card = Card(kind="facodec", config=to_mapping(facodec.tiny()))
    save_release(folder, build_facodec(facodec.tiny()), card, bits=32)
    return str(folder)


def test_a_factorized_codec_has_aims_of_its_own(factorized, corpus, tmp_path):
    options = quality.Options(
        part="codec", data=corpus, out=tmp_path / "q.json", codec=factorized, processes=1, limit=1
    )
    part = quality.measure(options)["codec"]
    aimed = {e["key"]: e["condition"] for e in part["figures"] if "aim" in e}
    assert aimed == {key: {"attributes": "all"} for key in results.read_aims("facodec")}
    assert "every_level_pays" not in part
    assert part["name"] == "tiny-facodec"
    with pytest.raises(ConfigError, match="do not refine each other"):
        quality.measure(replace(options, levels=(1,)))


def test_conversion_is_measured_of_factorized_codecs(factorized, corpus, tmp_path, monkeypatch):
    asked = []

    def converted(options):
        asked.append(options)
        rows = [row(n, {"nearer_target": (float(n > 0), 1.0)}) for n in range(2)]
        write_report(report(rows, options.out))

    monkeypatch.setattr(quality, "run_convert", converted)
    options = quality.Options(
        part="convert", data=corpus, out=tmp_path / "q.json", codec=factorized, pairs=2, seed=3
    )
    part = quality.measure(options)["convert"]
    (given,) = asked
    assert (given.system, given.pairs, given.seed) == (factorized, 2, 3)
    assert given.data == ("jsonl", corpus)
    assert (part["pairs"], part["utterances"]) == (2, 2)
    assert "convert" in quality.parts_of(replace(options, part="all"))
    assert "convert" not in quality.parts_of(quality.Options(part="all", data=corpus, out=tmp_path))


def test_a_corpus_without_test_speakers_is_refused(corpus, tmp_path):
    data = tmp_path / "corpus.jsonl"
    data.write_text(corpus.read_text().splitlines()[1])
    options = quality.Options(part="codec", data=data, out=tmp_path / "q.json")
    with pytest.raises(ConfigError, match="no recording of split test"):
        quality.measure(options)


def test_import_time_is_that_of_a_fresh_interpreter():
    found = speed.import_seconds(repeats=1)
    assert 0.0 < found.value < 2.0
    (entry,) = results.entries("speed", [found])
    assert entry["aim"] == "time to import parlando"
    assert entry["bound"] == 0.3


def test_speed_names_its_conditions(monkeypatch, tmp_path):
    def measured(factory, *, request, network, repeats):
        assert (request.voice, repeats) == (None, 3)
        return [replace(figure("real_time_factor", 0.2), count=repeats)]

    monkeypatch.setattr(speed, "measure_cost", measured)
    monkeypatch.setattr(speed, "import_seconds", lambda: figure("import", 0.4))
    monkeypatch.setattr("torch.set_num_threads", lambda threads: None)
    monkeypatch.setattr(speed.os, "environ", {})
    found = speed.measure(speed.Options(out=tmp_path / "speed.json", threads=3, repeats=3))
    assert found["threads"] == 3
    assert speed.os.environ == {"OMP_NUM_THREADS": "3"}
    assert [entry["reached"] for entry in found["figures"]] == [True, False]


def test_speed_keeps_other_parts_of_its_file(monkeypatch, tmp_path):
    out = tmp_path / "speed.json"
    decoding = {"decoding": {"figures": []}}
    out.write_text(json.dumps(decoding))
    part = {"figures": results.entries("speed", [figure("import", 0.1)])}
    monkeypatch.setattr(speed, "measure", lambda options: part)
    monkeypatch.setattr(sys, "argv", ["speed", "--out", str(out)])
    speed.main()
    assert json.loads(out.read_text()) == decoding | {"speed": part}


def test_curves_are_read_by_metric_and_run(tmp_path):
    path = tmp_path / "run1" / "metrics.jsonl"
    path.parent.mkdir()
    records = [
        {"step": 20, "validation/loss": 1.0, "train/loss": 2.0},
        {"step": 10, "validation/loss": 3.0},
        {"step": 30, "validation/loss": None},
    ]
    path.write_text("\n".join(json.dumps(record) for record in records))
    read = curves.read_curves([path])
    assert read == {"validation/loss": {"run1": [(10, 3.0), (20, 1.0)]}}
    assert list(curves.read_curves([path], ["train/loss"])) == ["train/loss"]
    curves.draw_curves(read, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 5000
    with pytest.raises(SystemExit, match="no such numbers"):
        curves.draw_curves({}, tmp_path / "none.png")
