"""Variants whose sequence is divided among 8 devices, for `variants/test_context.py`.

A case is `[variant, strategy, order, place]`, as of `context_cases`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

import attention_jax as aj
from attention_jax import masks, variants
from attention_jax.core.types import Options
from tests.support import context_cases

B, T, HEADS, KV_HEADS, WIDTH = 2, 48, 4, 2, 8
INPUT_WIDTH = 12  # of the layer


def measure(case):
    name, strategy, order, place = case
    with jax.enable_x64(True), jax.set_mesh(context_cases.mesh(place)):
        variant = variants.resolve(name)
        params, given = inputs(variant)
        context = aj.Context("sequence", strategy, order)
        one = functools.partial(attend, variant, None, place)
        many = functools.partial(attend, variant, context, place)
        leaves, tree = jax.tree.flatten(params)

        def flat(function):
            count = len(given)
            return lambda *x: function(jax.tree.unflatten(tree, x[count:]), *x[:count])

        return context_cases.errors(flat(one), flat(many), (*given, *leaves))


def inputs(variant):
    draw = np.random.default_rng(0).normal
    sizes = {"heads": HEADS, "kv_heads": KV_HEADS, "head_width": WIDTH}
    if variant.features is not None:
        sizes["width"] = INPUT_WIDTH
    params = variant.init(jax.random.key(0), **sizes)
    # Gates and biases may start near 0.
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64) + 0.1, params)
    shapes = [(B, T, heads, WIDTH) for heads in (HEADS, KV_HEADS, KV_HEADS)]
    shapes += [] if variant.features is None else [(B, T, INPUT_WIDTH)]
    return params, [jnp.asarray(draw(size=x), jnp.float64) for x in shapes]


def attend(variant, context, place, params, *given):
    """With the last keys of a sequence hidden; the last of `given` is a layer's input, or none."""
    zigzag = context is not None and context.order == "zigzag"
    shards = context_cases.SHARDS[place]
    if zigzag:
        given = aj.contexts.zigzag(given, shards=shards)

    def call(params, q, k, v, *x):
        mask = masks.keys(jnp.arange(T)[None] < jnp.array([[T], [T - 7]]))
        if "causal" in variant.roles:
            mask = masks.causal & mask
        features = {"features": variant.features(params, *x)} if x else {}
        return variant.attend(params, q, k, v, Options(mask=mask, context=context), **features)

    if context is not None and place == "manual":
        along = P(None, "sequence")
        specs = P(), *[along] * len(given)
        call = jax.shard_map(call, in_specs=specs, out_specs=along)
    out = call(params, *given)
    return aj.contexts.natural(out, shards=shards) if zigzag else out
