"""Positions of a sequence that the shards of an axis hold, seen from one of them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, PartitionSpec
from jaxtyping import Array, PyTree

from attention_jax.core import contexts
from attention_jax.core.types import Context


class Layout(NamedTuple):
    """A context on the mesh that is set.

    Attributes:
      shards: of the axis.
      is_manual: whether arrays are a shard's own already, as inside `jax.shard_map`.
      is_explicit: whether types tell how axes of the mesh divide arrays.
    """

    context: Context
    shards: int
    is_manual: bool
    is_explicit: bool

    @property
    def axis(self) -> str:
        return self.context.axis

    @property
    def shard(self) -> Array:
        """The number of this shard; only where the axis is manual."""
        return jax.lax.axis_index(self.axis)

    def whole(self, length: int) -> int:
        """The length of the whole sequence, of a call whose arrays have this one."""
        return length * self.shards if self.is_manual else length

    def chunks(self, x: PyTree, shard: Array) -> list[tuple[Array, PyTree]]:
        """The chunks that a shard holds of arrays [b t ...], each after its first position."""
        count = self.context.chunks
        size = jax.tree.leaves(x)[0].shape[1] // count
        if count == 1:
            return [(shard * size, x)]
        late = 2 * self.shards - 1 - shard
        halves = slice(size), slice(size, None)
        first, second = (jax.tree.map(lambda x, at=at: x[:, at], x) for at in halves)
        return [(shard * size, first), (late * size, second)]

    def first(self, shard: Array, row: Array, length: int) -> Array:
        """The position of a row of a shard, which holds so many."""
        if self.context.chunks == 1:
            return shard * length + row
        size, late = length // 2, 2 * self.shards - 1 - shard
        return jnp.where(row < size, shard * size, (late - 1) * size) + row

    def gathered(self, x: Array) -> Array:
        """The whole sequence in its natural order."""
        whole = jax.lax.all_gather(x, self.axis, axis=1, tiled=True)
        if self.context.chunks == 1:
            return whole
        return contexts.natural(whole, shards=self.shards)

    def positions(self, length: int) -> Array:
        """The positions of the rows of a call whose arrays have this length."""
        if self.is_manual:
            return self.first(self.shard, jnp.arange(length, dtype=jnp.int32), length)
        count = jnp.arange(length, dtype=jnp.int32)
        if self.context.chunks == 1:
            return count
        return contexts.zigzag(count, shards=self.shards, axis=0)

    def along(self, x: Array) -> Array:
        """The array, divided along the sequence where the axis is an explicit one."""
        mesh = jax.sharding.get_abstract_mesh()
        if mesh.axis_types[mesh.axis_names.index(self.axis)] != AxisType.Explicit:
            return x
        spec = (*jax.typeof(x).sharding.spec, None, None)
        others = [tuple(n for n in _names(part) if n != self.axis) or None for part in spec]
        return jax.sharding.reshard(x, PartitionSpec(others[0], self.axis, *others[2:4]))

    def from_shard(self, x: PyTree, distance: int = 1) -> PyTree:
        """The arrays of the shard so many before this one, around the ring."""
        n = self.shards
        ring = [(r, (r + distance) % n) for r in range(n)]
        return jax.tree.map(lambda x: jax.lax.ppermute(x, self.axis, ring), x)


def _names(part: Any) -> tuple[str, ...]:
    return part if isinstance(part, tuple) else () if part is None else (part,)


def layout_of(context: Context | str) -> Layout:
    """The context on the mesh that is set.

    Raises:
      ValueError: no mesh is set, or it has no such axis.
    """
    own, mesh = contexts.checked(context), jax.sharding.get_abstract_mesh()
    if mesh.empty:
        raise ValueError(
            f"`context` must name an axis of the mesh, and no mesh is set; got {own.axis!r}. Set "
            f"one, `with jax.set_mesh(jax.make_mesh((8,), ({own.axis!r},))):`, or call inside "
            "`jax.shard_map`."
        )
    if own.axis not in mesh.axis_names:
        raise ValueError(
            f"`context` must name an axis of the mesh, which has "
            f"{', '.join(map(repr, mesh.axis_names))}; got {own.axis!r}. Name one of these."
        )
    kinds = dict(zip(mesh.axis_names, mesh.axis_types, strict=True))
    sizes = dict(zip(mesh.axis_names, mesh.axis_sizes, strict=True))
    _agree(kinds)
    manual, explicit = kinds[own.axis] == AxisType.Manual, AxisType.Explicit in kinds.values()
    return Layout(own, sizes[own.axis], manual, explicit)


def _agree(kinds: dict[str, AxisType]) -> None:
    """Raises where `jax.shard_map` has made some axes manual, and leaves explicit ones."""
    manual = [x for x, kind in kinds.items() if kind == AxisType.Manual]
    explicit = [x for x, kind in kinds.items() if kind == AxisType.Explicit]
    if manual and explicit:
        raise ValueError(
            f"Inside `jax.shard_map` the axis of `context` must be manual or automatic, and no "
            f"other explicit; got {', '.join(map(repr, explicit))} beside the manual "
            f"{', '.join(map(repr, manual))}. Leave `axis_names` of `jax.shard_map` out, so that "
            "all are manual."
        )


def positions_of(context: Context | str | None, length: int) -> Array:
    """The positions of rows that a context divides, of a call whose arrays have this length."""
    if context is None:
        return jnp.arange(length, dtype=jnp.int32)
    return layout_of(context).positions(length)


def whole(x: Array, context: Context | str | None) -> Array:
    """The whole sequence in its natural order, as functions of a call look it up.

    Args:
      x: in the order of the call, along axis 1; a shard's part where arrays are that.
    """
    if context is None:
        return x
    layout = layout_of(context)
    if layout.is_manual:
        return layout.gathered(x)
    if layout.context.order == "natural":
        return x
    return contexts.natural(x, shards=layout.shards)


def whole_shapes(
    layout: Layout, **arrays: Array | jax.ShapeDtypeStruct
) -> list[jax.ShapeDtypeStruct]:
    """Shapes of the whole sequences of a call.

    Args:
      arrays: of the call, by the names that an error has.

    Raises:
      ValueError: shards would hold chunks of other lengths.
    """
    found = []
    for name, x in arrays.items():
        length = layout.whole(x.shape[1])
        contexts.divided_length(name, length, layout.shards, layout.context)
        found.append(jax.ShapeDtypeStruct((x.shape[0], length, *x.shape[2:]), x.dtype))
    return found


def divided(
    axis: str, function: Callable[[PyTree, PyTree], PyTree], qkv: PyTree, rest: PyTree
) -> PyTree:
    """`function(qkv, rest)` of each shard's `qkv`; other axes of the mesh stay as they are."""
    along = PartitionSpec(None, axis)
    run: Any = jax.shard_map(
        function, in_specs=(along, PartitionSpec()), out_specs=along, axis_names={axis}
    )
    # Only as one program may an axis be divided by itself, outside of `jax.jit` too.
    return jax.jit(run)(qkv, rest)


def per_chunk(layout: Layout, x: PyTree, function: Callable[[Array, PyTree], PyTree]) -> PyTree:
    """`function(first, chunk)` of each chunk of this shard, one after another along axis 1."""
    found = [function(first, chunk) for first, chunk in layout.chunks(x, layout.shard)]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), *found)
