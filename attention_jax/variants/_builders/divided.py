"""Variants whose sequence is divided over an axis of a mesh.

Each shard calls the variant with its own queries and their features, and with the keys and values
of all shards, or of those that a window reaches; their offsets are global positions. A variant that
divides itself, as those do that hand `context` on to `attention` or bring states from shard to
shard, is called with what the shard has alone.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from jaxtyping import Array, PyTree

from attention_jax.core import lookups
from attention_jax.core.types import Options, Output, Params
from attention_jax.engine import context_neighbors, partition
from attention_jax.engine.context_layout import Layout, divided, layout_of, per_chunk, whole_shapes
from attention_jax.variants._builders.keywise import same_positions
from attention_jax.variants._builders.meshes import apart, lifted

Attend = Callable[..., Output]


def attend(
    own: Attend,
    divides: bool,
    params: Params,
    q: Array,
    k: Array,
    v: Array,
    options: Options,
    features: PyTree = None,
) -> Output:
    """`own(params, q, k, v, options)`, whose sequence `options.context` may divide.

    Args:
      features: of variants that take them, as `own(..., features=features)`.

    Raises:
      ValueError: the mesh has no such axis, it does not divide a length, or the strategy cannot
        honor the call.
    """
    if options.context is None:
        return apart(own, params, q, k, v, options, features)
    layout = layout_of(options.context)
    _check(divides, layout, q, k, options)
    arrays, rebuild = lifted(params, q, k, v, options, features)
    if layout.is_explicit:
        # Types that tell how arrays are divided end here, and begin again at the output.
        q = layout.along(q)
        again = lambda arrays: attend(own, divides, *rebuild(arrays))  # noqa: E731
        return partition.apart(again, ((q, k, v, features), *arrays[1:]), q)
    of_shard = partial(_itself if divides else _STRATEGIES[layout.context.strategy], own)
    if layout.is_manual:
        return of_shard(layout, params, q, k, v, options, features)
    inside = layout._replace(is_manual=True)

    def run(qkv: PyTree, rest: PyTree) -> Output:
        return of_shard(inside, *rebuild((qkv, *rest)))

    return divided(layout.axis, run, arrays[0], arrays[1:])


def _check(divides: bool, layout: Layout, q: Array, k: Array, options: Options) -> None:
    """Raises unless a call can be divided so."""
    whole = whole_shapes(layout, q=q, k=k)
    lookups.check("mask", options.mask, *whole, options.query_offset, options.key_offset)
    if divides:
        return
    strategy, reason = layout.context.strategy, None
    if strategy == "ring":
        reason = "the parts of its output are not known to merge."
    if strategy == "neighbors":
        same = same_positions(q.shape[1], k.shape[1], options.query_offset, options.key_offset)
        reason = context_neighbors.refusal(options.mask, same)
    if reason is not None:
        raise ValueError(
            f"This variant cannot honor `strategy` {strategy!r} of `context`: {reason} Use "
            f"`context={layout.axis!r}`, which gathers keys and values."
        )


def _gathered(own: Attend, layout: Layout, params: Params, *call: Any) -> Output:
    q, k, v, options, features = call
    k, v = layout.gathered(k), layout.gathered(v)

    def rows(first: Array, own_rows: tuple[Array, PyTree]) -> Output:
        (q, features), here = own_rows, _from(options, first, options.key_offset)
        return apart(own, params, q, k, v, here, features)

    return per_chunk(layout, (q, features), rows)


def _near(own: Attend, layout: Layout, params: Params, *call: Any) -> Output:
    q, k, v, options, features = call
    start, length = options.query_offset, q.shape[1]
    near = context_neighbors.near(options.mask, start, layout, length)
    k, v = near.keys(layout, k), near.keys(layout, v)
    first = layout.shard * length
    options = options._replace(mask=near.mask)
    options = _from(options, first, start + first - near.before)
    return apart(own, params, q, k, v, options, features)


def _itself(own: Attend, layout: Layout, params: Params, *call: Any) -> Output:
    q, k, v, options, features = call
    return apart(own, params, q, k, v, options._replace(context=layout.context), features)


def _from(options: Options, first: Array, key_offset: int | Array) -> Options:
    """The options of a call on one shard."""
    query_offset = options.query_offset + first
    return options._replace(query_offset=query_offset, key_offset=key_offset, context=None)


_STRATEGIES = {"gather": _gathered, "neighbors": _near}
