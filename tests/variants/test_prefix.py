import jax
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


@pytest.mark.parametrize("length", [1, 3])
def test_matches_its_equation(qkv, length):
    got = jax.jit(variants.get("prefix", length=length).attend)({}, *qkv)
    q, k, v = (np.asarray(x, np.float64) for x in qkv)
    for b, t, h in np.ndindex(got.shape[:-1]):
        end = max(t + 1, length)
        weights = np.exp(k[b, :end, h // 2] @ q[b, t, h] / np.sqrt(8))
        expected = weights @ v[b, :end, h // 2] / weights.sum()
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


def test_a_prefix_that_is_all_is_scaled_dot(qkv):
    got, expected = (
        jax.jit(variants.get(name).attend)({}, *qkv) for name in ("prefix", "scaled_dot")
    )
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.slow
def test_it_hides_the_future_by_itself_and_takes_no_causal_mask(qkv):
    window = masks.sliding_window(2)
    prefix = variants.get("prefix", length=1).attend
    got = jax.jit(lambda *qkv: prefix({}, *qkv, Options(mask=window)))(*qkv)
    plain = variants.get("scaled_dot").attend
    expected = jax.jit(lambda *qkv: plain({}, *qkv, Options(mask=window & masks.causal)))(*qkv)
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    with pytest.raises(ValueError, match="`mask` must not hold `masks.causal`.*Leave it out"):
        prefix({}, *qkv, Options(mask=window & masks.causal))


def test_a_prefix_holds_a_position():
    with pytest.raises(ValueError, match="`length` must be a whole number of at least 1; got 0"):
        variants.get("prefix", length=0)
