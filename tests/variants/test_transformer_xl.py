import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


def sinusoid(distance):
    angles = distance / 10_000 ** (np.arange(0, 8, 2) / 8)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(-1)


@pytest.mark.parametrize("mask", [None, masks.causal])
def test_matches_its_equation(qkv, draw, mask):
    variant = variants.get("transformer_xl")
    params = {"u": draw(4, 8), "v": draw(4, 8), "w": 0.4 * draw(4, 8, 8)}
    # Two keys are older than the first query, as with a segment that is kept.
    run = jax.jit(lambda *qkv: variant.attend(params, *qkv, Options(mask=mask, query_offset=2)))
    got = run(*qkv)
    q, k, v = (np.asarray(x, np.float64) for x in qkv)
    biases = (np.asarray(params[name], np.float64) for name in ("u", "v", "w"))
    of_content, of_place, w = biases
    for b, t, h in np.ndindex(got.shape[:-1]):
        seen = 5 if mask is None else min(t + 3, 5)
        scores = np.zeros(seen)
        for j in range(seen):
            scores[j] = (q[b, t, h] + of_content[h]) @ k[b, j, h // 2]
            scores[j] += (q[b, t, h] + of_place[h]) @ w[h] @ sinusoid(t + 2 - j)
        weights = np.exp(scores / np.sqrt(8))
        expected = weights @ v[b, :seen, h // 2] / weights.sum()
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_without_distances_and_biases_it_is_scaled_dot(qkv):
    params = {"u": jnp.zeros((4, 8)), "v": jnp.zeros((4, 8)), "w": jnp.zeros((4, 8, 8))}
    got = jax.jit(variants.get("transformer_xl").attend)(params, *qkv)
    expected = jax.jit(variants.get("scaled_dot").attend)({}, *qkv)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_an_odd_width_is_refused(draw, users_errors):
    variant = variants.get("transformer_xl")
    params = variant.init(jax.random.key(0), heads=2, kv_heads=2, head_width=7)
    x = draw(1, 3, 2, 7)
    with pytest.raises(ValueError, match="`width` must be even, .* got 7"):
        variant.attend(params, x, x, x)
