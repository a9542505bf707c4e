"""States brought from shard to shard, where an axis of a mesh divides the sequence of a variant.

Each shard moves the state before it, and adds to it; what it needs is the state after all shards
before it. Of these each gives one matrix, or two:

    S_after = move(S_before) + added        move = a decay, or a product of (I - b k k^T)
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from attention_jax.core import masks
from attention_jax.core.types import Options
from attention_jax.engine import context_neighbors
from attention_jax.engine.context_layout import Layout, layout_of
from attention_jax.variants._builders.keywise import Prepared, prepare, same_positions


def prepared(
    name: str, q: Array, k: Array, v: Array, options: Options
) -> tuple[Prepared, Options, Layout | None]:
    """The request of one shard, its options, and the layout, which is None without a context.

    Raises:
      ValueError: as `keywise.prepare`; or the context has another strategy or order than states
        can honor.
    """
    if options.context is not None and any(map(masks.is_documents, masks.conjuncts(options.mask))):
        raise ValueError(
            f"`context` must be None for packed documents of {name}, whose states begin anew with "
            f"each; got {options.context!r}. Leave it out, or use scaled_dot."
        )
    options, layout = of_shard(name, options, q.shape[1], k.shape[1])
    return _spoiled(layout, prepare(name, q, k, v, options, packs=True)), options, layout


def of_shard(name: str, options: Options, queries: int, keys: int) -> tuple[Options, Layout | None]:
    """The options of one shard, with its own positions."""
    if options.context is None:
        return options, None
    layout = layout_of(options.context)
    axis, strategy, order = layout.context
    if (strategy, order) != ("gather", "natural"):
        raise ValueError(
            f"{name} brings states from shard to shard, so `context` must have the strategy "
            f"'gather' and the order 'natural'; got {strategy!r} and {order!r}. Write "
            f"`context={axis!r}`."
        )
    at = options.query_offset + layout.shard * queries
    # One array for both shows that queries and keys are aligned.
    same = same_positions(queries, keys, options.query_offset, options.key_offset)
    other = at if same else options.key_offset + layout.shard * keys
    return options._replace(query_offset=at, key_offset=other, context=None), layout


# Arrays of a shard -> by what it moves the state before it, and what it adds.
Moved = Callable[..., tuple[Array, Array]]


def state_before(layout: Layout | None, moved: Moved, *arrays: Array | None) -> Array | None:
    """The state after all shards before this one, of states that fade; None without a layout."""
    fade = lambda decay, state: decay[..., None] * state  # noqa: E731
    return None if layout is None else _before(layout, fade, *moved(*arrays))


def delta_state_before(layout: Layout | None, moved: Moved, *arrays: Array) -> Array | None:
    """The same of states that are multiplied by matrices."""
    return None if layout is None else _before(layout, jnp.matmul, *moved(*arrays))


def _before(
    layout: Layout, move: Callable[[Array, Array], Array], moves: Array, added: Array
) -> Array:
    moves, all_added = jax.lax.all_gather((moves, added), layout.axis)

    def turn(state: Array, one: Any) -> tuple[Array, None]:
        number, by, more = one
        return jnp.where(number < layout.shard, move(by, state) + more, state), None

    shards = jnp.arange(layout.shards, dtype=jnp.int32), moves, all_added
    return jax.lax.scan(turn, jnp.zeros_like(added), shards)[0]


def total(layout: Layout | None, x: Array) -> Array:
    """The sum over all shards."""
    return x if layout is None else jax.lax.psum(x, layout.axis)


def tail_before(layout: Layout | None, x: Array, count: int) -> Array:
    """The last positions before this shard; zeros before the sequence."""
    if layout is None or not count:
        return jnp.zeros((x.shape[0], count, *x.shape[2:]), x.dtype)
    given = context_neighbors.steps(count, x.shape[1], layout.shards)
    found = context_neighbors.with_neighbors(x, layout, given, [])[:, : sum(given)]
    found = jnp.pad(found, ((0, 0), (count - sum(given), 0), (0, 0), (0, 0)))
    place = layout.shard * x.shape[1] + jnp.arange(-count, 0)
    return jnp.where(place[None, :, None, None] >= 0, found, 0)


def _spoiled(layout: Layout | None, got: Prepared) -> Prepared:
    """The request, in which keys of other shards that are not finite spoil rows too."""
    if layout is None:
        return got
    each: Bool[Array, "n b g"] = jax.lax.all_gather(got.spoiled.any(1), layout.axis)
    number = jnp.arange(layout.shards)[:, None, None]
    before = (each & (number < layout.shard)).any(0) if got.causal else each.any(0)
    # Spoiled at the first position, it spoils all from there on.
    return got._replace(spoiled=got.spoiled.at[:, 0].set(got.spoiled[:, 0] | before))
