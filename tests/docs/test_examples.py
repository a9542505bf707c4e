"""Examples with results on the pages, and the rows of the guides from other libraries."""

import doctest
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import attention_jax as aj
from attention_jax import nn
from tests.support.paths import ROOT

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "docs").rglob("*.md"))
}
WITH_RESULTS = [page for page, text in PAGES.items() if "```pycon\n" in text]
KEYWORDS = re.findall(
    r"`(\w+=[^`]+)`",
    "\n".join(
        re.findall(r"^\| `.*\| (.*) \|$", PAGES["docs/guides/from_x_transformers.md"], re.MULTILINE)
    ),
)


@pytest.mark.parametrize("page", WITH_RESULTS)
def test_results_are_those_of_the_page(page):
    """The blocks of a page follow one another, as in one session."""
    blocks = re.findall(r"^```pycon\n(.*?)^```$", PAGES[page], re.DOTALL | re.MULTILINE)
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, page, page, 0)
    said = []
    standard = jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow")
    with standard[0], standard[1], np.printoptions():
        found = doctest.DocTestRunner().run(test, out=said.append)
    assert not found.failed, "".join(said)


@pytest.mark.parametrize("keywords", KEYWORDS)
def test_keywords_beside_those_of_x_transformers(keywords):
    config = nn.TransformerConfig(vocabulary_size=9, **eval(f"dict({keywords})"))
    assert aj.variants.pattern(config.attention)


def test_there_are_rows():
    assert len(KEYWORDS) > 20


def test_from_torch(draw):
    """Each call of the guide, beside PyTorch."""
    torch = pytest.importorskip("torch")
    sdpa = torch.nn.functional.scaled_dot_product_attention
    q, k, v = (draw(2, 7, 4, 8) for _ in range(3))
    bias = draw(7, 7)
    tq, tk, tv = (torch.tensor(np.asarray(x)).transpose(1, 2) for x in (q, k, v))
    tb = torch.tensor(np.asarray(bias))
    seen = aj.masks.from_array(bias[None, None] > 0)
    added = lambda score, b, h, i, j: score + bias[i, j]  # noqa: E731
    pairs = [
        (sdpa(tq, tk, tv), aj.attention(q, k, v)),
        (sdpa(tq, tk, tv, is_causal=True), aj.attention(q, k, v, mask=aj.masks.causal)),
        (sdpa(tq, tk, tv, attn_mask=tb > 0), aj.attention(q, k, v, mask=seen)),
        (sdpa(tq, tk, tv, attn_mask=tb), aj.attention(q, k, v, score_mod=added)),
        (
            sdpa(tq, tk[:, :2], tv[:, :2], enable_gqa=True),
            aj.attention(q, k[:, :, :2], v[:, :, :2]),
        ),
        (sdpa(tq, tk, tv, scale=1.0), aj.attention(q, k, v, score=lambda q, k: q @ k)),
    ]
    for theirs, ours in pairs:
        np.testing.assert_allclose(ours, theirs.transpose(1, 2).numpy(), rtol=1e-4, atol=1e-5)


def test_from_flex_attention(draw):
    """The call of the guide, beside PyTorch's, which is not compiled here."""
    torch = pytest.importorskip("torch")
    flex = pytest.importorskip("torch.nn.attention.flex_attention")
    q, k, v = (draw(1, 128, 2, 16) for _ in range(3))
    slopes = jnp.array([0.5, 0.25])
    tq, tk, tv = (torch.tensor(np.asarray(x)).transpose(1, 2) for x in (q, k, v))
    ts = torch.tensor([0.5, 0.25])
    causal, near = (lambda b, h, i, j: i >= j), (lambda b, h, i, j: i - j < 64)
    blocks = flex.create_block_mask(
        flex.and_masks(causal, near), B=None, H=None, Q_LEN=128, KV_LEN=128, device="cpu"
    )
    theirs = flex.flex_attention(
        tq, tk, tv, score_mod=lambda s, b, h, i, j: s - ts[h] * (i - j), block_mask=blocks
    )
    ours = aj.attention(
        q,
        k,
        v,
        score_mod=lambda s, b, h, i, j: s - slopes[h] * (i - j),
        mask=aj.masks.causal & near,
    )
    np.testing.assert_allclose(ours, theirs.transpose(1, 2).numpy(), rtol=1e-4, atol=1e-5)
