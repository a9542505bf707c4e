import jax
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


@pytest.mark.sampled(2)
@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("causal", [False, True])
def test_matches_its_equation(qkv, k, causal):
    variant, mask = variants.get("top_k", k=k), masks.causal if causal else None
    got = jax.jit(lambda *qkv: variant.attend({}, *qkv, Options(mask=mask)))(*qkv)
    q, key, v = (np.asarray(x, np.float64) for x in qkv)
    for b, t, h in np.ndindex(got.shape[:-1]):
        seen = t + 1 if causal else 5
        z = key[b, :seen, h // 2] @ q[b, t, h] / np.sqrt(8)
        weights = np.where(z >= np.sort(z)[-min(k, seen)], np.exp(z), 0)
        expected = weights @ v[b, :seen, h // 2] / weights.sum()
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_as_many_as_there_are_is_the_softmax(qkv):
    got = jax.jit(variants.get("top_k", k=5).attend)({}, *qkv)
    expected = jax.jit(variants.get("scaled_dot").attend)({}, *qkv)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_k_must_be_positive():
    with pytest.raises(ValueError, match="`k` must be a whole number of at least 1; got 0"):
        variants.get("top_k", k=0)
