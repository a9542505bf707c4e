"""The page holds what the model did, says what it can't show, and works without a mouse."""

import base64
import io
import json
import re
import zlib

import numpy as np
import pytest
from PIL import Image

from attention_jax.analysis.attention_maps import Map
from attention_jax.analysis.pages import explorer
from attention_jax.analysis.pages.explorer import Reading, Run
from tests.support.browser import PROGRAM, Browser

SOURCE = ["▁the", "▁cat", "▁sleeps", ".", "<eos>"]
TARGET = ["▁el", "▁gato", "</script>", "<eos>"]
BEAM = [("el gato", -0.5), ("la gata", -1.25), ("", float("-inf"))]


def softmax(*shape, sharpness=1.0, seed=0):
    logits = sharpness * np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    logits = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return logits / logits.sum(axis=-1, keepdims=True)


def a_map(weights, inexact=()):
    heads = weights.shape[:2]
    error, is_exact = np.zeros(heads, np.float32), np.ones(heads, bool)
    for head in inexact:
        error[head], is_exact[head] = 0.37, False
    return Map(weights, error, np.zeros(heads, np.float32), is_exact)


def data_of(page):
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(found[1])


def weights_of(packed):
    """As the page reads them."""
    codes, steps = (zlib.decompress(base64.b64decode(packed[name])) for name in ("codes", "steps"))
    codes = np.frombuffer(codes, np.uint8).reshape(packed["shape"]).astype(np.float64)
    steps = np.frombuffer(steps, "<f4").reshape(packed["shape"][:-1])
    return (codes - packed["zero"]) * steps[..., None]


@pytest.mark.parametrize(("low", "most"), [(0.0, 255), (-1.0, 127)])
def test_quantized_weights_are_off_by_half_a_step_of_their_row(low, most):
    weights = np.random.default_rng(0).uniform(low, 1, (2, 3, 5, 7)).astype(np.float32)
    weights[0, 0] *= 1e-3  # a row of small weights keeps its precision
    weights[0, 1, 2] = 0
    codes, steps, zero = explorer.quantize(weights)
    error = np.abs((codes.astype(np.float64) - zero) * steps[..., None] - weights)
    bound = np.abs(weights).max(axis=-1, keepdims=True) / most / 2
    assert (error <= bound * (1 + 1e-4)).all() and not error[0, 1, 2].any()


def test_entropy_and_distance_are_those_of_their_equations():
    weights = softmax(2, 4, 5)
    weights[0, 1] = 0  # a query that sees nothing does not count
    for h in range(2):
        bits, tokens = [], []
        for i in range(4):
            if weights[h, i].any():
                p = weights[h, i].astype(np.float64)
                bits.append(-sum(x * np.log2(x) for x in p))
                tokens.append(sum(x * abs(i - j) for j, x in enumerate(p)))
        np.testing.assert_allclose(explorer.entropy(weights)[h], np.mean(bits), rtol=1e-5)
        np.testing.assert_allclose(explorer.distance(weights)[h], np.mean(tokens), rtol=1e-5)


def test_a_page_holds_tokens_scores_and_weights():
    weights = softmax(1, 2, 4, 5)
    reading = Reading(SOURCE, TARGET, BEAM, {"cross": a_map(weights, inexact=[(0, 1)])})
    page = explorer.page([Run("a run", "rnn")], [("the cat </script>", [reading])])
    data = data_of(page)
    assert data["runs"] == [{"name": "a run", "about": "rnn"}]
    assert data["sentences"][0]["text"] == "the cat </script>"
    (read,) = data["sentences"][0]["readings"]
    assert read["source"] == SOURCE and read["target"] == TARGET
    assert read["alternatives"] == [["el gato", -0.5], ["la gata", -1.25]]
    cross = read["maps"]["cross"]
    assert cross["exact"] == [[True, False]] and cross["error"] == [[0, 0.37]]
    np.testing.assert_allclose(weights_of(cross)[0, 0], weights[0, 0], atol=1 / 255)
    assert not weights_of(cross)[0, 1].any(), "wrong numbers must not reach the page"


def test_weights_that_are_not_finite_do_not_spoil_the_page():
    broken = a_map(np.full((1, 1, 2, 2), np.nan, np.float32), inexact=[(0, 0)])
    broken.error[:] = np.nan
    reading = Reading(["a", "<eos>"], ["b", "<eos>"], BEAM, {"cross": broken})
    data = data_of(explorer.page([Run("a")], [("a", [reading])]))
    assert data["sentences"][0]["readings"][0]["maps"]["cross"]["error"] == [[-1]]


@pytest.mark.slow
def test_a_page_of_20_sentences_is_small():
    tokens = [f"▁word{i}" for i in range(39)] + ["<eos>"]
    places = ("encoder", "decoder", "cross")
    maps = {
        name: a_map(softmax(4, 8, 40, 40, sharpness=2, seed=seed))
        for seed, name in enumerate(places)
    }
    sentences = [("a sentence", [Reading(tokens, tokens, BEAM, maps)])] * 20
    page = explorer.page([Run("a run")], sentences)
    assert len(page.encode()) < 5e6


def test_a_page_names_nothing_outside_itself():
    page = explorer.page([Run("a")], [("a", [Reading(["a"], ["b"], BEAM, {})])])
    assert "http://" not in page and "https://" not in page and "src=" not in page


def test_a_picture_has_a_box_for_each_position():
    boxes = np.concatenate([np.zeros((1, 4)), explorer.tiles(2, 2)])
    np.testing.assert_array_equal(boxes[3], [0, 0.5, 0.5, 0.5])  # second row, first column
    np.testing.assert_array_equal(explorer.strips(4)[1], [0.25, 0, 0.25, 1])
    # Three frames, of which the second strip has one.
    np.testing.assert_allclose(explorer.strips(2, across=1.5)[1], [2 / 3, 0, 1 / 3, 1])
    picture = explorer.Picture(b"png", boxes, "A shoe.")
    reading = Reading(["class", "a", "b", "c", "d"], ["shoe"], [], {}, picture)
    (read,) = data_of(explorer.page([Run("a")], [("x", [reading])]))["sentences"][0]["readings"]
    assert base64.b64decode(read["picture"]["png"]) == b"png"
    np.testing.assert_array_equal(read["picture"]["boxes"], boxes)
    with pytest.raises(ValueError, match="each of the 2 positions of the source; got 5"):
        explorer.page([Run("a")], [("x", [reading._replace(source=["a", "b"])])])


def test_a_sentence_needs_a_reading_of_each_run():
    reading = Reading(["a"], ["b"], BEAM, {})
    with pytest.raises(ValueError, match="a reading of each of 2 runs; got 1"):
        explorer.page([Run("a"), Run("b")], [("a", [reading])])
    with pytest.raises(ValueError, match="must hold at least one"):
        explorer.page([Run("a")], [])
    with pytest.raises(ValueError, match="`of` must be one of .*'picture'.*; got 'film'"):
        explorer.page([Run("a")], [("a", [reading])], of="film")


# ---- In a browser ------------------------------------------------------------------------------

in_a_browser = pytest.mark.skipif(PROGRAM is None, reason="no Chromium or Chrome is installed")
READY = "document.readyState == 'complete' && !!document.body.dataset.ready"
SAID = "[...document.querySelectorAll('.said')].map(node => node.textContent)"


def two_runs():
    """A Transformer with signed weights and a head without any, beside an RNN; two sentences."""
    own = a_map(softmax(2, 3, 5, 5), inexact=[(1, 2)])
    decoder = a_map(softmax(2, 3, 4, 4) - 0.2)
    cross = a_map(softmax(2, 3, 4, 5, sharpness=3, seed=1))
    maps = {"encoder": own, "decoder": decoder, "cross": cross}
    first = Reading(SOURCE, TARGET, BEAM, maps)
    rnn = Reading(SOURCE, TARGET[1:], BEAM[:1], {"cross": a_map(softmax(1, 1, 3, 5, seed=2))})
    return ["one", "two"], [("the cat sleeps.", [first, rnn]), ("again", [first, rnn])], maps


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    names, sentences, maps = two_runs()
    file = folder / "page.html"
    file.write_text(explorer.page([Run(name) for name in names], sentences), encoding="utf-8")
    browser = Browser(folder / "profile")
    yield browser, file.as_uri(), maps
    browser.close()


@pytest.fixture
def page(opened):
    browser, address, _ = opened
    browser.requests.clear(), browser.errors.clear()
    browser.open(address)
    browser.wait(READY)
    yield browser
    assert browser.requests == [address], "a page needs nothing but itself"
    assert not browser.errors


def middle(page, selector, number=0):
    found = page.evaluate(
        f"(() => {{ const node = document.querySelectorAll({selector!r})[{number}];"
        "node.scrollIntoView({block: 'center'}); const box = node.getBoundingClientRect();"
        "return [box.left + box.width / 2, box.top + box.height / 2]; })()"
    )
    return found[0], found[1]


def click(page, selector, number=0):
    at = middle(page, selector, number)
    for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
        page.mouse(kind, *at)


class TestInABrowser:
    pytestmark = in_a_browser

    def test_hovering_shows_weights_and_clicking_keeps_them(self, page, opened):
        said = page.evaluate(SAID)
        page.mouse("mouseMoved", *middle(page, "[role=option]", 1))
        hovered = page.evaluate(SAID)
        assert hovered != said and "“gato” draws most from" in hovered[0]
        row = opened[2]["cross"].weights[0, 0, 1]
        best = float(re.search(r"” (\d\.\d+)", hovered[0].split("from")[1])[1])
        assert abs(best - row.max()) < row.max() / 255 + 1e-3
        page.mouse("mouseMoved", 2, 2)
        assert page.evaluate(SAID) == said
        click(page, "[role=option]", 1)
        page.mouse("mouseMoved", *middle(page, "[role=option]", 0))
        assert page.evaluate(SAID)[0] == hovered[0] + " (kept)"
        page.key("Escape")
        assert page.evaluate(SAID) == said

    def test_a_cell_names_its_weight(self, page, opened):
        page.mouse("mouseMoved", *middle(page, ".matrix canvas + canvas"))
        found = re.search(r"“(\w+)” “(\w+)”: (\d\.\d+)", page.evaluate(SAID)[0])
        row, column = TARGET.index(f"▁{found[1]}"), SOURCE.index(f"▁{found[2]}")
        wanted = opened[2]["cross"].weights[0, 0, row, column]
        assert abs(float(found[3]) - wanted) < 1 / 255

    def test_two_runs_share_their_sentence(self, page):
        assert page.evaluate("document.querySelectorAll('section').length") == 2
        # The source is the same in both, the translation is not.
        click(page, "section:first-child [role=listbox]:nth-of-type(1) [role=option]", 1)
        source = "[...document.querySelectorAll('[role=listbox]')][1].children[1]"
        assert "(kept)" not in page.evaluate(SAID)[1]
        page.evaluate(f"{source}.click()")
        assert all(text.startswith("“cat”") and "(kept)" in text for text in page.evaluate(SAID))
        click(page, "#tab-encoder")
        page.wait("document.body.dataset.ready == '0 encoder'")
        text = page.evaluate("document.querySelectorAll('section')[1].textContent")
        assert "This model has no encoder attention." in text
        page.evaluate(
            "{ const box = document.getElementById('sentence'); box.value = 1;"
            "box.dispatchEvent(new Event('change')); }"
        )
        page.wait("document.body.dataset.ready == '1 encoder'")

    def test_the_keyboard_reaches_everything(self, page):
        focused = "document.activeElement.getAttribute('role')"
        seen = []
        while "option" not in seen:
            page.key("Tab")
            seen.append(page.evaluate(focused))
            assert len(seen) < 20
            if seen[-1] == "tab":
                page.key("End"), page.key("ArrowRight")
                page.wait("document.body.dataset.ready == '0 encoder'")
                assert page.evaluate("document.activeElement.id") == "tab-encoder"
            if seen[-1] == "radio":
                for key in ("ArrowRight", "ArrowDown"):
                    page.key(key)
                label = page.evaluate("document.activeElement.getAttribute('aria-label')")
                assert label.startswith("Layer 2, head 2: ")
                assert page.evaluate("document.querySelectorAll('h3')[1].textContent") == (
                    "Layer 2, head 2"
                )
        assert "tab" in seen and "radio" in seen
        assert "“the” draws" in page.evaluate(SAID)[0]
        page.key("ArrowRight"), page.key("Enter")
        assert page.evaluate("document.activeElement.getAttribute('aria-selected')") == "true"
        assert "“cat” draws" in page.evaluate(SAID)[0]
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert page.evaluate(outline) == "solid"

    def test_hidden_tokens_leave_rows_and_columns(self, page):
        texts = "[...document.querySelectorAll('[role=option]')].map(node => node.textContent)"
        assert "." in page.evaluate(texts) and "<eos>" in page.evaluate(texts)
        click(page, "#punctuation")
        page.wait(f"!{texts}.includes('.')")
        click(page, "#special")
        page.wait(f"!{texts}.includes('<eos>')")
        page.evaluate(
            "{ const box = document.getElementById('words'); box.value = 'CAT';"
            "box.dispatchEvent(new Event('input')); }"
        )
        page.wait(f"!{texts}.includes('cat')")
        assert page.evaluate("document.getElementById('hidden').textContent").startswith("8 of")

    def test_a_head_that_is_no_sum_of_values_shows_no_numbers(self, page):
        click(page, "#tab-encoder")
        page.wait("document.body.dataset.ready == '0 encoder'")
        click(page, "[role=radio]", 5)
        text = page.evaluate("document.querySelector('section').textContent")
        assert "no weights to show" in text and "off by 37 %" in text
        assert page.evaluate("document.querySelectorAll('.matrix').length") == 0

    def test_a_picture_is_clear_where_it_is_looked_at(self, page, tmp_path, opened):
        weights = np.full((1, 1, 1, 5), 0.05, np.float32)
        weights[..., 2] = 0.8  # upper right
        boxes = np.concatenate([np.zeros((1, 4)), explorer.tiles(2, 2)])
        picture = explorer.Picture(white_square(40), boxes, "A white square.")
        names = ["class", "1,1", "1,2", "2,1", "2,2"]
        reading = Reading(names, ["square"], [], {"cross": a_map(weights)}, picture)
        file = tmp_path / "picture.html"
        html = explorer.page([Run("a")], [("square", [reading])], of="picture")
        file.write_text(html, encoding="utf-8")
        page.send(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": "dark"}],
        )
        page.open(file.as_uri())
        page.wait(READY + " && document.querySelector('.picture canvas').width == 40")
        alpha = (
            "(() => { const c = document.querySelector('.picture canvas').getContext('2d');"
            "const {data} = c.getImageData(0, 0, 40, 40);"
            "const alpha = ([x, y]) => data[4 * (40 * y + x) + 3];"
            "return [[10, 10], [30, 10], [10, 30]].map(alpha); })()"
        )
        upper_left, upper_right, lower_left = page.evaluate(alpha)
        assert upper_right == 0 and upper_left == lower_left > 150
        left, top = page.evaluate(
            "(b => [b.left, b.top])(document.querySelector('.picture').getBoundingClientRect())"
        )
        page.mouse("mouseMoved", left + 30, top + 10)
        assert page.evaluate(SAID)[0].startswith("“1,2” gives most to “square” 0.80")
        # It speaks of pictures, and offers to hide no tokens.
        text = page.evaluate("document.body.innerText")
        assert "Point at a patch" in text and "Picture" in text and "Pooling" in text
        assert "token" not in text and "sentence" not in text.lower()
        assert all(x.startswith(("file:", "data:")) for x in page.requests)
        page.open(opened[1])
        page.wait(READY)
        page.requests[:] = [opened[1]]

    def test_what_is_downloaded_are_the_weights(self, page, opened):
        data = page.evaluate("everything()")
        maps = data["sentences"][0]["readings"][0]["maps"]
        assert maps["encoder"]["weights"][1][2] is None
        for place in ("decoder", "cross"):
            wanted = opened[2][place].weights
            np.testing.assert_allclose(
                maps[place]["weights"], wanted, atol=np.abs(wanted).max() / 250
            )

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_text_stands_out(self, page, scheme):
        page.send(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        colors = page.evaluate(
            "(() => { const style = getComputedStyle(document.documentElement);"
            "return Object.fromEntries(['ground', 'card', 'warn', 'ink', 'faint', 'link',"
            "'shade-more', 'shade-less'].map(n => [n, style.getPropertyValue('--' + n).trim()]));"
            "})()"
        )
        for ground in ("ground", "card", "warn", "shade-more", "shade-less"):
            assert contrast(colors["ink"], colors[ground]) >= 4.5, ground
        for text in ("faint", "link"):
            assert contrast(colors[text], colors["card"]) >= 4.5, text
            assert contrast(colors[text], colors["ground"]) >= 4.5, text

    @pytest.mark.slow
    def test_200_tokens_stay_smooth(self, page, tmp_path, opened):
        tokens = [f"word{i}" for i in range(200)]
        maps = {name: a_map(softmax(2, 4, 200, 200)) for name in ("encoder", "cross")}
        file = tmp_path / "long.html"
        sentences = [("long", [Reading(tokens, tokens, BEAM, maps)])]
        file.write_text(explorer.page([Run("long")], sentences), encoding="utf-8")
        page.open(file.as_uri())
        page.wait(READY)
        assert page.evaluate("document.querySelectorAll('*').length") < 1000
        milliseconds = page.evaluate(
            "(() => { const nodes = [...document.querySelectorAll('[role=option]')];"
            "const start = performance.now(); for (const node of nodes.slice(0, 50)) {"
            "node.dispatchEvent(new PointerEvent('pointerover', {bubbles: true}));"
            "document.body.offsetHeight; } return (performance.now() - start) / 50; })()"
        )
        assert milliseconds < 50  # about 3 on an idle machine
        page.open(opened[1])
        page.wait(READY)
        page.requests[:] = [opened[1]]


def white_square(side):
    buffer = io.BytesIO()
    Image.new("L", (side, side), 255).save(buffer, format="png")
    return buffer.getvalue()


def contrast(one, other):
    """Of two colors: Web Content Accessibility Guidelines 2.2, 'contrast ratio'."""

    def luminance(color):
        if color.startswith("#"):
            channels = [int(color[at : at + 2], 16) for at in (1, 3, 5)]
        else:
            channels = [int(part) for part in color.split()]
        linear = [
            x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4
            for x in (c / 255 for c in channels)
        ]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)
