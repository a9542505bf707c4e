"""The page holds what the model did, says what it can't show, and works without a mouse."""

import base64
import io
import json
import re
import zlib

import numpy as np
import pytest
import scipy.stats
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


def test_information_is_that_of_row_and_column():
    """Against SciPy: a head that looks at one place is sharp, and tells nothing."""
    weights = softmax(2, 6, 5, sharpness=2)
    for own, found in zip(weights, explorer.information(weights), strict=True):
        joint = own.astype(float) / 6
        bits = scipy.stats.entropy(joint.sum(0), base=2) + scipy.stats.entropy(joint.sum(1), base=2)
        assert found == pytest.approx(bits - scipy.stats.entropy(joint.ravel(), base=2), abs=1e-6)
    sink, diagonal, spread = np.zeros((4, 4)), np.eye(4), np.full((4, 4), 0.25)
    sink[:, 0] = 1
    found = explorer.information(np.stack([sink, diagonal, spread]).astype(np.float32))
    np.testing.assert_allclose(found, [0, 2, 0], atol=1e-9)


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


def most_telling(found):
    """The head of the most information, in loops; where there is one row, of the least entropy."""
    best, most = None, -np.inf
    for layer, head in np.ndindex(found.weights.shape[:2]):
        if not found.is_exact[layer, head]:
            continue
        shares = np.abs(found.weights[layer, head]).astype(float)
        shares /= shares.sum(axis=1, keepdims=True)
        together, bits = shares.mean(axis=0), 0.0
        for row in shares:
            for p, q in zip(row, together, strict=True):
                if p > 0:
                    bits += p * np.log2(p / q) / len(shares)
        if bits > most:
            best, most = (layer, head), bits
    return best


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
        assert hovered != said and hovered[0].startswith("“gato” draws ")
        layer, head = most_telling(opened[2]["cross"])
        row = opened[2]["cross"].weights[layer, head, 1]
        best = float(re.search(r"draws (\d\.\d+) from", hovered[0])[1])
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
        found = re.search(
            r"^“(\w+)” draws (\d\.\d+) from “(\w+)”\. In all ", page.evaluate(SAID)[0]
        )
        row, column = TARGET.index(f"▁{found[1]}"), SOURCE.index(f"▁{found[3]}")
        layer, head = most_telling(opened[2]["cross"])
        wanted = opened[2]["cross"].weights[layer, head, row, column]
        assert abs(float(found[2]) - wanted) < 1 / 255

    @pytest.mark.slow
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

    @pytest.mark.slow
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
                for key in ("Home", "ArrowRight", "ArrowDown", "ArrowDown", "ArrowDown"):
                    page.key(key)
                    if page.evaluate("document.activeElement.ariaLabel").startswith(
                        "Layer 2, head 2"
                    ):
                        break
                label = page.evaluate("document.activeElement.getAttribute('aria-label')")
                assert label.startswith("Layer 2, head 2: ")
                text = page.evaluate("document.querySelectorAll('h3')[1].textContent")
                assert text.removesuffix(" says most") == "Layer 2, head 2"
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

    @pytest.mark.slow
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
        assert page.evaluate(SAID)[0].startswith("“1,2” gives 0.800 to “square”; ")
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

    def test_it_opens_at_the_head_that_says_most(self, page, opened):
        layer, head = most_telling(opened[2]["cross"])
        title = page.evaluate("document.querySelector('.view h3').textContent")
        assert title == f"Layer {layer + 1}, head {head + 1} says most"
        page.evaluate("document.querySelectorAll('[role=radio]')[0].click()")
        title = page.evaluate("document.querySelector('.view h3').textContent")
        assert title.startswith("Layer 1, head 1")

    def test_several_tokens_sum_up(self, page, opened):
        weights = opened[2]["cross"].weights[most_telling(opened[2]["cross"])]
        click(page, "[role=option]", 0)
        shift = "[...document.querySelectorAll('[role=option]')][1].dispatchEvent("
        shift += "new MouseEvent('click', {bubbles: true, shiftKey: true}))"
        page.evaluate(shift)
        said = page.evaluate(SAID)[0]
        assert said.startswith("“el” and “gato” together draw ") and said.endswith("(kept)")
        best = float(re.search(r"together draw (\d\.\d+) from", said)[1])
        assert best == pytest.approx(weights[:2].sum(axis=0).max(), abs=0.01)
        assert "; 2.00 from all that is shown." in said
        chosen = (
            "document.querySelectorAll('section:first-child [role=option][aria-selected=true]')"
        )
        assert page.evaluate(f"{chosen}.length") == 2
        page.evaluate(shift)
        assert page.evaluate(SAID)[0].startswith("“el” draws ")

    def test_the_link_keeps_what_is_seen(self, page, opened):
        page.evaluate("document.getElementById('tab-decoder').click()")
        page.wait("document.body.dataset.ready == '0 decoder'")
        page.evaluate("document.querySelectorAll('[role=radio]')[4].click()")
        page.evaluate("document.querySelectorAll('[role=option]')[2].click()")
        page.evaluate("document.getElementById('largest').click()")
        page.evaluate("document.getElementById('special').click()")
        # A change of the filter draws anew, and lets go of what was kept.
        page.evaluate("document.querySelectorAll('[role=option]')[1].click()")
        link, said = page.evaluate("location.href"), page.evaluate(SAID)
        assert "(kept)" in said[0] and "h0=decoder%3A1.1" in link
        page.open("about:blank")
        page.wait("document.readyState == 'complete' && !document.querySelector('.said')")
        page.open(link)
        page.wait(READY + " && document.body.dataset.ready == '0 decoder'")
        page.wait(f"{SAID}[0].includes('(kept)')")
        assert page.evaluate(SAID) == said and page.evaluate("location.href") == link
        title = page.evaluate("document.querySelector('.view h3').textContent")
        assert title.startswith("Layer 2, head 2")
        assert page.evaluate("largest.checked && special.checked")
        # What is not of this page is left out.
        page.open("about:blank")
        page.wait("document.readyState == 'complete' && !document.querySelector('.said')")
        page.open(opened[1] + "#s=99&p=nowhere&h0=cross:9.9&k0=0:77")
        page.wait(READY + " && document.body.dataset.ready == '0 cross'")
        page.requests[:] = [opened[1]]

    @pytest.mark.slow
    def test_twins_are_told_apart_and_colors_end_at_one(self, page, tmp_path, opened):
        weights = np.array([[[[0.5, 0.1, 0.4], [0.0, 0.9, 0.1]]]], np.float32)
        reading = Reading(["the", "cat", "the"], ["el", "gato"], BEAM, {"cross": a_map(weights)})
        file = tmp_path / "twins.html"
        file.write_text(explorer.page([Run("a")], [("x", [reading])]), encoding="utf-8")
        page.open(file.as_uri())
        page.wait(READY)
        page.mouse("mouseMoved", *middle(page, "[role=option]", 0))
        assert page.evaluate(SAID)[0] == (
            "“el” draws 0.500 from “the” (token 1), 0.400 from “the” (token 3) and "
            "0.100 from “cat”; 1.00 from all that is shown."
        )
        legend = "document.querySelector('.legend').textContent"
        assert page.evaluate(legend) == "01.00mark: equal weights, 0.333; largest 0.900"
        assert page.evaluate("document.querySelector('.legend b').style.left") == "33.33%"
        page.evaluate("largest.click()")
        assert page.evaluate(legend).startswith("00.90mark")
        page.open(opened[1])
        page.wait(READY)
        page.requests[:] = [opened[1]]

    @pytest.mark.slow
    def test_spectrogram_and_map_have_one_axis(self, page, tmp_path, opened):
        moments = [f"{i} s" for i in range(20)]
        weights = softmax(1, 1, 3, 20)
        boxes = explorer.strips(20, across=19.5)
        picture = explorer.Picture(white_square(40), boxes, "A sound.")
        reading = Reading(moments, ["a", "b", "c"], BEAM, {"cross": a_map(weights)}, picture)
        file = tmp_path / "sound.html"
        html = explorer.page([Run("a")], [("x", [reading])], of="recording")
        file.write_text(html, encoding="utf-8")
        page.open(file.as_uri())
        page.wait(READY)
        edges = page.evaluate(
            "(() => { const {left, size} = panels[0].matrix.layout;"
            "const map = document.querySelector('.matrix').getBoundingClientRect().left + left;"
            "const box = document.querySelector('.picture img').getBoundingClientRect();"
            "return [map, map + 19.5 * size, box.left, box.right]; })()"
        )
        assert abs(edges[0] - edges[2]) < 2 and abs(edges[1] - edges[3]) < 2
        page.open(opened[1])
        page.wait(READY)
        page.requests[:] = [opened[1]]

    @pytest.mark.slow
    def test_a_patch_is_clicked_on_its_picture(self, page, tmp_path, opened):
        boxes = np.concatenate([np.zeros((1, 4)), explorer.tiles(2, 2)])
        picture = explorer.Picture(white_square(40), boxes, "A white square.")
        names = ["class", "1,1", "1,2", "2,1", "2,2"]
        maps = {"encoder": a_map(softmax(1, 2, 5, 5))}
        file = tmp_path / "patches.html"
        reading = Reading(names, ["square"], [], maps, picture)
        file.write_text(explorer.page([Run("a")], [("x", [reading])], of="picture"), "utf-8")
        page.open(file.as_uri())
        page.wait(READY + " && document.querySelector('.picture canvas').width == 40")
        left, top = page.evaluate(
            "(b => [b.left, b.top])(document.querySelector('.picture').getBoundingClientRect())"
        )
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            page.mouse(kind, left + 30, top + 10)
        page.mouse("mouseMoved", 2, 2)
        said = page.evaluate(SAID)[0]
        assert said.startswith("“1,2” draws ") and said.endswith("(kept)")
        page.open(opened[1])
        page.wait(READY)
        page.requests[:] = [opened[1]]

    def test_a_page_of_a_text_has_one_axis_of_tokens(self, page, tmp_path, opened):
        weights = np.tril(softmax(1, 2, 4, 4))
        reading = Reading(["a", "b", "c", "d"], (), [("e", -0.5)], {"decoder": a_map(weights)})
        file = tmp_path / "text.html"
        html = explorer.page([Run("a")], [("abcd", [reading])], of="text")
        file.write_text(html, encoding="utf-8")
        page.open(file.as_uri())
        page.wait(READY)
        text = page.evaluate("document.body.innerText")
        assert (
            "next token" in text
            and "Self" in text
            and "<bos>"
            not in page.evaluate(
                "[...document.querySelectorAll('[role=option]')].map(x => x.textContent).join()"
            )
        )
        page.mouse("mouseMoved", *middle(page, "[role=option]", 0))
        assert page.evaluate(SAID)[0].startswith("“a” draws ")
        page.open(opened[1])
        page.wait(READY)
        page.requests[:] = [opened[1]]

    def test_no_half_of_the_page_is_empty_at_1280(self, page, tmp_path, opened):
        file = tmp_path / "one.html"
        _, sentences, _ = two_runs()
        alone = [(text, readings[:1]) for text, readings in sentences]
        file.write_text(explorer.page([Run("a")], alone), encoding="utf-8")
        sized(page, 1280)
        page.open(file.as_uri())
        page.wait(READY)
        left, right = page.evaluate(
            "['.side', '.view'].map(x => { const b = document.querySelector(x)"
            ".getBoundingClientRect(); return [b.left, b.right, b.top]; })"
        )
        assert left[1] <= right[0] and abs(left[2] - right[2]) < 60, "they stand side by side"
        assert right[1] > 1150 and right[1] - right[0] > 500
        page.send("Emulation.clearDeviceMetricsOverride")
        page.open(opened[1])
        page.wait(READY)
        page.requests[:] = [opened[1]]

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


def sized(page, width):
    page.send(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=900,
        deviceScaleFactor=1,
        mobile=False,
    )


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
