import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.core import masks
from attention_jax.core.numerics import kept_pairs
from attention_jax.engine import chosen_blocks
from attention_jax.engine.chosen_blocks import Pairs

NONE = -1


def oracle(q, k, v, chosen, size, mask=None, offsets=(0, 0), keep=None):
    """The claim in float64 loops."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    b, t, h, d = q.shape
    out, lse = np.zeros((b, t, h, v.shape[-1])), np.full((b, t, h), -np.inf)
    for n, i, head in np.ndindex(b, t, h):
        at, own = head * k.shape[2] // h, chosen[n, i, head * chosen.shape[2] // h]
        places = (n, head, offsets[0] + i)
        keys = [
            j
            for j in range(k.shape[1])
            if j // size in own and (mask is None or mask(*places, offsets[1] + j))
        ]
        if keys:
            logits = k[n, keys, at] @ q[n, i, head] / np.sqrt(d)
            lse[n, i, head] = np.log(np.exp(logits).sum())
            weights = np.exp(logits - lse[n, i, head])
            kept = 1 if keep is None else keep[n, head, i, keys]
            out[n, i, head] = (weights * kept) @ v[n, keys, at]
    return out, lse


def inputs(t=37, s=41, h=4, g=2, d=8, e=6, b=2):
    draw = np.random.default_rng(0)
    shapes = (b, t, h, d), (b, s, g, d), (b, s, g, e)
    return tuple(jnp.asarray(draw.normal(size=x), jnp.float32) for x in shapes)


def choices(t, blocks, heads, n, b=2, seed=1):
    """Different blocks for each query, some of them missing."""
    draw = np.random.default_rng(seed)
    found = np.stack([draw.permutation(blocks)[:n] for _ in range(b * t * heads)])
    found[draw.random(found.shape) < 0.2] = NONE
    return jnp.asarray(found.reshape(b, t, heads, n), jnp.int32)


def banded(b, h, i, j):
    return (i - j < 9 + h) & (j <= i)


@pytest.mark.parametrize(("heads", "mask"), [(2, None), (4, masks.causal), (2, banded)])
def test_matches_the_equation(heads, mask):
    q, k, v = inputs()
    chosen = choices(37, 6, heads, 3)
    run = jax.jit(lambda *x: chosen_blocks.attend(*x, 7, Pairs(mask, 2, 1)))
    out, lse = run(q, k, v, chosen)
    want, want_lse = oracle(q, k, v, chosen, 7, mask, (2, 1))
    np.testing.assert_allclose(out, want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(lse, want_lse, rtol=1e-5, atol=1e-6)


def test_popular_blocks_take_more_than_a_group():
    q, k, v = inputs(t=150)
    chosen = np.zeros((2, 150, 2, 2), np.int32)
    chosen[..., 1] = 5
    out, _ = jax.jit(lambda *x: chosen_blocks.attend(*x, 7, Pairs()))(q, k, v, chosen)
    np.testing.assert_allclose(out, oracle(q, k, v, chosen, 7)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_many_turns_are_one(monkeypatch):
    q, k, v = inputs()
    chosen = choices(37, 6, 2, 3)
    monkeypatch.setattr(chosen_blocks, "HELD", 2000)
    out, _ = jax.jit(lambda *x: chosen_blocks.attend(*x, 7, Pairs(masks.causal)))(q, k, v, chosen)
    want, _ = oracle(q, k, v, chosen, 7, masks.causal)
    np.testing.assert_allclose(out, want, rtol=1e-5, atol=1e-6)


def dense(q, k, v, chosen, size):
    """The same with a softmax of all pairs, for derivatives."""
    r = q.shape[2] // k.shape[2]
    k, v = (jnp.repeat(x, r, 2) for x in (k, v))
    logits = jnp.einsum("bthd,bshd->bhts", q, k) * q.shape[-1] ** -0.5
    block = np.arange(k.shape[1]) // size
    seen = (
        np.repeat(np.asarray(chosen), q.shape[2] // chosen.shape[2], 2)[..., None] == block
    ).any(3)
    seen = jnp.asarray(seen.transpose(0, 2, 1, 3))
    high = jax.lax.stop_gradient(jnp.where(seen, logits, -1e30).max(-1, keepdims=True))
    powers = jnp.where(seen, jnp.exp(jnp.where(seen, logits - high, 0)), 0)
    total = powers.sum(-1, keepdims=True)
    weights = powers / jnp.where(total == 0, 1, total)
    return jnp.einsum("bhts,bshe->bthe", weights, v)


def test_gradients_are_those_of_a_softmax_over_the_chosen_keys():
    q, k, v = inputs()
    chosen = choices(37, 6, 2, 3)

    def loss(attend):
        return jax.jit(jax.grad(lambda x: jnp.sin(attend(*x)).sum()))

    got = loss(lambda *x: chosen_blocks.attend(*x, chosen, 7, Pairs())[0])((q, k, v))
    want = loss(lambda *x: dense(*x, chosen, 7))((q, k, v))
    for one, other in zip(got, want, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_dropout_goes_by_global_positions():
    q, k, v = inputs()
    chosen, key, rate = choices(37, 6, 2, 3), jax.random.key(3), 0.4
    own = Pairs(masks.causal, 2, 1, rate, key)
    out, _ = jax.jit(lambda *x: chosen_blocks.attend(*x, 7, own))(q, k, v, chosen)
    at = np.ix_(*map(np.arange, (2, 4, 37, 41)))
    keep = kept_pairs(key, rate, tuple(map(jnp.asarray, (*at[:2], at[2] + 2, at[3] + 1))))
    keep = np.where(keep, 1 / (1 - rate), 0)
    want, _ = oracle(q, k, v, chosen, 7, masks.causal, (2, 1), keep)
    np.testing.assert_allclose(out, want, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_key_that_is_not_finite_spoils_those_that_see_it():
    q, k, v = inputs()
    chosen = choices(37, 6, 2, 3)
    out, _ = chosen_blocks.attend(q, k, v.at[0, 3, 0].set(jnp.nan), chosen, 7, Pairs())
    spoiled = np.isnan(np.asarray(out)).any((3,))
    want = np.zeros_like(spoiled)
    want[0, :, :2] = (np.asarray(chosen)[0, :, 0] == 0).any(-1)[:, None]
    np.testing.assert_array_equal(spoiled, want)
