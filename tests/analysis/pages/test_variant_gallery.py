"""The page of all variants: whole, safe, and usable by keyboard and screen reader."""

import base64
from html.parser import HTMLParser

import numpy as np
import pytest

from attention_jax.analysis import variant_info
from attention_jax.analysis.decoding_costs import DecodingCosts
from attention_jax.analysis.pages import variant_gallery
from attention_jax.analysis.plots import variant_patterns
from tests.support import browser

PATTERNS = variant_patterns.Patterns(
    {"bidirectional": np.ones((2, 2, 48, 48)), "causal": np.tril(np.ones((2, 2, 48, 48)))}, 48, {}
)


class Reader(HTMLParser):
    """Start tags with their attributes, and the text; every tag must be closed."""

    EMPTY = {"meta", "input", "img", "link"}

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture(scope="module")
def entries():
    alibi = variant_info.describe("alibi")
    strange = alibi._replace(
        name="strange",
        claim="Where a < b & `c`.",
        equation="<i>\n  & b",
        reference="Miller 2023, https://example.org/a-b.html.",
        remarks=("A remark.", "    a    table"),
    )
    return [alibi, strange, variant_info.describe("dot")._replace(claim="Third.")]


@pytest.fixture(scope="module")
def text(entries):
    grows = DecodingCosts(((1024, 2.0**22), (8192, 2.0**25)), (), "")
    timed = DecodingCosts(((1024, 2.0**17), (8192, 2.0**17)), ((1024, 2e-4), (8192, 3e-3)), "")
    return variant_gallery.page(
        entries,
        {"alibi": PATTERNS, "strange": "It has none.", "dot": PATTERNS},
        {"alibi": grows, "strange": timed, "dot": DecodingCosts((), (), "It decodes nothing.")},
    )


def test_the_page_is_whole(text):
    page = Reader(text)
    assert text.startswith("<!doctype html>")
    assert page.all("html") == [{"lang": "en"}]
    assert "Attention variants of attention_jax" in page.text and page.all("title")
    assert len(page.all("article")) == len({x["id"] for x in page.all("article")}) == 3
    assert page.all("label") == [{"for": page.all("input")[0]["id"]}]


def test_it_asks_no_network(text):
    page = Reader(text)
    assert all(x["href"].startswith("data:") for x in page.all("link"))
    assert not any("src" in x for x in page.all("script"))
    for image in page.all("img"):
        kind, _, data = image["src"].partition(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data).startswith(b"\x89PNG")
    assert "url(" not in text and "@import" not in text and "fetch(" not in text


def test_pictures_say_what_they_show(text):
    alts = [image["alt"] for image in Reader(text).all("img")]
    assert len(alts) == 4
    assert alts[1].startswith("Attention weights of alibi, causal, over 48 positions")
    assert "No plot: It has none." in Reader(text).text


def test_charts_say_what_decoding_costs(text):
    labels = [x["aria-label"] for x in Reader(text).all("svg")]
    held = "Cache of a layer, 8 heads of width 64 in float32"
    assert labels[:2] == [
        f"{held}, alibi: 4 MiB at 1,024 tokens, 32 MiB at 8,192 tokens.",
        f"{held}, strange: 128 KiB at 1,024 tokens, 128 KiB at 8,192 tokens.",
    ]
    assert labels[2].endswith(", strange: 200 µs at 1,024 tokens, 3 ms at 8,192 tokens.")
    assert len(labels) == 3
    assert "Decoding costs that are missing: It decodes nothing." in Reader(text).text


def test_text_is_text(text):
    page = Reader(text)
    assert "Where a < b & c." in page.text and "<i>" in page.text
    assert page.all("code") and not page.all("i")


def test_references_are_links(text):
    links = {x["href"] for x in Reader(text).all("a")}
    assert {"https://arxiv.org/abs/2108.12409", "https://example.org/a-b.html"} <= links


def test_both_grounds_are_there(text):
    assert "prefers-color-scheme: dark" in text and "color-scheme: light dark" in text


@pytest.mark.slow
@pytest.mark.skipif(browser.PROGRAM is None, reason="there is no Chromium")
def test_the_filter_shows_what_has_all_its_words(text, tmp_path):
    (tmp_path / "gallery.html").write_text(text, encoding="utf-8")
    chromium = browser.Browser(tmp_path / "profile", width=400)
    try:
        chromium.send("Page.navigate", url=f"file://{tmp_path / 'gallery.html'}")
        chromium.wait("document.querySelector('output')?.value === '3 of 3 variants'")
        chromium.key("Tab")
        assert chromium.evaluate("document.activeElement.id") == "filter"
        chromium.send("Input.insertText", text="MILLER where")
        assert chromium.evaluate("document.querySelector('output').value") == "1 of 3 variants"
        shown = (
            "[...document.querySelectorAll('article')].filter(x => x.offsetHeight).map(x => x.id)"
        )
        assert chromium.evaluate(shown) == ["strange"]
        chromium.send("Input.insertText", text=" zebra")
        assert "No variant" in chromium.evaluate("document.querySelector('output').value")
        chromium.key("Escape")
        assert len(chromium.evaluate(shown)) == 3
        # Nothing is wider than a small screen.
        width = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        assert chromium.evaluate(width)
        assert not chromium.errors
    finally:
        chromium.close()
