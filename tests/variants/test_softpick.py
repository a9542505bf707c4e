import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


def oracle(qkv, causal=False):
    """The rectified softmax of arXiv:2504.20966."""
    q, k, v = (np.asarray(x, np.float64) for x in qkv)
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, t, h in np.ndindex(out.shape[:-1]):
        seen = t + 1 if causal else k.shape[1]
        gains = np.exp(k[b, :seen, h // 2] @ q[b, t, h] / np.sqrt(8)) - 1
        out[b, t, h] = np.maximum(gains, 0) / abs(gains).sum() @ v[b, :seen, h // 2]
    return out


@pytest.mark.parametrize("causal", [False, True])
def test_matches_its_equation(qkv, causal):
    variant, mask = variants.get("softpick"), masks.causal if causal else None
    got = jax.jit(lambda *qkv: variant.attend({}, *qkv, Options(mask=mask)))(*qkv)
    np.testing.assert_allclose(got, oracle(qkv, causal), rtol=1e-5, atol=1e-6)


def test_keys_that_point_away_are_not_read(qkv):
    q, k, v = qkv
    got = jax.jit(variants.get("softpick").attend)({}, abs(q), -abs(k), v)
    np.testing.assert_array_equal(got, np.zeros(got.shape))


@pytest.mark.parametrize("scale", [1e-3, 30.0])
def test_small_and_large_scores_keep_their_digits(qkv, scale):
    q, k, v = qkv
    got = jax.jit(variants.get("softpick").attend)({}, scale * q, k, v)
    np.testing.assert_allclose(got, oracle((scale * q, k, v)), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_blocks_change_nothing(draw):
    """Nor its gradients, over several blocks of keys."""
    qkv = draw(1, 300, 4, 8), draw(1, 300, 2, 8), draw(1, 300, 2, 6)

    def run(implementation):
        def loss(qkv):
            options = Options(mask=masks.causal, implementation=implementation)
            out = variants.get("softpick").attend({}, *qkv, options)
            return jnp.sin(out).sum(), out

        return jax.jit(jax.grad(loss, has_aux=True))(qkv)

    both = map(jax.tree.leaves, map(run, ("blockwise", "reference")))
    for got, expected in zip(*both, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
