import jax
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


@pytest.mark.parametrize("causal", [False, True])
def test_matches_its_equation(qkv, causal):
    variant, mask = variants.get("relu"), masks.causal if causal else None
    got = jax.jit(lambda *qkv: variant.attend({}, *qkv, Options(mask=mask)))(*qkv)
    q, k, v = (np.asarray(x, np.float64) for x in qkv)
    for b, t, h in np.ndindex(got.shape[:-1]):
        seen = t + 1 if causal else 5
        weights = np.maximum(k[b, :seen, h // 2] @ q[b, t, h] / np.sqrt(8), 0) / seen
        expected = weights @ v[b, :seen, h // 2]
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


def test_keys_that_point_away_are_not_read(qkv):
    q, k, v = qkv
    got = jax.jit(variants.get("relu").attend)({}, abs(q), -abs(k), v)
    np.testing.assert_array_equal(got, np.zeros(got.shape))
