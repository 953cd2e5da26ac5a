"""Listening tests as raters meet them: in a browser, by keyboard, to the scores."""

import json
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from listeners import write_speech_report

from parlando.cli.evaluate.listen import (
    ListenOptions,
    ListenResultsOptions,
    run_listen,
    run_listen_results,
)

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


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        one = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield one
        one.close()


@pytest.fixture
def page(browser):
    """Give a page in a profile of its own, in which nothing may go wrong unseen."""
    context = browser.new_context(accept_downloads=True)
    one = context.new_page()
    one.set_default_timeout(10_000)
    faults = []
    one.on("pageerror", lambda error: faults.append(str(error)))
    one.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
    yield one
    context.close()
    assert faults == []


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    return tuple(
        write_speech_report(folder / name, name, pitch_hz=hertz, trials=4)
        for name, hertz in (("first-system", 110.0), ("second-system", 150.0))
    )


@pytest.fixture
def make(reports, tmp_path):
    """Make a test of two utterances; give its page, its key and what the key holds."""

    def make(kind, **options):
        folder, key = tmp_path / "page", tmp_path / "key.json"
        run_listen(ListenOptions(reports=reports, out=folder, kind=kind, trials=2, **options))
        return folder / "index.html", key, json.loads(key.read_text())

    return make


def _begin(page, address, rater="anna", language="native"):
    page.goto(address)
    page.fill("#rater", rater)
    page.check(f"input[value={language}]")
    page.check("input[value=headphones]")
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:text('Set the volume')")
    assert page.locator("button.main").is_disabled()
    page.keyboard.press("Space")
    page.wait_for_selector(".heard")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Practice, not counted")


def _listen(page):
    """Play every sound to its end with the space key alone."""
    for count in range(page.locator(".sound.heard").count(), page.locator(".sound").count()):
        assert page.locator("button.main").is_disabled()
        page.keyboard.press("Space")
        page.wait_for_function(f"document.querySelectorAll('.sound.heard').length > {count}")


def _files(page):
    """Name the sounds on the screen in their order: by what the page loads when they play."""
    return [Path(source).stem for source in page.evaluate("window.played")]


def _watch(page):
    """Note which files are played: blind names are all that a page gives away."""
    page.add_init_script(
        """window.played = [];
        const play = HTMLMediaElement.prototype.play;
        HTMLMediaElement.prototype.play = function () {
            window.played.push(this.src);
            return play.call(this);
        };"""
    )


def _heard_here(page):
    """Play all sounds of the screen; give the blind names in the order in which they came."""
    page.evaluate("window.played.length = 0")
    _listen(page)
    return _files(page)


def _save(page, tmp_path, name):
    with page.expect_download() as saved:
        page.keyboard.press("Enter")
    path = tmp_path / f"{name}.json"
    saved.value.save_as(path)
    return path


def _position(page):
    return page.locator("#count").inner_text()


def _labels(key, files):
    """Name what blind names stand for; sounds of known origin are in no key."""
    known = {f: label for s in key["screens"].values() for f, label in s["stimuli"].items()}
    return [known.get(file, "shown") for file in files]


def _verdict(labels):
    """Answer as an attentive rater who finds the second system one step better."""
    if "degraded" in labels:
        return None
    return "5" if labels[1] == "second-system" else "3"


def _check_verdict(key, files, labels):
    screen = next(s for s in key["screens"].values() if files[0] in s["stimuli"])
    if screen["check"]["rule"] == "same":
        return "4"
    return "7" if labels[1] == "clean" else "1"


def test_cmos_by_keyboard_with_a_reload_to_the_score(page, make, tmp_path, capsys):
    document, key_path, key = make("cmos")
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    _watch(page)
    _begin(page, document.as_uri())
    _listen(page)
    assert page.locator("button.main").is_disabled()  # heard, but not rated
    page.keyboard.press("4")
    page.keyboard.press("Enter")
    orders = []
    for place in range(len(key["screens"])):
        page.wait_for_selector(f"#count:text('{place + 1} of {len(key['screens'])}')")
        page.keyboard.press("7")  # not heard yet: nothing may happen
        page.keyboard.press("Enter")
        files = _heard_here(page)
        assert _position(page) == f"{place + 1} of {len(key['screens'])}"
        assert page.locator("[aria-checked=true]").count() == 0
        if place == 1:
            page.keyboard.press("7")
            page.reload()
            # The same screen, with what was heard and rated, and the same order of sounds.
            assert _position(page) == f"2 of {len(key['screens'])}"
            assert page.locator(".sound.heard").count() == 2
            assert page.locator("[aria-checked=true] b").inner_text() == "7"
            page.keyboard.press("ArrowUp")
            page.keyboard.press("Space")
            assert _files(page) == [files[1]]
        labels = _labels(key, files)
        page.keyboard.press(_verdict(labels) or _check_verdict(key, files, labels))
        page.keyboard.press("Enter")
        orders.append(files)
    page.wait_for_selector("text=Thank you")
    result = _save(page, tmp_path, "anna")
    answers = json.loads(result.read_text())["answers"]
    assert [answer["shown"] for answer in answers] == orders
    assert all(url.startswith(("file:", "data:", "blob:")) for url in requests)
    run_listen_results(ListenResultsOptions(results=(result,), key=key_path))
    printed = capsys.readouterr().out
    assert "second-system  all (1)" in printed
    assert "+1.00" in printed
    assert "1 of 1 raters counted\n" in printed


def test_each_rater_has_an_order_and_memory_of_their_own(page, make):
    document, _, _ = make("cmos")
    _watch(page)
    orders = {}
    for rater in ("anna", "bert", "anna"):
        if rater in orders:  # whoever comes back goes on where they were
            page.click("text=Change rater")
            page.fill("#rater", rater)
            page.check("input[value=other]")
            page.check("input[value=loudspeakers]")
            page.keyboard.press("Enter")
            page.wait_for_selector("#count:text('1 of')")
            continue
        if orders:
            page.click("text=Change rater")
        _begin(page, document.as_uri(), rater)
        _listen(page)
        page.keyboard.press("4")
        page.keyboard.press("Enter")
        page.wait_for_selector("#count:text('1 of')")
        orders[rater] = _heard_here(page)
    assert orders["anna"] != orders["bert"]
    assert page.locator(".sound.heard").count() == 2
    assert page.locator("footer").inner_text().startswith("Rater anna")


def test_smos_from_a_server_that_takes_the_results(page, make, tmp_path):
    taken = []

    class Taker(SimpleHTTPRequestHandler):
        def do_POST(self):
            taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Taker, directory=str(tmp_path / "page")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/"
    try:
        _, key_path, key = make("smos", post=f"{address}results")
        _watch(page)
        _begin(page, f"{address}index.html", language="other")
        assert not taken
        for place in range(len(key["screens"]) + 1):
            files = _heard_here(page)
            screen = next((s for s in key["screens"].values() if files[1] in s["stimuli"]), {})
            if check := screen.get("check"):
                page.keyboard.press(str(check["count"]))
            else:
                page.keyboard.press("4")
                page.keyboard.press("ArrowRight")  # half a point more
            page.keyboard.press("Enter")
            page.wait_for_function(
                "(n) => document.querySelector('#progress').getAttribute('aria-valuenow') == n",
                arg=str(place),
            )
        page.wait_for_selector("text=have been sent")
    finally:
        server.shutdown()
        server.server_close()
    (result,) = taken
    assert result["language"] == "other"
    path = tmp_path / "anna.json"
    path.write_text(json.dumps(result))
    out = tmp_path / "scores"
    run_listen_results(ListenResultsOptions(results=(path,), key=key_path, out=out))
    rows = json.loads((out / "scores.json").read_text())["rows"]
    assert {row["system"]: row["mean"]["value"] for row in rows} == {
        "first-system": 4.5,
        "second-system": 4.5,
    }


def test_mushra_by_keyboard_and_slider(page, make, tmp_path):
    document, key_path, key = make("mushra")
    _watch(page)
    _begin(page, document.as_uri())
    marks = {"reference": "0", "first-system": "6", "second-system": "8", "anchor": "2"}
    for place in range(len(key["screens"]) + 1):
        assert page.locator(".sound").count() == 5
        labels = _labels(key, _heard_here(page))
        page.keyboard.press("ArrowDown")  # from the last sound to the reference
        assert page.locator(".sound.chosen").inner_text().startswith("Reference")
        page.keyboard.press("5")  # which is not rated
        for label in labels[1:]:
            page.keyboard.press("ArrowDown")
            page.keyboard.press(marks.get(label, "5"))
        page.keyboard.press("Shift+ArrowLeft")
        page.keyboard.press("Shift+ArrowRight")  # ten less and ten more
        values = page.locator("output").all_inner_texts()
        if place:
            wanted = {"reference": "100", "first-system": "60", "second-system": "80"}
            assert values == [wanted.get(label, "20") for label in labels[1:]]
            slider = page.locator("input[type=range]").nth(labels.index("second-system") - 1)
            slider.fill("85")
        page.keyboard.press("Enter")
        page.wait_for_function(
            "(n) => document.querySelector('#progress').getAttribute('aria-valuenow') == n",
            arg=str(place),
        )
    page.wait_for_selector("text=Thank you")
    result = _save(page, tmp_path, "anna")
    out = tmp_path / "scores"
    run_listen_results(ListenResultsOptions(results=(result,), key=key_path, out=out))
    rows = json.loads((out / "scores.json").read_text())["rows"]
    assert [(row["system"], row["mean"]["value"]) for row in rows] == [
        ("first-system", 60),
        ("second-system", 85),
        ("reference", 100),
        ("anchor", 20),
    ]
