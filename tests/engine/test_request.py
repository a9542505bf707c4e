"""A request is checked and traced once, whatever it asks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import attention, plan
from attention_jax.core import masks, positions, scores
from attention_jax.engine.request import Dropout, make_request

W = jnp.eye(8)
ADDITIVE = scores.additive(W, W, W[0])


@pytest.fixture
def traces(monkeypatch):
    """The functions that JAX is asked to trace, apart from those that it compiles."""
    found = []

    def counted(trace):
        return lambda function, *arguments, **options: (
            found.append(function) or trace(function, *arguments, **options)
        )

    for name in ("make_jaxpr", "eval_shape"):
        monkeypatch.setattr(jax, name, counted(getattr(jax, name)))
    return found


# How many functions there are: the score, the modifier, the mask, and its conjuncts if several.
TRACES = {
    "plain": (1, {}),
    "score_mod": (2, dict(score_mod=positions.alibi(heads=4))),
    "causal": (2, dict(mask=masks.causal)),
    "additive, causal & window": (
        4,
        dict(score=ADDITIVE, mask=masks.causal & masks.sliding_window(3)),
    ),
}


@pytest.mark.sampled(4)
@pytest.mark.parametrize("implementation", [None, "blockwise"])
@pytest.mark.parametrize("name", TRACES)
def test_every_function_is_traced_once(name, implementation, qkv, traces):
    most, asked = TRACES[name]
    attention(*qkv, implementation=implementation, **asked)
    assert len(traces) <= most


def test_what_is_not_asked_is_not_there(qkv):
    request = make_request(*qkv)
    assert request.dropout is None and request.offsets == (0, 0)
    assert request.analysis.mask is None and request.analysis.conjuncts == ()
    assert make_request(*qkv, dropout_key=jax.random.key(0)).dropout is None
    key = jax.random.key(0)
    assert make_request(*qkv, dropout_rate=0.5, dropout_key=key).dropout == Dropout(0.5, key)


def test_sizes_are_those_of_the_arrays(qkv):
    request = make_request(*qkv)
    assert request.shape == (2, 2, 2, 5, 5) and request.rows == 2 * 5 * 4
    q, k, v = qkv
    assert request.vector_numbers == q.size + k.size + v.size + 2 * 5 * 4 * 6
    assert request.dtype == np.float32
    assert make_request(*(x.astype(jnp.bfloat16) for x in qkv)).dtype == np.float32


def test_the_conjuncts_of_a_mask_are_analyzed_apart(qkv):
    padding = masks.lengths(jnp.array([3, 4]))
    request = make_request(*qkv, mask=masks.causal & padding)
    assert request.analysis.mask.used == (True, False, True, True)
    assert [x.used for x in request.analysis.conjuncts] == [
        (False, False, True, True),
        (True, False, False, True),
    ]
    alone = make_request(*qkv, mask=padding).analysis
    assert alone.conjuncts == (alone.mask,)


@pytest.mark.slow
def test_numpy_arrays_are_taken(qkv):
    q, k, v = map(np.asarray, qkv)
    slopes = np.array([0.5, 0.25, 2.0, 1.0], np.float32)
    seen = np.array([True, False, True, True, True])
    other = jnp.asarray(slopes)
    expected = attention(
        *qkv,
        score_mod=lambda s, b, h, i, j: s - other[h] * jnp.abs(i - j).astype(s.dtype),
        mask=masks.keys(jnp.asarray(seen)[None]),
    )
    for name in ("reference", "dense", "blockwise"):
        got = attention(
            q.astype(np.float64),
            k,
            v,
            score_mod=lambda s, b, h, i, j: s - slopes[h] * jnp.abs(i - j).astype(s.dtype),
            mask=lambda b, h, i, j: seen[j],
            implementation=name,
        )
        assert got.dtype == jnp.float32
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["query_offset", "key_offset"])
def test_positions_of_32_bits(name, qkv, users_errors):
    last = 2**30 - 5
    make_request(*qkv, **{name: last})
    for wrong in (last + 1, 2**31 - 6, 2**31, -(2**30) - 1, jnp.int32(2**31 - 6)):
        with pytest.raises(ValueError, match=f"`{name}` must keep positions within 2\\^30 of 0"):
            make_request(*qkv, **{name: wrong})


def test_arrays_of_masks_are_checked_in_every_call(qkv, users_errors):
    ids = jnp.zeros((3, 5), jnp.int32)
    mask = masks.causal & ~(masks.documents(ids, ids[:1]) | masks.full)
    message = r"`query_ids` of `mask` must have shape \[b t\], here \[2 5\].*got \(3, 5\)"
    for attend in (attention, jax.jit(attention, static_argnames="mask"), plan):
        with pytest.raises(ValueError, match=message):
            attend(*qkv, mask=mask)
    stacked = (x[None] for x in qkv)
    with pytest.raises(ValueError, match=message):
        jax.vmap(lambda *x: attention(*x, mask=mask))(*stacked)


@pytest.mark.slow
def test_one_row_of_ids_serves_all_sequences(qkv):
    ids = jnp.array([[0, 0, 1, 1, 1]])
    both = jnp.tile(ids, (2, 1))
    got, expected = (attention(*qkv, mask=masks.documents(x, x)) for x in (ids, both))
    np.testing.assert_array_equal(got, expected)
