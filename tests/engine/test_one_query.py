"""One query a sequence: the numbers of the definition, and no copy of the keys."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import attention, plan
from attention_jax.core import masks, normalizers, scores

CASES = {
    "plain": {},
    "lengths": {"mask": masks.lengths(jnp.array([3, 9]))},
    "nothing visible": {"mask": masks.lengths(jnp.array([0, 9]))},
    "change": {
        "score_mod": lambda s, b, h, i, j: 5 * jnp.tanh(s / 5) - 0.1 * abs(i - j).astype(s.dtype)
    },
    "sparsemax": {"normalizer": normalizers.sparsemax},
    "general": {"score": scores.general(jnp.linspace(-1, 1, 64).reshape(8, 8))},
    "dropout": {"dropout_rate": 0.4, "dropout_key": jax.random.key(3)},
}


@pytest.fixture
def one(draw):
    """A query of 4 heads, and 9 keys and values of 2, in 2 sequences."""
    return draw(2, 1, 4, 8), draw(2, 9, 2, 8), draw(2, 9, 2, 6)


@pytest.mark.parametrize("case", CASES)
def test_output_and_gradients_are_those_of_the_definition(case, one):
    def run(name):
        def loss(*qkv):
            out = attention(*qkv, query_offset=8, implementation=name, **CASES[case])
            return jnp.sin(out).sum(), out

        return jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))(*one)

    found, expected = (jax.tree.leaves(run(name)) for name in ("one_query", "reference"))
    for got, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, right, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("change", [None, CASES["change"]["score_mod"]])
@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
def test_what_is_not_finite_reaches_a_row_where_it_is_seen(bad, change, one):
    q, k, v = one
    k, v = k.at[0, 4, 0, 0].set(bad), v.at[1, 8, 1, 0].set(bad)
    run = jax.jit(
        jax.value_and_grad(
            lambda q, k, v, seen: attention(
                q, k, v, mask=masks.lengths(seen), score_mod=change, implementation="one_query"
            ).sum(),
            (0, 1, 2),
        )
    )
    hidden, gradients = run(q, k, v, jnp.array([4, 8]))
    assert np.isfinite(hidden) and all(np.isfinite(x).all() for x in gradients)
    each = attention(
        q, k, v, mask=masks.lengths(jnp.array([5, 9])), score_mod=change, return_lse=True
    )
    assert plan(q, k, v, score_mod=change).implementation == "one_query"
    for row, group in ((0, 0), (1, 1)):
        heads = slice(2 * group, 2 * group + 2)
        assert all(np.isnan(x[row, :, heads]).all() for x in each)
        others = slice(2 - 2 * group, 4 - 2 * group)
        assert all(np.isfinite(x[row, :, others]).all() for x in each)


def test_keys_are_not_copied():
    q, k = jnp.zeros((4, 1, 8, 64)), jnp.zeros((4, 512, 8, 64))
    run = jax.jit(lambda q, k, v: attention(q, k, v, mask=masks.lengths(jnp.full(4, 300))))
    text = run.lower(q, k, k).compile().as_text()
    made = re.findall(r"= f32\[4,512,8,(?:1,)?64\]\S* (\w+)", text[text.index("ENTRY") :])
    assert set(made) == {"parameter", "bitcast"}, made


def test_more_queries_and_other_scores_are_refused_by_name(one, qkv):
    with pytest.raises(ValueError, match="'one_query' cannot .*one query a sequence; got 5"):
        attention(*qkv, implementation="one_query")
    with pytest.raises(ValueError, match="products of two vectors"):
        manhattan = lambda q, k: -abs(q - k).sum()  # noqa: E731
        attention(*one[:2], one[1], score=manhattan, implementation="one_query")
