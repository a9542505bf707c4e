import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


def silu(x):
    return x / (1 + np.exp(-x))


def oracle(params, q, k, v, normalize=True):
    """Section 3 of arXiv:2406.06484, one position after another."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, h in np.ndindex(q.shape[0], q.shape[2]):
        at, state = h * k.shape[2] // q.shape[2], np.zeros((v.shape[-1], k.shape[-1]))
        heads = {"q": q[b, :, h], "k": k[b, :, at], "v": v[b, :, at]}
        for t in range(q.shape[1]):
            now = {name: silu(convolved(params, name, x, h, t)) for name, x in heads.items()}
            query, key = (now[x] / np.sqrt((now[x] ** 2).sum() + 1e-6) for x in ("q", "k"))
            beta = 1 / (1 + np.exp(-params["strength"][h] @ heads["k"][t]))
            state = state @ (np.eye(len(key)) - beta * np.outer(key, key))
            state = state + beta * np.outer(now["v"], key)
            row = state @ query
            out[b, t, h] = row / np.sqrt((row**2).mean() + 1e-5) if normalize else row
    return out


def convolved(params, name, x, h, t):
    if "taps" not in params:
        return x[t]
    taps = params["taps"][name][h]
    return sum(taps[lag] * x[t - lag] for lag in range(min(len(taps), t + 1)))


def made(**options):
    variant = variants.get("delta", **options)
    return variant, variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("options", [{}, {"convolution": None}, {"convolution": 1}])
@pytest.mark.parametrize("normalize", [True, False])
def test_matches_section_3(qkv, options, normalize):
    variant, params = made(normalize=normalize, **options)
    assert ("taps" in params) == (options.get("convolution", 4) is not None)
    got = jax.jit(lambda *x: variant.attend(params, *x, Options(mask=masks.causal)))(*qkv)
    np.testing.assert_allclose(got, oracle(params, *qkv, normalize), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_more_than_three_chunks_match_too(draw):
    variant, params = made(normalize=False)
    qkv = draw(1, 213, 4, 8), draw(1, 213, 2, 8), draw(1, 213, 2, 6)
    got = jax.jit(lambda *x: variant.attend(params, *x, Options(mask=masks.causal)))(*qkv)
    np.testing.assert_allclose(got, oracle(params, *qkv, False), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_hidden_key_writes_nothing(qkv):
    """And no later query, key or value takes in what stands there."""
    variant, params = made()
    visible = jnp.ones((2, 5), bool).at[:, 1].set(False)
    mask = masks.causal & masks.keys(visible)
    run = jax.jit(lambda *x: variant.attend(params, *x, Options(mask=mask)))
    out, other = run(*qkv), run(*(x.at[:, 1].set(5.0) for x in qkv))
    np.testing.assert_array_equal(out[:, 2:], other[:, 2:])
    assert (out[:, 1] != other[:, 1]).any()


def test_passes_both_ways_and_bad_options_are_refused(qkv):
    variant, params = made()
    with pytest.raises(ValueError, match="delta takes in one .* must hold `masks.causal`"):
        variant.attend(params, *qkv)
    with pytest.raises(ValueError, match="`convolution` must be .*; got 0. Use None"):
        variants.get("delta", convolution=0)
