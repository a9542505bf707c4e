import jax
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


def oracle(q, k, v, stride):
    """Section 4.3 of arXiv:1904.10509, whose sets A1 and A2 look back, for one merged head."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, t, h in np.ndindex(q.shape[:-1]):
        near = set(range(max(0, t - stride), t + 1))
        column = {j for j in range(t + 1) if (t - j) % stride == 0}
        seen = sorted(near | column)
        weights = np.exp(k[b, seen, h // 2] @ q[b, t, h] / np.sqrt(q.shape[-1]))
        out[b, t, h] = weights @ v[b, seen, h // 2] / weights.sum()
    return out


@pytest.mark.parametrize("stride", [2, 3])
def test_looking_back_it_is_the_papers(draw, stride):
    qkv = draw(2, 9, 4, 8), draw(2, 9, 2, 8), draw(2, 9, 2, 6)
    attend = variants.get("strided", stride=stride).attend
    got = jax.jit(lambda *qkv: attend({}, *qkv, Options(mask=masks.causal)))(*qkv)
    np.testing.assert_allclose(got, oracle(*qkv, stride), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_both_ways_the_pattern_is_the_same(draw):
    """Reversed in time, queries see the reversed keys."""
    qkv = draw(1, 9, 4, 8), draw(1, 9, 2, 8), draw(1, 9, 2, 6)
    attend = jax.jit(variants.get("strided", stride=4).attend)
    backwards = attend({}, *(x[:, ::-1] for x in qkv))
    got = attend({}, *qkv)
    np.testing.assert_allclose(got, backwards[:, ::-1], rtol=1e-5, atol=1e-6)
    # Query 0 sees keys 0 to 3, and of the others 4 and 8.
    changed = qkv[2].at[:, 5:8].add(1.0)
    np.testing.assert_array_equal(attend({}, *qkv[:2], changed)[:, 0], got[:, 0])
    for seen in (3, 4, 8):
        changed = qkv[2].at[:, seen].add(1.0)
        assert (attend({}, *qkv[:2], changed)[:, 0] != got[:, 0]).all()


def test_a_stride_holds_a_position():
    with pytest.raises(ValueError, match="`stride` must be a whole number of at least 1; got 0"):
        variants.get("strided", stride=0)
