"""Context parallelism of a sliding window: each shard fetches the keys that its queries reach.

The last keys of the shards before it, and the first of those after it where the mask is not causal,
travel once; what a window hides travels never.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from attention_jax.core import mask_rules, masks, values
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
    if reach_of(request.mask) is None:
        return "`mask` promises no window; join `masks.sliding_window` to it by `&`."
    (_, _, _, t, s), (first, other) = request.shape, request.offsets
    known = isinstance(first, int) and isinstance(other, int)
    if t == s and (first is other or (known and first == other)):
        return None
    return (
        f"queries must stand at the positions of the keys; got {t} from {first} and {s} from "
        f"{other}."
    )


def attend(request: Request, layout: Layout, run: Callable[[Request], Output]) -> Output:
    """The rows of this shard's queries, with the keys that they may reach."""
    reach = reach_of(request.mask)
    assert reach is not None
    query, *own = request.arrays
    length, start = query.shape[1], request.offsets.query
    before, after = (_steps(n, length, layout.shards) for n in reach)
    key, value = (_with_neighbors(x, layout, before, after) for x in own)
    first = start + layout.shard * length
    # Beyond the ends of the sequence stand the keys of its other end.
    inside = masks.Mask(values.bind(_inside, start, layout.shards * length))
    near = request.changed(
        query,
        key,
        value,
        mask=masks.both(request.mask, inside),
        query_offset=first,
        key_offset=first - sum(before),
    )
    return run(near)


def _steps(reach: int, length: int, shards: int) -> list[int]:
    """How many keys each shard on the way has to give, the nearest first."""
    return [min(length, reach - n * length) for n in range(shards - 1) if reach > n * length]


def _with_neighbors(x: Array, layout: Layout, before: list[int], after: list[int]) -> Array:
    length = x.shape[1]
    early = [layout.from_shard(x[:, length - n :], k + 1) for k, n in enumerate(before)]
    late = [layout.from_shard(x[:, :n], -k - 1) for k, n in enumerate(after)]
    return jnp.concatenate([*early[::-1], x, *late], axis=1)


def _inside(start: Array, length: int, b: Array, h: Array, i: Array, j: Array) -> Array:
    return (j >= start) & (j < start + length)
