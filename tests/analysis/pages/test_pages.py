"""Pages are one file of their own: what a template embeds is in it, what it is given is escaped."""

import base64
import re

import jinja2
import pytest

from attention_jax.analysis import pages

TEMPLATE = """{% extends "page.html" %}
{% block style %}{{ embed("own.css") }}{% endblock %}
{% block body %}<p>{{ words }}</p><p>{{ words | code }}</p><p>{{ words | links }}</p>
<img src="{{ png | data_uri }}">{% endblock %}
{% block script %}<script type="application/json">{{ data | tojson }}</script>{% endblock %}
"""


@pytest.fixture
def template(tmp_path):
    file = tmp_path / "own.html"
    file.write_text(TEMPLATE)
    (tmp_path / "own.css").write_text("p > b { color: red; }")
    return file


def test_a_page_holds_its_parts(template):
    words = "`a` < b, arXiv:2108.12409, https://example.org/x."
    page = pages.render(template, title="A & B", words=words, png=b"PNG", data=["</script>é"])
    assert page.startswith("<!doctype html>") and "<title>A &amp; B</title>" in page
    assert "p > b { color: red; }" in page, "a style sheet is no text to be escaped"
    assert "--ground" in page and "prefers-color-scheme: dark" in page
    raw, code, links = re.findall("<p>(.*?)</p>", page)
    assert raw.startswith("`a` &lt; b")
    assert code.startswith("<code>a</code> &lt; b")
    assert '<a href="https://arxiv.org/abs/2108.12409">arXiv:2108.12409</a>' in links
    assert '<a href="https://example.org/x">https://example.org/x</a>.' in links
    address = re.search('src="data:image/png;base64,(.*?)"', page)
    assert base64.b64decode(address[1]) == b"PNG"
    assert page.count("</script>") == 1, "data must not end its own element"
    assert "é" in page


def test_a_page_may_load_nothing(template):
    page = pages.render(template, title="", words="", png=b"", data=[])
    policy = re.search('Content-Security-Policy"\\s+content="(.*?)"', page)
    assert "default-src 'none'" in policy[1] and "http" not in policy[1]


def test_markup_in_a_link_is_escaped():
    assert "<b>" not in pages.links("https://example.org/<b>")
    assert '"' not in pages.links('"arXiv"')


@pytest.mark.parametrize("missing", ["words", "title"])
def test_a_variable_that_is_missing_is_an_error(template, missing):
    data = {"title": "", "words": "", "png": b"", "data": []}
    del data[missing]
    with pytest.raises(jinja2.UndefinedError, match=missing):
        pages.render(template, **data)


def test_a_file_that_is_missing_is_named(template):
    (template.parent / "own.css").unlink()
    with pytest.raises(FileNotFoundError, match=r"found no own\.css"):
        pages.render(template, title="", words="", png=b"", data=[])
