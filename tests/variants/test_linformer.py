import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


def oracle(params, q, k, v, visible):
    """Equation 7 of arXiv:2006.04768, with hidden keys left out."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    e = np.asarray(params["key"], np.float64)
    f = np.asarray(params.get("value", params["key"]), np.float64)
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, t, h in np.ndindex(out.shape[:-1]):
        at, g = np.flatnonzero(visible[b]), h * k.shape[2] // q.shape[2]
        keys, values = e[:, at] @ k[b, at, g], f[:, at] @ v[b, at, g]
        weights = np.exp(keys @ q[b, t, h] / np.sqrt(q.shape[-1]))
        out[b, t, h] = weights @ values / weights.sum()
    return out


@pytest.mark.parametrize("shared", [False, True])
def test_matches_equation_7(qkv, shared):
    variant = variants.get("linformer", rank=3, max_length=7, shared=shared)
    params = variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8)
    assert {n: x.shape for n, x in params.items()} == dict.fromkeys(
        ["key"] if shared else ["key", "value"], (3, 7)
    )
    visible = np.ones((2, 5), bool)
    visible[0, 1] = visible[1, 3:] = False
    got = jax.jit(
        lambda *x: variant.attend(params, *x, Options(mask=masks.keys(jnp.asarray(visible))))
    )
    np.testing.assert_allclose(got(*qkv), oracle(params, *qkv, visible), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_as_many_mixtures_of_one_key_each_are_attention(qkv):
    params = {"key": jnp.eye(5), "value": jnp.eye(5)}
    got = jax.jit(variants.get("linformer", rank=5, max_length=5).attend)(params, *qkv)
    expected = jax.jit(variants.get("scaled_dot").attend)({}, *qkv)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_keys_that_start_later_use_later_columns(qkv):
    variant = variants.get("linformer", rank=3, max_length=7)
    params = variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8)
    later = {name: x[:, 2:] for name, x in params.items()}
    moved = jax.jit(lambda at: variant.attend(params, *qkv, Options(key_offset=at)))
    expected = variants.get("linformer", rank=3, max_length=5).attend(later, *qkv)
    np.testing.assert_allclose(moved(2), expected, rtol=1e-5, atol=1e-6)
    assert jnp.isnan(moved(3)).all() and jnp.isnan(moved(-1)).all()


@pytest.mark.slow
def test_dropout_drops_weights_of_mixtures(qkv):
    q, k, v = qkv
    variant = variants.get("linformer", rank=5, max_length=5)
    params = {"key": jnp.zeros((5, 5)), "value": jnp.eye(5)}
    units = jnp.broadcast_to(jnp.eye(5)[None, :, None], (2, 5, 2, 5))
    drop = {"dropout_rate": 0.5, "dropout_key": jax.random.key(1)}
    weights = variant.attend(params, q, k, units, Options(**drop))
    dropped = np.isclose(weights, 0)
    np.testing.assert_allclose(weights, np.where(dropped, 0, 2 / 5), rtol=1e-5)
    assert 0.3 < dropped.mean() < 0.7


@pytest.mark.slow
def test_what_it_cannot_do_is_refused(qkv):
    variant = variants.get("linformer", max_length=4)
    params = variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8)
    with pytest.raises(ValueError, match="got 5 from 0 and max_length=4. Raise `max_length`"):
        variant.attend(params, *qkv)
    with pytest.raises(ValueError, match="`mask` must not hold `masks.causal`"):
        variant.attend(params, *qkv, Options(mask=masks.causal))
    with pytest.raises(ValueError, match="`rank` must be a whole number of at least 1; got 0"):
        variants.get("linformer", rank=0)
    with pytest.raises(ValueError, match="`max_length` must be a whole number of at least 1"):
        variants.get("linformer", max_length=0)
