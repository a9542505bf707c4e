import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


def oracle(qkv, itself, visible=None):
    """The equation of arXiv:2410.17980, product by product."""
    q, k, v = (np.asarray(x, np.float64) for x in qkv)
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, t, h in np.ndindex(out.shape[:-1]):
        seen = [j for j in range(t + itself) if visible is None or visible[b, j]]
        share = {j: 1 / (1 + np.exp(-k[b, j, h // 2] @ q[b, t, h] / np.sqrt(8))) for j in seen}
        for j in seen:
            left = np.prod([1 - share[other] for other in seen if other > j])
            out[b, t, h] += share[j] * left * v[b, j, h // 2]
    return out


def run(qkv, mask=masks.causal, **options):
    attend = variants.get("stick_breaking", **options).attend
    return jax.jit(lambda *x: attend({}, *x, Options(mask)))(*qkv)


@pytest.mark.parametrize("itself", [False, True])
def test_matches_its_equation(qkv, itself):
    got = run(qkv, itself=itself)
    np.testing.assert_allclose(got, oracle(qkv, itself), rtol=1e-5, atol=1e-6)


def test_a_hidden_key_breaks_nothing_off(qkv):
    visible = np.ones((2, 5), bool)
    visible[:, 2] = False
    got = run(qkv, masks.causal & masks.keys(jnp.asarray(visible)))
    np.testing.assert_allclose(got, oracle(qkv, False, visible), rtol=1e-5, atol=1e-6)


def test_the_nearest_of_equal_keys_gets_most(qkv):
    q, k = (jnp.ones((1, 6, 1, 4)) for _ in range(2))
    value = jnp.eye(6)[None, :, None]
    weights = run((q, k, value))[0, 5, 0]
    assert (weights[:4] < weights[1:5]).all() and weights[5] == 0 < 1 - weights.sum()


@pytest.mark.slow
def test_scores_beyond_any_exponential_stay_finite(qkv):
    q, k, v = qkv

    def loss(*qkv):
        out = variants.get("stick_breaking").attend({}, *qkv, Options(masks.causal))
        return (out**2).sum(), out

    gradients, out = jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))(50 * q, k, v)
    np.testing.assert_allclose(out, oracle((50 * q, k, v), False), rtol=1e-5, atol=1e-6)
    assert all(jnp.isfinite(x).all() for x in gradients)


def test_passes_both_ways_are_refused(qkv):
    with pytest.raises(ValueError, match="stick_breaking takes in one .* hold `masks.causal`"):
        variants.get("stick_breaking").attend({}, *qkv)
