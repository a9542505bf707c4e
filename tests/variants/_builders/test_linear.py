import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options
from attention_jax.variants._builders import linear
from attention_jax.variants._builders.recurrence import convolve

WITH_STATES = ("linear", "cosformer", "performer", "retention", "gated_linear", "delta")
WITH_STATES += ("gated_delta(gates='key')",)


def made(name, **options):
    variant = variants.get(name, **options)
    return variant, variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", WITH_STATES)
def test_a_later_key_that_is_not_finite_reaches_no_earlier_row(qkv, name):
    variant, params = made(name)
    run = jax.jit(lambda *qkv: variant.attend(params, *qkv, Options(mask=masks.causal)))
    q, k, v = qkv
    out = run(q, k.at[:, 3].set(jnp.nan), v.at[:, 3].set(jnp.inf))
    np.testing.assert_array_equal(out[:, :3], run(*qkv)[:, :3])
    assert jnp.isnan(out[:, 3:]).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_STATES)
def test_hidden_padding_before_a_sequence_changes_nothing(qkv, name):
    """Where a position counts at all, it is the distance that does."""
    variant, params = made(name)
    padded = [
        jnp.pad(x, ((0, 0), (2, 0), (0, 0), (0, 0)), constant_values=fill)
        for x, fill in zip(qkv, (7.0, jnp.nan, jnp.nan), strict=True)
    ]
    visible = jnp.broadcast_to(jnp.arange(7)[None] >= 2, (2, 7))
    mask = masks.causal & masks.keys(visible)

    def loss(params, *qkv):
        out = variant.attend(params, *qkv, Options(mask=mask))
        return (out[:, 2:] ** 2).sum(), out

    gradient, out = jax.jit(jax.grad(loss, has_aux=True))(params, *padded)
    expected = jax.jit(lambda *qkv: variant.attend(params, *qkv, Options(mask=masks.causal)))(*qkv)
    np.testing.assert_allclose(out[:, 2:], expected, rtol=1e-5, atol=1e-6)
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(gradient))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", WITH_STATES)
def test_steps_reproduce_a_pass_of_several_chunks(draw, name):
    variant, params = made(name)
    q, k, v = draw(2, 70, 4, 8), draw(2, 70, 2, 8), draw(2, 70, 2, 6)
    sizes = {"heads": 4, "kv_heads": 2, "head_width": 8, "value_width": 6, "dtype": jnp.float32}
    moved = [x.swapaxes(0, 1) for x in (q, k, v)]

    @jax.jit
    def stepped(state, moved):
        return jax.lax.scan(lambda s, x: variant.step(params, s, *x), state, moved)

    state, out = stepped(variant.start(params, 2, 70, **sizes), moved)
    expected = jax.jit(lambda *qkv: variant.attend(params, *qkv, Options(mask=masks.causal)))(
        q, k, v
    )
    np.testing.assert_allclose(out.swapaxes(0, 1), expected, rtol=1e-4, atol=1e-5)
    positions = [x for x in jax.tree.leaves(state) if x.dtype == jnp.int32]
    assert all((x == 70).all() for x in positions)


@pytest.mark.parametrize("name", WITH_STATES)
def test_a_step_in_bfloat16_keeps_a_wide_state(name):
    variant, params = made(name)
    sizes = {"heads": 4, "kv_heads": 2, "head_width": 8, "value_width": 6, "dtype": jnp.bfloat16}
    state = variant.start(params, 2, 3, **sizes)
    narrow = [jnp.ones((2, *n), jnp.bfloat16) for n in ((4, 8), (2, 8), (2, 6))]
    after, out = jax.eval_shape(functools.partial(variant.step, params), state, *narrow)
    assert out.dtype == jnp.bfloat16
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
        lambda x: (x.shape, x.dtype), state
    )
    assert jnp.float32 in [x.dtype for x in jax.tree.leaves(state)]


@pytest.mark.slow
def test_a_convolution_looks_back_only(draw):
    taps, now, before = draw(3, 4, 8), draw(2, 6, 3, 8), draw(2, 6, 3, 8)
    got = convolve(taps, now, jnp.pad(before, ((0, 0), (3, 0), (0, 0), (0, 0))))
    for b, t, h in np.ndindex(2, 6, 3):
        expected = taps[h, 0] * now[b, t, h]
        for lag in range(1, min(4, t + 1)):
            expected = expected + taps[h, lag] * before[b, t - lag, h]
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_norms_keep_zeros_and_bring_all_else_to_one_size(draw):
    x = (3 * draw(4, 16) + 2).at[0].set(0.0)
    for norm in (linear.layer_norm, linear.root_mean_square_norm):
        out = norm(x)
        assert not out[0].any()
        np.testing.assert_allclose((out[1:] ** 2).mean(-1), np.ones(3), rtol=1e-4)
    np.testing.assert_allclose(linear.layer_norm(x).mean(-1), np.zeros(4), atol=1e-6)
