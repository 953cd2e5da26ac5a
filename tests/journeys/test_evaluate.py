"""``parlando evaluate``: a system, a codec or a folder to a report, and reports side by side."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from speechlike import padded, speechlike

from parlando.audio.waveform import load, save
from parlando.cli.main import main
from parlando.codecs.facodec import config as facodec
from parlando.codecs.facodec.model import build_facodec
from parlando.codecs.rvq import config as rvq
from parlando.codecs.rvq.model import build_rvq
from parlando.evaluation import protocol
from parlando.evaluation.records import audio_path, read_report
from parlando.recipes import to_mapping
from parlando.reporting.document import headline
from parlando.systems.naturalspeech3 import config as naturalspeech3
from parlando.systems.naturalspeech3.model import NaturalSpeech3
from parlando.systems.valle2 import config as valle2
from parlando.systems.valle2.model import VALLE2
from parlando.text.vocabulary import SYMBOLS
from parlando.training.checkpoint import Card, save_release

PESQ_MAXIMUM = 4.64
SYSTEM = "naturalspeech2-small"
PROTOCOLS = Path(protocol.__file__).with_name("protocols")


def evaluate(*words):
    return main(["evaluate", *(str(word) for word in words)])


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Write four recordings that pass for speech, each with a text."""
    folder = tmp_path_factory.mktemp("recordings")
    for number in range(4):
        speech = speechlike(1.5 + number / 5, pitch_hz=100.0 + 20.0 * number)
        save(folder / f"r{number}.wav", padded(speech, 0.3, 0.3), 16_000)
        (folder / f"r{number}.txt").write_text("Seven ships sail away.")
    return folder


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """Let the protocol ``bundled`` say what it wants spoken: two sentences by espeak-ng."""
    folder = tmp_path_factory.mktemp("plan")
    words = ("--protocol", "bundled", "--limit", 2, "--plan", "-o", folder)
    assert evaluate("speech", *words) == 0
    return folder


def trials_of(plan):
    return json.loads((plan / "trials.json").read_text())["trials"]


def test_identical_audio_scores_the_best_that_there_is(recordings, tmp_path):
    words = ("--wavs", recordings, "--reference", recordings, "-o", tmp_path / "report")
    assert evaluate("codec", *words, "--processes", 1) == 0
    report = read_report(tmp_path / "report")
    assert report.figure("mcd").value == 0.0
    assert report.figure("mcd_dtw").value == 0.0
    assert report.figure("mr_stft").value == 0.0
    assert report.figure("stoi").value == pytest.approx(1.0, abs=1e-6)
    assert report.figure("pesq").value == pytest.approx(PESQ_MAXIMUM, abs=0.01)
    assert report.figure("sim_o").value == pytest.approx(1.0, abs=1e-6)
    assert [row.trial.id for row in report.rows] == ["r0", "r1", "r2", "r3"]
    for name in ("index.html", "report.md"):
        assert "Resynthesis" in (tmp_path / "report" / name).read_text(encoding="utf-8")


def test_a_codec_is_measured_by_levels_and_compared(recordings, tmp_path, capsys):
    measures = ("--measures", "distance", "codec", "--limit", 2)
    for name, levels in (("few", (1, 2)), ("all", (1, 8))):
        words = ("--codec", "rvq-small", "--reference", recordings, "-o", tmp_path / name)
        assert evaluate("codec", *words, *measures, "--levels", *levels) == 0
    few, every = (read_report(tmp_path / name) for name in ("few", "all"))
    assert len(few.rows) == len(every.rows) == 4
    rates = [few.figure("bit_rate", {"levels": level}).value for level in "12"]
    assert rates[1] == pytest.approx(2.0 * rates[0])
    distances = [every.figure("mr_stft", {"levels": level}).value for level in "18"]
    assert distances[1] < distances[0]
    # The same recordings at the same level, in another run: the very same numbers.
    assert few.figure("mcd", {"levels": "1"}) == every.figure("mcd", {"levels": "1"})
    capsys.readouterr()
    assert evaluate("compare", tmp_path / "few", tmp_path / "all", "-o", tmp_path / "beside") == 0
    assert "are not in every report" in capsys.readouterr().out.replace("\n", " ")
    assert (tmp_path / "beside" / "comparison.json").is_file()


@pytest.fixture(scope="module")
def factorized(tmp_path_factory):
    """A factorized codec that has learnt nothing, but tells timbres apart."""
    torch.manual_seed(0)
    codec = build_facodec(facodec.tiny())
    torch.nn.init.normal_(codec.conditioning.projection.weight)
    card = Card(kind="facodec", config=to_mapping(facodec.tiny()))
    folder = tmp_path_factory.mktemp("factorized") / "tiny-facodec"
    save_release(folder, codec, card, bits=32)
    return folder


def test_a_factorized_codec_is_measured_with_and_without_detail(recordings, factorized, tmp_path):
    words = ("--codec", factorized, "--reference", recordings, "-o", tmp_path / "report")
    assert evaluate("codec", *words, "--measures", "distance", "codec", "phones", "--limit", 2) == 0
    report = read_report(tmp_path / "report")
    assert list(headline(report).columns[1:3]) == ["all", "without detail"]
    config = facodec.tiny()
    whole = config.prosody_levels + config.content_levels + config.detail_levels
    rates = [
        report.figure("bit_rate", {"attributes": kept}).value for kept in ("all", "without detail")
    ]
    assert rates[1] / rates[0] == pytest.approx(1.0 - config.detail_levels / whole)
    assert report.figure("per", {"attributes": "without detail"}).count == 2
    assert report.figure("codebook_used", {"level": "prosody 1"}).count == 4
    assert report.figure("codebook_used", {"level": "detail 1"}).count == 2
    distances = [
        report.figure("mr_stft", {"attributes": kept}).value for kept in ("all", "without detail")
    ]
    assert distances[0] != distances[1]


@pytest.fixture(scope="module")
def speakers(tmp_path_factory):
    """A corpus of two high and two low voices, of three sentences each."""
    folder = tmp_path_factory.mktemp("speakers")
    lines = []
    for name, pitch_hz in (("a", 210.0), ("b", 230.0), ("c", 95.0), ("d", 110.0)):
        for number in range(3):
            speech = speechlike(2.3 + number / 10, pitch_hz=pitch_hz)
            save(folder / f"{name}{number}.wav", padded(speech, 0.3, 0.3), 16_000)
            lines.append(
                {
                    "id": f"{name}/{number}",
                    "audio": f"{name}{number}.wav",
                    "speaker": name,
                    "split": "test",
                    "sex": "female" if pitch_hz > 160.0 else "male",
                    "text": f"Seven ships sail away, number {number}.",
                }
            )
    data = folder / "corpus.jsonl"
    data.write_text("\n".join(json.dumps(line) for line in lines))
    return data


def test_conversions_are_judged_and_so_are_files(speakers, factorized, tmp_path, capsys):
    words = ("--data", "jsonl", speakers, "--pairs", 4, "--pictures", 0, "--processes", 1)
    made = tmp_path / "report"
    assert evaluate("convert", "--system", factorized, *words, "-o", made) == 0
    report = read_report(made)
    assert (report.kind, report.name) == ("conversion", "tiny-facodec")
    listed = json.loads((made / "trials.json").read_text())["trials"]
    assert [trial["id"] for trial in listed] == [row.trial.id for row in report.rows]
    assert {
        report.figure("nearer_target", {"pair": p}).count for p in ("one sex", "two sexes")
    } == {2}
    nearer = report.figure("nearer_target")
    assert (nearer.human, nearer.control) == (
        report.figure("nearer_target_human").value,
        report.figure("nearer_target_resynthesis").value,
    )
    assert report.figure("per_resynthesis").count == 4
    assert "rounds: 2;" in " ".join(report.remarks)
    for row in report.rows:
        sound, source = (
            load(audio_path(made, row.trial.id, part)).samples for part in ("output", "reference")
        )
        assert len(sound) == len(source)
    # Converted otherwise, nothing that is there already is taken for the same.
    place = audio_path(made, report.rows[0].trial.id, "output")
    before = load(place).samples
    assert evaluate("convert", "--system", factorized, *words, "--rounds", 1, "-o", made) == 0
    assert "rounds: 1;" in " ".join(read_report(made).remarks)
    assert not np.array_equal(load(place).samples, before)
    # The recordings that were to be converted, given as if they were conversions.
    spoken = tmp_path / "spoken"
    spoken.mkdir()
    for row in report.rows:
        shutil.copy(audio_path(made, row.trial.id, "reference"), spoken / f"{row.trial.id}.wav")
    assert evaluate("convert", "--wavs", spoken, *words, "-o", tmp_path / "files") == 0
    files = read_report(tmp_path / "files")
    assert files.figure("nearer_target").value == 0.0
    assert files.figure("sim_source").value == pytest.approx(1.0, abs=1e-3)
    assert files.figure("per").value == files.figure("per").human
    assert files.figure("per_resynthesis") is None
    capsys.readouterr()
    words = (*words, "-o", tmp_path / "none")
    assert evaluate("convert", "--wavs", spoken, "--rounds", 1, *words) == 2
    assert "--approach and --no-match-timbre need --system" in capsys.readouterr().err
    assert evaluate("convert", *words) == 2
    assert "give --system NAME or --wavs DIR" in capsys.readouterr().err


def test_human_recordings_score_what_the_recogniser_makes_of_them(plan, tmp_path):
    spoken = tmp_path / "spoken"
    spoken.mkdir()
    for trial in trials_of(plan):
        shutil.copy(trial["reference"]["path"], spoken / f"{trial['id']}.wav")
    words = ("--wavs", spoken, "--limit", 2, "--measures", "intelligibility", "voice", "distance")
    assert evaluate("speech", *words, "-o", tmp_path / "report") == 0
    report = read_report(tmp_path / "report")
    for key in ("wer", "cer"):
        figure = report.figure(key)
        assert figure.value == figure.human
        assert figure.human < figure.control
    assert report.figure("mcd_dtw").value == 0.0
    assert report.name == "spoken"
    assert report.protocol["name"] == "bundled"


def test_a_plan_holds_prompts_as_they_are_given(plan, tmp_path):
    for trial in trials_of(plan):
        prompt = load(audio_path(plan, trial["id"], "prompt"))
        assert prompt.rate_hz == 16_000
        assert prompt.duration_seconds == pytest.approx(3.0, abs=0.5)


@pytest.mark.slow
def test_a_system_speaks_a_protocol_with_the_same_numbers_again(tmp_path):
    words = ("speech", "--system", SYSTEM, "--limit", 2, "--steps", 2)
    measures = ("--measures", "phones", "voice", "prosody")
    for name, processes in (("one", 1), ("two", 2)):
        out = ("-o", tmp_path / name, "--processes", processes)
        assert evaluate(*words, *measures, *out) == 0
    one, two = (read_report(tmp_path / name) for name in ("one", "two"))
    assert one.figures == two.figures
    for first, second in zip(one.rows, two.rows, strict=True):
        # Generated prompts lie in each report's own folder; all else is the same.
        assert replace(first, trial=second.trial, wall_seconds=None) == replace(
            second, wall_seconds=None
        )
        sounds = [load(audio_path(r.folder, first.trial.id)).samples for r in (one, two)]
        np.testing.assert_array_equal(*sounds)
    assert one.figure("sim_r") is not None
    assert one.figure("per").human < one.figure("per").control


@pytest.mark.slow
def test_an_ablation_lists_what_is_not_trained(plan, tmp_path):
    data = ("--data", "jsonl", plan / "generated" / "generated.jsonl")
    words = ("--protocol", "ablation", "--limit", 1, "--steps", 1, "--measures", "phones")
    systems = ("--system", f"whole={SYSTEM}", f"no-ce-rvq={SYSTEM}")
    assert evaluate("speech", *words, *data, *systems, "-o", tmp_path / "report") == 0
    report = read_report(tmp_path / "report")
    variants = {row.trial.labels["variant"] for row in report.rows}
    assert variants == {"whole", "no-ce-rvq"}
    whole, other = (report.figure("per", {"variant": name}) for name in ("whole", "no-ce-rvq"))
    assert whole.value == other.value
    assert report.name == "whole + no-ce-rvq"
    columns = ("Quantity", "whole", "no-ce-rvq", "People", "Chance")
    assert headline(report).columns == columns, "no figure stands for both"
    untrained = [remark for remark in report.remarks if "not trained" in remark]
    assert len(untrained) == 3
    assert report.figure("per", {"variant": "no-query-attention"}) is None


def random_valle2(folder, group):
    """A VALL-E 2 that has learnt nothing, with the codec whose codes it draws."""
    torch.manual_seed(group)
    config = replace(valle2.tiny(), group=group)
    model = VALLE2(config, len(SYMBOLS))
    save_release(folder, model, Card(kind="valle2", config=to_mapping(config)), bits=32)
    codec = build_rvq(rvq.tiny())
    card = Card(kind="codec", config=to_mapping(rvq.tiny()))
    save_release(folder / "codec", codec, card, bits=32)
    return folder


@pytest.fixture
def short_sampling(tmp_path):
    """The protocol ``sampling`` over utterances of any length, by systems in this folder."""
    text = (PROTOCOLS / "sampling.toml").read_text(encoding="utf-8")
    changes = [("minimum_seconds = 4\n", "minimum_seconds = 1\n")]
    changes += [(f'"valle2-small{of}"', f'"{tmp_path}/g{of[-1:]}"') for of in ("", "-group1")]
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    (tmp_path / "sampling.toml").write_text(text)
    return tmp_path / "sampling.toml"


@pytest.mark.slow
def test_groups_repetition_and_nuclei_are_crossed_and_loops_counted(plan, short_sampling, tmp_path):
    data = ("--data", "jsonl", plan / "generated" / "generated.jsonl", "--limit", 1)
    random_valle2(tmp_path / "g1", 1)
    random_valle2(tmp_path / "g", 2)
    words = ("--protocol", short_sampling, *data, "--measures", "phones", "--pictures", 0)
    assert evaluate("speech", *words, "-o", tmp_path / "report") == 0
    report = read_report(tmp_path / "report")
    assert len(report.rows) == 2 * 2 * 5
    untrained = [remark for remark in report.remarks if "not trained" in remark]
    assert [remark.split()[1] for remark in untrained] == ["group4", "group8"]
    cuts = [row.notes["generation"]["cut"] for row in report.rows]
    assert report.figure("cut").value == np.mean([cut > 0 for cut in cuts])
    plain = report.figure("replaced", {"repetition_aware": "off"})
    assert plain.value == 0.0
    assert report.figure("replaced", {"repetition_aware": "on"}).value > 0.0
    table = headline(report)
    nuclei = tuple(f"top p {p}" for p in ("0", "0.2", "0.4", "0.6", "0.8"))
    assert table.columns == (
        *("Quantity", "Repetition aware, variant"),
        *nuclei,
        *("People", "Chance"),
    )
    lines = [cells[1].text for cells in table.rows if cells[0].text.startswith("Outputs ended")]
    assert lines == ["on, group1", "on, group2", "off, group1", "off, group2"]
    for row in report.rows:
        cell = report.figure("cut", row.trial.labels)
        assert (cell.count, cell.value) == (1, float(row.notes["generation"]["cut"] > 0))
    alone = (*words, "--system", tmp_path / "g", "-o", tmp_path / "report")
    assert evaluate("speech", *alone) == 0
    report = read_report(tmp_path / "report")
    assert {row.trial.labels["variant"] for row in report.rows} == {"group2"}
    assert "variant group1 (groups of 1): not asked for, no numbers" in report.remarks
    larger = [f"group{n}={random_valle2(tmp_path / f'of{n}', n)}" for n in (4, 8)]
    assert evaluate("speech", *words, "--system", *larger, "-o", tmp_path / "larger") == 0
    report = read_report(tmp_path / "larger")
    for name in ("group4", "group8"):
        assert report.figure("cut", {"variant": name}).count == 2 * 5
    assert not any("not trained" in remark for remark in report.remarks)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "label", "values"),
    [
        ("guidance", "guidance", ("0", "0.5", "1", "2")),
        ("prompt-transcript", "transcript", ("given", "recognised")),
        ("length-guard", "repetition_aware", ("on", "off")),
    ],
)
def test_each_way_of_speaking_changes_what_is_said(plan, tmp_path, name, label, values):
    # Several voices, so that a sentence is in no prompt of one of them.
    data = ("--data", "jsonl", plan / "generated" / "generated.jsonl", "--limit", 3)
    system = random_valle2(tmp_path / "g", 2)
    words = ("--protocol", name, "--system", system, *data, "--measures", "phones")
    assert evaluate("speech", *words, "--pictures", 0, "-o", tmp_path / "report") == 0
    report = read_report(tmp_path / "report")
    spoken = len(report.rows) // len(values)
    assert [row.trial.labels[label] for row in report.rows] == spoken * list(values)
    sounds = [load(audio_path(report.folder, row.trial.id)).samples for row in report.rows]
    assert len({sound.tobytes() for sound in sounds}) == len(report.rows) > 0
    assert all(report.figure("cut", {label: value}).count == spoken for value in values)


def random_naturalspeech3(folder, **changes):
    """A NaturalSpeech 3 that has learnt nothing, on the factorized codec or on plain codes."""
    torch.manual_seed(0)
    config = replace(naturalspeech3.tiny(), **changes)
    kind, codec = ("facodec", facodec) if config.phone_prosody else ("codec", rvq)
    build = build_facodec if config.phone_prosody else build_rvq
    card = Card(kind="naturalspeech3", config=to_mapping(config))
    save_release(folder, NaturalSpeech3(config, len(SYMBOLS)), card, bits=32)
    card = Card(kind=kind, config=to_mapping(codec.tiny()))
    save_release(folder / "codec", build(codec.tiny()), card, bits=32)
    return folder


@pytest.mark.slow
def test_ablations_of_naturalspeech3_are_drawn_in_three_ways(plan, tmp_path):
    data = ("--data", "jsonl", plan / "generated" / "generated.jsonl", "--limit", 1)
    places = {
        "whole": random_naturalspeech3(tmp_path / "whole", levels=6),
        "no-factorization": random_naturalspeech3(tmp_path / "plain", phone_prosody=False),
        "no-duration-prompt": random_naturalspeech3(
            tmp_path / "alone", levels=6, duration_reads_prompt=False
        ),
    }
    systems = [f"{name}={folder}" for name, folder in places.items()]
    words = ("--protocol", "naturalspeech3-ablation", "--system", *systems, *data)
    measures = ("--measures", "voice", "--pictures", 0)
    assert evaluate("speech", *words, *measures, "-o", tmp_path / "report") == 0
    report = read_report(tmp_path / "report")
    found = [(row.trial.labels["variant"], row.trial.labels["drawing"]) for row in report.rows]
    drawings = ("whole", "no-guidance", "one-duration-step")
    assert found == [(name, drawing) for name in places for drawing in drawings]
    sounds = [load(audio_path(report.folder, row.trial.id)).samples for row in report.rows]
    assert len({sound.tobytes() for sound in sounds}) == len(sounds)
    untrained = [remark for remark in report.remarks if "not trained" in remark]
    assert [remark.split()[1] for remark in untrained] == [
        *("duration-regression", "no-duration-prosody", "mel-prosody"),
    ]
    printed = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "durations without the prompt" in printed
    assert "Table 11" in printed


def test_one_failure_makes_the_exit_status_one_and_the_report_is_there(recordings, tmp_path):
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    for number in range(3):
        shutil.copy(recordings / f"r{number}.wav", outputs)
    save(outputs / "r2.wav", np.zeros(16_000, np.float32), 16_000)
    words = ("--wavs", outputs, "--reference", recordings, "--measures", "distance")
    assert evaluate("codec", *words, "-o", tmp_path / "report") == 1
    report = read_report(tmp_path / "report")
    failures = {row.trial.id: set(row.failures) for row in report.failed}
    assert failures == {"r2": {"distance"}, "r3": {"output"}}
    assert any("1 references have no file" in remark for remark in report.remarks)
    assert "r3" in (tmp_path / "report" / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("codec", "--reference", "{r}"), "give --codec NAME or --wavs DIR"),
        (("codec", "--codec", "rvq-smal", "--reference", "{r}"), "did you mean 'rvq-small'?"),
        (("codec", "--codec", "rvq-small", "--reference", "{t}/no"), "no such folder"),
        (("codec", "--codec", "rvq-small", "--reference", "{t}"), "holds no sound file"),
        (("codec", "--wavs", "{t}/low", "--reference", "{t}/low"), "low.wav: has 8000 Hz"),
        (("codec", "--wavs", "{t}/low", "--reference", "{r}"), "no file is named like one of"),
        (("codec", "--wavs", "{r}", "--reference", "{r}", "--levels", "1"), "--levels needs"),
        (("codec", "--codec", "{f}", "--reference", "{r}", "--levels", "1"), "is factorized"),
        (("codec", "--wavs", "{r}", "--reference", "{r}", "--limit", "0"), "--limit is 0"),
        (("codec", "--wavs", "{r}", "--reference", "{r}", "--measures", "emotion"), "RAVDESS"),
        (
            ("codec", "--wavs", "{m}", "--reference", "{m}", "--measures", "intelligibility"),
            "none of 1 recordings has a text, and intelligibility cannot do without",
        ),
        (
            (
                *("codec", "--wavs", "{r}", "--reference", "{r}", "--measures", "intelligibility"),
                *("--recogniser", "hubert", "--recogniser-model", "{m}"),
            ),
            "give a folder with config.json",
        ),
        (
            (
                *("codec", "--wavs", "{r}", "--reference", "{r}", "--measures", "voice"),
                *("--encoder", "wavlm", "--encoder-model", "{m}"),
            ),
            "give a folder with config.json",
        ),
        (("speech",), "give --system NAME or --wavs DIR"),
        (("speech", "--system", "a", "--wavs", "{r}"), "give --system NAME or --wavs DIR"),
        (("speech", "--protocol", "sampling"), "give one with --data"),
        (
            ("speech", "--protocol", "sampling", "--system", "group3=x"),
            "has no variant 'group3'; give --system VARIANT=FOLDER with group1",
        ),
        (("speech", "--wavs", "{r}", "--protocol", "bundeld"), "did you mean 'bundled'?"),
        (("speech", "--wavs", "{r}", "--protocol", "naturalspeech2"), "give one with --data"),
        (("speech", "--wavs", "{r}", "--protocol", "ravdess"), "RAVDESS"),
        (("speech", "--system", "nobody", "--limit", "1"), "this release has no 'nobody'"),
        (
            ("speech", "--system", "naturalspeech-small", "--limit", "1"),
            "did you mean 'naturalspeech",
        ),
        (
            ("speech", "--wavs", "{r}", "--protocol", "ravdess", "--data", "jsonl", "{t}/x.jsonl"),
            "do not go together",
        ),
        (
            ("speech", "--wavs", "{r}", "--protocol", "steps", "--data", "jsonl", "{t}/mute.jsonl"),
            "has a transcript",
        ),
    ],
)
def test_what_a_user_can_mend_is_one_line(words, message, recordings, factorized, tmp_path, capsys):
    (tmp_path / "low").mkdir()
    save(tmp_path / "low" / "low.wav", speechlike(1.0, 8000), 8000)
    mute = {"id": "m", "audio": str(recordings / "r0.wav"), "speaker": "s", "split": "test"}
    (tmp_path / "mute.jsonl").write_text(json.dumps(mute))
    if "{t}" in words:
        shutil.rmtree(tmp_path / "low")
    untold = tmp_path / "untold"
    if "{m}" in words:
        untold.mkdir()
        shutil.copy(recordings / "r0.wav", untold)
    given = [word.format(r=recordings, t=tmp_path, f=factorized, m=untold) for word in words]
    assert evaluate(*given, "-o", tmp_path / "report") == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.startswith("parlando: ")
    assert told.count("\n") == 1
    assert not (tmp_path / "report" / "report.json").exists()


def test_variants_of_which_none_is_trained_are_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("parlando.cli.evaluate.speech._is_there", lambda place: False)
    assert evaluate("speech", "--protocol", "sampling", "-o", tmp_path / "report") == 2
    assert "none of the variants group1, group2, group4" in capsys.readouterr().err
