import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


@pytest.mark.parametrize("causal", [False, True])
def test_matches_its_equation(qkv, causal):
    variant, mask = variants.get("cog"), masks.causal if causal else None
    got = jax.jit(lambda *qkv: variant.attend({}, *qkv, Options(mask=mask)))(*qkv)
    q, k, v = (np.asarray(x, np.float64) for x in qkv)
    for b, t, h in np.ndindex(got.shape[:-1]):
        seen = t + 1 if causal else 5
        scores = k[b, :seen, h // 2] @ q[b, t, h] / np.sqrt(8)
        powers = np.exp(abs(scores))
        expected = np.sign(scores) * powers / powers.sum() @ v[b, :seen, h // 2]
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


def test_the_opposite_query_reads_the_opposite(qkv):
    q, k, v = qkv
    attend = jax.jit(variants.get("cog").attend)
    np.testing.assert_array_equal(attend({}, -q, k, v), -attend({}, q, k, v))


def test_scores_above_zero_make_it_the_softmax(qkv):
    q, k, v = abs(qkv[0]), abs(qkv[1]), qkv[2]
    got = jax.jit(variants.get("cog").attend)({}, q, k, v)
    expected = jax.jit(variants.get("scaled_dot").attend)({}, q, k, v)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_blocks_change_nothing(draw):
    """Nor its gradients, over several blocks of keys."""
    qkv = draw(1, 300, 4, 8), draw(1, 300, 2, 8), draw(1, 300, 2, 6)

    def run(implementation):
        def loss(qkv):
            options = Options(mask=masks.causal, implementation=implementation)
            out = variants.get("cog").attend({}, *qkv, options)
            return jnp.sin(out).sum(), out

        return jax.jit(jax.grad(loss, has_aux=True))(qkv)

    both = map(jax.tree.leaves, map(run, ("blockwise", "reference")))
    for got, expected in zip(*both, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
