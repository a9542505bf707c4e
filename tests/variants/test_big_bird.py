import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options

SMALL = {"block": 2, "window": 3, "global_blocks": 1, "random": 2}
BLOCKS, HEADS = 14, 4


def blocks_seen(mask=None, heads=HEADS, **options):
    """Which block of queries of each head sees which block of keys, [h, blocks, blocks].

    Values are unit vectors, so that the output is the weights.
    """
    variant = variants.get("big_bird", **{**SMALL, **options})
    s = 2 * BLOCKS
    q, k, v = jnp.zeros((1, s, heads, 4)), jnp.zeros((1, s, 1, 4)), jnp.eye(s)[None, :, None]
    weights = jax.jit(lambda q, k, v: variant.attend({}, q, k, v, Options(mask=mask)))(q, k, v)[0]
    pairs = np.asarray(weights > 0).reshape(BLOCKS, 2, heads, BLOCKS, 2).transpose(2, 0, 3, 1, 4)
    any_seen, all_seen = pairs.any((3, 4)), pairs.all((3, 4))
    if mask is None:
        np.testing.assert_array_equal(any_seen, all_seen)  # whole blocks are seen or not
    return any_seen


@pytest.mark.slow
def test_near_and_global_blocks_are_seen_and_as_many_others_as_were_drawn():
    seen = blocks_seen()
    for h, i in np.ndindex(HEADS, BLOCKS):
        assert seen[h, i, 0] and seen[h, 0, i], "the first block is global"
        assert seen[h, i, max(i - 1, 0) : i + 2].all(), "neighbors are near"
        others = seen[h, i, 1 : max(i - 1, 1)]
        assert others.sum() == min(2, len(others)), "two of the blocks before are drawn"
    np.testing.assert_array_equal(seen, seen.transpose(0, 2, 1))


def test_output_is_the_softmax_over_what_is_seen(draw):
    s = 2 * BLOCKS
    q, k, v = draw(1, s, HEADS, 8), draw(1, s, 2, 8), draw(1, s, 2, 6)
    got = jax.jit(variants.get("big_bird", **SMALL).attend)({}, q, k, v)
    seen = blocks_seen().repeat(2, axis=1).repeat(2, axis=2)
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    for t, h in np.ndindex(s, HEADS):
        at = seen[h, t]
        weights = np.exp(k[0, at, h // 2] @ q[0, t, h] / np.sqrt(8))
        expected = weights @ v[0, at, h // 2] / weights.sum()
        np.testing.assert_allclose(got[0, t, h], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_draws_differ_between_heads_and_seeds_and_are_repeatable():
    first, again, other = blocks_seen(seed=0), blocks_seen(seed=0), blocks_seen(seed=2**32 - 1)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert all((first[0] != first[h]).any() for h in range(1, HEADS))


@pytest.mark.slow
def test_draws_reach_all_blocks_alike():
    drawn = blocks_seen(heads=160, random=1)[:, -1, 1:-2]
    np.testing.assert_array_equal(drawn.sum(1), 1)
    # 160 draws of 11 blocks: each is drawn 14.5 times, with a deviation of 3.6.
    assert drawn.sum(0).min() >= 4 and drawn.sum(0).max() <= 25


@pytest.mark.slow
def test_looking_back_the_pattern_is_the_same():
    before = np.tril(np.ones((BLOCKS, BLOCKS), bool))[None]
    np.testing.assert_array_equal(blocks_seen(masks.causal), blocks_seen() & before)


@pytest.mark.slow
def test_without_global_and_random_blocks_it_is_a_window_of_blocks():
    near = np.abs(np.arange(BLOCKS)[:, None] - np.arange(BLOCKS)) <= 2
    seen = blocks_seen(window=5, global_blocks=0, random=0)
    np.testing.assert_array_equal(seen, np.broadcast_to(near, seen.shape))


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="`window` must be odd.*; got 2. The nearest below is 1"):
        variants.get("big_bird", window=2)
    with pytest.raises(ValueError, match="`block` must be a whole number of at least 1; got 0"):
        variants.get("big_bird", block=0)
    with pytest.raises(ValueError, match="`random` must be a whole number from 0 .*; got -1"):
        variants.get("big_bird", random=-1)
    with pytest.raises(ValueError, match="`seed` must be a whole number from 0 .*; got 4294967296"):
        variants.get("big_bird", seed=2**32)
