"""The steps of a call against loops in float64, and as tables."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import attention, explain
from attention_jax.core import masks, normalizers, scores
from attention_jax.core.numerics import kept_pairs

SLOPES = np.array([0.5, 0.25, 0.125, 1.0], np.float32)
QUERY_AT, KEY_AT, RATE, KEY = 3, 1, 0.4, jax.random.key(5)


def loops(q, k, v, *, kept):
    """Distances as scores, lowered by slopes, seen up to the query, softmax, dropout."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    (b, t, h, _), (_, s, g, e) = q.shape, v.shape
    plain, changed, visible, weights = (np.zeros((b, h, t, s)) for _ in range(4))
    out = np.zeros((b, t, h, e))
    for n, m, i, j in np.ndindex(b, h, t, s):
        plain[n, m, i, j] = -np.abs(q[n, i, m] - k[n, j, m // (h // g)]).sum()
        distance = abs((QUERY_AT + i) - (KEY_AT + j))
        changed[n, m, i, j] = plain[n, m, i, j] - float(SLOPES[m]) * distance
        visible[n, m, i, j] = KEY_AT + j <= QUERY_AT + i
    for n, m, i in np.ndindex(b, h, t):
        row = np.exp(changed[n, m, i]) * visible[n, m, i]
        weights[n, m, i] = row / row.sum() * kept[n, m, i] / (1 - RATE)
        out[n, i, m] = weights[n, m, i] @ v[n, :, m // (h // g)]
    return plain, changed, visible, weights, out


def test_every_step_is_that_of_the_loops(qkv):
    at = (jnp.arange(2), jnp.arange(4), QUERY_AT + jnp.arange(5), KEY_AT + jnp.arange(5))
    kept = np.asarray(kept_pairs(KEY, RATE, jnp.ix_(*at)))
    call = dict(
        score=lambda q, k: -jnp.abs(q - k).sum(),
        score_mod=lambda s, b, h, i, j: s - SLOPES[h] * jnp.abs(i - j).astype(s.dtype),
        mask=masks.causal,
        dropout_rate=RATE,
        dropout_key=KEY,
        query_offset=QUERY_AT,
        key_offset=KEY_AT,
    )
    got = explain(*qkv, **call)
    for name, own, expected in zip(got._fields, got, loops(*qkv, kept=kept), strict=False):
        np.testing.assert_allclose(own, expected, rtol=1e-4, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(got.output, attention(*qkv, **call), rtol=1e-4, atol=1e-5)
    assert got.query_positions.tolist() == [3, 4, 5, 6, 7]
    assert got.key_positions.tolist() == [1, 2, 3, 4, 5]


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", ["sparsemax", "relu", "sigmoid"])
def test_the_output_is_the_sum_of_what_the_weights_take(name, qkv):
    chosen = normalizers.sigmoid(0.5) if name == "sigmoid" else getattr(normalizers, name)
    got = explain(*qkv, score=scores.cosine(temperature=0.5), normalizer=chosen)
    assert got.visible.all() and got.visible.shape == (2, 4, 5, 5)
    values = np.repeat(np.asarray(qkv[2]), 2, axis=2)
    total = np.einsum("bhts,bshe->bthe", got.weights, values)
    np.testing.assert_allclose(total, got.output, rtol=1e-4, atol=1e-5)


def test_its_tables_name_global_positions(qkv):
    text = str(explain(*qkv, mask=masks.causal, query_offset=4, key_offset=4))
    assert [line.split()[0] for line in text.splitlines()[2:7]] == ["q4", "q5", "q6", "q7", "q8"]
    assert text.splitlines()[2].split()[2:] == ["."] * 4  # the first query sees one key


def test_it_runs_in_a_trace(qkv):
    weights = jax.jit(lambda *x: explain(*x, mask=masks.causal).weights)(*qkv)
    np.testing.assert_allclose(weights.sum(-1), np.ones((2, 4, 5)), rtol=1e-5)


def test_what_it_cannot_show_is_refused(qkv, users_errors):
    shown = explain(*qkv)
    with pytest.raises(ValueError, match="`b` must be a whole number from 0 to 1; got 2"):
        shown.table(2)
    with pytest.raises(ValueError, match="`h` must be a whole number from 0 to 3; got -1"):
        shown.at(0, -1)
    long = jnp.ones((1, 5000, 1, 2))
    with pytest.raises(ValueError, match="all pairs, at most 2.24; got .1, 1, 5000, 5000."):
        explain(long, long, long)
    with pytest.raises(ValueError, match="`mask` must be a function"):
        explain(*qkv, mask=3)
