"""What the kernels visit, and what they hold; their results are tested with `kernels`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.core import masks
from attention_jax.engine import pallas_kernels
from attention_jax.engine.block_map import Shape, TracedMask

CAUSAL = [TracedMask.of(masks.causal)]
SHAPE = Shape(b=2, g=2, r=2, t=64, s=64)


def test_only_blocks_that_are_not_empty_are_visited():
    tiling = pallas_kernels.tiling(SHAPE, CAUSAL, (0, 0), (16, 16))
    lists = pallas_kernels.lists(tiling, by_keys=False)
    np.testing.assert_array_equal(lists["counts"], [[[1, 1], [1, 2], [1, 3], [1, 4]]])
    np.testing.assert_array_equal(lists["order"][0, 2, :3], [2, 0, 1])  # the masked one first
    lists = pallas_kernels.lists(tiling, by_keys=True)
    np.testing.assert_array_equal(lists["counts"], [[[1, 4], [1, 3], [1, 2], [1, 1]]])


def test_heads_share_a_list_unless_the_mask_tells_them_apart():
    apart = masks.lengths(jnp.asarray([64, 16], jnp.int32))
    assert pallas_kernels.tiling(SHAPE, CAUSAL, (0, 0), (16, 16)).counts == (1, 4, 4)
    tiling = pallas_kernels.tiling(SHAPE, [TracedMask.of(apart)], (0, 0), (16, 16))
    assert tiling.counts == (4, 4, 4)
    counts = pallas_kernels.lists(tiling, by_keys=False)["counts"]
    np.testing.assert_array_equal(counts[:, 0], [[0, 4], [0, 4], [0, 1], [0, 1]])


@pytest.mark.parametrize(
    ("dtype", "length", "width", "sizes"),
    [
        (jnp.bfloat16, 1000, 64, (64, 64)),
        (jnp.bfloat16, 1000, 256, (32, 32)),
        (jnp.float32, 1000, 64, (64, 32)),
        (jnp.float32, 1000, 65, (32, 16)),  # a tile is a power of 2: 128 wide
        (jnp.float32, 1000, 256, (16, 16)),
        (jnp.float32, 20, 8, (32, 32)),
        (jnp.float32, 3, 8, (16, 16)),
    ],
)
def test_wide_vectors_make_small_blocks(dtype, length, width, sizes):
    x = jax.ShapeDtypeStruct((1, length, 2, width), dtype)
    assert pallas_kernels.choose_sizes(x, x, x) == sizes
