import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def oracle(q, k, v, bound=0.0, normalize=True, visible=None):
    """The recurrence of arXiv:2404.07904, one position after another."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    heads, groups = q.shape[2], k.shape[2]
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, h in np.ndindex(q.shape[0], heads):
        at, state = h * groups // heads, np.zeros((q.shape[-1], v.shape[-1]))
        for t in range(q.shape[1]):
            if visible is None or visible[b, t]:
                forget = bound + (1 - bound) * sigmoid(k[b, t, at])
                state = forget[:, None] * state + np.outer(1 - forget, v[b, t, at])
            out[b, t, h] = q[b, t, h] * sigmoid(q[b, t, h]) @ state
    if normalize:
        out /= np.sqrt((out**2).mean((-2, -1), keepdims=True) + 1e-5)
    return out


def run(qkv, mask=masks.causal, **options):
    variant = variants.get("hgrn2", **options)
    return jax.jit(lambda *x: variant.attend({}, *x, Options(mask=mask)))(*qkv)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("bound", [0.0, 0.3])
def test_matches_its_equation(qkv, bound, normalize):
    got = run(qkv, lower_bound=bound, normalize=normalize)
    np.testing.assert_allclose(got, oracle(*qkv, bound, normalize), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_more_than_three_chunks_match_too(draw):
    qkv = draw(1, 213, 4, 8), draw(1, 213, 2, 8), draw(1, 213, 2, 6)
    np.testing.assert_allclose(run(qkv), oracle(*qkv), rtol=1e-5, atol=5e-6)


@pytest.mark.slow
def test_a_hidden_key_lets_nothing_fade(qkv):
    visible = jnp.ones((2, 5), bool).at[:, 2].set(False)
    got = run(qkv, masks.causal & masks.keys(visible), lower_bound=0.3)
    expected = oracle(*qkv, 0.3, visible=np.asarray(visible))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_gates_that_shut_at_once_match_too(draw):
    qkv = draw(1, 70, 4, 8), 30 * draw(1, 70, 2, 8), draw(1, 70, 2, 6)
    np.testing.assert_allclose(run(qkv), oracle(*qkv), rtol=1e-5, atol=5e-6)


def test_the_bound_is_a_share():
    with pytest.raises(ValueError, match=r"`lower_bound` must be a Python number in \[0, 1\)"):
        variants.get("hgrn2", lower_bound=1.0)
