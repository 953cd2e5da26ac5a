"""The report as a page and as Markdown: whole, self-contained, and honest about what failed."""

import dataclasses
import html
import json
import re
from functools import partial
from html.parser import HTMLParser
from itertools import pairwise

import pytest
import soundfile
from reportlike import QUANTITIES, TEXTS, report, row, write_audio

from parlando.contracts import ConfigError
from parlando.evaluation.intelligibility import NORMALIZER
from parlando.evaluation.protocol import read_protocol
from parlando.evaluation.records import audio_path
from parlando.recipes import to_mapping
from parlando.reporting import document, pictures, wording
from parlando.reporting.markdown import write_markdown
from parlando.reporting.page import write_page

VOID = {"meta", "link", "input", "br", "image", "line", "path", "circle", "rect", "polygon"}


class Outline(HTMLParser):
    """Checks that tags nest, and gathers attributes."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.faults = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag in VOID and (not self.open or self.open[-1] != tag):
            return
        if not self.open or self.open.pop() != tag:
            self.faults.append((tag, self.getpos()))

    def all(self, tag, **wanted):
        return [
            attrs
            for name, attrs in self.tags
            if name == tag and all(attrs.get(key) == value for key, value in wanted.items())
        ]


def outline(path):
    parsed = Outline()
    parsed.feed(path.read_text(encoding="utf-8"))
    assert not parsed.faults
    assert not parsed.open
    return parsed


@pytest.fixture
def rows():
    found = [
        row(
            i,
            {
                "wer": (i % 5, 10),
                "wer_human": (1, 10),
                "wer_control": (9, 10),
                "sim_o": (0.9 - 0.01 * i, 1),
                "pitch_mean": (5.0 * i, 1),
            },
            notes={
                "intelligibility": {
                    "reference": "nobody had told her",
                    "heard": "somebody had told her so",
                    "heard_human": "nobody had told her",
                }
            },
        )
        for i in range(9)
    ]
    found[4] = dataclasses.replace(
        found[4], values={}, notes={}, failures={"output": "PromptError: <too short> & quiet"}
    )
    return found


def facts_of(parsed):
    return [
        json.loads(attrs["data-facts"])
        for tag, attrs in parsed.tags
        if tag == "li" and "data-facts" in attrs
    ]


def test_the_page_needs_no_network(rows, tmp_path):
    made = report(rows, tmp_path)
    write_audio(made)
    text = write_page(made, pictures=1).read_text(encoding="utf-8")
    assert "http://" not in text
    assert "https://" not in text
    parsed = outline(tmp_path / "index.html")
    addresses = [
        address
        for _, attrs in parsed.tags
        for key in ("src", "href")
        if (address := attrs.get(key)) is not None
    ]
    assert addresses
    assert all(address.startswith(("#", "data:")) for address in addresses)


def test_every_utterance_is_there_failures_first_then_the_worst(rows, tmp_path):
    facts = facts_of(outline(write_page(report(rows, tmp_path))))
    assert len(facts) == 9
    assert facts[0]["silent"]
    assert facts[0]["failed"]
    badness = [fact["values"]["wer"][0] for fact in facts[1:]]
    assert badness == sorted(badness, reverse=True)
    assert facts[1]["values"]["wer"][1] == "30.00 %"
    # Likeness is worse the lower it is: the page sorts every quantity from large to small.
    assert facts[1]["values"]["sim_o"][0] < 0


def test_texts_and_errors_cannot_break_out_of_the_page(rows, tmp_path):
    text = write_page(report(rows, tmp_path)).read_text(encoding="utf-8")
    assert TEXTS[3] not in text
    assert "&lt;b&gt;twice&lt;/b&gt; &amp; then" in text
    assert "PromptError: &lt;too short&gt; &amp; quiet" in text


def test_what_was_misheard_is_marked(rows, tmp_path):
    text = write_page(report(rows, tmp_path)).read_text(encoding="utf-8")
    assert "<del>nobody</del> <ins>somebody</ins> had told her <ins>so</ins>" in text


def test_sounds_are_embedded_once_and_linked_beyond_the_limit(rows, tmp_path):
    made = report(rows, tmp_path)
    write_audio(made)
    # The same prompt everywhere.
    first = audio_path(tmp_path, "000", "prompt").read_bytes()
    for each in rows:
        audio_path(tmp_path, each.trial.id, "prompt").write_bytes(first)
    text = write_page(made, pictures=0).read_text(encoding="utf-8")
    assert text.count("data:audio/ogg;base64,") == 9 + 9 + 1
    linked = write_page(made, pictures=0, embed_megabytes=0.01).read_text(encoding="utf-8")
    assert "data:audio/ogg" not in linked
    assert ">audio/000.output.wav</script>" in linked
    assert "they are linked, not embedded" in linked


def test_embedded_sound_can_be_decoded_and_lasts_as_long(rows, tmp_path):
    import base64
    import io

    made = report(rows[:1], tmp_path)
    write_audio(made, ["output"])
    text = write_page(made, pictures=0).read_text(encoding="utf-8")
    data = re.search(r"data:audio/ogg;base64,([\w+/=]+)<", text)[1]
    samples, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(data)))
    assert (len(samples), rate_hz) == (16_000, 16_000)


def test_only_the_worst_get_pictures(rows, tmp_path):
    made = report(rows, tmp_path)
    write_audio(made, ["output", "reference"])
    parsed = outline(write_page(made, pictures=2))
    spectrograms = [a for a in parsed.all("svg") if a["class"] == "spectrogram"]
    # The worst by word errors and the worst by likeness, each with its human recording.
    labels = [attrs["aria-label"] for attrs in spectrograms]
    assert len(labels) == 4
    assert sum("of 003" in label for label in labels) == 2
    assert sum("of 008" in label for label in labels) == 2


def test_phones_that_the_system_told_stand_below_the_spectrogram(rows, tmp_path):
    made = report(rows[:1], tmp_path)
    write_audio(made, ["output"])
    details = {
        "symbols": ["h", " ", "aɪ"],
        "durations_frames": [8, 0, 72],
        "hop_samples": 200,
        "rate_hz": 16_000,
    }
    (tmp_path / "audio" / "000.json").write_text(json.dumps({"details": details}))
    text = write_page(made, pictures=1).read_text(encoding="utf-8")
    assert re.search(r'<rect class="phone0" x="0" [^>]*width="16"', text)  # 0.1 s of 160 px/s
    assert ">aɪ</text>" in text


def test_numeric_conditions_are_plotted_in_their_order(rows, tmp_path):
    made = report(rows, tmp_path)
    assert document.conditions(made) == {"prompt_seconds": ["3", "5", "10"]}
    parsed = outline(write_page(made))
    plots = [a["aria-label"] for a in parsed.all("svg") if a["class"] == "plot"]
    assert "Word error rate (%) ↓ against prompt seconds" in plots
    assert "Spread of SIM-O ↑" in plots


def ticks_of(xs):
    points = [pictures.Point(x=x, y=1.0 + x, low=None, high=None) for x in xs]
    drawn = pictures.line_plot(points, label="y against x")
    found = re.findall(r'class="tick" x="([\d.]+)" y="150">', drawn)
    return [float(place) for place in found]


def test_the_rounding_of_a_mean_is_no_spread():
    values = [0.9] * 23
    pooled = sum(values) / 23
    assert 0.0 < abs(pooled - 0.9) < 1e-12
    drawn = pictures.histogram(values, pooled=pooled, label="alike")
    assert re.findall(r"<title>([^<]*)</title>", drawn) == ["0.9 to 1: 23"]


def test_conditions_over_decades_are_told_apart():
    steps = ticks_of([2.0, 4.0, 8.0, 16.0, 32.0, 150.0])
    assert min(second - first for first, second in pairwise(steps)) > 20.0
    seconds = ticks_of([3.0, 5.0, 9.0])
    assert seconds[2] - seconds[1] == pytest.approx(2.0 * (seconds[1] - seconds[0]), abs=0.2)


def test_nothing_is_best_where_all_are_alike(rows, tmp_path):
    alike = [dataclasses.replace(each, values={"sim_o": (0.5, 1.0)}) for each in rows]
    made = report(alike, tmp_path)
    table = document.condition_table(made, "prompt_seconds", ["3", "5", "10"])
    assert not any(cell.strong for cells in table.rows for cell in cells)


def test_controls_have_names(rows, tmp_path):
    made = report(rows, tmp_path)
    write_audio(made, ["output"])
    parsed = outline(write_page(made, pictures=0))
    assert parsed.all("html")[0]["lang"] == "en"
    assert len(parsed.all("button", **{"class": "play"})) == 9
    assert all(attrs["type"] == "button" for attrs in parsed.all("button"))
    assert len(parsed.all("label")) == len(parsed.all("select")) + len(parsed.all("input"))
    ids = [attrs["id"] for _, attrs in parsed.tags if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_an_empty_report_is_still_a_page(tmp_path):
    made = report([row(0, {}, failures={"output": "AudioError: none"})], tmp_path)
    assert "1 with a failure" in write_page(made).read_text(encoding="utf-8")
    assert "AudioError: none" in write_markdown(made).read_text(encoding="utf-8")


def alike(rows):
    """The same rows, all of one condition."""
    trials = [dataclasses.replace(each.trial, labels={}) for each in rows]
    return [dataclasses.replace(one, trial=trial) for one, trial in zip(rows, trials, strict=True)]


def test_no_average_stands_for_conditions_that_were_varied(rows, tmp_path):
    made = report(rows, tmp_path)
    assert document.varied(made) == ["prompt_seconds"]
    table = document.headline(made)
    assert table.columns == ("Quantity", "3", "5", "10", "People", "Chance")
    errors = [cell.text for cell in table.rows[0]]
    # Rows 0, 3, 6; 1, 7 (4 made no sound); 2, 5, 8, of ten words each.
    assert errors == ["Word error rate (%) ↓", "13.33", "15.00", "16.67", "10.00", "90.00"]
    assert "## By" not in write_markdown(made).read_text(encoding="utf-8")
    page = write_page(made, pictures=0).read_text(encoding="utf-8")
    assert len(re.findall("<table[^>]*>\\s*<caption[^>]*>[^<]*By prompt seconds", page)) == 1
    assert not document.varied(report(alike(rows), tmp_path))


def test_several_systems_are_not_averaged(rows, tmp_path):
    trials = [
        dataclasses.replace(each.trial, labels={"system": ("one", "two")[place % 2]})
        for place, each in enumerate(rows)
    ]
    mixed = [dataclasses.replace(one, trial=trial) for one, trial in zip(rows, trials, strict=True)]
    table = document.headline(report(mixed, tmp_path))
    assert table.columns == ("Quantity", "one", "two", "People", "Chance")


@pytest.fixture
def crossed(rows, tmp_path):
    """One sentence in two samplings, three groups and four nuclei, of which one is missing."""
    labels = [
        {"repeats": repeats, "variant": group, "top_p": p}
        for repeats in ("on", "off")
        for group in ("g1", "g2", "g4")
        for p in ("0", "0.8", "0.2", "0.4")
    ]
    made = [
        dataclasses.replace(
            rows[0],
            trial=dataclasses.replace(rows[0].trial, id=str(place), labels=each),
            values=rows[0].values | {"wer": (float(place), 100.0)},
        )
        for place, each in enumerate(labels)
    ]
    conditions = [{"label": "repeats", "values": {}}, {"label": "top_p", "values": {}}]
    whole = report(made[:-1], tmp_path)
    return dataclasses.replace(whole, protocol=whole.protocol | {"conditions": conditions})


def test_combinations_of_conditions_are_a_block_for_each_quantity(crossed):
    table = document.headline(crossed)
    nuclei = ("top p 0", "top p 0.2", "top p 0.4", "top p 0.8")
    assert table.columns == ("Quantity", "Repeats, variant", *nuclei, "People", "Chance")
    block = [cells for cells in table.rows if cells[0].text.startswith("Word error rate")]
    assert [cells[1].text for cells in block] == [
        f"{repeats}, {group}" for repeats in ("on", "off") for group in ("g1", "g2", "g4")
    ]
    assert [cell.text for cell in block[1][2:]] == [
        "4.00",
        "6.00",
        "7.00",
        "5.00",
        "10.00",
        "90.00",
    ]
    assert [cell.text for cell in block[-1][2:6]] == ["20.00", "22.00", document.MISSING, "21.00"]
    strong = [(i, j) for i, cells in enumerate(block) for j, one in enumerate(cells) if one.strong]
    assert strong == [(0, 2)]


def test_what_is_averaged_over_other_conditions_says_so(crossed):
    page = write_page(crossed, pictures=0).read_text(encoding="utf-8")
    text = write_markdown(crossed).read_text(encoding="utf-8")
    assert "By variant, averaged over repeats and top p" in page
    assert "## By variant, averaged over repeats and top p" in text


def test_levels_are_columns_and_no_rows(rows, tmp_path):
    table = document.headline(report(alike(rows), tmp_path))
    assert [cells[0].text for cells in table.rows] == [
        "Word error rate (%) ↓",
        "SIM-O ↑",
        "Mean pitch (Hz)",
    ]
    value, _, people, chance, count = (cell.text for cell in table.rows[0][1:])
    assert (value, people, chance, count) == ("15.00", "10.00", "90.00", "8")


def test_numbers_are_written_with_the_decimals_of_the_largest():
    wer, sim, pitch = QUANTITIES[0], QUANTITIES[3], QUANTITIES[4]
    assert document.numbers([0.0226, 0.0191, 0.026], wer) == ["2.26", "1.91", "2.60"]
    assert document.numbers([0.7, -0.05], sim) == ["0.700", "−0.050"]
    assert document.number(123.4, pitch) == "123"
    assert document.number(None, wer) == "–"


def test_markdown_has_the_same_numbers_and_escapes(rows, tmp_path):
    made = report(alike(rows), tmp_path, remarks=("Four | speakers.",))
    text = write_markdown(made).read_text(encoding="utf-8")
    assert (tmp_path / "report.md").is_file()
    value = document.headline(made).rows[0][1]
    assert f"| Word error rate (%) ↓ pocketsphinx-5 en-us | **{value.text}** " in text
    assert "> Four \\| speakers." in text
    assert r"PromptError: \<too short\> & quiet" in text
    widths = {line.count(" | ") for line in text.splitlines() if line.startswith("| Word error")}
    assert widths == {4}


def test_judge_normaliser_subset_and_rule_of_the_prompt_are_in_every_form(rows, tmp_path):
    """A word error rate without these is no figure that anybody could set beside another."""
    wer = dataclasses.replace(QUANTITIES[0], judge=f"pocketsphinx-5 en-us; {NORMALIZER}")
    made = report(rows, tmp_path, quantities=(wer,))
    made = dataclasses.replace(made, protocol=to_mapping(read_protocol("naturalspeech2")))
    for write in (write_markdown, partial(write_page, pictures=0)):
        said = " ".join(html.unescape(write(made).read_text(encoding="utf-8")).split())
        assert f"pocketsphinx-5 en-us; {NORMALIZER}" in said
        assert "splits: test" in said
        assert "part: test-clean" in said
        assert "speakers: 40; sentences per speaker: 15" in said
        assert "rule: other-utterance; seconds: 3.0" in said


def test_a_folder_that_cannot_be_written_is_told(rows, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        write_page(report(rows[:1], tmp_path / "file" / "report"), pictures=0)


def test_conditions_are_offered_in_the_order_of_their_numbers(rows, tmp_path):
    text = write_page(report(rows, tmp_path), pictures=0).read_text(encoding="utf-8")
    places = [text.index(f"<option>prompt seconds: {value}<") for value in (3, 5, 10)]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("reference", "heard", "marks"),
    [
        ("a b c", "a b c", [("same", "a b c")]),
        ("a b c", "", [("lost", "a b c")]),
        ("", "so it is", [("added", "so it is")]),
        (
            "a b c d",
            "x b d",
            [("lost", "a"), ("added", "x"), ("same", "b"), ("lost", "c"), ("same", "d")],
        ),
    ],
)
def test_marks_are_the_counted_errors(reference, heard, marks):
    found = wording.difference(reference.split(), heard.split())
    assert [(stretch.kind, stretch.text) for stretch in found] == marks


def test_ticks_are_round_and_told_apart():
    assert list(pictures._ticks(0.0, 25.0).values()) == ["0", "5", "10", "15", "20", "25"]
    texts = list(pictures._ticks(99.5, 100.5).values())
    assert len(set(texts)) == len(texts)
    assert texts[0] == "99.6"
    assert list(pictures._ticks(-0.4, 0.4).values()) == ["−0.4", "−0.2", "0.0", "0.2", "0.4"]


def test_a_bar_runs_from_chance_to_people_whichever_is_larger():
    def x(svg, kind):
        return float(re.search(rf'class="{kind}" (?:d="M|cx=")([\d.]+)', svg)[1])

    for value, human, control in ((0.2, 0.1, 0.9), (0.6, 0.9, 0.3)):
        bar = pictures.range_bar(value, None, None, human, control)
        assert x(bar, "chance") == 6
        assert x(bar, "chance") < x(bar, "value") < x(bar, "human")
    assert pictures.range_bar(0.2, 0.1, 0.3, None, None) == ""
    # Without chance, what is better than people lies beyond them.
    beyond = pictures.range_bar(0.84, None, None, 0.75, None, "higher")
    assert x(beyond, "human") < x(beyond, "value")
    beyond = pictures.range_bar(0.6, None, None, 0.9, None, "lower")
    assert x(beyond, "human") < x(beyond, "value")
    short = pictures.range_bar(0.6, None, None, 0.4, None, "lower")
    assert x(short, "value") < x(short, "human")
