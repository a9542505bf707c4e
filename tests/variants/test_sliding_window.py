import jax
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


def attend(qkv, *, size, **request):
    window = variants.get("sliding_window", size=size)
    return jax.jit(lambda *qkv: window.attend({}, *qkv, Options(**request)))(*qkv)


@pytest.mark.parametrize("size", [2, 3])
def test_matches_its_equation(qkv, size):
    got = attend(qkv, size=size)
    q, k, v = (np.asarray(x, np.float64) for x in qkv)
    for b, t, h in np.ndindex(got.shape[:-1]):
        weights = np.exp(k[b, :, h // 2] @ q[b, t, h] / np.sqrt(8))
        weights = np.where(abs(t - np.arange(5)) < size, weights, 0)
        expected = weights @ v[b, :, h // 2] / weights.sum()
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


def test_a_window_of_one_position_returns_the_values(qkv):
    _, _, v = qkv
    got = attend(qkv, size=1)
    np.testing.assert_allclose(got, v.repeat(2, axis=2), rtol=1e-6)


def test_the_callers_mask_holds_as_well(qkv):
    got = attend(qkv, size=2, mask=masks.causal)
    expected = variants.get("scaled_dot").attend
    both = masks.causal & masks.sliding_window(2)
    np.testing.assert_array_equal(
        got, jax.jit(lambda *x: expected({}, *x, Options(mask=both)))(*qkv)
    )


def test_a_window_must_hold_a_position():
    with pytest.raises(ValueError, match="at least 1 position; got 0"):
        variants.get("sliding_window", size=0)
