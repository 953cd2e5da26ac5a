"""A comparison as page, Markdown and JSON; the papers' figures beside ours."""

import json
from dataclasses import replace
from itertools import product

from reportlike import changed, report, row, simulated, write_audio

from parlando.evaluation.papers import PaperFigure
from parlando.recipes import to_mapping
from parlando.reporting.compare import compare
from parlando.reporting.comparison import comparison_tables, write_comparison
from parlando.reporting.markdown import markdown
from parlando.reporting.page import write_page
from parlando.reporting.papers import paper_tables


def pair(tmp_path, count=30):
    first = simulated(count, 1)
    second = changed(
        first, lambda each: {"wer": (each.values["wer"][0] + 3, each.values["wer"][1])}
    )
    return [
        report(first, tmp_path / "a", name="first"),
        report(second, tmp_path / "b", name="second"),
    ]


def test_all_three_files_say_the_same(tmp_path):
    comparison = compare(pair(tmp_path))
    page = write_comparison(comparison, tmp_path / "out", pictures=0)
    assert page == tmp_path / "out" / "index.html"
    content = json.loads((tmp_path / "out" / "comparison.json").read_text(encoding="utf-8"))
    (line,) = content["lines"]
    assert content["names"] == ["first", "second"]
    assert line["verdicts"] == ["worse"]
    assert line["differences"][0]["value"] == comparison.lines[0].differences[0].value
    cells = comparison_tables(comparison)[0].rows[0]
    assert cells[4].text == f"+{100 * line['differences'][0]['value']:.2f}"
    text = (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    assert f"**{cells[4].text}**" in text
    assert "**worse**" in text
    assert f"<strong>{cells[4].text}</strong>" in page.read_text(encoding="utf-8")


def test_sounds_of_both_stand_side_by_side(tmp_path):
    reports = pair(tmp_path, 3)
    for each in reports:
        write_audio(each)
    text = write_comparison(compare(reports), tmp_path / "out", pictures=1).read_text("utf-8")
    first = text.split('<li class="utterance')[1]
    titles = [part.split("<small>")[0].split(">")[1] for part in first.split('class="play"')[1:]]
    assert titles == ["first", "second", "Reference", "Prompt"]
    assert first.count('class="spectrogram"') == 2
    # Both reports hold the same sounds here: each is in the page once.
    assert text.count("data:audio/ogg") == 9


def test_linked_sounds_are_found_from_the_folder_of_the_comparison(tmp_path):
    reports = pair(tmp_path, 2)
    write_audio(reports[0], ["output"])
    page = write_comparison(compare(reports), tmp_path / "out", pictures=0, embed_megabytes=0)
    assert ">../a/audio/000.output.wav</script>" in page.read_text(encoding="utf-8")


def test_the_largest_loss_comes_first_whichever_way_is_better(tmp_path):
    losses = [0.3, 0.1, 0.5]
    first = [row(i, {"sim_o": (0.9, 1.0)}) for i in range(3)]
    second = [row(i, {"sim_o": (0.9 - losses[i], 1.0)}) for i in range(3)]
    comparison = compare([report(first, tmp_path, name="a"), report(second, tmp_path, name="b")])
    text = write_comparison(comparison, tmp_path / "out").read_text(encoding="utf-8")
    places = [text.index(f"<h3>{name}</h3>") for name in ("002", "000", "001")]
    assert places == sorted(places)
    assert "−0.500" in text


def test_three_reports_have_an_overview_and_a_table_each(tmp_path):
    reports = [report(simulated(20, 1, extra=e), tmp_path, name=f"{e}") for e in (0.0, 0.1, 0.2)]
    captions = [table.caption for table in comparison_tables(compare(reports))]
    assert captions == ["Side by side", "0.1 beside 0.0", "0.2 beside 0.0"]


def figure(system, value, **extra):
    return to_mapping(
        PaperFigure(
            **{
                "paper": "NaturalSpeech 2 (2023)",
                "table": "Table 4",
                "title": "",
                "system": system,
                "quantity": "wer",
                "value": value,
                "protocol": "LibriSpeech test-clean",
                "judge": "HuBERT",
                "comparable": False,
                "difference": "judged by HuBERT, here by pocketsphinx-5 en-us",
                **extra,
            }
        )
    )


def test_papers_stand_beside_ours_and_say_what_is_not_comparable(tmp_path):
    rows = [row(i, {"wer": (1, 10), "sim_o": (0.5, 1)}) for i in range(4)]
    alike = {"quantity": "sim_o", "comparable": True, "difference": ""}
    made = report(
        rows,
        tmp_path,
        papers=(
            figure("Ground truth", 1.94),
            figure("YourTTS", 7.1),
            figure("YourTTS", -0.5, **alike),
        ),
    )
    (beside,) = paper_tables(made)
    assert beside.table.columns == ("System", "Word error rate (%) ↓ ≠", "SIM-O ↑")
    texts = [[cell.text for cell in cells] for cells in beside.table.rows]
    assert texts == [
        ["Ground truth", "1.94", "–"],
        ["YourTTS", "7.1", "−0.5"],
        ["naturalspeech2-small, all samples", "10.00", "0.500"],
        # A paper has a line for each length of the prompt, and so have we.
        ["naturalspeech2-small, prompt seconds 3", "10.00", "0.500"],
        ["naturalspeech2-small, prompt seconds 5", "10.00", "0.500"],
        ["naturalspeech2-small, prompt seconds 10", "10.00", "0.500"],
    ]
    assert beside.notes == (
        "The paper: LibriSpeech test-clean.",
        "Word error rate ≠: not to be compared with ours: judged by HuBERT, here by "
        "pocketsphinx-5 en-us.",
        "SIM-O: may be compared; sentences, prompts and judge are the same.",
    )
    assert "Beside the papers" in write_page(made).read_text(encoding="utf-8")
    assert "| YourTTS | 7.1 | −0.5 |" in markdown(made)


def test_a_paper_stands_beside_every_combination_and_no_average(tmp_path):
    rows = []
    for place, (steps, system) in enumerate(product("28", ("a", "b"))):
        given = row(0, {"wer": (place, 10)})
        labels = {"steps": steps, "system": system}
        rows.append(replace(given, trial=replace(given.trial, id=str(place), labels=labels)))
    (beside,) = paper_tables(report(rows, tmp_path, papers=(figure("Ground truth", 1.94),)))
    assert [[cell.text for cell in cells] for cells in beside.table.rows[1:]] == [
        ["naturalspeech2-small, steps 2, system a", "0.00"],
        ["naturalspeech2-small, steps 2, system b", "10.00"],
        ["naturalspeech2-small, steps 8, system a", "20.00"],
        ["naturalspeech2-small, steps 8, system b", "30.00"],
    ]


def test_a_sound_that_cannot_be_read_is_a_failure_in_red_not_a_crash(tmp_path):
    made = report([row(0, {"wer": (1, 10)})], tmp_path)
    write_audio(made, ["output"])
    next((tmp_path / "audio").iterdir()).write_bytes(b"no sound")
    text = write_page(made).read_text(encoding="utf-8")
    assert '<p class="failure"><strong>sound failed:</strong>' in text
