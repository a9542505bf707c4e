import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


def norm(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("options", [{}, {"degree": 2, "normalize": False}])
def test_matches_its_equation(qkv, causal, options):
    variant, mask = variants.get("polynomial", **options), masks.causal if causal else None
    got = jax.jit(lambda *qkv: variant.attend({}, *qkv, Options(mask=mask)))(*qkv)
    q, k, v = (np.asarray(x, np.float64) for x in qkv)
    if not options:
        q, k = norm(q), norm(k)
    for b, t, h in np.ndindex(got.shape[:-1]):
        seen = t + 1 if causal else 5
        powers = (k[b, :seen, h // 2] @ q[b, t, h]) ** options.get("degree", 4)
        expected = powers @ v[b, :seen, h // 2] / (1 + powers.sum())
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


def test_orthogonal_keys_get_nothing_and_a_finite_gradient(qkv):
    variant = variants.get("polynomial", normalize=False)
    q, k, v = jnp.zeros_like(qkv[0]), *qkv[1:]

    def loss(q, k, v):
        out = variant.attend({}, q, k, v)
        return (out**2).sum() + out.sum(), out

    gradients, out = jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))(q, k, v)
    np.testing.assert_allclose(out, np.zeros(out.shape), atol=1e-30)
    assert all(jnp.isfinite(x).all() for x in gradients)


def test_odd_degrees_are_refused():
    with pytest.raises(ValueError, match="`degree` must be even.*got 3. The nearest above is 4"):
        variants.get("polynomial", degree=3)
