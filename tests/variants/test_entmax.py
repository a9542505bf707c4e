import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import attention, plan, variants
from attention_jax.core.normalizers import entmax

A = np.array([-2.0, -0.5, 0.5, 2.0])


def by_bisection(z, alpha):
    """Equation 3 of arXiv:1909.00015: [(alpha - 1) z - threshold]_+^(1 / (alpha - 1))."""
    z = (alpha - 1) * z
    low, high = z.max() - 1, z.max()
    for _ in range(100):
        middle = (low + high) / 2
        total = (np.maximum(z - middle, 0) ** (1 / (alpha - 1))).sum()
        low, high = (middle, high) if total > 1 else (low, middle)
    return np.maximum(z - low, 0) ** (1 / (alpha - 1))


def oracle(a, qkv):
    q, k, v = (np.asarray(x, np.float64) for x in qkv)
    alphas = 1.01 + 0.99 / (1 + np.exp(-a))
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, t, h in np.ndindex(out.shape[:-1]):
        weights = by_bisection(k[b, :, h // 2] @ q[b, t, h] / np.sqrt(8), alphas[h])
        out[b, t, h] = weights @ v[b, :, h // 2]
    return out


def test_matches_its_equation(qkv):
    params = {"a": jnp.asarray(A, jnp.float32)}
    got = jax.jit(variants.get("entmax").attend)(params, *qkv)
    np.testing.assert_allclose(got, oracle(A, qkv), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_the_gradient_in_alpha_matches_finite_differences(qkv):
    def loss(a):
        return (variants.get("entmax").attend({"a": a}, *qkv) ** 2).sum()

    got = jax.jit(jax.grad(loss))(jnp.asarray(A, jnp.float32))
    step = 1e-5
    for head in range(4):
        ends = [(oracle(A + sign * step * np.eye(4)[head], qkv) ** 2).sum() for sign in (-1, 1)]
        np.testing.assert_allclose(got[head], (ends[1] - ends[0]) / (2 * step), rtol=1e-4)


@pytest.mark.slow
def test_alpha_starts_at_random_and_stays_between_softmax_and_sparsemax(qkv):
    params = variants.get("entmax").init(jax.random.key(0), heads=4, kv_heads=2, head_width=8)
    assert params["a"].shape == (4,) and len(set(params["a"].tolist())) == 4
    attend = jax.jit(variants.get("entmax").attend)
    sparse = attend({"a": jnp.full(4, 100.0)}, *qkv)
    expected = jax.jit(variants.get("sparsemax").attend)({}, *qkv)
    np.testing.assert_allclose(sparse, expected, rtol=1e-5, atol=1e-6)
    assert jnp.isfinite(attend({"a": jnp.full(4, -100.0)}, *qkv)).all()


def test_it_needs_whole_rows(qkv):
    normalizer = entmax(jnp.full(4, 1.5))
    assert plan(*qkv, normalizer=normalizer).implementation == "reference"
    with pytest.raises(ValueError, match="entmax needs whole rows of logits"):
        attention(*qkv, normalizer=normalizer, implementation="blockwise")
