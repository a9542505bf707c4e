"""What `attention` refuses, what `plan` says, and the variants that `from_score` makes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import attention, from_score, plan
from attention_jax.core import masks, normalizers, scores

BAD_SHAPES = {
    r"`query` must have shape \[b t h d\]; got \(5, 4, 8\). For one sequence add": (
        (5, 4, 8),
        (2, 5, 2, 8),
        (2, 5, 2, 6),
    ),
    r"`key` and `query` must have the same batch size .axis 0.; got shapes": (
        (2, 5, 4, 8),
        (3, 5, 2, 8),
        (3, 5, 2, 6),
    ),
    r"`value` and `key` must have the same length .axis 1.; got": (
        (2, 5, 4, 8),
        (2, 5, 2, 8),
        (2, 6, 2, 6),
    ),
    r"`value` and `key` must have the same number of heads": (
        (2, 5, 4, 8),
        (2, 5, 2, 8),
        (2, 5, 4, 6),
    ),
    r"`key` and `query` must have the same width": ((2, 5, 4, 8), (2, 5, 2, 7), (2, 5, 2, 6)),
    r"heads of `key` must divide those of `query`; got 3 and 4. Project": (
        (2, 5, 4, 8),
        (2, 5, 3, 8),
        (2, 5, 3, 6),
    ),
}


@pytest.mark.parametrize("message", BAD_SHAPES)
def test_shapes_that_do_not_fit_are_refused(message, users_errors):
    with pytest.raises(ValueError, match=message):
        attention(*map(jnp.ones, BAD_SHAPES[message]))


BAD_REQUESTS = {
    r"`score` must return one floating-point .* got float32\[8\]. Sum over": {
        "score": lambda q, k: q * k
    },
    r"`score_mod` must return one floating-point number; got bool\[\]": {
        "score_mod": lambda score, b, h, i, j: i > j
    },
    r"`mask` must return one boolean, .* got int32\[\]. For an additive bias": {
        "mask": lambda b, h, i, j: i - j
    },
    r"`mask` must be a function .* Wrap an array with `masks.from_array`": {
        "mask": np.ones((1, 1, 5, 5), bool)
    },
    r"`dropout_rate` must be a Python number in \[0, 1\); got 1.0": {"dropout_rate": 1.0},
    r"`dropout_key` must be given .* Pass `jax.random.key": {"dropout_rate": 0.1},
    r"`query_offset` must be one whole number; got int32\[2\]. With one": {
        "query_offset": np.arange(2, dtype=np.int32)
    },
    r"`return_lse` needs a normalizer .* got relu. Use `normalizers.softmax`": {
        "return_lse": True,
        "normalizer": normalizers.relu,
    },
    r"`implementation` must be one of None, 'cudnn', .*, 'reference'; got 'fast'": {
        "implementation": "fast"
    },
    r"'dense' cannot honor .* the softmax, not relu. These can, .*: blockwise, reference;": {
        "implementation": "dense",
        "normalizer": normalizers.relu,
    },
    r"'blockwise' cannot honor .* mine needs whole rows of logits. These can, .*: reference;": {
        "implementation": "blockwise",
        "normalizer": normalizers.softmax._replace(name="mine", online=None),
    },
    r"'cudnn' cannot honor this request: cuDNN needs an NVIDIA GPU": {"implementation": "cudnn"},
    r"'splash' cannot honor this request: Splash attention needs a TPU": {
        "implementation": "splash"
    },
    r"'pallas' cannot honor this request: .* this is a cpu": {"implementation": "pallas"},
    r"`mask` must not decide by Python's `if`.*jnp.where.*Got .*test_api.py.*lambda": {
        "mask": lambda b, h, i, j: True if i > j else False
    },
    r"`score_mod` must not decide by Python's `if`": {
        "score_mod": lambda score, b, h, i, j: score if i > j and h else -score
    },
}


@pytest.mark.parametrize("message", BAD_REQUESTS)
def test_requests_that_cannot_be_honoured_are_refused(message, qkv, users_errors):
    with pytest.raises(ValueError, match=message):
        attention(*qkv, **BAD_REQUESTS[message])
    with pytest.raises(ValueError, match=message):
        plan(*qkv, **BAD_REQUESTS[message])


def test_integers_are_refused(users_errors):
    x = jnp.ones((1, 3, 2, 4), jnp.int32)
    with pytest.raises(ValueError, match="`query` must hold floating-point numbers; got int32"):
        attention(x, x, x)


def test_a_traced_offset_and_a_raw_key_pass(qkv):
    run = jax.jit(
        lambda n, key: plan(*qkv, query_offset=n, dropout_rate=0.5, dropout_key=key) and n
    )
    assert run(3, jax.random.PRNGKey(0)) == 3


def test_the_plan_tells_what_runs_and_its_memory(qkv):
    told = plan(*qkv, implementation="reference")
    assert told.implementation == "reference" and "named" in told.reason
    scores_bytes, folded = 2 * 2 * 4 * 5 * 5 * 4, 4 * (2 * 5 * 4 * 14 + 2 * 5 * 2 * 14)
    assert told.temporary_bytes == scores_bytes + folded


def shapes(t, s, *, b=1, h=2):
    return [jax.ShapeDtypeStruct((b, n, h, 8), jnp.float32) for n in (t, s, s)]


def test_the_plan_of_a_long_causal_request():
    short, long = (plan(*shapes(n, n), mask=masks.causal) for n in (1024, 8192))
    assert short.implementation == long.implementation == "blockwise"
    queries, keys = long.block_sizes
    # Of the square's blocks those above the diagonal are left out.
    assert queries == keys and long.skipped == (8192 / queries - 1) / 2 * queries / 8192
    assert long.temporary_bytes < 8192 * 8192
    assert long.temporary_bytes / short.temporary_bytes < 8.5


def test_the_choice_by_length_and_normalizer():
    def chosen(t, s, **request):
        return plan(*shapes(t, s), **request).implementation

    assert chosen(128, 128) == "dense"
    assert chosen(129, 129) == "blockwise"
    assert chosen(16, 16, normalizer=normalizers.entmax15) == "blockwise"
    mine = normalizers.softmax._replace(online=None)
    assert chosen(500, 500, normalizer=mine) == "reference"


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", ["reference", "dense", "blockwise"])
def test_named_or_not_the_result_is_the_same(name, qkv):
    run = jax.jit(attention, static_argnames=("implementation", "mask", "return_lse"))
    for request in ({}, {"mask": masks.causal, "return_lse": True}):
        got, expected = run(*qkv, implementation=name, **request), run(*qkv, **request)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), got, expected)


def test_mixed_widths_return_the_querys(qkv):
    q, k, v = qkv
    shape = jax.eval_shape(attention, q.astype(jnp.bfloat16), k, v)
    assert (shape.shape, shape.dtype) == ((2, 5, 4, 6), jnp.bfloat16)


@pytest.mark.slow
def test_a_score_with_parameters_makes_a_variant(qkv):
    def init(key, *, heads, kv_heads, head_width):
        return {"scale": jax.random.normal(key, (head_width,))}

    made = from_score(lambda params: lambda q, k: scores.dot(q * params["scale"], k), init)
    params = made.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8)
    gradient = jax.jit(jax.grad(lambda params: (made.attend(params, *qkv) ** 2).sum()))(params)
    assert (gradient["scale"] != 0).all()
    assert made.start is None and made.step is None


def test_a_variant_without_parameters_has_none():
    made = from_score(lambda params: scores.dot)
    assert made.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8) == {}
    assert made.score({}) is scores.dot


@pytest.mark.slow
def test_the_lse_has_a_gradient_even_where_nothing_is_seen(qkv):
    def loss(q, k, v):
        seen = functools.partial(attention, mask=lambda b, h, i, j: j < i, return_lse=True)
        _, lse = seen(q, k, v)
        return jnp.where(jnp.isfinite(lse), lse, 0).sum()

    of_q, of_k, of_v = jax.jit(jax.grad(loss, (0, 1, 2)))(*qkv)
    np.testing.assert_array_equal(of_q[:, 0], np.zeros((2, 4, 8)))
    assert jnp.isfinite(of_k).all() and (of_v == 0).all()
