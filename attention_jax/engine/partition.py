"""Programs that several devices share: how many may, and functions that a mesh does not type.

Under `jax.shard_map` the type of an array names the axes of the mesh along which it varies, and
under explicit axes those that divide it. What a user's function of one pair captures has types of
its own, and loops over blocks would have to agree on all of them. So `apart` gives every array
of a call one type at its door, computes as if there were no mesh, and types the outputs.
"""

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from attention_jax.core import values, varying
from attention_jax.engine import custom_transpose

Value = TypeVar("Value")


def devices() -> int:
    """The devices among which XLA may divide the arrays of the program that is traced."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return jax.device_count()
    kinds = zip(mesh.axis_sizes, mesh.axis_types, strict=True)
    return math.prod(size for size, kind in kinds if kind != AxisType.Manual)


def unchecked() -> contextlib.AbstractContextManager:
    """Traces without the axes along which arrays vary."""
    return varying.unchecked(where=varying.is_checked())


def is_typed(arrays: tuple[object, ...]) -> bool:
    """True where a mesh types these arrays, or may type what functions capture beside them."""
    explicit = AxisType.Explicit in jax.sharding.get_abstract_mesh().axis_types
    return varying.is_checked() or explicit or _explicit_mesh(arrays) is not None


def untyped(value: Value) -> Value:
    """The value with zeros in place of the arrays that explicit axes divide.

    A function of one pair cannot be traced with these: an index along a divided axis has no type.
    """
    held = values.arrays_of(value)
    if _explicit_mesh(held) is None:
        return value
    plain = [jnp.zeros(x.shape, x.dtype) for x in held]
    return values.with_arrays(values.without_arrays(value), plain)


def apart(function: Callable[[PyTree], PyTree], arrays: PyTree, like: Array | None) -> PyTree:
    """`function(arrays)`, computed as if no mesh typed them.

    Args:
      arrays: all that the function depends on.
      like: an array whose first three axes are divided as those of every output; None where
        outputs are whole on every device.
    """
    leaves, tree = jax.tree.flatten(arrays)
    mesh = _explicit_mesh(leaves)
    if mesh is None:
        return _without_varying(function, arrays)
    kinds = zip(mesh.axis_names, mesh.axis_types, strict=True)
    names = tuple(name for name, kind in kinds if kind == AxisType.Explicit)
    spec = PartitionSpec(*(() if like is None else jax.typeof(like).sharding.spec[:3]))
    run = jax.sharding.auto_axes(
        lambda *flat: _without_varying(function, jax.tree.unflatten(tree, flat)),
        axes=names,
        out_sharding=NamedSharding(mesh, spec),
    )
    # As one program, its derivatives are taken among arrays without types, also outside `jax.jit`,
    # and an output that depends on no array is on every device.
    traced = any(isinstance(x, jax.core.Tracer) for x in leaves)
    return (jax.jit(run) if traced or like is None else run)(*leaves)


def _without_varying(function: Callable[[PyTree], PyTree], arrays: PyTree) -> PyTree:
    leaves, tree = jax.tree.flatten(arrays)
    axes = _varying(leaves)
    if not axes:
        return function(arrays)
    trees = []

    def flat_function(*flat: Any) -> tuple[Array, ...]:
        out, tree_out = jax.tree.flatten(function(jax.tree.unflatten(tree, flat)))
        trees[:] = [tree_out]
        return tuple(out)

    out = custom_transpose.call(flat_function, *(_vary(x, axes) for x in leaves))
    return jax.tree.unflatten(trees[0], out)


def _vary(x: Any, axes: frozenset) -> Array:
    missing = axes - jax.typeof(x).manual_axis_type.varying
    return jax.lax.pcast(x, tuple(sorted(missing, key=str)), to="varying") if missing else x


def _varying(leaves: Sequence[Any]) -> frozenset:
    return frozenset().union(*(jax.typeof(x).manual_axis_type.varying for x in leaves))


def _explicit_mesh(leaves: Sequence[object]) -> Any:
    """The mesh of the first array that has explicit axes."""
    for x in leaves:
        mesh = jax.typeof(x).sharding.mesh if isinstance(x, jax.Array) else None
        if mesh is not None and AxisType.Explicit in mesh.axis_types:
            return mesh
    return None
