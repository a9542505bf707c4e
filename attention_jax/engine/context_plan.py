"""Plans and explanations of calls whose sequence an axis of a mesh divides."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from attention_jax.core import contexts
from attention_jax.core.types import Context
from attention_jax.engine import context, context_neighbors
from attention_jax.engine.context_layout import Layout, layout_of
from attention_jax.engine.context_ring import piece_rows
from attention_jax.engine.implementation import Plan
from attention_jax.engine.request import Offsets, Request


class _Piece(NamedTuple):
    """Queries and keys of one call on a shard, what it holds beside them, and both in words."""

    queries: int
    keys: int
    held: int
    text: str


def plan(request: Request, of: Context | str, planned: Callable[[Request], Plan]) -> Plan:
    """How a shard computes the rows of its queries.

    Args:
      planned: the plan of a request on one device.

    Raises:
      ValueError: as `attention`.
    """
    layout = layout_of(of)
    context.check(request, layout)
    piece, found = _piece(request, layout), []

    def shard(number: jax.Array) -> jax.Array:
        # Where a shard begins is not known before the run.
        offsets = Offsets(*(x + number for x in request.offsets))
        query, key, value = (
            jax.ShapeDtypeStruct((x.shape[0], n, *x.shape[2:]), x.dtype)
            for x, n in zip(request[:3], (piece.queries, piece.keys, piece.keys), strict=True)
        )
        own = request._replace(query=query, key=key, value=value, offsets=offsets)
        found.append(planned(own))
        return number

    jax.eval_shape(shard, jax.ShapeDtypeStruct((), jnp.int32))
    (own,) = found
    text = (
        f"{layout.shards} shards of {layout.axis!r} in {layout.context.order} order: {piece.text}"
    )
    return own._replace(temporary_bytes=own.temporary_bytes + piece.held, context=text)


def _piece(request: Request, layout: Layout) -> _Piece:
    query, key, value = request.query, request.key, request.value
    t, s = (layout.whole(x.shape[1]) // layout.shards for x in (query, key))
    size = sum(x.dtype.itemsize * x.shape[0] * x.shape[2] * x.shape[3] for x in (key, value))
    if layout.context.strategy == "gather":
        whole = layout.shards * s
        text = f"each gathers all {whole} keys and values, {whole * size} bytes."
        return _Piece(t // layout.context.chunks, whole, whole * size, text)
    if layout.context.strategy == "ring":
        rows, columns = piece_rows(t, layout), piece_rows(s, layout)
        text = f"keys and values pass in a ring, {s} at a time, in pieces of {rows} by {columns}."
        return _Piece(rows, columns, 2 * s * size, text)
    reach = context_neighbors.reach_of(request.mask)
    assert reach is not None
    before, after = (sum(context_neighbors.steps(n, t, layout.shards)) for n in reach)
    text = f"each fetches {before} keys before its own {s}, and {after} after them."
    return _Piece(t, s + before + after, (s + before + after) * size, text)


def in_order(request: Request, of: Context | str) -> Request:
    """The request of whole sequences in their natural order.

    Raises:
      ValueError: as `attention`; or inside `jax.shard_map`.
    """
    layout = layout_of(of)
    context.check(request, layout)
    if layout.is_manual:
        raise ValueError(
            "`explain` shows whole sequences; inside `jax.shard_map` each shard has a part; got "
            f"`context` {layout.axis!r}. Call it outside."
        )
    if layout.context.order == "natural":
        return request
    query, key, value = contexts.natural(request.arrays, shards=layout.shards)
    return request._replace(query=query, key=key, value=value)
