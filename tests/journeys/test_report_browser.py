"""The report's page in a real browser: sorting, filters, players, keys, a phone's width."""

import dataclasses
import shutil

import pytest
from reportlike import report, row, write_audio

from parlando.reporting.compare import compare
from parlando.reporting.comparison import write_comparison
from parlando.reporting.page import write_page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium to drive"),
]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]
PRESSED = "button.play[aria-pressed=true]"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        one = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield one
        one.close()


@pytest.fixture
def page(browser):
    """Give a page in which nothing goes wrong unseen, and nothing is asked of a network."""
    context = browser.new_context()
    one = context.new_page()
    one.set_default_timeout(10_000)
    faults, asked = [], []
    one.on("pageerror", lambda error: faults.append(str(error)))
    one.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
    one.on("request", lambda request: asked.append(request.url.split(":")[0]))
    yield one
    context.close()
    assert faults == []
    assert set(asked) <= {"file", "data", "blob"}


def made_report(folder, name="first"):
    rows = [
        row(i, {"wer": (i % 4, 10), "sim_o": (0.9 - 0.05 * i, 1), "pitch_mean": (2.0 * i, 1)})
        for i in range(8)
    ]
    rows[2] = dataclasses.replace(rows[2], values={}, failures={"output": "PromptError: short"})
    made = report(rows, folder, name=name)
    write_audio(made)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Give a folder with a report whose sounds are embedded, a linked one and a comparison."""
    root = tmp_path_factory.mktemp("pages")
    reports = [made_report(root / name, name) for name in ("first", "second")]
    write_page(reports[0], pictures=3)
    write_page(reports[1], pictures=0, embed_megabytes=0)
    write_comparison(compare(reports), root / "comparison", pictures=1)
    return root


def ids(page):
    return page.locator("li.utterance:visible h3").all_text_contents()


def test_the_reader_sorts_and_filters(page, folder):
    page.goto((folder / "first" / "index.html").as_uri())
    # The one without sound, then by word errors; the list's order parts equals.
    assert ids(page) == ["002", "003", "007", "006", "001", "005", "000", "004"]
    page.select_option("#sort", "sim_o")
    assert ids(page) == ["002", "007", "006", "005", "004", "003", "001", "000"]
    assert page.locator(".chosen").nth(1).text_content() == "SIM-O 0.550"
    page.select_option("#sort", "")
    assert ids(page) == [f"00{i}" for i in range(8)]
    page.select_option("#label", "prompt seconds: 5")
    assert ids(page) == ["001", "004", "007"]
    assert page.locator("#count").inner_text() == "3 of 8 utterances"
    page.select_option("#label", "")
    page.fill("#find", "BRIDGE was")
    assert ids(page) == ["001", "006"]
    page.fill("#find", "")
    page.check("#failed")
    assert ids(page) == ["002"]


@pytest.mark.parametrize("name", ["first", "second"])
def test_embedded_and_linked_sounds_play(page, folder, name):
    page.goto((folder / name / "index.html").as_uri())
    button = page.locator("li.utterance:visible button.play").first
    button.click()
    assert page.locator(PRESSED).count() == 1
    page.wait_for_function(
        "parseFloat(document.querySelector('button.play[aria-pressed=true]')"
        ".style.getPropertyValue('--progress')) > 5"
    )
    button.click()
    assert page.locator(PRESSED).count() == 0
    button.click()
    # It lasts a second, and is let go at its end.
    page.wait_for_function("!document.querySelector('button.play[aria-pressed=true]')")


def test_keys_walk_and_play(page, folder):
    page.goto((folder / "first" / "index.html").as_uri())
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.querySelector('h3').innerText") == "003"
    page.keyboard.press("2")
    assert page.locator(PRESSED).inner_text().startswith("Reference")
    page.keyboard.press("1")
    assert page.locator(PRESSED).inner_text().startswith("Output")
    page.keyboard.press("k")
    assert page.evaluate("document.activeElement.querySelector('h3').innerText") == "002"


def test_a_click_on_a_picture_plays_from_there(page, folder):
    page.goto((folder / "first" / "index.html").as_uri())
    item = page.locator("li.utterance", has=page.locator("svg.spectrogram")).first
    item.locator("summary").click()
    picture = item.locator("svg.spectrogram").first
    box = picture.bounding_box()
    picture.click(position={"x": 0.6 * box["width"], "y": 20})
    page.wait_for_function(
        "parseFloat(document.querySelector('button.play[aria-pressed=true]')"
        ".style.getPropertyValue('--progress')) >= 55"
    )
    assert "playing" in picture.get_attribute("class")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["first", "comparison"])
def test_it_fits_a_phone_in_light_and_dark(page, folder, name, scheme):
    page.set_viewport_size({"width": 360, "height": 740})
    page.emulate_media(color_scheme=scheme)
    page.goto((folder / name / "index.html").as_uri())
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    ink, paper = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
        ".map((color) => color.match(/\\d+/g).slice(0, 3).map(Number)"
        ".reduce((sum, part) => sum + part) / 3)"
    )
    assert (ink < paper) == (scheme == "light")
    assert abs(ink - paper) > 150


def test_a_comparison_plays_both_systems(page, folder):
    page.goto((folder / "comparison" / "index.html").as_uri())
    item = page.locator("li.utterance", has_text="003").first
    item.focus()
    for key, title in (("1", "first"), ("2", "second"), ("3", "Reference"), ("4", "Prompt")):
        page.keyboard.press(key)
        assert page.locator(PRESSED).inner_text().startswith(title)
