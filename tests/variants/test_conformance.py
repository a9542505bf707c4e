"""Every variant, every promise: what `variants.names()` lists is held to all of this.

What a variant says of itself (`serves`, `masks`) is held to as well: where it says it cannot, it
must refuse with an error that names a remedy.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import attention, variants
from attention_jax.core import masks
from attention_jax.core.types import ROLES, Options

LENGTH, LONG = 5, 131
HIDDEN = jnp.ones((2, LENGTH), bool).at[:, -1].set(False)


@pytest.fixture(params=variants.names(), scope="module")
def case(request):
    return Case(variants.get(request.param))


class Case:
    """A variant with parameters, and its programs, compiled once for all tests."""

    def __init__(self, variant):
        self.variant = variant
        self.causal = "causal" in variant.roles
        self.both_ways = "bidirectional" in variant.roles or "cross" in variant.roles
        params = variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8)
        # Biases may start near 0: moved, they would show a leak.
        self.params = jax.tree.map(lambda x: x + 0.5, params)
        # The mask of most tests: causal where the variant can be.
        self.mask = masks.causal if self.causal else None

    def attend(self, qkv, mask=None, **request):
        return self.variant.attend(self.params, *qkv, Options(mask=mask, **request))

    def need(self, promise, why):
        if not promise:
            pytest.skip(why)

    @functools.cached_property
    def out(self):
        """`qkv -> out` under `mask`."""
        return jax.jit(lambda qkv: self.attend(qkv, self.mask))

    @functools.cached_property
    def padded(self):
        """`(qkv, visible keys [b s]) -> out`; beside that, all is seen where it can be."""
        before = None if self.both_ways else masks.causal
        return jax.jit(lambda qkv, seen: self.attend(qkv, masks.both(before, masks.keys(seen))))

    @functools.cached_property
    def gradient(self):
        """`(params, qkv, visible keys) -> gradients` of half the square of the output."""

        def loss(params, qkv, seen):
            mask = masks.both(self.mask, masks.keys(seen))
            return (self.variant.attend(params, *qkv, Options(mask=mask)) ** 2).sum() / 2

        return jax.jit(jax.grad(loss, (0, 1)))


def close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_it_says_where_it_serves(case):
    assert case.variant.roles and set(case.variant.roles) <= set(ROLES)
    assert case.variant.mask_kind in ("pairwise", "keywise")
    recurrent = case.variant.step is not None or case.variant.cross_step is not None
    assert recurrent == (case.variant.start is not None)


def test_what_it_cannot_honour_is_refused(case, qkv):
    if not case.causal:
        with pytest.raises(ValueError, match="causal"):
            case.attend(qkv, masks.causal)
    if not case.both_ways:
        with pytest.raises(ValueError, match="causal"):
            case.attend(qkv)
    if case.variant.mask_kind == "keywise":
        with pytest.raises(ValueError, match="mask"):
            case.attend(qkv, masks.both(case.mask, masks.sliding_window(2)))


def test_the_future_does_not_leak(case, qkv):
    case.need(case.causal, "it sees all")
    before = case.out(qkv)
    changed = tuple(x.at[:, 3:].set(7.0) for x in qkv)
    np.testing.assert_array_equal(case.out(changed)[:, :3], before[:, :3])


@pytest.mark.sampled
def test_a_masked_key_equals_an_absent_one(case, qkv):
    q, k, v = qkv
    q = q if case.both_ways else q.at[:, -1].set(0.0)
    masked = case.padded((q, k.at[:, -1].set(9.0), v.at[:, -1].set(jnp.nan)), HIDDEN)
    if case.both_ways and "cross" in case.variant.roles:
        absent = case.padded((q, k[:, :-1], v[:, :-1]), HIDDEN[:, :-1])
        close(masked, absent)
    else:
        absent = case.padded((q[:, :-1], k[:, :-1], v[:, :-1]), HIDDEN[:, :-1])
        close(masked[:, :-1], absent)


@pytest.mark.sampled
def test_a_row_that_sees_nothing_is_zero_and_so_is_its_gradient(case, qkv):
    nothing = jnp.zeros_like(HIDDEN)
    np.testing.assert_array_equal(case.padded(qkv, nothing), np.zeros((2, 5, 4, 6)))
    for leaf in jax.tree.leaves(case.gradient(case.params, qkv, nothing)):
        np.testing.assert_array_equal(leaf, np.zeros(leaf.shape))
    if case.variant.mask_kind == "keywise":
        return
    others = masks.both(case.mask, masks.Mask(lambda b, h, i, j: i != 2))
    row = jax.jit(lambda qkv: case.attend(qkv, others))
    np.testing.assert_array_equal(row(qkv)[:, 2], np.zeros((2, 4, 6)))
    gradient = jax.jit(jax.grad(lambda qkv: (case.attend(qkv, others) ** 2).sum()))
    assert all(jnp.isfinite(x).all() for x in gradient(qkv))


def test_every_parameter_learns(case, qkv):
    case.need(jax.tree.leaves(case.params), "it has none")
    of_params, _ = case.gradient(case.params, qkv, jnp.ones_like(HIDDEN))
    dead = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(of_params)
        if not (leaf != 0).any()
    ]
    assert not dead


@pytest.mark.sampled
def test_forward_mode_agrees_with_reverse_mode(case, qkv, draw):
    direction = tuple(draw(*x.shape) for x in qkv)
    run = jax.jit(lambda qkv, d: jax.jvp(lambda *x: case.attend(x, case.mask), qkv, d))
    out, tangent = run(qkv, direction)
    close(out, case.out(qkv))
    _, gradients = case.gradient(case.params, qkv, jnp.ones_like(HIDDEN))
    along = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True))
    np.testing.assert_allclose(along, (out * tangent).sum(), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_second_derivatives_are_symmetric_or_refused(case, qkv, draw):
    """`u H w = w H u`, with the Hessian-vector product forward over reverse."""
    u, w = (tuple(draw(*x.shape) for x in qkv) for _ in range(2))

    def loss(qkv):
        return jnp.sin(case.attend(qkv, case.mask)).sum()

    product = jax.jit(lambda d: jax.jvp(jax.grad(loss), (qkv,), (d,))[1])
    try:
        sides = [
            sum((a * b).sum() for a, b in zip(product(one), other, strict=True))
            for one, other in ((u, w), (w, u))
        ]
    except NotImplementedError as refusal:
        assert "reference" in str(refusal)
        return
    np.testing.assert_allclose(*sides, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_jit_changes_nothing(case, qkv):
    close(case.attend(qkv, case.mask), case.out(qkv))


@pytest.mark.sampled
def test_vmap_changes_nothing(case, qkv):
    expected = case.out(qkv)
    each = jax.vmap(lambda q, k, v: case.attend((q[None], k[None], v[None]), case.mask)[0])
    close(jax.jit(each)(*qkv), expected)


@pytest.mark.sampled
def test_bfloat16_in_and_out(case, qkv):
    narrow = tuple(x.astype(jnp.bfloat16) for x in qkv)
    out = case.out(narrow)
    assert out.dtype == jnp.bfloat16
    wide = case.out(tuple(x.astype(jnp.float32) for x in narrow))
    # Accumulated in float32, it is off by its own rounding only.
    np.testing.assert_allclose(out.astype(jnp.float32), wide, rtol=2**-8, atol=1e-6)


@pytest.mark.sampled
def test_heads_that_share_a_key_read_the_same_one(case, qkv):
    q, k, v = qkv
    repeated = case.out((q, jnp.repeat(k, 2, axis=2), jnp.repeat(v, 2, axis=2)))
    close(case.out(qkv), repeated)


def test_a_log_sum_exp_comes_with_the_output_or_is_refused(case, qkv, users_errors):
    run = functools.partial(case.attend, mask=case.mask, return_lse=True)
    try:
        out, lse = jax.eval_shape(run, qkv)
    except ValueError as error:
        assert "`return_lse`" in str(error)
        return
    assert (out.shape, lse.shape) == ((2, LENGTH, 4, 6), (2, LENGTH, 4))


@pytest.mark.sampled
def test_a_length_of_one_and_one_beyond_a_block(case, draw):
    q, k, v = draw(1, LONG, 4, 8), draw(1, LONG, 2, 8), draw(1, LONG, 2, 6)
    out = case.out((q, k, v))
    assert out.shape == (1, LONG, 4, 6) and jnp.isfinite(out).all()
    first = case.out((q[:, :1], k[:, :1], v[:, :1]))
    assert first.shape == (1, 1, 4, 6) and jnp.isfinite(first).all()
    if case.causal:
        close(out[:, :1], first)
        part = tuple(x[:, :67] for x in (q, k, v))
        np.testing.assert_allclose(case.out(part), out[:, :67], rtol=1e-4, atol=1e-5)


@pytest.mark.sampled
def test_one_query_at_a_time_reproduces_the_causal_pass(case, qkv):
    case.need(case.causal, "it sees all")
    q, k, v = qkv
    if case.variant.step is None:

        @jax.jit
        def one(query, offset):
            return case.attend((query, k, v), masks.causal, query_offset=offset)

        rows = [one(q[:, n : n + 1], jnp.int32(n)) for n in range(LENGTH)]
        close(jnp.concatenate(rows, axis=1), case.out(qkv))
        return
    sizes = {"heads": 4, "kv_heads": 2, "head_width": 8, "value_width": 6, "dtype": q.dtype}
    state, rows = case.variant.start(case.params, 2, LENGTH, **sizes), []
    assert all(leaf.shape[0] == 2 for leaf in jax.tree.leaves(state))
    step = jax.jit(functools.partial(case.variant.step, case.params))
    for n in range(LENGTH):
        state, out = step(state, *(x[:, n] for x in qkv))
        rows.append(out)
    np.testing.assert_allclose(jnp.stack(rows, 1), case.out(qkv), rtol=1e-4, atol=1e-5)


def test_one_alignment_after_another_reproduces_the_pass(case, qkv):
    case.need(case.variant.cross_step is not None, "it does not depend on the queries before")
    q, k, v = qkv
    sizes = {"heads": 4, "kv_heads": 2, "head_width": 8, "value_width": 6, "dtype": q.dtype}
    state, rows = case.variant.start(case.params, 2, LENGTH, **sizes), []
    align = jax.jit(functools.partial(case.variant.cross_step, case.params))
    for n in range(LENGTH):
        state, out = align(state, q[:, n], k, v, visible=HIDDEN)
        rows.append(out)
    close(jnp.stack(rows, 1), case.padded(qkv, HIDDEN))


@pytest.mark.sampled
def test_keys_that_start_later_keep_their_positions(case, qkv):
    case.need(case.causal and case.variant.mask_kind == "pairwise", "it takes no window")
    q, k, v = qkv
    near = masks.causal & masks.sliding_window(2)
    whole = jax.jit(functools.partial(case.attend, mask=near))(qkv)
    last = jax.jit(functools.partial(case.attend, mask=near, query_offset=3, key_offset=2))
    close(last((q[:, 3:], k[:, 2:], v[:, 2:])), whole[:, 3:])


def test_a_variant_with_a_score_is_that_score(case, qkv):
    case.need(case.variant.score is not None, "it is not the score of a pair")
    assert case.variant.roles == ROLES
    run = jax.jit(lambda *qkv: attention(*qkv, score=case.variant.score(case.params)))
    close(run(*qkv), case.padded(qkv, jnp.ones_like(HIDDEN)))
