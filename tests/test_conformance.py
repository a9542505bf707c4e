"""Every variant, every promise: what `variants.names()` lists is held to all of this."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import attention, masks, variants

LENGTH = 5
CAUSAL = jnp.tril(jnp.ones((LENGTH, LENGTH), bool))[None, None]


@pytest.fixture(params=variants.names(), scope="module")
def case(request):
    return Case(variants.get(request.param))


class Case:
    """A variant with parameters, and its programs, compiled once for all tests."""

    def __init__(self, variant):
        self.variant = variant
        params = variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8)
        # Biases may start near 0: moved, they would show a leak.
        self.params = jax.tree.map(lambda x: x + 0.5, params)

    def attend(self, qkv, visible, **request):
        mask = masks.from_array(visible)
        return self.variant.attend(self.params, *qkv, mask=mask, **request)

    @functools.cached_property
    def out(self):
        return jax.jit(self.attend)

    @functools.cached_property
    def gradient(self):
        """Of half the square of the output, which is then its own cotangent."""

        def loss(params, qkv, visible):
            out = self.variant.attend(params, *qkv, mask=masks.from_array(visible))
            return (out**2).sum() / 2

        return jax.jit(lambda qkv, visible: jax.grad(loss, (0, 1))(self.params, qkv, visible))


def close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_the_future_does_not_leak(case, qkv):
    before = case.out(qkv, CAUSAL)
    changed = tuple(x.at[:, 3:].set(7.0) for x in qkv)
    np.testing.assert_array_equal(case.out(changed, CAUSAL)[:, :3], before[:, :3])


def test_a_masked_key_equals_an_absent_one(case, qkv):
    q, k, v = qkv
    without_last = jnp.ones((1, 1, 1, LENGTH), bool).at[..., -1].set(False)
    without_last = jnp.broadcast_to(without_last, CAUSAL.shape)
    masked = case.out((q, k.at[:, -1].set(9.0), v.at[:, -1].set(jnp.nan)), without_last)
    absent = case.out((q, k[:, :-1], v[:, :-1]), without_last[..., :-1])
    close(masked, absent)


def test_a_row_that_sees_nothing_is_zero_and_so_is_its_gradient(case, qkv):
    visible = CAUSAL.at[:, :, 2].set(False)
    np.testing.assert_array_equal(case.out(qkv, visible)[:, 2], np.zeros((2, 4, 6)))
    of_params, (of_q, of_k, of_v) = case.gradient(qkv, visible)
    np.testing.assert_array_equal(of_q[:, 2], np.zeros((2, 4, 8)))
    nothing = case.gradient(qkv, jnp.zeros_like(CAUSAL))
    for leaf in jax.tree.leaves(nothing):
        np.testing.assert_array_equal(leaf, np.zeros(leaf.shape))
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves((of_params, of_q, of_k, of_v)))


def test_every_parameter_learns(case, qkv):
    of_params, _ = case.gradient(qkv, CAUSAL)
    assert all((leaf != 0).any() for leaf in jax.tree.leaves(of_params))


def test_forward_mode_agrees_with_reverse_mode(case, qkv, draw):
    direction = tuple(draw(*x.shape) for x in qkv)
    run = jax.jit(lambda qkv, d: jax.jvp(lambda *x: case.attend(x, CAUSAL), qkv, d))
    out, tangent = run(qkv, direction)
    close(out, case.out(qkv, CAUSAL))
    _, gradients = case.gradient(qkv, CAUSAL)
    along = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True))
    np.testing.assert_allclose(along, (out * tangent).sum(), rtol=1e-4, atol=1e-4)


def test_jit_and_vmap_change_nothing(case, qkv):
    expected = case.out(qkv, CAUSAL)
    close(case.attend(qkv, CAUSAL), expected)
    each = jax.vmap(lambda q, k, v: case.attend((q[None], k[None], v[None]), CAUSAL)[0])
    close(jax.jit(each)(*qkv), expected)


def test_bfloat16_in_and_out(case, qkv):
    narrow = tuple(x.astype(jnp.bfloat16) for x in qkv)
    out = case.out(narrow, CAUSAL)
    assert out.dtype == jnp.bfloat16
    wide = case.out(tuple(x.astype(jnp.float32) for x in narrow), CAUSAL)
    # Accumulated in float32, it is off by its own rounding only.
    np.testing.assert_allclose(out.astype(jnp.float32), wide, rtol=2**-8, atol=1e-6)


def test_heads_that_share_a_key_read_the_same_one(case, qkv):
    q, k, v = qkv
    repeated = case.out((q, jnp.repeat(k, 2, axis=2), jnp.repeat(v, 2, axis=2)), CAUSAL)
    close(case.out(qkv, CAUSAL), repeated)


def test_one_query_at_a_time_reproduces_the_causal_pass(case, qkv):
    q, k, v = qkv

    @jax.jit
    def one(query, offset):
        attend = case.variant.attend
        return attend(case.params, query, k, v, mask=masks.causal, query_offset=offset)

    rows = [one(q[:, n : n + 1], jnp.int32(n)) for n in range(LENGTH)]
    close(jnp.concatenate(rows, axis=1), case.out(qkv, CAUSAL))


def test_keys_that_start_later_keep_their_positions(case, qkv):
    q, k, v = qkv
    near = masks.causal & masks.sliding_window(2)
    attend = functools.partial(case.variant.attend, case.params, mask=near)
    both = CAUSAL & ~jnp.tril(jnp.ones_like(CAUSAL), -2)
    whole = case.out(qkv, both)
    last = jax.jit(functools.partial(attend, query_offset=3, key_offset=2))
    close(last(q[:, 3:], k[:, 2:], v[:, 2:]), whole[:, 3:])


def test_a_variant_with_a_score_is_that_score(case, qkv):
    if case.variant.score is None:
        return
    run = jax.jit(lambda *qkv: attention(*qkv, score=case.variant.score(case.params)))
    close(run(*qkv), case.out(qkv, jnp.ones_like(CAUSAL)))
