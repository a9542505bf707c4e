import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options

SIZES = {"heads": 4, "kv_heads": 2, "head_width": 8}
VISIBLE = np.array([[1, 1, 0, 1, 1], [1, 0, 1, 0, 0]], bool)


@pytest.mark.parametrize("causal", [False, True])
def test_matches_its_equation(qkv, draw, causal):
    """Hidden keys are not counted."""
    variant, s = variants.get("scalable_softmax"), draw(4)
    mask = masks.keys(jnp.asarray(VISIBLE))
    mask = masks.causal & mask if causal else mask
    got = jax.jit(lambda *qkv: variant.attend({"s": s}, *qkv, Options(mask=mask)))(*qkv)
    q, k, v, s = (np.asarray(x, np.float64) for x in (*qkv, s))
    for b, t, h in np.ndindex(got.shape[:-1]):
        seen = VISIBLE[b] & (np.arange(5) <= (t if causal else 5))
        z = k[b, seen, h // 2] @ q[b, t, h] / np.sqrt(8)
        weights = seen.sum() ** (s[h] * z)
        expected = weights @ v[b, seen, h // 2] / weights.sum()
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_margin_keeps_its_share_in_longer_contexts():
    """As figure 1 of arXiv:2501.19399: all keys score -2, but the last 3; s is 0.43."""
    shares = {}
    for name, params in (("scalable_softmax", {"s": jnp.full(1, 0.43)}), ("scaled_dot", {})):
        for n in (16, 256):
            scores = jnp.full((1, n, 1, 1), -2.0).at[0, -1].set(3.0)
            value = jnp.zeros((1, n, 1, 1)).at[0, -1].set(1.0)
            out = variants.get(name).attend(params, jnp.ones((1, 1, 1, 1)), scores, value)
            shares[name, n] = float(out[0, 0, 0, 0])
    assert shares["scalable_softmax", 256] > shares["scalable_softmax", 16] > 0.9
    assert shares["scaled_dot", 256] < 0.4 < shares["scaled_dot", 16]


def test_it_starts_as_the_softmax_on_average():
    variant = variants.get("scalable_softmax")
    s = variant.init(jax.random.key(0), **SIZES)["s"]
    assert abs((s * np.log(np.arange(1, 1025)).mean()) - 1).max() < 5e-3
