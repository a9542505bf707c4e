import jax
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


@pytest.mark.parametrize("dilation, size", [(2, 2), (3, 2), (2, 3)])
def test_matches_its_equation(qkv, dilation, size):
    got = jax.jit(variants.get("dilated", size=size, dilation=dilation).attend)({}, *qkv)
    q, k, v = (np.asarray(x, np.float64) for x in qkv)
    for b, t, h in np.ndindex(got.shape[:-1]):
        # Steps to both sides, as far as the sequence goes.
        seen = [t + n * dilation for n in range(-size + 1, size) if 0 <= t + n * dilation < 5]
        weights = np.exp(k[b, seen, h // 2] @ q[b, t, h] / np.sqrt(8))
        expected = weights @ v[b, seen, h // 2] / weights.sum()
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


def test_without_gaps_it_is_a_sliding_window(qkv):
    got, expected = (
        jax.jit(variants.get(name, size=2, **options).attend)({}, *qkv)
        for name, options in (("dilated", {"dilation": 1}), ("sliding_window", {}))
    )
    np.testing.assert_array_equal(got, expected)


@pytest.mark.slow
def test_the_callers_mask_holds_as_well(qkv):
    dilated = variants.get("dilated", size=2, dilation=2).attend
    got = jax.jit(lambda *qkv: dilated({}, *qkv, Options(mask=masks.causal)))(*qkv)
    # Before position 2 there is no step back, so that a query sees its own value alone.
    np.testing.assert_allclose(got[:, :2], qkv[2][:, :2].repeat(2, axis=2), rtol=1e-6)
    assert np.abs(got[:, 2:] - qkv[2][:, 2:].repeat(2, axis=2)).max() > 0.1


def test_a_step_holds_a_position():
    with pytest.raises(ValueError, match="`dilation` must be a whole number of at least 1; got 0"):
        variants.get("dilated", dilation=0)
