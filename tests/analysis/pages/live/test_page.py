"""The live page in a browser: what is typed is translated, and each part of it answers."""

import re

import numpy as np
import pytest

from attention_jax.analysis.attention_maps import Map
from attention_jax.analysis.pages import live
from attention_jax.analysis.pages.live import demo
from tests.support.browser import PROGRAM
from tests.support.live_page import UNSAID, click, open_anew, phone, settled, speak, text

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium or Chrome is installed")
AS_AT_FIRST = """Object.assign(App.edits, {off: [], pins: [], sharpness: 1, tokens: {}});
  Object.assign(App.state, {place: 'cross', layer: 0, head: 0, row: 0, column: 0, step: 0})"""
SENTENCE = "the queen does not sleep."


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "lesson.html"
    file.write_text(demo.page(), encoding="utf-8")
    return file.as_uri()


@pytest.fixture(scope="module")
def lesson(browser, address):
    open_anew(browser, address)
    return browser


@pytest.fixture
def page(lesson, address):
    """The page with nothing changed, which asks for itself alone and has said no error."""
    lesson.evaluate(AS_AT_FIRST)
    speak(lesson, "en")
    write(lesson, SENTENCE)
    yield lesson
    assert lesson.requests == [address] and lesson.errors == []


def write(page, sentence):
    page.evaluate(
        "(() => { const field = document.getElementById('text'); field.value = ''; "
        "field.focus(); })()"
    )
    settled(page, lambda: page.send("Input.insertText", text=sentence))


def test_a_sentence_that_is_typed_is_translated(page):
    assert page.evaluate(text("translation")) == "la reina no duerme."
    write(page, "my sick brothers do not sleep.")
    assert page.evaluate(text("translation")) == "mis hermanos enfermos no duermen."
    assert re.search(r"Computed in this page in \d+ ms", page.evaluate(text("timing")))
    write(page, "the xyzzy sleeps.")
    assert "“xyzzy”" in page.evaluate(text("unknown"))
    write(page, " ")
    assert page.evaluate(text("translation")) == "Type a sentence above."


@pytest.mark.slow
def test_attention_is_shown_as_lines_and_as_a_matrix(page):
    rows = "document.querySelectorAll('#matrix tr').length"
    assert page.evaluate(rows) == 7, "six tokens and the head"
    assert page.evaluate("document.querySelectorAll('#lines line').length") > 5
    page.evaluate("document.querySelector('#matrix td.here').focus()")
    for name in ("ArrowDown", "ArrowRight"):
        settled(page, lambda name=name: page.key(name))
    assert page.evaluate("document.activeElement.dataset.at") == "1,1"
    assert page.evaluate(text("row-title")) == "Weights of “reina”"
    labels = "[...document.querySelectorAll('#bars small')].map(x => parseFloat(x.textContent))"
    assert sum(page.evaluate(labels)) == pytest.approx(100, abs=4)
    settled(
        page,
        lambda: page.evaluate("""(() => { const own = document.getElementById('place');
      own.value = 'encoder'; own.dispatchEvent(new Event('change')); })()"""),
    )
    assert page.evaluate(rows) == 8


@pytest.mark.slow
def test_a_token_is_stepped_through(page):
    name = text("step-name")
    page.wait("document.querySelectorAll('#step-body .strip').length == 1", seconds=60)
    assert page.evaluate(name) == "Step 1 of 7: query"
    for number in range(2, 8):
        page.evaluate("document.getElementById('next').click()")
        assert page.evaluate(name).startswith(f"Step {number} of 7")
    # Of the table: the powers of the scores, divided by their sum, are the weights.
    read = "[...document.querySelectorAll('#step-body tbody tr')].map(row => [...row.cells])"
    columns = page.evaluate(f"{read}.map(row => [row[2], row[5]].map(x => Number(x.textContent)))")
    scores, weights = np.array(columns).T
    powers = np.exp(scores)
    np.testing.assert_allclose(weights, powers / powers.sum(), atol=6e-3)
    cells = "[...row[6].querySelectorAll('.strip > *')].map(x => +x.textContent)"
    values = np.array(page.evaluate(f"{read}.map(row => {cells})"))
    out = page.evaluate(
        "[...document.querySelectorAll('#step-body > .vector .strip > *')].map(x => +x.textContent)"
    )
    np.testing.assert_allclose(out, weights @ values, atol=0.03)


@pytest.mark.slow
def test_heads_are_switched_off_and_differences_marked(page):
    before = page.evaluate(text("before"))
    click(page, '[data-head="decoder,0,all"]')
    assert page.evaluate(text("before")) == before
    assert page.evaluate("document.querySelectorAll('#after .differs').length") > 0
    assert "differ" in page.evaluate(text("difference"))
    assert not page.evaluate("document.querySelector('[data-head=\"decoder,0,2\"]').checked")
    click(page, "#reset")
    assert page.evaluate(text("after")) == before
    assert page.evaluate(text("difference")) == "Nothing is changed yet."


@pytest.mark.slow
def test_a_token_is_exchanged(page):
    settled(
        page,
        lambda: page.evaluate("""(() => { const field =
      document.querySelector('[data-token="1"]'); field.value = 'king';
      field.dispatchEvent(new Event('change')); })()"""),
    )
    after = page.evaluate(
        "[...document.querySelectorAll('#after .differs')].map(x => x.firstChild.data)"
    )
    assert after == ["el", "rey"]


@pytest.mark.slow
def test_a_weight_is_dragged_and_held_by_keys(page):
    box = page.evaluate("""(() => { const bar = document.querySelector('#bars [data-column="2"]');
      bar.scrollIntoView({block: 'center'}); const {left, top, width, height} =
      bar.getBoundingClientRect(); return [left, top, width, height]; })()""")
    left, top, width, height = box
    page.mouse("mousePressed", left + width / 4, top + height / 2)
    settled(page, lambda: page.mouse("mouseMoved", left + width / 2, top + height / 2))
    page.mouse("mouseReleased", left + width / 2, top + height / 2)
    at = "Number(document.querySelector('#bars [data-column=\"2\"]').getAttribute('aria-valuenow'))"
    page.wait(f"Math.abs({at} - 50) <= 2")
    page.evaluate("document.querySelector('#bars [data-column=\"2\"]').focus()")
    settled(page, lambda: page.key("ArrowRight"))
    assert page.evaluate(at) == pytest.approx(55, abs=2)
    assert page.evaluate("document.querySelectorAll('#pins li').length") == 1
    rest = "[...document.querySelectorAll('#bars [role=slider]')].map(x => +x.ariaValueNow)"
    assert sum(page.evaluate(rest)) == pytest.approx(100, abs=4)


@pytest.mark.slow
def test_the_softmax_is_sharpened(page):
    bars = "[...document.querySelectorAll('#bars [role=slider]')]"
    peak = f"Math.max(...{bars}.map(x => +x.ariaValueNow))"
    settled(page, lambda: page.evaluate("document.querySelectorAll('#lines button')[4].click()"))
    before = page.evaluate(peak)
    for exponent, is_sharper in ((-3, True), (3, False)):
        heat = f"""(() => {{ const own = document.getElementById('temperature');
          own.value = {exponent}; own.dispatchEvent(new Event('input')); }})()"""
        settled(page, lambda heat=heat: page.evaluate(heat))
        assert (page.evaluate(peak) > before) is is_sharper


def test_the_page_speaks_spanish(page):
    speak(page, "es")
    assert page.evaluate("document.title") == "La atención, en vivo"
    assert page.evaluate("document.documentElement.lang") == "es"
    assert page.evaluate(text("difference")) == "Todavía no hay cambios."
    assert page.evaluate(UNSAID) == 0


@pytest.mark.slow
def test_nothing_is_wider_than_a_phone(page):
    speak(page, "es")
    write(page, "a sick sister's kings do not look for two shirts.")
    with phone(page):
        for place in ("encoder", "cross"):
            settled(page, lambda place=place: page.evaluate(f"App.look({{place: '{place}'}})"))
            assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_model_without_a_form_shows_recorded_maps(browser, tmp_path):
    weights = np.full((1, 2, 2, 3), 1 / 3, np.float32)
    zeros = np.zeros((1, 2))
    maps = {"cross": Map(weights, zeros, zeros, np.ones((1, 2), bool))}
    own = live.Recorded("a b", "x", ["a", "b", "<eos>"], ["x", "<eos>"], maps)
    shown = live.Shown("run", "transformer", [("attention", "linformer")])
    file = tmp_path / "recorded.html"
    file.write_text(live.page(shown, None, recorded=[own]), encoding="utf-8")
    open_anew(browser, file.as_uri())
    said = browser.evaluate(text("recorded"))
    assert said.startswith("Recorded only: the attention linformer has no form in this page.")
    assert browser.evaluate("document.querySelectorAll('#matrix tr').length") == 3
    assert browser.evaluate("document.getElementById('edit').hidden")
    assert browser.errors == []
    with pytest.raises(ValueError, match="must hold a translation"):
        live.page(shown, None)
