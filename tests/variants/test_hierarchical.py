import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


def softmax(x):
    powers = np.exp(x - x.max())
    return powers / powers.sum()


def oracle(w, qkv, size, visible, key_offset=0):
    """Two softmaxes, in a loop over segments; `visible` is [t s]."""
    q, k, v, w = (np.asarray(x, np.float64) for x in (*qkv, w))
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    segment = (key_offset + np.arange(k.shape[1])) // size
    for b, t, h in np.ndindex(out.shape[:-1]):
        keys, values = [], []
        for m in np.unique(segment):
            here = visible[t] & (segment == m)
            if here.any():
                inner = softmax(k[b, here, h // 2] @ q[b, t, h] / np.sqrt(8))
                keys.append(inner @ k[b, here, h // 2])
                values.append(inner @ v[b, here, h // 2])
        if keys:
            weights = softmax(np.array([q[b, t, h] @ w @ key for key in keys]))
            out[b, t, h] = weights @ np.array(values)
    return out


@pytest.mark.sampled(1)
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("causal", [False, True])
def test_matches_its_equation(qkv, draw, size, causal):
    w, variant = draw(8, 8) / 3, variants.get("hierarchical", size=size)
    mask = masks.causal if causal else None
    got = jax.jit(lambda *qkv: variant.attend({"w": w}, *qkv, Options(mask=mask)))(*qkv)
    visible = np.tril(np.ones((5, 5), bool)) if causal else np.ones((5, 5), bool)
    np.testing.assert_allclose(got, oracle(w, qkv, size, visible), rtol=1e-5, atol=1e-6)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("traced", [False, True])
def test_segments_are_those_of_the_whole_sequence(qkv, draw, traced):
    w, variant = draw(8, 8) / 3, variants.get("hierarchical", size=3)

    def attend(offset):
        near = masks.causal & masks.sliding_window(3)
        at = {"mask": near, "query_offset": offset, "key_offset": offset}
        return variant.attend({"w": w}, *qkv, Options(**at))

    got = jax.jit(attend)(jnp.int32(4)) if traced else jax.jit(lambda: attend(4))()
    distance = np.arange(5)[:, None] - np.arange(5)
    expected = oracle(w, qkv, 3, (distance >= 0) & (distance < 3), key_offset=4)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_one_segment_is_the_softmax_of_its_words(qkv, draw):
    got = jax.jit(variants.get("hierarchical", size=9).attend)({"w": draw(8, 8)}, *qkv)
    expected = jax.jit(variants.get("scaled_dot").attend)({}, *qkv)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_segments_of_one_word_are_the_softmax_where_w_starts(qkv):
    variant = variants.get("hierarchical", size=1)
    params = variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8)
    expected = jax.jit(variants.get("scaled_dot").attend)({}, *qkv)
    np.testing.assert_allclose(
        jax.jit(variant.attend)(params, *qkv), expected, rtol=1e-5, atol=1e-6
    )


@pytest.mark.slow
def test_dropout_acts_on_both_levels(qkv):
    q, k, _ = qkv
    # Equal scores: each weight is 1 / 2 within a segment of 2 and 1 / 3 between, or half of that
    # for the last segment's single word; dropout doubles a weight, or takes it away.
    units = jnp.broadcast_to(jnp.eye(6)[None, :, None], (2, 6, 2, 6))
    zeros = jnp.zeros((2, 6, 2, 8))
    params = {"w": jnp.eye(8)}
    drop = {"dropout_rate": 0.5, "dropout_key": jax.random.key(0)}
    variant = variants.get("hierarchical", size=2)
    weights = np.asarray(
        jax.jit(lambda: variant.attend(params, q, zeros, units, Options(**drop)))()
    )
    np.testing.assert_allclose(np.unique(weights.round(5)), [0, 0.66667])
    halves = (weights > 0).reshape(2, 5, 4, 3, 2)
    assert (halves.sum(-1) == 1).any(), "words are dropped by themselves"
    assert 0.15 < halves.mean() < 0.35, "a quarter passes both levels"


def test_wrong_arguments_are_refused(qkv):
    with pytest.raises(ValueError, match="`size` must be a whole number of at least 1; got 0"):
        variants.get("hierarchical", size=0)
    with pytest.raises(ValueError, match="`dropout_key` must be given"):
        variants.get("hierarchical").attend({"w": jnp.eye(8)}, *qkv, Options(dropout_rate=0.5))
