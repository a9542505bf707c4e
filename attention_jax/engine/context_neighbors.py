"""Context parallelism of a sliding window: each shard fetches the keys that its queries reach.

The last keys of the shards before it, and the first of those after it where the mask is not causal,
travel once; what a window hides travels never.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from attention_jax.core import mask_rules, masks, values
from attention_jax.core.numerics import Offset
from attention_jax.core.types import MaskFunction
from attention_jax.engine.context_layout import Layout
from attention_jax.engine.implementation import Output
from attention_jax.engine.request import Request


class Reach(NamedTuple):
    """How many keys before and after its own position a query may see."""

    before: int
    after: int


def reach_of(mask: MaskFunction | None) -> Reach | None:
    """The reach that a mask promises by `masks.sliding_window`; None where it promises none."""
    sizes = [size for part in masks.conjuncts(mask) if (size := _window(part)) is not None]
    if not sizes:
        return None
    causal = any(part == masks.causal for part in masks.conjuncts(mask))
    return Reach(min(sizes) - 1, 0 if causal else min(sizes) - 1)


def _window(part: MaskFunction) -> int | None:
    """Positions that are nearer than the end of the window; None where a mask is no window."""
    function = getattr(part, "function", None)
    if not isinstance(function, values.Bound):
        return None
    sizes = function.arguments
    if function.function is mask_rules.window and isinstance(sizes[0], int):
        return sizes[0]
    if function.function is mask_rules.dilated and all(isinstance(x, int) for x in sizes):
        size, dilation = (x for x in sizes if isinstance(x, int))
        return size * dilation
    return None


def refuse(request: Request) -> str | None:
    """Needs a sliding window, and queries at the positions of the keys."""
    (_, _, _, t, s), (first, other) = request.shape, request.offsets
    known = isinstance(first, int) and isinstance(other, int)
    return refusal(request.mask, t == s and (first is other or (known and first == other)))


def refusal(mask: MaskFunction | None, aligned: bool) -> str | None:
    """Why keys of neighbors do not suffice; None where they do.

    Args:
      aligned: whether queries are known to stand at the positions of the keys.
    """
    if reach_of(mask) is None:
        return "`mask` promises no window; join `masks.sliding_window` to it by `&`."
    if not aligned:
        return "queries must stand at the positions of the keys: as many, from the same offset."
    return None


class Near(NamedTuple):
    """The keys that the queries of a shard may reach.

    Attributes:
      mask: the mask, which also hides what is beyond the ends of the sequence.
      before: how many stand before the shard's own.
      keys: `(layout, keys of the shard) -> keys`.
    """

    mask: MaskFunction | None
    before: int
    keys: Callable[[Layout, Array], Array]


def near(mask: MaskFunction | None, start: Offset, layout: Layout, length: int) -> Near:
    """The keys that a window reaches.

    Args:
      start: position of the first query of the whole sequence.
      length: of a shard.
    """
    reach = reach_of(mask)
    assert reach is not None
    before, after = (steps(n, length, layout.shards) for n in reach)
    # Beyond the ends of the sequence stand the keys of its other end.
    inside = masks.Mask(values.bind(_inside, start, layout.shards * length))
    keys = lambda layout, x: with_neighbors(x, layout, before, after)  # noqa: E731
    return Near(masks.both(mask, inside), sum(before), keys)


def attend(request: Request, layout: Layout, run: Callable[[Request], Output]) -> Output:
    """The rows of this shard's queries, with the keys that they may reach."""
    query, *own = request.arrays
    start, length = request.offsets.query, query.shape[1]
    found = near(request.mask, start, layout, length)
    key, value = (found.keys(layout, x) for x in own)
    first = start + layout.shard * length
    near_by = request.changed(
        query,
        key,
        value,
        mask=found.mask,
        query_offset=first,
        key_offset=first - found.before,
    )
    return run(near_by)


def steps(reach: int, length: int, shards: int) -> list[int]:
    """How many keys each shard on the way has to give, the nearest first."""
    return [min(length, reach - n * length) for n in range(shards - 1) if reach > n * length]


def with_neighbors(x: Array, layout: Layout, before: list[int], after: list[int]) -> Array:
    """The array, after the last positions of shards before it, and before the first of others.

    Args:
      before, after: how many positions each shard gives, the nearest first.
    """
    length = x.shape[1]
    early = [layout.from_shard(x[:, length - n :], k + 1) for k, n in enumerate(before)]
    late = [layout.from_shard(x[:, :n], -k - 1) for k, n in enumerate(after)]
    return jnp.concatenate([*early[::-1], x, *late], axis=1)


def _inside(start: Array, length: int, b: Array, h: Array, i: Array, j: Array) -> Array:
    return (j >= start) & (j < start + length)
