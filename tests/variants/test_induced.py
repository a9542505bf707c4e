import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


def oracle(points, q, k, v, visible):
    """Equations 9 and 10 of arXiv:1810.00825, without its layers and normalizations."""
    points, q, k, v = (np.asarray(x, np.float64) for x in (points, q, k, v))
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, t, h in np.ndindex(out.shape[:-1]):
        at, g = np.flatnonzero(visible[b]), h * k.shape[2] // q.shape[2]
        z = np.exp(points[:, h] @ k[b, at, g].T / np.sqrt(q.shape[-1]))
        z = z / z.sum(-1, keepdims=True)
        key, value = points[:, h] + z @ k[b, at, g], z @ v[b, at, g]
        weights = np.exp(key @ q[b, t, h] / np.sqrt(q.shape[-1]))
        out[b, t, h] = weights @ value / weights.sum()
    return out


def test_matches_equations_9_and_10(qkv, draw):
    variant, points = variants.get("induced", points=3), draw(3, 4, 8)
    visible = np.ones((2, 5), bool)
    visible[0, 1] = visible[1, 3:] = False
    mask = masks.keys(jnp.asarray(visible))
    got = jax.jit(lambda *x: variant.attend({"points": points}, *x, Options(mask=mask)))(*qkv)
    np.testing.assert_allclose(got, oracle(points, *qkv, visible), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_one_point_gives_all_queries_the_same(qkv, draw):
    variant, params = variants.get("induced", points=1), {"points": draw(1, 4, 8)}
    out = jax.jit(variant.attend)(params, *qkv)
    np.testing.assert_allclose(out, jnp.broadcast_to(out[:, :1], out.shape), rtol=1e-6)


@pytest.mark.slow
def test_queries_of_another_sequence_see_as_much(qkv, draw):
    q, k, v = qkv
    variant, params = variants.get("induced", points=3), {"points": draw(3, 4, 8)}
    attend = jax.jit(functools.partial(variant.attend, params))
    some, all_of_them = attend(q[:, 3:], k, v), attend(q, k, v)
    np.testing.assert_allclose(some, all_of_them[:, 3:], rtol=1e-5, atol=1e-6)


def test_parameters_have_a_point_for_each_head():
    params = variants.get("induced").init(jax.random.key(0), heads=4, kv_heads=2, head_width=8)
    assert params["points"].shape == (16, 4, 8)


@pytest.mark.slow
def test_dropout_drops_readings_and_answers(draw):
    """Values are unit vectors: the output is what a query takes of each key."""
    variant = variants.get("induced", points=1)
    q, k = draw(2, 64, 2, 8), jnp.zeros((2, 64, 2, 8))
    units = jnp.broadcast_to(jnp.eye(64)[None, :, None], (2, 64, 2, 64))
    drop = Options(dropout_rate=0.5, dropout_key=jax.random.key(1))
    params = {"points": draw(1, 2, 8)}
    out = jax.jit(lambda *x: variant.attend(params, *x, drop))(q, k, units)
    queries, keys = (out != 0).any(-1), (out != 0).any(1)
    assert 0.3 < queries.mean() < 0.7 and 0.3 < keys.mean() < 0.7
    np.testing.assert_array_equal(out != 0, queries[..., None] & keys[:, None])
    np.testing.assert_allclose(out[out != 0], 4 / 64, rtol=1e-5)


def test_what_it_cannot_do_is_refused(qkv, draw):
    with pytest.raises(ValueError, match="`mask` must not hold `masks.causal`"):
        variants.get("induced").attend({"points": draw(3, 4, 8)}, *qkv, Options(mask=masks.causal))
    with pytest.raises(ValueError, match="`points` must be a whole number of at least 1; got 0"):
        variants.get("induced", points=0)
