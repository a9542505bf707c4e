"""The live page of pictures in a browser: patches look, hide and come back, and classes follow."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax.analysis import image_attribution
from attention_jax.analysis.pages.live import parts, pictures
from attention_jax.models.image_transformer import VisionTransformer
from attention_jax.nn.patches import ImageConfig
from attention_jax.nn.transformer import TransformerConfig
from tests.support.browser import PROGRAM
from tests.support.drawn_models import drawn
from tests.support.live_page import (
    UNSAID,
    check_alone,
    click,
    open_anew,
    phone,
    settled,
    speak,
    text,
)

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium or Chrome is installed")
IMAGE, CLASSES = ImageConfig(12, 8, 1, 4), ("cat", "dog", "owl")
CONFIG = TransformerConfig(
    3, width=16, layers=2, heads=4, feed_forward=24, dropout_rate=0.0, attention="sparsemax"
)
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 12, 8, 1), np.uint8)
GRID = pictures.Grid(3, 2, tokens=1)
SHARES = """[...document.querySelectorAll('#class-rows tr')].map(
  row => parseFloat(row.cells[2].textContent) / 100)"""


@pytest.fixture(scope="module")
def model():
    return drawn(lambda: VisionTransformer(IMAGE, CONFIG, rngs=nnx.Rngs(0)))


@pytest.fixture(scope="module")
def address(tmp_path_factory, model):
    own = [pictures.Picture(x, number=n + 1, label="owl") for n, x in enumerate(IMAGES)]
    shown = parts.Shown("run", "transformer")
    file = tmp_path_factory.mktemp("page") / "pictures.html"
    html = pictures.page(shown, pictures.describe(model, CLASSES), own, GRID, CLASSES)
    file.write_text(html, encoding="utf-8")
    return file.as_uri()


@pytest.fixture
def page(browser, address):
    """The page as it opens, which asks for itself alone and says no error."""
    open_anew(browser, address)
    yield browser
    check_alone(browser, address)


def probabilities(model, *images):
    logits = np.asarray(model.classify(jnp.asarray(np.stack(images), jnp.float32) / 255))
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def covered(image, row, column):
    """An image whose patch shows the mean of all."""
    found = image.astype(np.float32).copy()
    found[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = image.mean()
    return found


def test_classes_are_those_of_the_model_and_follow_a_hidden_patch(page, model):
    expected = probabilities(model, IMAGES[0], covered(IMAGES[0], 1, 0), IMAGES[1])
    np.testing.assert_allclose(page.evaluate(SHARES), expected[0], atol=6e-4)
    # A key on the third patch, which is in the second row.
    page.evaluate("document.querySelector('[data-position=\"3\"]').focus()")
    hide = "document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: 'h'}))"
    settled(page, lambda: page.evaluate(hide))
    np.testing.assert_allclose(page.evaluate(SHARES), expected[1], atol=6e-4)
    assert page.evaluate("document.activeElement.dataset.position") == "3"
    click(page, "#shown-again")
    np.testing.assert_allclose(page.evaluate(SHARES), expected[0], atol=6e-4)
    click(page, '[data-picture="1"]')
    np.testing.assert_allclose(page.evaluate(SHARES), expected[2], atol=6e-4)


@pytest.mark.slow
def test_a_click_looks_or_hides_as_one_chose(page, model):
    graph, params = nnx.split(model, nnx.Param)
    maps = image_attribution.of_image(graph, params, IMAGES[0].astype(np.float32) / 255)
    click(page, '[data-position="2"]')
    bars = "[...document.querySelectorAll('#bars [role=slider]')].map(x => +x.ariaValueNow / 100)"
    weights = maps["encoder"].weights[0, 0]
    np.testing.assert_allclose(page.evaluate(bars), weights[2], atol=6e-3)
    assert page.evaluate(text("row-title")) == "Weights of “(1, 2)”"
    # Pointing at a patch shows its row, leaving it the chosen one.
    best = ["[class]", *(f"({1 + n // 2}, {1 + n % 2})" for n in range(6))][
        int(weights[5].argmax())
    ]
    at = "document.querySelector('[data-position=\"5\"]')"
    page.evaluate(f"{at}.dispatchEvent(new PointerEvent('pointerenter'))")
    assert page.evaluate(text("most")).startswith(f"(3, 1) looks most at {best}:")
    page.evaluate(f"{at}.dispatchEvent(new PointerEvent('pointerleave'))")
    assert page.evaluate(text("most")).startswith("(1, 2) looks most at")
    page.evaluate("document.querySelector('[name=click][value=hide]').click()")
    click(page, '[data-position="2"]')
    assert page.evaluate("App.edits.hidden") == [1]
    expected = probabilities(model, covered(IMAGES[0], 0, 1))[0]
    np.testing.assert_allclose(page.evaluate(SHARES), expected, atol=6e-4)


@pytest.mark.slow
def test_a_head_is_switched_off_and_a_row_stepped_through(page):
    before = page.evaluate(SHARES)
    click(page, '[data-head="encoder,1,all"]')
    assert page.evaluate(SHARES) != before
    click(page, "#reset")
    assert page.evaluate(SHARES) == before
    names = []
    for _ in range(8):
        page.evaluate("document.getElementById('next').click()")
        names.append(page.evaluate(text("step-name")).split(": ")[1])
    assert names[-4:] == ["below the largest", "which keys stay", "threshold", "weighted sum"]
    rows = "[...document.querySelectorAll('#step-body tbody tr')].map(row => [...row.cells])"
    columns = page.evaluate(f"{rows}.map(row => [4, 8, 9].map(n => row[n].textContent))")
    z, stays, weights = zip(*columns, strict=True)
    kept = np.asarray([float(x) for x, y in zip(z, stays, strict=True) if y == "yes"])
    threshold = (kept.sum() - 1) / len(kept)
    expected = [max(float(x) - threshold, 0) for x in z]
    np.testing.assert_allclose([float(x) for x in weights], expected, atol=0.02)


@pytest.mark.slow
def test_it_speaks_spanish_and_fits_a_phone(page):
    speak(page, "es")
    assert page.evaluate("document.title") == "La atención en imágenes, en vivo"
    assert page.evaluate(UNSAID) == 0
    with phone(page):
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.slow
def test_a_model_without_a_form_shows_recorded_maps(browser, model, tmp_path):
    graph, params = nnx.split(model, nnx.Param)
    maps = image_attribution.of_image(graph, params, IMAGES[0].astype(np.float32) / 255)
    own = pictures.Recorded([0.1, 0.7, 0.2], maps)
    shown = parts.Shown("run", "rnn", [("kind", "ImageRNN")])
    file = tmp_path / "recorded.html"
    one = pictures.Picture(IMAGES[0], name="my.png", recorded=own)
    file.write_text(pictures.page(shown, None, [one], GRID, CLASSES), encoding="utf-8")
    open_anew(browser, file.as_uri())
    said = browser.evaluate(text("recorded"))
    assert said.startswith("Recorded only: the model ImageRNN has no form in this page.")
    assert browser.evaluate(text("answer")) == "It says: dog, with 70.0 %."
    assert browser.evaluate("document.getElementById('edit').hidden")
    assert browser.errors == []
    with pytest.raises(ValueError, match="must be recorded"):
        pictures.page(shown, None, [one._replace(recorded=None)], GRID, CLASSES)
    with pytest.raises(ValueError, match="must hold at least one"):
        pictures.page(shown, None, [], GRID, CLASSES)
