"""Requests whose sequence is divided among 8 devices, for `engine/test_context.py`.

A case is `[function, strategy, order, place, dtype]`; `place` is where the call stands: "jit" on
whole arrays, "manual" inside `jax.shard_map`, "mesh" beside an axis that divides the batch,
"explicit" where both axes are explicit ones. In float64 rounding hides nothing.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import attention_jax as aj
from attention_jax import masks, normalizers
from attention_jax.engine import context_ring

B, T, H, D = 2, 64, 4, 8
SHARDS = {"jit": 8, "manual": 8, "mesh": 4, "explicit": 4}


def alibi(q, captured):
    return {"score_mod": lambda s, b, h, i, j: s - captured[h, 0] * jnp.abs(i - j).astype(s.dtype)}


def documents(q, captured):
    ids = jnp.arange(T)[None] // jnp.array([[11], [24]])
    return {"mask": masks.causal & masks.documents(ids, ids)}


def window(q, captured):
    return {"mask": masks.causal & masks.sliding_window(13), **alibi(q, captured)}


def wide_window(q, captured):
    return {"mask": masks.sliding_window(21), "score_mod": content(q, captured)["score_mod"]}


def content(q, captured):
    """A bias that each query computes: [b t h 3] for distances up to 2."""
    bias = jnp.einsum("bthd,hd->bth", q, captured)[..., None] * jnp.array([1.0, 0.5, 0.25])
    return {
        "mask": masks.causal,
        "score_mod": lambda s, b, h, i, j: s + bias[b, i, h, jnp.clip(jnp.abs(i - j), 0, 2)],
    }


def additive(q, captured):
    return {"mask": masks.causal, "score": lambda q, k: jnp.tanh(q + k) @ captured[0]}


def soft_cap(q, captured):
    return {
        "mask": masks.causal,
        "score_mod": lambda s, b, h, i, j: captured[h, 1] * jnp.tanh(s / captured[h, 1]),
    }


def sink(q, captured):
    return {"mask": masks.causal, "normalizer": normalizers.softmax_with_sink(captured[:, 0])}


def sparsemax(q, captured):
    return {"mask": masks.causal, "normalizer": normalizers.sparsemax, **alibi(q, captured)}


def sigmoid(q, captured):
    return {"normalizer": normalizers.sigmoid(captured[0, 0])}


def sigmoid_of_count(q, captured):
    return {"mask": masks.causal, "normalizer": normalizers.sigmoid(None), **alibi(q, captured)}


def relu(q, captured):
    return {"mask": masks.causal, "normalizer": normalizers.relu, **alibi(q, captured)}


def dropout(q, captured):
    own = {"dropout_rate": 0.3, "dropout_key": jax.random.key(3)}
    return {"mask": masks.causal, **own, **alibi(q, captured)}


def grouped(q, captured):
    return {"mask": masks.causal, **alibi(q, captured)}


def own_mask(q, captured):
    return {"mask": lambda b, h, i, j: (i >= j) | (j < 7 + b), **alibi(q, captured)}


def shaw(q, captured):
    table = jnp.sin(jnp.arange(9.0))[:, None] * captured[0]
    score = lambda q, k, b, h, i, j: q @ (k + table[jnp.clip(i - j, -4, 4) + 4])  # noqa: E731
    return {"mask": masks.causal, "score": score}


def lse(q, captured):
    return {"mask": masks.causal, "return_lse": True, **alibi(q, captured)}


def far(q, captured):
    """Positions that do not begin at 0."""
    return {"mask": masks.causal, "query_offset": 100, "key_offset": 100, **alibi(q, captured)}


def arrays(name):
    draw = np.random.default_rng(0).normal
    kv_heads = 2 if name == "grouped" else H
    shapes = (B, T, H, D), (B, T, kv_heads, D), (B, T, kv_heads, D), (H, D)
    *qkv, captured = (jnp.asarray(draw(size=x), jnp.float32) for x in shapes)
    return *qkv, 0.5 + 0.1 * captured


def losses(out):
    """A number of outputs, whose derivative in each of them differs."""
    return sum(jnp.sin(jnp.where(jnp.isfinite(x), x, 0)).sum() for x in jax.tree.leaves(out))


def one_device(name, q, k, v, captured):
    return aj.attention(q, k, v, **globals()[name](q, captured))


def divided(name, context, place, q, k, v, captured):
    shards = SHARDS[place]
    if context.order == "zigzag":
        q_natural = q
        q, k, v = aj.contexts.zigzag((q, k, v), shards=shards)
        options = globals()[name](q_natural, captured)
    else:
        options = globals()[name](q, captured)
    if place != "manual":
        out = aj.attention(q, k, v, context=context, **options)
    else:
        out = manual(name, context, q, k, v, captured)
    return aj.contexts.natural(out, shards=shards) if context.order == "zigzag" else out


def manual(name, context, q, k, v, captured):
    along = P(None, context.axis)

    @functools.partial(jax.shard_map, in_specs=(along, along, along, P(), P()), out_specs=along)
    def run(q, k, v, captured, whole):
        return aj.attention(q, k, v, context=context, **globals()[name](whole, captured))

    # Arrays that follow the sequence are whole where a function captures them.
    whole = aj.contexts.natural(q, shards=SHARDS["manual"]) if context.order == "zigzag" else q
    return run(q, k, v, captured, whole)


def mesh(place):
    kind = AxisType.Explicit if place == "explicit" else AxisType.Auto
    shape = (1, 8) if place in ("jit", "manual") else (2, 4)
    return jax.make_mesh(shape, ("data", "sequence"), axis_types=(kind,) * 2)


def errors(one, many, given):
    """The largest errors of outputs and gradients, relative to the largest number of each."""

    def graded(function):
        def loss(*x):
            out = function(*x)
            return losses(out), out

        return jax.jit(jax.value_and_grad(loss, tuple(range(len(given))), has_aux=True))

    ((_, out), gradient), ((_, out_one), gradient_one) = graded(many)(*given), graded(one)(*given)
    got, expected = (
        [np.asarray(jax.device_get(x), np.float64) for x in jax.tree.leaves(tree)]
        for tree in ((out, gradient), (out_one, gradient_one))
    )
    largest = max(_largest(y) for y in expected)
    found = []
    for x, y in zip(got, expected, strict=True):
        assert (np.isfinite(x) == np.isfinite(y)).all()
        # A gradient that is 0 but for rounding has no size of its own.
        size = _largest(y) if _largest(y) > 1e-6 * largest else largest
        found.append(_largest(np.where(np.isfinite(y), x - y, 0)) / size)
    return found


def _largest(x):
    return float(np.abs(np.where(np.isfinite(x), x, 0)).max(initial=0))


def measure(case):
    name, strategy, order, place, dtype = case
    context = aj.Context("sequence", strategy, order)
    one = functools.partial(one_device, name)
    many = functools.partial(divided, name, context, place)
    # Several pieces to a shard, as long sequences have.
    context_ring.PIECE = 4
    with jax.enable_x64(dtype == "float64"), jax.set_mesh(mesh(place)):
        given = [jnp.asarray(x, dtype) for x in arrays(name)]
        return errors(one, many, given)
