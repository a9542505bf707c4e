"""Blocks that the Pallas kernels visit, and their sizes; results are tested in `test_pallas`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.core import masks
from attention_jax.engine import pallas_blocks
from attention_jax.engine.block_map import Shape, TracedMask

CAUSAL = [TracedMask.of(masks.causal)]
SHAPE = Shape(b=2, g=2, r=2, t=64, s=64)


def test_only_blocks_that_are_not_empty_are_visited():
    tiling = pallas_blocks.tiling(SHAPE, CAUSAL, (0, 0), (16, 16))
    lists = pallas_blocks.lists(tiling, by_keys=False)
    np.testing.assert_array_equal(lists["partial"], [[[0, 1], [1, 2], [2, 3], [3, 4]]])
    np.testing.assert_array_equal(lists["full"], [[[0, 0], [0, 1], [0, 2], [0, 3]]])
    lists = pallas_blocks.lists(tiling, by_keys=True)
    np.testing.assert_array_equal(lists["full"], [[[1, 4], [2, 4], [3, 4], [0, 0]]])


def test_heads_share_a_list_unless_the_mask_tells_them_apart():
    apart = masks.lengths(jnp.asarray([64, 16], jnp.int32))
    assert pallas_blocks.tiling(SHAPE, CAUSAL, (0, 0), (16, 16)).counts == (1, 4, 4)
    tiling = pallas_blocks.tiling(SHAPE, [TracedMask.of(apart)], (0, 0), (16, 16))
    assert tiling.counts == (4, 4, 4)
    lists = pallas_blocks.lists(tiling, by_keys=False)
    np.testing.assert_array_equal(lists["full"][:, 0], [[0, 4], [0, 4], [0, 1], [0, 1]])
    assert "partial" not in lists


def visited(line):
    """The blocks of a line, as `pallas_kernels` reads them."""
    if len(line) == pallas_blocks.ONE_RUN:
        return list(range(*line))
    if len(line) == pallas_blocks.TWO_RUNS:
        first, last, shift, start = line
        return [n if n < start else n + shift for n in range(first, last)]
    return list(line[1 : 1 + line[0]])


@pytest.mark.parametrize(("runs", "width"), [(1, 2), (2, 4), (3, 5), (6, 7)])
def test_every_list_names_the_blocks_that_are_hit(runs, width):
    random, hit = np.random.default_rng(runs), np.zeros((2, 9, 12), bool)
    hit[0, 0, : 2 * runs : 2] = True  # as many runs as there may be, of one block each
    for line in hit.reshape(-1, 12)[1:]:
        edges = np.sort(random.choice(13, 2 * random.integers(0, min(runs, 2) + 1), replace=False))
        for first, last in edges.reshape(-1, 2):
            line[first:last] = True
    hit[0, 1:, 3:] &= runs < 3  # so that a list of the blocks is short
    hit[1] &= runs < 3
    got = pallas_blocks.listed(hit)
    assert got.shape == (2, 9, width)
    for places, line in zip(hit.reshape(-1, 12), got.reshape(-1, width), strict=True):
        assert visited(line) == list(np.flatnonzero(places))


def test_smaller_blocks_cover_the_same_pairs():
    shape = SHAPE._replace(t=56, s=60)
    for mask in (masks.causal, masks.causal & masks.sliding_window(24), masks.full):
        whole = pallas_blocks.tiling(shape, [TracedMask.of(mask)], (0, 0), (32, 64))
        parts = pallas_blocks.refined(whole, shape, (16, 16))
        exact = pallas_blocks.tiling(shape, [TracedMask.of(mask)], (0, 0), (16, 16))
        assert parts.sizes == exact.sizes and parts.counts == exact.counts == (1, 4, 4)
        needed = np.concatenate([exact.full, exact.partial])
        full, partial, sure, needed = (
            {tuple(x) for x in places.tolist()}
            for places in (parts.full, parts.partial, exact.full, needed)
        )
        assert full <= sure
        assert needed <= full | partial and not full & partial


@pytest.mark.parametrize(
    ("dtype", "length", "width", "forward", "backward"),
    [
        (jnp.bfloat16, 1000, 64, (128, 64, 4), (64, 64, 4)),
        (jnp.float16, 1000, 65, (128, 64, 8), (64, 64, 4)),  # a tile is a power of 2: 128 wide
        (jnp.bfloat16, 1000, 256, (32, 64, 4), (32, 32, 4)),
        (jnp.float32, 1000, 64, (128, 32, 4), (64, 32, 4)),
        (jnp.float32, 1000, 128, (128, 32, 4), (32, 16, 4)),
        (jnp.float32, 1000, 256, (64, 16, 4), (16, 16, 4)),
        (jnp.float32, 20, 8, (32, 32, 4), (32, 32, 4)),
        (jnp.float32, 3, 8, (16, 16, 4), (16, 16, 4)),
    ],
)
def test_wide_vectors_make_small_blocks(dtype, length, width, forward, backward):
    x = jax.ShapeDtypeStruct((1, length, 2, width), dtype)
    for table, sizes in ((pallas_blocks.FORWARD, forward), (pallas_blocks.BACKWARD, backward)):
        assert pallas_blocks.launch(table, x, x, x, longest=False) == sizes
