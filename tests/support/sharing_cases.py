"""Requests whose arrays are divided among 8 devices, for `test_sharing.py`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from attention_jax import attention
from attention_jax.core import masks
from tests.support import shared_programs

B, H, D = 8, 8, 8


def placed(division, kv_heads):
    """The shardings of queries and of keys."""
    shape, query = {
        "batch": ((8, 1), P("x")),
        "heads": ((8, 1), P(None, None, "x")),
        "both": ((4, 2), P("x", None, "y")),
    }[division]
    mesh = jax.make_mesh(shape, ("x", "y"), axis_types=(AxisType.Auto,) * 2)
    whole = division == "heads" and kv_heads < 8
    return NamedSharding(mesh, query), NamedSharding(mesh, P() if whole else query)


def measure(case):
    division, kv_heads, kind, length = case
    of_query, of_key = placed(division, kv_heads)
    query = jax.ShapeDtypeStruct((B, length, H, D), jnp.float32)
    key = jax.ShapeDtypeStruct((B, length, kv_heads, D), jnp.float32)
    arrays, shardings = [query, key, key], [of_query, of_key, of_key]
    replicated = NamedSharding(of_query.mesh, P())
    options = {"mask": masks.causal}
    if kind == "values":
        return values(shardings, length, kv_heads)
    if kind == "learned":
        arrays, shardings = [*arrays, jnp.ones(H)], [*shardings, replicated]
        options["score_mod"] = slopes
    if kind == "documents":
        ids = jax.ShapeDtypeStruct((B, length), jnp.int32)
        arrays, shardings = [*arrays, ids], [*shardings, NamedSharding(of_query.mesh, P("x"))]
        options["mask"] = lambda ids: masks.causal & masks.documents(ids, ids)
    function = functools.partial(attend, options)
    if kind in ("gradient", "learned"):
        function = jax.grad(
            lambda *x: attend(options, *x).sum(), tuple(range(3 + (kind == "learned")))
        )
    return shared_programs.report(function, arrays, shardings)


def attend(options, q, k, v, *captured):
    bound = {
        name: x(*captured) if captured and x is not masks.causal else x
        for name, x in options.items()
    }
    return attention(q, k, v, **bound)


def slopes(learned):
    return lambda s, b, h, i, j: s - learned[h] * jnp.float32(abs(i - j))


def values(shardings, length, kv_heads):
    """How far outputs and gradients are from those of one device."""
    draw = np.random.default_rng(0).normal
    shapes = [(B, length, H, D), (B, length, kv_heads, D), (B, length, kv_heads, D)]
    arrays = [jnp.asarray(draw(size=shape), jnp.float32) for shape in shapes]
    learned = jnp.linspace(0.1, 1, H)

    def loss(q, k, v, learned):
        out = attention(q, k, v, mask=masks.causal, score_mod=slopes(learned))
        return jnp.sin(out).sum(), out

    # Of outputs, not of their sum: its terms cancel, and devices add them in another order.
    run = jax.jit(jax.grad(loss, (0, 1, 2, 3), has_aux=True))
    divided = [jax.device_put(x, s) for x, s in zip(arrays, shardings, strict=True)]
    many, one = run(*divided, learned), run(*arrays, learned)
    return [
        float(np.abs(np.asarray(x) - np.asarray(y)).max() / np.abs(np.asarray(y)).max())
        for x, y in zip(jax.tree.leaves(many), jax.tree.leaves(one), strict=True)
    ]
