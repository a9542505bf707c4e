import jax
import numpy as np

from attention_jax import variants


def test_matches_attention_with_averaged_projections(draw):
    """As section 2.1 of arXiv:2305.13245 converts: the mean of the projections of all heads."""
    x, w_q, w_k, w_v = draw(2, 5, 7), draw(4, 7, 8), draw(4, 7, 8), draw(4, 7, 6)
    q, k, v = (np.einsum("btm,hmd->bthd", x, w) for w in (w_q, w_k, w_v))
    got = jax.jit(variants.get("multi_query").attend)({}, q, k, v)
    x, w_q, w_k, w_v = (np.asarray(y, np.float64) for y in (x, w_q, w_k, w_v))
    keys, values = x @ w_k.mean(0), x @ w_v.mean(0)
    for b, t, h in np.ndindex(got.shape[:-1]):
        scores = keys[b] @ (w_q[h].T @ x[b, t]) / np.sqrt(8)
        weights = np.exp(scores - scores.max())
        expected = weights @ values[b] / weights.sum()
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


def test_one_key_head_is_scaled_dot(draw):
    qkv = draw(2, 5, 4, 8), draw(2, 5, 1, 8), draw(2, 5, 1, 6)
    got, expected = (
        jax.jit(variants.get(name).attend)({}, *qkv) for name in ("multi_query", "scaled_dot")
    )
    np.testing.assert_array_equal(got, expected)
