import jax
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


def test_matches_its_equation(qkv):
    got = jax.jit(variants.get("alibi").attend)({}, *qkv)
    q, k, v = (np.asarray(x, np.float64) for x in qkv)
    for b, t, h in np.ndindex(got.shape[:-1]):
        lowered = 2.0 ** (-8 * (h + 1) / 4) * abs(t - np.arange(5))
        weights = np.exp(k[b, :, h // 2] @ q[b, t, h] / np.sqrt(8) - lowered)
        expected = weights @ v[b, :, h // 2] / weights.sum()
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_where_a_sequence_starts_does_not_matter(qkv):
    def attend(*qkv, offset):
        at = {"query_offset": offset, "key_offset": offset, "mask": masks.causal}
        return variants.get("alibi").attend({}, *qkv, Options(**at))

    run = jax.jit(attend)
    np.testing.assert_allclose(run(*qkv, offset=0), run(*qkv, offset=100), rtol=1e-5, atol=1e-6)
