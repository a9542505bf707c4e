"""The kernels, interpreted, against the definition; and that they lower for a GPU without one."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import plan
from attention_jax.core import normalizers, positions, scores
from attention_jax.core.masks import causal, documents, from_array, lengths, sliding_window
from attention_jax.engine import cudnn, pallas, pallas_blocks, reference, tokamax
from attention_jax.engine.request import make_request
from tests.support.absent_devices import gpu

B, T, S, H, G, D, E = 2, 19, 37, 4, 2, 8, 6
IDS = np.sort(np.random.default_rng(1).integers(0, 3, (B, S)), axis=-1).astype(np.int32)
TABLE = np.random.default_rng(2).normal(size=(8, H)).astype(np.float32)
RANDOM = np.random.default_rng(3).random((B, 1, T, S)) < 0.5
RANDOM[:, :, 2] = False  # these queries see nothing

MASKS = {
    "full": None,
    "causal": causal,
    "window": causal & sliding_window(5),
    "lengths": lengths(jnp.asarray([30, 0], jnp.int32)),
    "documents": documents(jnp.asarray(IDS[:, :T]), jnp.asarray(IDS)),
    "array": from_array(jnp.asarray(RANDOM)),
    "heads": lambda b, h, i, j: (j <= i) | (h == 1),
}
SCORE_MODS = {
    "none": None,
    "soft cap": lambda score, b, h, i, j: 2 * jnp.tanh(score / 2),
    "alibi": positions.alibi(heads=H),
    "t5": positions.t5_bias(jnp.asarray(TABLE)),
    "lifted": lambda score, b, h, i, j: score * jnp.exp(jnp.asarray(TABLE))[j % 8][h],
}
PAIRS = [
    ("full", "none"),
    ("causal", "alibi"),
    ("window", "none"),
    ("lengths", "soft cap"),
    ("documents", "none"),
    ("array", "t5"),
    ("heads", "lifted"),
]


def quick(*masks):
    """All pairs; those whose mask is not named are slow: other tests ask for the same."""
    return [x if x[0] in masks else pytest.param(*x, marks=pytest.mark.slow) for x in PAIRS]


@pytest.fixture
def arrays(draw):
    return draw(B, T, H, D), draw(B, S, G, D), draw(B, S, G, E)


def request(mask, score_mod, **more):
    offsets = dict(query_offset=0, key_offset=0)
    return dict(mask=mask, score_mod=score_mod, return_lse=True) | offsets | more


def expected(q, k, v, **asked):
    return reference.run(make_request(q, k, v, **asked))


def kernel(q, k, v, *, interpret=True, block_sizes=(16, 16), **asked):
    return pallas.run(make_request(q, k, v, **asked), interpret=interpret, block_sizes=block_sizes)


def loss(attend, weights, **asked):
    """A number that depends on all outputs, and the outputs."""

    def of(*qkv):
        out, lse = attend(*qkv, **asked)
        total = (out.astype(jnp.float32) * weights).sum()
        return total + jnp.where(jnp.isfinite(lse), lse, 0).sum(), (out, lse)

    return of


def close(got, wanted, **tolerance):
    tolerance = tolerance or dict(rtol=1e-4, atol=1e-5)
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(np.float32(x), np.float32(y), **tolerance)


@pytest.mark.sampled(1)
@pytest.mark.parametrize(("mask", "score_mod"), quick("array", "heads"))
def test_output_sums_and_gradients_are_those_of_the_definition(mask, score_mod, arrays, draw):
    weights, asked = draw(B, T, H, E), request(MASKS[mask], SCORE_MODS[score_mod])
    results = [
        jax.jit(jax.value_and_grad(loss(f, weights, **asked), (0, 1, 2), has_aux=True))(*arrays)
        for f in (kernel, expected)
    ]
    close(*results)


@pytest.mark.slow
def test_traced_offsets_and_arrays_count(arrays, draw):
    """Nothing of the mask is known before, so nothing is skipped."""

    def run(attend, q, k, v, ids, start):
        mask = documents(ids[:, :T], ids) | causal
        asked = request(mask, None, query_offset=start, key_offset=jnp.int32(3))
        weights = jnp.cos(jnp.arange(B * T * H * E, dtype=jnp.float32)).reshape(B, T, H, E)
        return jax.grad(loss(attend, weights, **asked), (0, 1, 2), has_aux=True)(q, k, v)

    more = *arrays, jnp.asarray(IDS), jnp.int32(5)
    close(*(jax.jit(run, static_argnums=0)(f, *more) for f in (kernel, expected)))


@pytest.mark.slow
def test_traced_offsets_need_no_mask():
    """They reach the derivatives that kernels leave to blocks: of captured arrays."""
    q, k, v = jax.random.normal(jax.random.key(0), (3, 1, 4, 1, 8))

    def tangent(attend, rate, start):
        def total(rate):
            lower = lambda s, b, h, i, j: s - rate * abs(i - j).astype(s.dtype)  # noqa: E731
            out, lse = attend(q, k, v, **request(None, lower, query_offset=start))
            return jnp.sin(out).sum() + lse.sum()

        return jax.jvp(total, (rate,), (jnp.ones_like(rate),))

    run = jax.jit(tangent, static_argnums=0)
    close(*(run(f, jnp.float32(0.5), jnp.int32(2)) for f in (kernel, expected)))


@pytest.mark.slow  # the array among the masks above has such rows too
def test_a_row_that_sees_nothing_is_zero_and_so_is_its_gradient(arrays):
    asked = request(lambda b, h, i, j: i > 16, None)
    run = jax.jit(jax.grad(loss(kernel, 1.0, **asked), (0, 1), has_aux=True))
    (dq, dk), (out, lse) = run(*arrays)
    assert not out[:, :17].any() and not dq[:, :17].any() and jnp.isfinite(dk).all()
    assert (lse[:, :17] == -jnp.inf).all() and jnp.isfinite(lse[:, 17:]).all()


@pytest.mark.slow
def test_hidden_numbers_that_are_not_finite_reach_nothing(arrays):
    q, k, v = arrays
    of = loss(kernel, 1.0, **request(causal, None))
    run = jax.jit(jax.grad(of, (0, 1, 2), has_aux=True))
    clean = run(q, k, v)
    dirty = run(q, k.at[:, T:].set(jnp.nan), v.at[:, T:].set(jnp.inf))
    close(dirty, clean)
    _, (out, _) = run(q, k.at[:, 3].set(-jnp.inf), v)
    assert jnp.isnan(out[:, 3:]).all()
    close(out[:, :3], clean[1][0][:, :3])


@pytest.mark.slow
@pytest.mark.parametrize(("t", "d"), [(160, 64), (256, 64), (160, 12)])
def test_blocks_of_the_usual_sizes(t, d, draw):
    """Blocks of the backward pass are smaller; lengths and widths are whole blocks, or not."""
    q, k, v = draw(1, t, 2, d), draw(1, t, 1, d), draw(1, t, 1, d)
    weights = draw(1, t, 2, d)
    asked = request(causal & sliding_window(70) | from_sinks, SCORE_MODS["soft cap"])
    results = [
        jax.jit(jax.value_and_grad(loss(f, weights, **asked), (0, 1, 2), has_aux=True))(q, k, v)
        for f in (lambda *x, **asked: kernel(*x, block_sizes=None, **asked), expected)
    ]
    close(*results)


def from_sinks(b, h, i, j):
    return (j < 3) & (j <= i)


@pytest.mark.parametrize(
    ("mask", "parts"),
    [
        ("full", 3),
        ("cache", 3),
        ("window", 3),
        pytest.param("empty", 3, marks=pytest.mark.slow),
        pytest.param("window", 1, marks=pytest.mark.slow),
    ],
)
def test_programs_share_the_keys_of_a_query(mask, parts, draw, monkeypatch):
    """As in decoding: one query of grouped heads against a cache, of which a part is filled."""
    q, k, v = draw(2, 1, 4, 16), draw(2, 100, 2, 16), draw(2, 100, 2, 16)
    filled = jnp.asarray([63, 0 if mask == "empty" else 9], jnp.int32)
    seen = lengths(filled) if mask in ("cache", "empty") else MASKS[mask]
    asked = request(seen, SCORE_MODS["alibi"], query_offset=90)
    monkeypatch.setattr(pallas_blocks, "PROGRAMS", 8 * parts)
    tiling = pallas.tile(make_request(q, k, v, **asked), block_sizes=(16, 16))
    assert pallas_blocks.parts(tiling, make_request(q, k, v).shape) == parts
    results = [
        jax.jit(jax.value_and_grad(loss(f, 1.0, **asked), (0, 1, 2), has_aux=True))(q, k, v)
        for f in (kernel, expected)
    ]
    close(*results)


@pytest.mark.parametrize("number", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("name", ["query", "key", "value"])
def test_a_visible_number_that_is_not_finite_makes_its_row_nan(name, number, draw):
    """In a block that is seen whole too, where no vector is looked at."""
    arrays = dict(query=draw(1, 48, 1, 16), key=draw(1, 48, 1, 16), value=draw(1, 48, 1, 16))
    clean = kernel(*arrays.values(), **request(causal, None))
    arrays[name] = arrays[name].at[:, 5, :, 3].set(number)
    out, lse = kernel(*arrays.values(), **request(causal, None))
    struck = np.arange(48) == 5 if name == "query" else np.arange(48) >= 5
    assert jnp.isnan(out[:, struck]).all() and jnp.isnan(lse[:, struck]).all()
    close((out[:, ~struck], lse[:, ~struck]), jax.tree.map(lambda x: x[:, ~struck], clean))
    close((out, lse), expected(*arrays.values(), **request(causal, None)))


@pytest.mark.slow
def test_a_query_that_is_not_finite_reaches_no_key_that_it_does_not_see(arrays):
    """Its row is NaN, weights and slopes of hidden pairs too, in the block of the diagonal."""
    q, k, v = arrays
    of = loss(kernel, 1.0, **request(causal, None))
    run = jax.jit(jax.grad(of, (0, 1, 2), has_aux=True))
    (_, clean_k, clean_v), _ = run(q, k, v)
    (dq, dk, dv), _ = run(q.at[:, 3].set(jnp.nan), k, v)
    assert all(jnp.isnan(x[:, :4]).all() for x in (dk, dv)) and jnp.isnan(dq[:, 3]).all()
    close((dk[:, 4:], dv[:, 4:]), (clean_k[:, 4:], clean_v[:, 4:]))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.bfloat16, pytest.param(jnp.float16, marks=pytest.mark.slow)])
def test_half_precision_comes_back_as_it_came(dtype, arrays, draw):
    weights, asked = draw(B, T, H, E), request(causal, positions.alibi(heads=H))
    half = [x.astype(dtype) for x in arrays]
    run, define = (
        jax.jit(jax.grad(loss(f, weights, **asked), (0, 1, 2), has_aux=True))
        for f in (kernel, expected)
    )
    gradients, (out, lse) = run(*half)
    assert out.dtype == dtype and lse.dtype == jnp.float32
    assert all(x.dtype == dtype for x in gradients)
    close((gradients, (out, lse)), define(*half), rtol=0.05, atol=0.05)


@pytest.mark.slow
def test_captured_floats_get_their_gradient(arrays, draw):
    weights, table = draw(B, T, H, E), draw(8, H)

    def run(attend, table, *qkv):
        asked = request(None, positions.t5_bias(table))
        return loss(attend, weights, **asked)(*qkv)[0]

    gradients = [
        jax.jit(jax.grad(run, (1, 2, 3, 4)), static_argnums=0)(f, table, *arrays)
        for f in (kernel, expected)
    ]
    close(*gradients)
    assert jnp.abs(gradients[0][0]).max() > 0.01


@pytest.mark.slow
def test_what_is_captured_but_not_learned_costs_no_loop_of_xla(arrays):
    def run(table, *qkv):
        of = loss(kernel, 1.0, **request(causal, positions.t5_bias(table)))
        return jax.grad(lambda *x: of(*x)[0], (0, 1, 2))(*qkv)

    program = str(jax.make_jaxpr(run)(jnp.asarray(TABLE), *arrays))
    assert program.count("pallas_call[") == 3


@pytest.mark.slow
def test_forward_mode_and_second_derivatives_are_exact(arrays, draw):
    weights = draw(B, T, H, E)
    moved = tuple(draw(*x.shape) for x in arrays)

    def run(attend, qkv, moved):
        of = loss(attend, weights, **request(causal, SCORE_MODS["soft cap"]))
        gradient = jax.grad(lambda *x: of(*x)[0], (0, 1, 2))
        return jax.jvp(lambda *x: of(*x)[1], qkv, moved)[1], jax.jvp(gradient, qkv, moved)

    close(*(jax.jit(run, static_argnums=0)(f, arrays, moved) for f in (kernel, expected)))


@pytest.mark.slow
def test_vmap_maps_queries_and_what_is_captured(arrays, draw):
    q, k, v = arrays
    many, tables = draw(3, *q.shape), draw(3, 8, H)

    def run(attend, q, table):
        of = loss(attend, 1.0, **request(causal, positions.t5_bias(table)))
        return jax.grad(of, (0, 1, 2), has_aux=True)(q, k, v)

    mapped = (jax.vmap(lambda q, x, f=f: run(f, q, x)) for f in (kernel, expected))
    close(*(jax.jit(f)(many, tables) for f in mapped))


@pytest.mark.parametrize("empty", ["b", "t", "s"])
def test_empty_arrays_are_no_special_case(empty, arrays):
    q, k, v = arrays
    if empty == "t":
        q = q[:, :0]
    elif empty == "s":
        k, v = k[:, :0], v[:, :0]
    else:
        q, k, v = q[:0], k[:0], v[:0]
    out, lse = kernel(q, k, v, **request(None, None))
    assert out.shape == (*q.shape[:3], E) and not out.any()
    assert lse.shape == q.shape[:3] and (lse == -jnp.inf).all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The Pallas Triton backend:DeprecationWarning")
@pytest.mark.parametrize(("mask", "score_mod"), quick("causal", "array", "heads"))
def test_the_kernels_lower_for_a_gpu(mask, score_mod, arrays):
    dtype = jnp.bfloat16 if mask == "causal" else jnp.float32
    asked = request(MASKS[mask], SCORE_MODS[score_mod], interpret=False, block_sizes=None)
    run = jax.jit(jax.grad(lambda *x: loss(kernel, 1.0, **asked)(*x)[0], (0, 1, 2)))
    with gpu():
        traced = run.trace(*(x.astype(dtype) for x in arrays))
        program = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert program.count("gpu$xla.gpu.triton") == 3


@pytest.fixture
def on_gpu(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


def refusal(arrays, implementation=pallas, **asked):
    return implementation.refuse(make_request(*arrays, **asked))


@pytest.mark.usefixtures("on_gpu")
@pytest.mark.parametrize(("mask", "score_mod"), PAIRS)
def test_pallas_takes_what_it_can(mask, score_mod, arrays):
    assert refusal(arrays, mask=MASKS[mask], score_mod=SCORE_MODS[score_mod]) is None


def largest(score, b, h, i, j):
    return jnp.sort(jnp.stack([score, -score]))[1]


def whole_rows(b, h, i, j):
    return (jnp.ones((40, 40))[i] > 0).all()


@pytest.mark.usefixtures("on_gpu")
@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (dict(normalizer=normalizers.relu), "must be the softmax"),
        (dict(dropout_rate=0.1, dropout_key=jax.random.key(0)), "must be 0; got 0.1"),
        (dict(score_mod=largest), "`score_mod` uses `sort`"),
        (dict(mask=whole_rows), r"`mask` computes with an array of shape \(40,\)"),
    ],
)
def test_pallas_says_what_it_cannot_do(asked, reason, arrays):
    assert re.search(reason, refusal(arrays, **asked))


def test_pallas_runs_on_gpus_alone(arrays, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert "this is a tpu" in refusal(arrays)


def test_block_sizes_are_powers_of_two(arrays):
    with pytest.raises(ValueError, match=r"powers of 2 from 16; got \(48, 64\)"):
        pallas.run(make_request(*arrays), interpret=True, block_sizes=(48, 64))


@pytest.mark.usefixtures("on_gpu")
def test_pallas_says_which_arrays_it_cannot_read(arrays):
    q, k, v = arrays
    assert refusal((q, k.astype(jnp.bfloat16), v)).endswith("got bfloat16, float32.")
    wide = jnp.zeros((1, 1, 1, 300))
    assert "at most 256 wide" in refusal((wide, wide, wide))


def half_dot(q, k):
    return scores.dot(q, k) / 2


@pytest.mark.slow
def test_a_request_of_attention_is_refused_or_run(arrays, monkeypatch):
    asked = request(causal, None, score=half_dot)
    assert "this is a cpu" in refusal(arrays, pallas, **asked)
    assert "this is a cpu" in refusal(arrays, cudnn, **asked)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert refusal(arrays, pallas, **asked) is None
    assert "got float32" in refusal(arrays, cudnn, **asked)
    close(kernel(*arrays, **asked), expected(*arrays, **asked))


@pytest.mark.parametrize(
    ("score", "scale"),
    [(scores.dot, 1.0), (scores.scaled_dot, D**-0.5), (half_dot, 0.5)],
    ids=["dot", "scaled_dot", "half_dot"],
)
def test_the_scale_is_read_from_the_score(score, scale, arrays):
    got = make_request(*arrays, score=score).analysis.score.dot_scale
    assert got == pytest.approx(scale)


@pytest.mark.parametrize("implementation", [pallas, cudnn, tokamax], ids=lambda x: x.__name__)
@pytest.mark.parametrize(
    "score",
    [scores.cosine(), scores.general(jnp.eye(D)), lambda q, k: scores.dot(q + 1, k)],
    ids=["cosine", "general", "shifted"],
)
def test_scores_that_are_no_dot_product_are_refused(implementation, score, arrays):
    assert "`score` is another function" in refusal(arrays, implementation, score=score)


@pytest.mark.usefixtures("on_gpu")
def test_the_plan_is_what_the_kernels_visit():
    shapes = [jax.ShapeDtypeStruct((2, 256, 4, 64), jnp.float32)] * 3
    told = plan(*shapes, mask=causal)
    assert (told.implementation, told.block_sizes) == ("pallas", (128, 32))
    # Of 2 by 8 blocks, the first 4 and 8 of a line are visited.
    assert told.skipped == 1 - 12 / 16
    tiling = pallas.tile(make_request(*shapes, mask=causal))
    assert (len(tiling.partial), len(tiling.full), tiling.counts) == (8, 4, (1, 2, 8))
    none = [jax.ShapeDtypeStruct((0, *x.shape[1:]), x.dtype) for x in shapes]
    assert plan(*none).skipped == 0
