"""Modes that JAX can be put in: 64 bits, debugging, and guards of transfers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import Options, attention, variants
from attention_jax.core import masks, numerics
from attention_jax.variants._by_queries import by_queries

EVERYWHERE = ("reference", "dense", "blockwise")


@pytest.mark.slow
def test_dropout_drops_the_same_pairs_in_64_bit_mode():
    key = jax.random.key(1)

    def kept(dtype):
        at = jnp.ix_(*(jnp.arange(n, dtype=dtype) for n in (2, 2, 3, 4)))
        return np.asarray(numerics.kept_pairs(key, 0.5, at))

    narrow = kept(jnp.int32)
    with jax.enable_x64(True):
        np.testing.assert_array_equal(kept(jnp.int32), narrow)
        np.testing.assert_array_equal(kept(jnp.int64), narrow)


@pytest.mark.slow
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


MODES = {
    "infs": lambda: jax.debug_infs(True),
    "nans": lambda: jax.debug_nans(True),
    "guard": lambda: jax.transfer_guard("disallow"),
}
MASKS = {
    "none": None,
    "window": masks.causal & masks.sliding_window(3),
    "lengths": masks.lengths(np.array([4, 2])),
    "own": lambda b, h, i, j: j < i,  # the first query sees nothing
}


@pytest.mark.sampled(1)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("implementation", EVERYWHERE)
def test_a_call_runs_in_debug_modes_and_under_a_guard(implementation, mode, qkv):
    """Outside `jax.jit`, with its gradient; hidden logits are -inf, and constants are sent."""
    first = jnp.int32(3)

    def run(mask, *qkv):
        at = {"query_offset": 4, "key_offset": first} if mask is MASKS["window"] else {}
        return attention(*qkv, mask=mask, implementation=implementation, **at)

    for name in ("window", "own") if mode == "nans" else MASKS:
        with MODES[mode]():
            out, pull = jax.vjp(lambda *x, mask=MASKS[name]: run(mask, *x), *qkv)
            cotangents = pull(out)
        assert all(jnp.isfinite(x).all() for x in (out, *cotangents))


@pytest.mark.sampled(1)
@pytest.mark.parametrize("mode", ["infs", "guard"])
@pytest.mark.parametrize("name", ["linear", "retention", "gated_delta", "kda", "coverage"])
def test_variants_that_sum_keys_run_in_them(name, mode, qkv):
    variant = by_queries(variants.get(name))
    params = variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8)
    mask = masks.lengths(jnp.array([4, 2]))
    if "causal" in variant.roles:
        mask = mask & masks.causal
    with MODES[mode]():
        out = variant.attend(params, *qkv, Options(mask=mask))
    expected = jax.jit(lambda: variant.attend(params, *qkv, Options(mask=mask)))()
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)
