"""Variants whose batch is divided among 8 devices, for `variants/test_sharing.py`."""

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options
from attention_jax.variants._by_queries import by_queries
from tests.support import shared_programs

BATCH, LENGTH, HEADS, WIDTH = 8, 160, 4, 8


def measure(name):
    variant = by_queries(variants.get(name))
    mask = masks.causal if "causal" in variant.roles else None
    params = variant.init(jax.random.key(0), heads=HEADS, kv_heads=HEADS, head_width=WIDTH)
    mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Auto,))
    leaves, tree = jax.tree.flatten(params)
    arrays = [jax.ShapeDtypeStruct((BATCH, LENGTH, HEADS, WIDTH), jnp.float32)] * 3

    def attend(q, k, v, *params):
        return variant.attend(jax.tree.unflatten(tree, params), q, k, v, Options(mask=mask))

    shardings = [NamedSharding(mesh, P("x"))] * 3 + [NamedSharding(mesh, P())] * len(leaves)
    return shared_programs.report(attend, [*arrays, *leaves], shardings)
