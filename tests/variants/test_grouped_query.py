import jax
import numpy as np
import pytest

from attention_jax import variants


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_matches_attention_with_projections_averaged_in_groups(draw, groups):
    """As section 2.2 of arXiv:2305.13245 converts: the mean of the projections of a group."""
    x = draw(2, 5, 7)
    w_q, w_k, w_v = (draw(h, 7, d) / 7**0.5 for h, d in ((8, 8), (4, 8), (4, 6)))
    q, k, v = (np.einsum("btm,hmd->bthd", x, w) for w in (w_q, w_k, w_v))
    got = jax.jit(variants.get("grouped_query", groups=groups).attend)({}, q, k, v)
    x, w_q, w_k, w_v = (np.asarray(y, np.float64) for y in (x, w_q, w_k, w_v))
    for b, t, h in np.ndindex(got.shape[:-1]):
        group = h * groups // 8
        heads = [n for n in range(4) if n * groups // 4 == group]
        scores = x[b] @ w_k[heads].mean(0) @ (w_q[h].T @ x[b, t]) / np.sqrt(8)
        weights = np.exp(scores - scores.max())
        expected = weights @ (x[b] @ w_v[heads].mean(0)) / weights.sum()
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_one_group_is_multi_query_and_all_are_scaled_dot(qkv):
    for groups, name in ((1, "multi_query"), (2, "scaled_dot")):
        got = jax.jit(variants.get("grouped_query", groups=groups).attend)({}, *qkv)
        expected = jax.jit(variants.get(name).attend)({}, *qkv)
        np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_groups_divide_the_heads(qkv):
    with pytest.raises(ValueError, match="`groups` must be a whole number of at least 1; got 0"):
        variants.get("grouped_query", groups=0)
    three = variants.get("grouped_query", groups=3)
    for call in (
        lambda: three.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8),
        lambda: three.attend({}, *qkv),
    ):
        with pytest.raises(ValueError, match="`groups` must divide `kv_heads`; got groups=3"):
            call()
