import jax
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


def oracle(q, k, v, height, width, size):
    """Attention of each place of a grid to the `size` x `size` places around it, moved inside."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    q, k, v = (x.reshape(-1, height, width, *x.shape[2:]) for x in (q, k, v))
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, y, x, h in np.ndindex(q.shape[:-1]):
        top = min(max(y - size // 2, 0), height - size)
        left = min(max(x - size // 2, 0), width - size)
        keys, values = (
            z[b, top : top + size, left : left + size, h // 2].reshape(size**2, -1) for z in (k, v)
        )
        weights = np.exp(keys @ q[b, y, x, h] / np.sqrt(q.shape[-1]))
        out[b, y, x, h] = weights @ values / weights.sum()
    return out.reshape(out.shape[0], height * width, *out.shape[3:])


@pytest.mark.parametrize("height, width, size", [(4, 5, 3), (3, 3, 1)])
def test_matches_its_equation(draw, height, width, size):
    count = height * width
    qkv = draw(2, count, 4, 8), draw(2, count, 2, 8), draw(2, count, 2, 6)
    attend = variants.get("neighborhood", size=size, width=width, height=height).attend
    got = jax.jit(attend)({}, *qkv)
    expected = oracle(*qkv, height, width, size)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_window_of_the_whole_grid_is_scaled_dot(draw):
    qkv = draw(1, 9, 4, 8), draw(1, 9, 2, 8), draw(1, 9, 2, 6)
    got, expected = (
        jax.jit(variants.get(name, **options).attend)({}, *qkv)
        for name, options in (("neighborhood", {"size": 3, "width": 3}), ("scaled_dot", {}))
    )
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.slow
def test_looking_back_it_sees_the_neighbors_before(draw):
    qkv = draw(1, 9, 4, 8), draw(1, 9, 2, 8), draw(1, 9, 2, 6)
    attend = variants.get("neighborhood", size=1, width=3).attend
    got = jax.jit(lambda *qkv: attend({}, *qkv, Options(mask=masks.causal)))(*qkv)
    np.testing.assert_allclose(got, qkv[2].repeat(2, axis=2), rtol=1e-6)


def test_bad_options_and_longer_sequences_are_refused(qkv):
    with pytest.raises(ValueError, match="`size` must be odd.*; got 2. The nearest below is 1"):
        variants.get("neighborhood", size=2)
    with pytest.raises(ValueError, match="`width` must be a whole number of at least 1; got 0"):
        variants.get("neighborhood", width=0)
    small = variants.get("neighborhood", size=1, width=2)
    with pytest.raises(ValueError, match="5 positions, and 2 rows of 2. Raise `height` or `width`"):
        small.attend({}, *qkv)
