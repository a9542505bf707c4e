import jax
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


@pytest.mark.parametrize("width", [6, 128])
def test_matches_its_equation(qkv, width):
    got = jax.jit(variants.get("sandwich", width=width).attend)({}, *qkv)
    q, k, v = (np.asarray(x, np.float64) for x in qkv)
    rates = 10_000.0 ** (-2 * np.arange(width // 2) / width)
    for b, t, h in np.ndindex(got.shape[:-1]):
        bias = np.cos((t - np.arange(5))[:, None] * rates).sum(-1) / (8 * (h + 1) / 4)
        scores = k[b, :, h // 2] @ q[b, t, h] / np.sqrt(8) + bias
        weights = np.exp(scores - scores.max())
        expected = weights @ v[b, :, h // 2] / weights.sum()
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_where_a_sequence_starts_does_not_matter(qkv):
    def attend(*qkv, offset):
        at = {"query_offset": offset, "key_offset": offset, "mask": masks.causal}
        return variants.get("sandwich").attend({}, *qkv, Options(**at))

    run = jax.jit(attend)
    np.testing.assert_allclose(run(*qkv, offset=0), run(*qkv, offset=100), rtol=1e-5, atol=1e-6)


def test_odd_widths_are_refused():
    with pytest.raises(ValueError, match="`width` must be even.*got 5. The nearest above is 6"):
        variants.get("sandwich", width=5)
