"""Whole rows, and strips of them, against the definition; with vectors that are not finite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import attention, masks, plan
from attention_jax.core import normalizers
from attention_jax.engine import whole_rows

MODS = {
    "none": None,
    "by position": lambda score, b, h, i, j: score - ((h + 1) * abs(i - j)).astype(score.dtype),
    "drops NaN": lambda score, b, h, i, j: jnp.where(score > 0, score, j.astype(score.dtype)),
}


def masks_of(b, t, s):
    """Masks that depend on each axis; some rows see nothing."""
    ids = jnp.arange(s) // 5 % 3
    return {
        "none": None,
        "causal": masks.causal,
        "padding": masks.lengths(jnp.arange(b) * (s // b)),
        "documents": masks.causal & masks.documents(ids[None], ids[None]),
        "by head": lambda b, h, i, j: (i + h + b) % 3 >= j % 4,
    }


def results(implementation, q, k, v, ct, **request):
    def run(q, k, v):
        return attention(q, k, v, implementation=implementation, return_lse=True, **request)

    (out, lse), pull = jax.vjp(run, q, k, v)
    return out, lse, *pull((ct, jnp.isfinite(lse).astype(lse.dtype)))


def assert_same(got, expected):
    for x, y in zip(got, expected, strict=True):
        np.testing.assert_array_equal(jnp.isfinite(x), jnp.isfinite(y))
        np.testing.assert_allclose(x, y, rtol=2e-5, atol=2e-5)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("mod", MODS)
@pytest.mark.parametrize("mask", masks_of(3, 9, 12))
@pytest.mark.parametrize("key_heads", [4, 2])
def test_whole_rows_are_those_of_the_definition(draw, mod, mask, key_heads):
    q, ct = draw(3, 9, 4, 8), draw(3, 9, 4, 8)
    k, v = draw(3, 12, key_heads, 8), draw(3, 12, key_heads, 8)
    request = {"mask": masks_of(3, 9, 12)[mask], "score_mod": MODS[mod]}
    got, expected = (results(x, q, k, v, ct, **request) for x in ("dense", "reference"))
    assert_same(got, expected)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("mod", MODS)
def test_vectors_that_are_not_finite_reach_the_rows_that_see_them(draw, mod):
    q, k, v, ct = (draw(2, 10, 2, 4) for _ in range(4))
    k = k.at[0, 6].set(jnp.nan).at[1, 9, 1, 2].set(jnp.inf)
    v, q = v.at[0, 8, 0, 1].set(jnp.nan), q.at[1, 3].set(jnp.nan)
    request = {"mask": masks.causal, "score_mod": MODS[mod]}
    got, expected = (results(x, q, k, v, ct, **request)[:2] for x in ("dense", "reference"))
    assert_same(got, expected)
    hidden = {"mask": masks.lengths(jnp.array([6, 9])), "score_mod": MODS[mod]}
    got = results("dense", q.at[1, 3].set(0), k, v, ct, **hidden)
    assert_same(got, results("reference", q.at[1, 3].set(0), k, v, ct, **hidden))
    assert all(jnp.isfinite(x).all() for x in got[2:])


@pytest.mark.slow
def test_second_derivatives_are_those_of_the_definition(draw):
    qkv = tuple(draw(2, 7, 2, 4) for _ in range(3))

    def second(implementation):
        def loss(qkv):
            return (attention(*qkv, mask=masks.causal, implementation=implementation) ** 2).sum()

        forward_over_reverse = jax.jvp(jax.grad(loss), (qkv,), (qkv,))[1]
        squares = lambda qkv: sum((x**2).sum() for x in jax.grad(loss)(qkv))  # noqa: E731
        return forward_over_reverse, jax.grad(squares)(qkv)

    for got, expected in zip(second("dense"), second("reference"), strict=True):
        for x, y in zip(got, expected, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4)


def test_sequences_are_taken_in_parts_where_scores_are_held(draw, monkeypatch):
    q, k, v, ct = (draw(4, 6, 2, 4) for _ in range(4))
    request = {"mask": masks.lengths(jnp.array([6, 3, 0, 5]))}
    expected = results("reference", q, k, v, ct, **request)
    monkeypatch.setattr(whole_rows, "MOST", 150)
    assert_same(results("dense", q, k, v, ct, **request), expected)


@pytest.mark.parametrize("mask", [None, masks.causal, masks.causal & masks.sliding_window(200)])
def test_strips_are_those_of_the_definition(draw, monkeypatch, mask):
    q, k, v = (draw(1, 600, 2, 8) for _ in range(3))
    found = []
    plain = whole_rows.strips
    monkeypatch.setattr(whole_rows, "strips", lambda x: found.append(plain(x)) or found[-1])
    assert plan(q, k, v, mask=mask).implementation == "blockwise"
    got = attention(q, k, v, mask=mask)
    np.testing.assert_allclose(
        got, attention(q, k, v, mask=mask, implementation="reference"), rtol=2e-5, atol=2e-5
    )
    assert len(found[0]) > 1 and found[0][-1].bottom == 600


def test_a_modifier_that_makes_nan_of_hidden_pairs_reaches_no_row(draw):
    q, k, v = (draw(2, 9, 2, 4) for _ in range(3))
    request = {
        "mask": masks.causal,
        "score_mod": lambda score, b, h, i, j: jnp.where(j > 6, jnp.nan, score),
    }
    out = attention(q, k, v, **request)
    expected = attention(q, k, v, implementation="reference", **request)
    np.testing.assert_allclose(out, expected, rtol=2e-5, atol=2e-5)
    assert jnp.isfinite(out[:, :7]).all() and jnp.isnan(out[:, 7:]).all()


def test_a_sink_has_its_share(draw):
    q, k, v = (draw(2, 9, 2, 4) for _ in range(3))
    normalizer = normalizers.softmax_with_sink(jnp.arange(2.0))
    got, expected = (
        attention(q, k, v, mask=masks.causal, normalizer=normalizer, implementation=x)
        for x in (None, "reference")
    )
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-5)


def test_a_strip_with_a_hidden_nan_is_finite(draw):
    q, k, v = (draw(1, 600, 2, 8) for _ in range(3))
    out = attention(q, k.at[0, 599].set(jnp.nan), v, mask=masks.causal)
    assert jnp.isfinite(out[:, :599]).all() and jnp.isnan(out[:, 599]).all()
