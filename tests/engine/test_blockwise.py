"""The engine against the definition: whatever is asked, in whatever blocks, all derivatives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from attention_jax.core import masks, numerics
from attention_jax.engine import blockwise, tile_steps
from attention_jax.engine.request import make_request
from tests.support.engine_requests import (
    ASKED,
    FIXED,
    LEARNED,
    QKV,
    agree,
    arrays_of,
    asked,
    close,
    dense,
    engine,
)

MASKS = st.recursive(
    st.sampled_from(sorted(ASKED["mask"])),
    lambda x: st.tuples(st.sampled_from("&|"), x, x) | st.tuples(st.just("~"), x),
    max_leaves=3,
)
SIZES = [(1, 3), (1, 40), (1, 40), (1, 2), (1, 3), (2, 5), (1, 4)]  # b t s g r d e
CASES = dict(
    sizes=st.tuples(*(st.integers(*ends) for ends in SIZES)),
    blocks=st.sampled_from([(4, 4), (7, 16), (16, 5), (64, 64), None]),
    dtype=st.sampled_from(["float32", "float32", "bfloat16"]),
    names=st.fixed_dictionaries(
        {x: st.sampled_from(sorted(ASKED[x])) for x in ("score", "score_mod", "normalizer")}
        | {"mask": st.none() | MASKS}
    ),
    offsets=st.tuples(st.integers(0, 5), st.integers(0, 5)),
    traced=st.booleans(),  # whether masks and offsets are known at trace time only
)
# Shrinking would compile hundreds of programs.
FEW = settings(max_examples=2, deadline=None, derandomize=True, phases=[Phase.generate])


def check(sizes, blocks, dtype, names, offsets, traced):
    """Output, tangent, and the cotangents of all that is learned."""
    # Logits that are equal may be rounded apart, and so chosen apart.
    assume(names["score"] != "query alone" or names["normalizer"] not in ("hard", "top_k"))
    qkv, learned, fixed = arrays_of(*sizes, dtype, offsets)
    fixed["offsets"], given = offsets, (qkv, learned)

    def compute(attend, given, direction, now):
        now = fixed if now is None else now

        def run(qkv, learned):
            request = asked({**learned, **now}, **names)
            request["query_offset"], request["key_offset"] = now["offsets"]
            request["return_lse"] = request["normalizer"].lse is not None
            return attend(*qkv, **request, block_sizes=blocks)

        out, tangent = jax.jvp(run, given, direction)
        return (
            out,
            tangent,
            jax.vjp(run, *given)[1](jax.tree.map(lambda x: jnp.cos(x * 0 + 1), tangent)),
        )

    draw = np.random.default_rng(1)
    direction = jax.tree.map(lambda x: jnp.asarray(draw.normal(size=x.shape), x.dtype), given)
    agree(compute, given, direction, fixed if traced else None)


@pytest.mark.slow
@FEW
@given(**CASES)
def test_any_request_equals_its_definition(**case):
    check(**case)


@pytest.mark.slow
@settings(FEW, max_examples=30)
@given(**CASES)
def test_many_requests_equal_their_definitions(**case):
    check(**case)


def oracle(q, k, v, slopes):
    """Equation 1 of arXiv:1706.03762 with the bias of arXiv:2108.12409, causal, in float64."""
    q, k, v, slopes = (np.asarray(x, np.float64) for x in (q, k, v, slopes))
    out, lse = np.zeros((*q.shape[:-1], v.shape[-1])), np.zeros(q.shape[:-1])
    for b, t, h in np.ndindex(lse.shape):
        keys, values = k[b, : t + 1, h // 2], v[b, : t + 1, h // 2]
        logits = keys @ q[b, t, h] / np.sqrt(q.shape[-1]) - slopes[h] * (t - np.arange(t + 1))
        weights = np.exp(logits)
        out[b, t, h], lse[b, t, h] = weights @ values / weights.sum(), np.log(weights.sum())
    return out, lse


def test_matches_equation_1_in_loops_and_its_differences():
    def attend(q, k, v, slopes):
        request = asked({"slopes": slopes}, score_mod="alibi", mask="causal")
        return engine(q, k, v, **{**request, "return_lse": True})

    at, target = (*QKV, LEARNED["slopes"]), np.cos(np.arange(192)).reshape(2, 8, 4, 3)
    for got, expected in zip(jax.jit(attend)(*at), oracle(*at), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    with jax.enable_x64(True):
        wide = [jnp.asarray(np.asarray(x, np.float64)) for x in at]
        gradient = jax.grad(lambda *x: (attend(*x)[0] * target).sum(), (0, 1, 2, 3))
        gradients = jax.device_get(jax.jit(gradient)(*wide))
    for number, *place in ((3, 1), (3, 2), (0, 1, 6, 3, 2), (1, 0, 1, 1, 3), (2, 1, 4, 0, 2)):
        ends = []
        for step in (-1e-6, 1e-6):
            moved = [np.array(x, np.float64) for x in at]
            moved[number][tuple(place)] += step
            ends.append((oracle(*moved)[0] * target).sum())
        expected = (ends[1] - ends[0]) / 2e-6
        np.testing.assert_allclose(gradients[number][tuple(place)], expected, rtol=1e-6, atol=1e-8)


def smooth_loss(attend, given, **names):
    qkv, learned = given
    out = attend(*qkv, **asked(learned, score_mod="alibi", mask="causal", **names))
    return (jnp.sin(out) * jnp.cos(jnp.arange(out.size)).reshape(out.shape)).sum()


@pytest.mark.slow
@pytest.mark.parametrize(
    "normalizer, score",
    [
        ("softmax", "additive"),
        pytest.param("sigmoid", "scaled dot", marks=pytest.mark.slow),
        pytest.param("relu", "cosine", marks=pytest.mark.slow),
    ],
)
def test_hessian_vector_products(normalizer, score):
    def compute(attend, given, direction):
        loss = functools.partial(smooth_loss, attend, normalizer=normalizer, score=score)
        products = [jax.jvp(jax.grad(loss), (given,), (direction,))[1]]
        if normalizer == "softmax":
            products.append(jax.grad(lambda x: jax.jvp(loss, (x,), (direction,))[1])(given))
        return products

    given = (QKV, LEARNED)
    forward_over_reverse, *others = agree(compute, given, jax.tree.map(jnp.cos, given))
    for reverse_over_forward in others:
        jax.tree.map(close, forward_over_reverse, reverse_over_forward)


@pytest.mark.slow
def test_the_hessian_of_a_tiny_case():
    (q, k, v), learned, _ = arrays_of(1, 3, 3, 1, 1, 2, 1)

    def compute(attend, q):
        return jax.hessian(lambda q: smooth_loss(attend, ((q, k, v), learned)))(q)

    hessian = np.asarray(agree(compute, q)).reshape(6, 6)
    assert np.abs(hessian).max() > 1e-3
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("normalizer", ["top_k", "sparsemax", "entmax15"])
def test_what_has_no_second_derivative_says_what_to_use(normalizer):
    def loss(q):
        return smooth_loss(engine, ((q, *QKV[1:]), LEARNED), normalizer=normalizer)

    assert jnp.isfinite(jax.jit(jax.grad(jax.checkpoint(loss)))(QKV[0])).all()
    for twice in (jax.hessian(loss), jax.grad(lambda q: (jax.grad(loss)(q) ** 2).sum())):
        with pytest.raises(NotImplementedError, match='use `implementation="reference"`'):
            jax.eval_shape(twice, QKV[0])


@pytest.mark.sampled(1)
@pytest.mark.parametrize("normalizer", ["top_k", "sparsemax", "entmax15", "hard"])
def test_every_sweep_chooses_the_same_keys(normalizer):
    """Logits that are computed again may be rounded otherwise; no chosen key is lost by that."""
    qkv, learned, _ = arrays_of(60, 1, 24, 1, 1, 5, 3)

    def compute(attend, *qkv):
        request = asked(learned, score_mod="alibi", normalizer=normalizer)
        return attend(*qkv, **request, block_sizes=(7, 16))

    agree(compute, *qkv)
    agree(jax.grad(lambda *x: (compute(*x) ** 2).sum(), (1, 2, 3)), *qkv)


@pytest.mark.slow
def test_captured_whole_numbers_and_random_keys():
    """They take no gradient, and stop none."""
    buckets, noise_key = jnp.array([0, 3, 1, 2, 2, 0, 1, 3, 1]), jax.random.key(5)

    def compute(attend, slopes, buckets, noise_key):
        def loss(slopes):
            def noisy(s, b, h, i, j):
                key = jax.random.fold_in(jax.random.fold_in(noise_key, i), j)
                return s * (1 + jax.random.uniform(key)) + slopes[buckets[j]]

            return (attend(*QKV, score_mod=noisy) ** 2).sum()

        return jax.grad(loss)(slopes), jax.grad(lambda x: (jax.grad(loss)(x) ** 2).sum())(slopes)

    gradients = agree(compute, LEARNED["slopes"], buckets, noise_key)
    assert all((x != 0).all() for x in gradients)


@pytest.mark.slow
def test_no_captured_array_gets_a_silent_zero_and_gradients_are_deterministic():
    def compute(attend, x):
        def loss(x):
            def score(q, k):
                each = jax.vmap(lambda row, of_q: jnp.tanh(row @ k + of_q))
                return jax.jit(lambda q: each(x["w_k"], x["w_q"] @ q) @ x["w"])(q)

            def change(s, b, h, i, j):
                add = lambda carry, row: (carry + row[i % 4, j % 5] * x["scale"], None)  # noqa: E731
                return jax.lax.scan(add, s, x["table"][b])[0]

            request = dict(score=score, score_mod=change, normalizer=ASKED["normalizer"]["sink"](x))
            return (attend(*QKV, **request) ** 2).sum()

        return jax.grad(loss)(x)

    gradient = agree(compute, LEARNED)
    assert all((leaf != 0).any() for leaf in jax.tree.leaves(gradient))
    run = jax.jit(functools.partial(compute, engine))
    jax.tree.map(np.testing.assert_array_equal, run(LEARNED), run(LEARNED))


HIDING = {  # a key, and a mask that hides it from all
    "a partial tile": (4, lambda n: lambda b, h, i, j: j != n),
    "a skipped tile": (7, lambda n: lambda b, h, i, j: j < n - 1),
    "both": (5, lambda n: lambda b, h, i, j: (j < n) & (j <= i)),
}


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    "score, where, known",
    [
        ("scaled dot", "a partial tile", True),
        ("scaled dot", "a skipped tile", True),
        ("additive", "both", True),
        ("cosine", "both", False),
        ("cosine", "a skipped tile", False),
        ("distance", "a partial tile", False),
    ],
)
def test_what_is_hidden_reaches_nothing_even_if_not_finite(score, where, known):
    bad, rule = HIDING[where]

    @jax.jit
    def run(qkv, learned, traced):
        def attend(qkv, learned):
            request = asked(learned, score=score, score_mod="alibi")
            request.update(mask=rule(bad if known else traced), return_lse=True)
            return engine(*qkv, **request)

        out, pull = jax.vjp(attend, qkv, learned)
        return out, pull(jax.tree.map(jnp.ones_like, out))

    (q, k, v), clean = QKV, run(QKV, LEARNED, bad)
    for number in (jnp.nan, jnp.inf, -jnp.inf):
        dirty = [q, k.at[:, bad].set(number), v.at[:, bad, :, 1].set(number)]
        jax.tree.map(close, run(dirty, LEARNED, bad), clean)


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    "score, mask", [("scaled dot", "causal"), ("query alone", None), ("additive", "array")]
)
def test_what_is_seen_and_not_finite_makes_nan_of_its_rows(score, mask):
    def compute(attend, *qkv):
        ask = functools.partial(asked, {**LEARNED, **FIXED}, score=score, mask=mask)
        return [attend(*qkv, **ask(normalizer=x)) for x in ("softmax", "relu", "hard", "top_k")]

    run, (q, k, v) = jax.jit(lambda *x: (compute(engine, *x), compute(dense, *x))), QKV
    for changed in (
        (q.at[0, 3, 1, 0].set(jnp.nan), k, v),
        (q, k.at[1, 4, 0, 2].set(jnp.inf), v),
        (q, k, v.at[0, 5, 1, 1].set(-jnp.inf)),
    ):
        got, expected = run(*changed)
        jax.tree.map(close, got, expected)
        for bad in map(jnp.isnan, got):
            assert bad.any() and (bad.any(-1) == bad.all(-1)).all()


@pytest.mark.sampled(2)
@pytest.mark.parametrize("normalizer", ASKED["normalizer"])
def test_a_row_that_sees_nothing_is_zero_and_reaches_nothing(normalizer):
    @jax.jit
    def run(qkv, learned, first):
        def attend(qkv, learned):
            request = asked(learned, score_mod="alibi", normalizer=normalizer)
            request.update(mask=lambda b, h, i, j: (i >= first) & (i != 6))
            request.update(return_lse=normalizer == "softmax")
            out = engine(*qkv, **request)
            return out if normalizer == "softmax" else (out,)

        out, pull = jax.vjp(attend, qkv, learned)
        return out, pull(jax.tree.map(jnp.ones_like, out))

    blind = np.isin(np.arange(8), [0, 1, 2, 3, 4, 6])
    (out, *lse), ((of_query, _, _), _) = run(QKV, LEARNED, 5)
    np.testing.assert_array_equal(out[:, blind], 0)
    np.testing.assert_array_equal(of_query[:, blind], 0)
    assert all(((x == -jnp.inf) == blind[None, :, None]).all() for x in lse)
    (out, *_), gradients = run(QKV, LEARNED, 9)
    jax.tree.map(lambda x: np.testing.assert_array_equal(x, np.zeros(x.shape)), (out, gradients))


@pytest.mark.slow
@pytest.mark.parametrize("mask", ["lengths", "documents", "array"])
def test_a_mask_of_traced_data_equals_the_same_mask_known_before(mask):
    def run(fixed, offset):
        request = asked(fixed, mask=("&", "causal", mask))
        return engine(*QKV, **{**request, "query_offset": offset, "key_offset": 1})

    *_, fixed = arrays_of(2, 3 + 8, 1 + 9, 2, 2, 4, 3)  # as long as the positions reach
    close(jax.jit(run)(fixed, 3), jax.jit(lambda: run(fixed, 3))())


@pytest.mark.slow
def test_dropout_has_one_pattern_for_all_blocks_and_offsets():
    q, k, units = *QKV[:2], jnp.broadcast_to(jnp.eye(9)[None, :, None], (2, 9, 2, 9))

    @jax.jit
    def run(key):
        attend = functools.partial(engine, dropout_rate=0.4, dropout_key=key)
        later = attend(q[:, 3:], k[:, 2:], units[:, 2:], query_offset=3, key_offset=2)
        sizes = (1, 9), (3, 2), (64, 64), None
        expected = dense(q, k, units, dropout_rate=0.4, dropout_key=key)
        return [attend(q, k, units, block_sizes=x) for x in sizes], later, expected

    each, later, expected = run(jax.random.key(3))
    for got in each:
        np.testing.assert_array_equal(got == 0, expected == 0)
        close(got, expected)
    np.testing.assert_array_equal(later[..., 2:] == 0, expected[:, 3:, :, 2:] == 0)


@pytest.mark.slow
def test_dropout_maps_over_offsets():
    def kept(offset):
        at = jnp.ix_(jnp.arange(1), jnp.arange(2), offset + jnp.arange(3), jnp.arange(4))
        return numerics.kept_pairs(jax.random.key(0), 0.5, at)

    got = jax.jit(jax.vmap(kept))(jnp.arange(2))
    np.testing.assert_array_equal(got, jnp.stack([kept(0), kept(1)]))


@pytest.mark.slow
def test_tiles_taken_along_their_runs_are_those_of_the_list(monkeypatch):
    """As for lengths whose tiles are too many to be written into the program."""
    q, k, v = (
        jax.random.normal(key, (1, 30, 1, 3)) for key in jax.random.split(jax.random.key(0), 3)
    )

    def loss(q):
        request = make_request(q, k, v, mask=masks.causal & ~masks.chunks(7) | masks.prefix(3))
        return (blockwise.run(request, block_sizes=(4, 4)) ** 2).sum()

    def derivatives(q):
        return loss(q), jax.grad(loss)(q), jax.jvp(jax.grad(loss), (q,), (jnp.ones_like(q),))[1]

    listed = jax.jit(lambda q: derivatives(q))(q)
    monkeypatch.setattr(tile_steps, "MOST_LISTED", 1)
    jax.tree.map(close, jax.jit(derivatives)(q), listed)
