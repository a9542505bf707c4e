import jax
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


def silu(x):
    x = np.asarray(x, np.float64)
    return x / (1 + np.exp(-x))


def oracle(q, k, v, factor=1.0, normalize=True):
    """The recurrence of arXiv:2501.08313, one position after another."""
    q, k, v = map(silu, (q, k, v))
    heads, groups = q.shape[2], k.shape[2]
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, h in np.ndindex(q.shape[0], heads):
        at, state = h * groups // heads, 0
        for t in range(q.shape[1]):
            kept = np.exp(-factor * 2.0 ** (-8 * (h + 1) / heads))
            state = kept * state + np.outer(k[b, t, at], v[b, t, at])
            out[b, t, h] = q[b, t, h] @ state
    if normalize:
        out /= np.sqrt((out**2).mean((-2, -1), keepdims=True) + 1e-5)
    return out


def run(qkv, **options):
    variant = variants.get("lightning", **options)
    return jax.jit(lambda *x: variant.attend({}, *x, Options(mask=masks.causal)))(*qkv)


@pytest.mark.parametrize("options", [{}, {"factor": 0.25, "normalize": False}])
def test_matches_its_equation(qkv, options):
    expected = oracle(*qkv, **options)
    np.testing.assert_allclose(run(qkv, **options), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_more_than_three_chunks_match_too(draw):
    qkv = draw(1, 213, 4, 8), draw(1, 213, 2, 8), draw(1, 213, 2, 6)
    np.testing.assert_allclose(run(qkv), oracle(*qkv), rtol=1e-5, atol=5e-6)


def test_passes_both_ways_are_refused(qkv):
    with pytest.raises(ValueError, match="lightning takes in one .* must hold `masks.causal`"):
        variants.get("lightning").attend({}, *qkv)
