"""Pages as Sphinx makes them: a few of them, in both languages. `scripts/docs` builds them all."""

import os
import re
import subprocess
import sys

import pytest

from docs.site import api, names
from tests.support.paths import ROOT

pytest.importorskip("sphinx_book_theme", reason="needs the extra `docs`")

from docs.site import source, variants  # noqa: E402

# The other pages that these few link to are left out.
LEFT_OUT = "suppress_warnings=ref.python,myst.xref_missing,toc.not_readable"
STUBS = {"variants/index": "alibi", "api/index": "core/masks", "lessons/index": ""}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of a small site; the pattern of its variant is not drawn."""
    folder = tmp_path_factory.mktemp("site")
    texts = {"api/core/masks": api.pages()["api/core/masks"], "variants/alibi": alibi(folder)}
    for page in ("index", "quickstart"):
        path = ROOT / "docs" / f"{page}.md"
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"```{toctree}\n[^`]*guides/\*\n```", "", text)
        texts[page] = source.links_within(text, path, set())
    for page, below in STUBS.items():
        texts[page] = f"# {page}\n" + (f"\n```{{toctree}}\n{below}\n```\n" if below else "")
    for page, text in texts.items():
        (folder / "source" / page).parent.mkdir(parents=True, exist_ok=True)
        (folder / "source" / f"{page}.md").write_text(text, encoding="utf-8")
    (folder / "source" / "images").symlink_to(ROOT / "docs" / "images")
    for language in ("en", "es"):
        options = ["-W", "--keep-going", "-q", "-D", f"language={language}", "-D", LEFT_OUT]
        places = ["-c", ROOT / "docs", folder / "source", folder / language]
        whole = ["-D", "site_is_whole=0"]
        done = subprocess.run(
            [sys.executable, "-P", "-m", "sphinx", *options, *whole, *places],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    return folder


def alibi(folder):
    entry = variants.variant_info.describe("alibi")
    return variants.page_of(entry, "48 positions", folder)


def read(site, page):
    return (site / f"{page}.html").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("page", ["index", "quickstart", "variants/alibi", "api/core/masks"])
def test_the_header_leads_to_the_same_page_in_the_other_language(site, page):
    for here, other in ("en", "es"), ("es", "en"):
        text = read(site / here, page)
        assert f'<html lang="{here}"' in text
        (address,) = re.findall(r'class="language" href="([^"]+)"', text)
        there = ((site / here / page).parent / address).resolve()
        assert there == (site / other / f"{page}.html").resolve() and there.is_file()


@pytest.mark.slow
def test_pages_are_spanish(site):
    assert "Una primera atención" in read(site / "es", "quickstart")
    assert "Por dónde empezar" in read(site / "es", "index")
    assert "Una primera atención" not in read(site / "en", "quickstart")


@pytest.mark.slow
def test_a_variant_has_its_equation_cost_and_places(site):
    text = read(site / "en", "variants/alibi")
    assert "<mfrac>" in text and "<msqrt>" in text and "\\frac" not in text.split("<math", 1)[0]
    assert "Cost:" in text and "✗ Cross-attention" in text and "✓ Decoders" in text
    assert 'id="attention_jax.variants.alibi.alibi"' in text


@pytest.mark.slow
def test_names_have_signature_and_docstring(site):
    text = read(site / "en", "api/core/masks")
    for name in names.modules()["attention_jax.core.masks"].definitions:
        assert f'id="attention_jax.core.masks.{name}"' in text
    assert "Sliding window: a query sees the keys nearer than" in text


@pytest.mark.slow
def test_pages_ask_nobody_else_for_anything(site):
    for page in ("index", "variants/alibi"):
        text = read(site / "en", page)
        assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(?:https?:)?//', text)


def test_links_lead_to_pages_and_copies(tmp_path):
    path, linked = ROOT / "docs" / "guides" / "pretrained.md", set()
    text = (
        "[a](models.md#a-model) [b](../../CONTRIBUTING.md) [c](../../attention_jax/core/masks.py) "
        "[d](https://x.org) [e](../../experiments/results) [f](../../setup.cfg)\n"
        "```python\nx[0](../../README.md)\n```\n"
    )
    assert source.links_within(text, path, linked) == (
        "[a](/guides/models.md#a-model) [b](/contributing.md) [c](/api/core/masks.md) "
        "[d](https://x.org) [e](/files/experiments/results.md) [f](/files/setup.cfg)\n"
        "```python\nx[0](../../README.md)\n```\n"
    )
    assert linked == {ROOT / "experiments" / "results", ROOT / "setup.cfg"}


def test_a_link_to_nothing_is_refused():
    path = ROOT / "docs" / "index.md"
    with pytest.raises(ValueError, match="docs/index.md links to gone.md, which is no file"):
        source.links_within("[a](gone.md)", path, set())
