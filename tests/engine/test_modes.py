"""Modes that JAX can be put in: 64 bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import attention
from attention_jax.core import masks, numerics

EVERYWHERE = ("reference", "dense", "blockwise")


def test_dropout_drops_the_same_pairs_in_64_bit_mode():
    key = jax.random.key(1)

    def kept(dtype):
        at = jnp.ix_(*(jnp.arange(n, dtype=dtype) for n in (2, 2, 3, 4)))
        return np.asarray(numerics.kept_pairs(key, 0.5, at))

    narrow = kept(jnp.int32)
    with jax.enable_x64(True):
        np.testing.assert_array_equal(kept(jnp.int32), narrow)
        np.testing.assert_array_equal(kept(jnp.int64), narrow)


@pytest.mark.parametrize("implementation", EVERYWHERE)
def test_64_bit_mode_changes_no_float32_result(implementation, qkv):
    """Also where positions are of 32 and 64 bits, and known before the run or not."""

    def run(qkv, first, first_key):
        out, lse = attention(
            *qkv,
            score_mod=lambda s, b, h, i, j: s - 0.1 * abs(i - j).astype(s.dtype),
            mask=masks.causal & masks.sliding_window(3),
            dropout_rate=0.25,
            dropout_key=jax.random.key(1),
            query_offset=first,
            key_offset=first_key,
            return_lse=True,
            implementation=implementation,
        )
        return (out**2).sum(), (out, lse)

    both = jax.value_and_grad(run, has_aux=True)
    expected = jax.jit(both)(qkv, 4, 3)
    with jax.enable_x64(True):
        four, three = jnp.int32(4), jnp.int64(3)
        got = jax.jit(lambda qkv: both(qkv, four, three))(qkv)
        shapes = jax.eval_shape(both, qkv, four, three)
    for x, y, z in zip(*map(jax.tree.leaves, (got, shapes, expected)), strict=True):
        assert x.dtype == y.dtype == jnp.float32
        np.testing.assert_allclose(x, z, rtol=1e-5, atol=1e-6)
