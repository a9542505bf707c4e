"""Everything that may be asked of the engine, and arrays to ask it of, for the tests of it."""

import jax
import jax.numpy as jnp
import numpy as np

from attention_jax.core import masks, normalizers, scores
from attention_jax.engine import blockwise, reference
from attention_jax.engine.request import make_request

REST = dict(dropout_rate=0.0, dropout_key=None, query_offset=0, key_offset=0, return_lse=False)

# Everything that may be asked, by name, of a dictionary of arrays that are captured.
ASKED = {
    "score": {
        "scaled dot": lambda x: scores.scaled_dot,
        "cosine": lambda x: scores.cosine(temperature=0.5),
        "additive": lambda x: scores.additive(x["w_q"], x["w_k"], x["w"]),
        "distance": lambda x: lambda q, k: -jnp.abs(q - k).sum(),
        "query alone": lambda x: lambda q, k: jnp.sin(q).sum(),
        "key alone": lambda x: lambda q, k: (k * x["scale"]).sum(),
    },
    "score_mod": {
        "none": lambda x: None,
        "alibi": lambda x: lambda s, b, h, i, j: s - x["slopes"][h] * abs(i - j).astype(s.dtype),
        "soft cap": lambda x: lambda s, b, h, i, j: 2 * jnp.tanh(s / 2),
        "table": lambda x: lambda s, b, h, i, j: s * x["scale"] + x["table"][b, h, i % 4, j % 5],
    },
    "normalizer": {
        "softmax": lambda x: normalizers.softmax,
        "sink": lambda x: normalizers.softmax_with_sink(x["slopes"]),
        "sigmoid": lambda x: normalizers.sigmoid(x["scale"]),
        "sigmoid by length": lambda x: normalizers.sigmoid(None),
        "straight through": lambda x: normalizers.straight_through,
        "relu": lambda x: normalizers.relu,
        "hard": lambda x: normalizers.hard,
        "top_k": lambda x: normalizers.top_k(3),
        "sparsemax": lambda x: normalizers.sparsemax,
        "entmax15": lambda x: normalizers.entmax15,
    },
    "mask": {
        "causal": lambda x: masks.causal,
        "window": lambda x: masks.sliding_window(4),
        "prefix": lambda x: masks.prefix(x["lengths"][0]),
        "lengths": lambda x: masks.lengths(x["lengths"]),
        "documents": lambda x: masks.documents(x["query_ids"], x["key_ids"]),
        "array": lambda x: masks.from_array(x["visible"]),
        "heads": lambda x: lambda b, h, i, j: (i + j + h) % 3 != 0,
    },
}


def build_mask(expression, x):
    """Of a name, or of an operator and what it combines."""
    if expression is None or isinstance(expression, str):
        return ASKED["mask"][expression](x) if expression else None
    operator, *parts = expression
    first, *rest = (masks.full & build_mask(part, x) for part in parts)
    return ~first if operator == "~" else first & rest[0] if operator == "&" else first | rest[0]


def asked(x, *, score="scaled dot", score_mod="none", normalizer="softmax", mask=None):
    """A request by names."""
    names = dict(score=score, score_mod=score_mod, normalizer=normalizer)
    built = {part: ASKED[part][name](x) for part, name in names.items()}
    return {**REST, **built, "mask": build_mask(mask, x)}


def engine(*qkv, block_sizes=(2, 3), **request):
    return blockwise.run(make_request(*qkv, **{**asked({}), **request}), block_sizes=block_sizes)


def dense(*qkv, block_sizes=None, **request):
    return reference.run(make_request(*qkv, **{**asked({}), **request}))


def arrays_of(b, t, s, g, r, d, e, dtype="float32", offsets=(0, 0)):
    """Queries, keys and values; what is captured and learned; what is captured and is not.

    Masks look their arrays up at global positions, so these reach as far as the offsets do.
    """
    draw = np.random.default_rng(0)

    def normal(*shape, dtype="float32"):
        return jnp.asarray(draw.normal(size=shape), jnp.float32).astype(dtype)

    shapes = (b, t, g * r, d), (b, s, g, d), (b, s, g, e)
    t, s = t + offsets[0], s + offsets[1]
    learned = dict(
        w_q=(3, d), w_k=(3, d), w=(3,), slopes=(g * r,), scale=(), table=(b, g * r, 4, 5)
    )
    fixed = dict(
        lengths=jnp.asarray(draw.integers(0, s + 1, b), jnp.int32),
        query_ids=jnp.asarray(np.sort(draw.integers(0, 3, (b, t))), jnp.int32),
        key_ids=jnp.asarray(np.sort(draw.integers(0, 3, (b, s))), jnp.int32),
        visible=jnp.asarray(draw.random((b, 1, t, s)) < 0.5),
    )
    qkv = [normal(*shape, dtype=dtype) for shape in shapes]
    return qkv, {name: normal(*shape) for name, shape in learned.items()}, fixed


# Several blocks in both directions, with tails, and grouped heads.
QKV, LEARNED, FIXED = arrays_of(2, 8, 9, 2, 2, 4, 3)


def close(got, expected):
    """Tolerances depend on the dtype alone: results are rounded to it once."""
    assert got.dtype == expected.dtype
    narrow = got.dtype == jnp.bfloat16
    got, expected = (np.asarray(x.astype(jnp.float32)) for x in (got, expected))
    rtol, atol = (2**-7, 2**-10) if narrow else (1e-4, 1e-5)
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=atol)


def agree(compute, *arguments):
    """`compute(attend, *arguments)` is the same with the engine and with the definition."""
    run = jax.jit(lambda *x: (compute(engine, *x), compute(dense, *x)))
    got, expected = run(*arguments)
    jax.tree.map(close, got, expected)
    return got
