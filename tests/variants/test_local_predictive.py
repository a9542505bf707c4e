import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


def oracle(params, q, k, v, distance, keys_of):
    """Section 3.2 of arXiv:1508.04025, where query (b, t) sees the source `keys_of(b, t)`."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    w, across = (np.asarray(params[name], np.float64) for name in ("w", "v"))
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, t, h in np.ndindex(q.shape[:-1]):
        keys, values = (x[b, keys_of(b, t), h // 2] for x in (k, v))
        p = len(keys) / (1 + np.exp(-(across @ np.tanh(w @ q[b, t, h]))))
        seen = [n for n in range(len(keys)) if abs(n - p) <= distance]
        align = np.exp(keys[seen] @ q[b, t, h] / np.sqrt(q.shape[-1]))
        bell = np.exp(-((seen - p) ** 2) / (2 * (distance / 2) ** 2))
        out[b, t, h] = align / align.sum() * bell @ values[seen]
    return out


PADDING = np.array([[False, True, True, True, False], [True, True, False, True, True]])
SOURCES = {
    "all": (None, lambda b, t: np.arange(5)),
    "causal": (masks.causal, lambda b, t: np.arange(t + 1)),
    "padding": (masks.keys(jnp.asarray(PADDING)), lambda b, t: np.flatnonzero(PADDING[b])),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("distance", [1, 3])
def test_matches_its_equations(qkv, draw, source, distance):
    mask, keys_of = SOURCES[source]
    # Large, so that the windows of different queries lie apart.
    params = {"w": draw(8, 8), "v": 3 * draw(8)}
    attend = variants.get("local_predictive", distance=distance).attend
    got = jax.jit(lambda *qkv: attend(params, *qkv, Options(mask=mask)))(*qkv)
    expected = oracle(params, *qkv, distance, keys_of)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_distance_far_beyond_the_length_is_scaled_dot(qkv):
    variant = variants.get("local_predictive", distance=10_000)
    params = variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8)
    got = jax.jit(variant.attend)(params, *qkv)
    expected = jax.jit(variants.get("scaled_dot").attend)({}, *qkv)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_what_it_cannot_give_is_refused(qkv):
    with pytest.raises(ValueError, match="`distance` must be a whole number of at least 1; got 0"):
        variants.get("local_predictive", distance=0)
    variant = variants.get("local_predictive")
    params = variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8)
    with pytest.raises(ValueError, match="`return_lse` needs .*; got local_predictive"):
        variant.attend(params, *qkv, Options(return_lse=True))
