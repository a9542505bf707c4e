import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


def turned(x, position):
    """x e^(i n theta), with pairs of channels as complex numbers."""
    rates = 10_000.0 ** (-np.arange(0, len(x), 2) / len(x))
    pairs = (x[0::2] + 1j * x[1::2]) * np.exp(1j * position * rates)
    return np.stack([pairs.real, pairs.imag], axis=-1).reshape(-1)


def oracle(q, k, v, rotate=True, normalize=True):
    """Equations 6 and 8 of arXiv:2307.08621, one position after another."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, h in np.ndindex(q.shape[0], q.shape[2]):
        gamma, at, state = 1 - 2.0 ** (-5 - h), h * k.shape[2] // q.shape[2], 0
        for t in range(q.shape[1]):
            query, key = (turned(x, t) if rotate else x for x in (q[b, t, h], k[b, t, at]))
            state = gamma * state + np.outer(key, v[b, t, at])
            row = query @ state / np.sqrt(len(query))
            if normalize:
                row = (row - row.mean()) / np.sqrt(row.var() + 1e-5)
            out[b, t, h] = row
    return out


def run(qkv, mask=masks.causal, **options):
    return jax.jit(
        lambda *x: variants.get("retention", **options).attend({}, *x, Options(mask=mask))
    )(*qkv)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("rotate", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
def test_matches_equations_6_and_8(qkv, rotate, normalize):
    got = run(qkv, rotate=rotate, normalize=normalize)
    np.testing.assert_allclose(got, oracle(*qkv, rotate, normalize), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_more_than_three_chunks_match_too(draw):
    qkv = draw(1, 213, 4, 8), draw(1, 213, 2, 8), draw(1, 213, 2, 6)
    # Angles of up to 213 have a float32 of their own: without rotation it is the sums that count.
    got = run(qkv, rotate=False, normalize=False)
    np.testing.assert_allclose(got, oracle(*qkv, False, False), rtol=1e-5, atol=5e-6)


@pytest.mark.slow
def test_distances_across_a_hidden_key_count(qkv):
    q, k, v = qkv
    visible = jnp.ones((2, 5), bool).at[:, 2].set(False)
    got = run(qkv, masks.causal & masks.keys(visible), normalize=False)
    expected = oracle(q, k.at[:, 2].set(0.0), v, normalize=False)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_passes_both_ways_are_refused(qkv):
    with pytest.raises(ValueError, match="retention takes in one .* must hold `masks.causal`"):
        variants.get("retention").attend({}, *qkv)


@pytest.mark.slow
def test_rotation_needs_pairs_of_channels(draw):
    qkv = draw(1, 3, 2, 7), draw(1, 3, 2, 7), draw(1, 3, 2, 6)
    with pytest.raises(ValueError, match="must be even"):
        variants.get("retention").attend({}, *qkv, Options(mask=masks.causal))
    assert run(qkv, rotate=False).shape == (1, 3, 2, 6)
