"""Arrays on a mesh: batches spread over it, trees put on it, results brought to the host.

    params = layout.gathered(state.params)
    scores = fetch(jitted(params, spread(batch, params)))     # on the devices of the parameters

Every process of several calls these functions alike, with batches that are whole and equal; each
brings only the rows of its own devices to them.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from attention_jax.parallel.mesh import ROWS, shape_of

Tree = Any  # a pytree of arrays, or of their shapes
Batch = Any  # a pytree of arrays whose first axes are the rows of a batch


def mesh_of(tree: Tree) -> Mesh | None:
    """The mesh of several devices on which a tree of arrays lies, None where it lies on one."""
    first = next(iter(jax.tree.leaves(tree)), None)
    sharding = getattr(first, "sharding", None)
    several = isinstance(sharding, NamedSharding) and sharding.mesh.size > 1
    return sharding.mesh if several and set(ROWS) <= set(sharding.mesh.axis_names) else None


def rows_of(batch: Batch) -> int:
    """The number of rows of a batch."""
    return len(jax.tree.leaves(batch)[0])


def padded(batch: Batch, rows: int) -> Batch:
    """A batch on the host with empty rows at its end, whose weights are 0 as everything in them."""
    missing = rows - rows_of(batch)

    def longer(x: Any) -> np.ndarray:
        own = np.asarray(x)
        return np.concatenate([own, np.zeros((missing, *own.shape[1:]), own.dtype)])

    return jax.tree.map(longer, batch) if missing else batch


def lengthened(batch: Batch, multiple: int) -> Batch:
    """A batch on the host whose positions are filled up to a multiple of a number.

    Positions lie along the second axis of a batch that has a weight for each, and what is added is
    empty: padding without weight. A batch with one weight a row stays as it is.
    """
    if multiple == 1 or np.ndim(batch.weights) == 1:
        return batch

    def longer(x: Any) -> np.ndarray:
        own = np.asarray(x)
        missing = rounded_up(own.shape[1], multiple) - own.shape[1]
        return np.pad(own, [(0, 0), (0, missing), *[(0, 0)] * (own.ndim - 2)])

    return jax.tree.map(lambda x: longer(x) if np.ndim(x) > 1 else x, batch)


def rounded_up(count: int, shares: int) -> int:
    """The next number, of rows or positions, that so many shares divide.

    >>> rounded_up(12, 8), rounded_up(16, 8)
    (16, 16)
    """
    return -(-count // shares) * shares


def batch_spec(shape: tuple[int, ...], context: int) -> PartitionSpec:
    """Rows are shared by `data` and `fsdp`; positions by `context`, where it divides them."""
    if context > 1 and len(shape) > 1 and shape[1] % context == 0:
        return PartitionSpec(ROWS, "context")
    return PartitionSpec(ROWS)


def spread(batch: Batch, params: Tree) -> Batch:
    """A whole batch, with its rows spread over the devices on which parameters lie.

    Empty rows fill it up to a number that the devices share. Where the parameters lie on one device
    the batch is returned as it is.
    """
    mesh = mesh_of(params)
    if mesh is None:
        return batch
    shape = shape_of(mesh)
    return placed(padded(batch, rounded_up(rows_of(batch), shape.rows)), mesh, shape.context)


def placed(batch: Batch, mesh: Mesh, context: int) -> Batch:
    """A batch whose rows the mesh shares evenly, spread over it; positions over so many shards."""

    def put(x: Any) -> jax.Array:
        own = np.asarray(x)
        return from_host(own, NamedSharding(mesh, batch_spec(own.shape, context)))

    return jax.tree.map(put, batch)


def own_rows(mesh: Mesh, rows: int) -> slice:
    """The rows of a batch that the devices of this process read."""
    sharding = NamedSharding(mesh, PartitionSpec(ROWS))
    held = sharding.addressable_devices_indices_map((rows,)).values()
    found = [index[0] for index in held if index is not None]
    bounds = [part.indices(rows) for part in found]
    return slice(min(first for first, _, _ in bounds), max(last for _, last, _ in bounds))


def placed_rows(part: Batch, mesh: Mesh, rows: int, context: int) -> Batch:
    """As `placed`, of a batch of so many rows, of which this process has `own_rows` alone."""

    def put(x: Any) -> jax.Array:
        own = np.asarray(x)
        shape = (rows, *own.shape[1:])
        sharding = NamedSharding(mesh, batch_spec(shape, context))
        return jax.make_array_from_process_local_data(sharding, own, shape)

    return jax.tree.map(put, part)


def from_host(x: np.ndarray, sharding: jax.sharding.Sharding) -> jax.Array:
    """An array that every process holds whole, laid out on devices of several processes or one."""
    if sharding.is_fully_addressable:
        return jax.device_put(x, sharding)
    return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])


def everywhere(tree: Tree) -> Tree:
    """A tree that every process holds whole, as arrays of all devices, each of which has them."""
    mesh = Mesh(np.array(jax.devices()), ("devices",))
    whole = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda x: from_host(np.asarray(x), whole), tree)


def readable(x: jax.Array) -> jax.Array:
    """An array that this process can compute with alone: as it is, or a copy of its own."""
    return x if x.is_fully_addressable else jnp.asarray(fetch(x))


def fetch(x: jax.Array | np.ndarray) -> np.ndarray:
    """An array on the host, whole, wherever its parts lie."""
    if isinstance(x, jax.Array) and not (x.is_fully_addressable or x.is_fully_replicated):
        return multihost_utils.process_allgather(x, tiled=True)
    return np.asarray(x)
