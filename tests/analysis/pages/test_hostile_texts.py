"""Names and texts that mean harm are shown as they are: nothing runs, nothing breaks."""

import copy
import json

import numpy as np
import pytest

from attention_jax.analysis.pages import explorer
from attention_jax.analysis.pages.explorer import Reading, Run
from experiments import visualize
from experiments.common import flags
from experiments.compare import report
from tests.analysis.pages.test_explorer import READY, SAID, a_map, data_of, softmax
from tests.experiments.compare.test_report import found, task, vocabulary  # noqa: F401
from tests.support.browser import PROGRAM, Browser
from tests.support.flag_world import untrained

RUNS_IT = "window.ran = 1"
HOSTILE = [
    f"<script>{RUNS_IT}</script>",
    f"</script><script>{RUNS_IT}</script>",
    f"<!--<script>{RUNS_IT}//",
    f"]]><svg onload='{RUNS_IT}'>",
    f"<img src=x onerror={RUNS_IT.replace(' ', '')}>",
    f"\"'><b onmouseover='{RUNS_IT}'>`${{{RUNS_IT}}}`",
    f"javascript:{RUNS_IT}",
    "{{ 7*7 }}{% raw %}&lt;b&gt;",
    "\\u003cscript\\u003e \\n \\x00",
    "a\0b\x07\x1b[31m\u2028\u2029\ufeff",
    "\u202eright to left\u202d \u2066 \u0645\u0631\u062d\u0628\u0627",
    "z\u0351\u036b\u0343" * 30,
    "\U0001f469\u200d\U0001f52c\ud83d",
    "__proto__",
    "w" * 2000,
    " ",
    "",
]
in_a_browser = pytest.mark.skipif(PROGRAM is None, reason="no Chromium or Chrome is installed")


def hostile_page():
    tokens = [*HOSTILE, "<eos>"]
    n = len(tokens)
    maps = {
        "encoder": a_map(softmax(1, 2, n, n)),
        "decoder": a_map(softmax(1, 2, n, n)),
        "cross": a_map(softmax(1, 2, n, n, seed=1)),
    }
    beam = [(text, -float(i)) for i, text in enumerate(HOSTILE)]
    reading = Reading(tokens, tokens, beam, maps)
    runs = [Run(HOSTILE[1], HOSTILE[-3]), Run(HOSTILE[10], HOSTILE[4])]
    return explorer.page(runs, [(text, [reading, reading]) for text in HOSTILE])


def hostile_report(numbers):
    """A report in which every name and every reason is one of these texts."""
    text = json.dumps(numbers)
    for name, bad in (("good", HOSTILE[1]), ("lost", HOSTILE[4]), ("bad", HOSTILE[-3])):
        text = text.replace(json.dumps(name)[1:-1], json.dumps(bad)[1:-1])
    changed = copy.deepcopy(json.loads(text))
    changed["task"] = HOSTILE[5]
    changed["attention_maps"] = {name: [] for name in changed["attention_maps"]}
    for run, bad in zip(changed["runs"], HOSTILE, strict=False):
        run["reason"] = bad
    changed["environment"]["devices"] = list(HOSTILE)
    return report.page(changed, {})


def test_a_page_keeps_texts_as_they_are():
    page = hostile_page()
    shown = [text.replace("\ud83d", "\ufffd") for text in HOSTILE]
    data = data_of(page)
    assert [sentence["text"] for sentence in data["sentences"]] == shown
    assert data["sentences"][0]["readings"][0]["source"][:-1] == shown
    page.encode()  # half a character is none that a file can hold


@pytest.mark.slow
def test_a_report_escapes_names_and_reasons(found):  # noqa: F811
    page = hostile_report(found)
    assert "<script" not in page and "<img src" not in page and "<svg" not in page
    assert "&lt;script&gt;window.ran = 1" in page


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    own = Browser(tmp_path_factory.mktemp("browser") / "profile")
    # Whatever runs is seen: alerts too, which would wait for an answer.
    yield own
    own.close()


def opened(browser, html, folder, ready):
    file = folder / "page.html"
    file.write_text(html, encoding="utf-8")
    browser.requests.clear(), browser.errors.clear()
    browser.open(file.as_uri())
    browser.wait(ready)
    return file.as_uri()


# No node of a page has a handler as an attribute, as those in these texts have.
NO_HANDLER = (
    "[...document.querySelectorAll('*')].every("
    "node => node.getAttributeNames().every(name => !name.startsWith('on')))"
)


def check_harmless(browser, address):
    assert browser.evaluate(f"window.ran === undefined && {NO_HANDLER}")
    assert browser.requests == [address] and not browser.errors
    too_wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert browser.evaluate(too_wide) <= 0, "the page is as wide as its window"


@pytest.mark.slow
@in_a_browser
@pytest.mark.parametrize("width", [1400, 500])
def test_nothing_of_an_explorer_runs_or_breaks(browser, tmp_path, width):
    browser.send(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=900,
        deviceScaleFactor=1,
        mobile=False,
    )
    address = opened(browser, hostile_page(), tmp_path, READY)
    assert browser.evaluate("document.querySelectorAll('section').length") == 2
    shown = browser.evaluate("[...document.querySelectorAll('h2')].map(x => x.textContent)")
    assert shown == [HOSTILE[1], HOSTILE[10]]
    for number in range(len(HOSTILE)):
        browser.evaluate(
            "document.querySelectorAll('section:first-child [role=option]')"
            f"[{number}].dispatchEvent(new PointerEvent('pointerover', {{bubbles: true}}))"
        )
        said = browser.evaluate(SAID)[0]
        # What runs to the left, or asks for it, ends where its quotation ends.
        assert " draws " in said and "\u202e" not in said
        assert said.count("\u2068") == said.count("\u2069") == said.count("\u0645")
    for place in ("encoder", "decoder"):
        browser.evaluate(f"document.getElementById('tab-{place}').click()")
        browser.wait(f"document.body.dataset.ready == '0 {place}'")
    browser.evaluate(
        "{ const box = document.getElementById('sentence'); box.value = 9;"
        "box.dispatchEvent(new Event('change')); }"
    )
    browser.wait("document.body.dataset.ready == '9 decoder'")
    sentences = browser.evaluate("everything().then(x => x.sentences.map(y => y.text))")
    assert sentences[:6] == HOSTILE[:6]
    check_harmless(browser, address)


@pytest.mark.slow
@in_a_browser
@pytest.mark.parametrize("width", [1400, 500])
def test_nothing_of_a_report_runs_or_breaks(browser, tmp_path, found, width):  # noqa: F811
    browser.send(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=900,
        deviceScaleFactor=1,
        mobile=False,
    )
    address = opened(browser, hostile_report(found), tmp_path, "document.readyState == 'complete'")
    headings = browser.evaluate("[...document.querySelectorAll('h2')].map(x => x.textContent)")
    assert "All runs" in headings and np.all(
        [h in headings for h in ("Quality", "Learning curves")]
    )
    check_harmless(browser, address)


@pytest.mark.slow
@in_a_browser
def test_nothing_of_a_run_s_page_runs_or_breaks(browser, tmp_path):
    lines = [text for text in HOSTILE if text.strip() and text.isprintable() and len(text) < 99]
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(f"{text}\t{text}\n" for text in lines * 4), encoding="utf-8")
    folder = tmp_path / HOSTILE[4]
    options = "--task=parallel --tokenizer=word --width=8 --heads=2 --layers=1 --feed_forward=8"
    untrained("translation", [*options.split(), f"--pairs={pairs}", f"--run={folder}"])
    sentences = tmp_path / "sentences.txt"
    sentences.write_text("\n".join(lines), encoding="utf-8")
    asked = [f"--run={folder}", f"--file={sentences}", f"--output={tmp_path / 'page.html'}"]
    own, _ = flags.parse(visualize.VisualizeConfig(), asked)
    visualize.write_page(own, asked)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    address = opened(browser, page, tmp_path, READY)
    assert browser.evaluate("document.querySelector('h2').textContent") == HOSTILE[4]
    said = "[...document.querySelectorAll('#sentence option')].map(x => x.textContent)"
    assert browser.evaluate(said)[: len(lines)] == lines
    check_harmless(browser, address)
