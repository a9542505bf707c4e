"""Training on a mesh: where parameters, optimizer and batches lie, and how a gradient is summed.

Each share of the batch is computed as on one device of its own (`jax.shard_map` over `data` and
`fsdp`), and sums cross devices once: parameters divided by `fsdp` are gathered before use, and
their gradients are summed and divided on the way back. Within a share XLA divides the computation
along `tensor` and `context`, but for attention along `context`, which divides itself.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from attention_jax.core.types import Context, Params, Strategy
from attention_jax.parallel import placement, rules
from attention_jax.parallel.mesh import ROWS, MeshShape, make_mesh, shape_of
from attention_jax.parallel.placement import Batch, Tree

# (params, batch, key) -> (loss, sums), of the rows of a batch
Loss = Callable[[Params, Any, jax.Array], tuple[jax.Array, Any]]
# (params, batch, key) -> (sums, gradient), of a whole batch
Gradient = Callable[[Params, Any, jax.Array], tuple[Any, Params]]


class Layout:
    """Layout of a model's training on a mesh.

    Attributes:
      mesh: of devices.
      shape: sizes of its axes.
      params: shapes of the parameters.
      placed: how each parameter is divided, by its path.
      context: how attention divides sequences; None where nothing does.
      by_positions: whether each shard of `context` computes its own positions alone.
      multiple: the lengths of sequences that the devices share are multiples of it.

    Args:
      mesh: as `make_mesh` makes it.
      params: shapes of the parameters.
      heads: numbers of heads by the paths of attentions, where variants learn something for each.
      strategy: by which attention divides sequences, see `Context`.
      by_positions: the loss is a sum over positions too, and takes those of a shard of `context`
        alone. Otherwise it takes whole sequences, whose attention divides itself.
      shortening: positions of a batch to one of the model's inside, where it shortens sequences.
    """

    def __init__(
        self,
        mesh: Mesh,
        params: Params,
        heads: Mapping[str, int] | None = None,
        *,
        strategy: Strategy = "gather",
        by_positions: bool = False,
        shortening: int = 1,
    ):
        self.mesh, self.shape = mesh, shape_of(mesh)
        divides = self.shape.context > 1
        self.context = Context("context", strategy) if divides else None
        self.by_positions = divides and by_positions
        self.multiple = self.shape.context * shortening if divides else 1
        self.params = params
        self.placed = rules.place_all(params, self.shape, heads)
        self._specs = self.specs(params)
        used = jax.tree.map(partial(_without, axes=ROWS), self._specs)
        wanted = jax.tree.map(partial(NamedSharding, mesh), used)
        self._gathered = jax.jit(lambda x: x, out_shardings=wanted)

    @property
    def _position_shards(self) -> int:
        # Within a share of the rows, XLA cannot look up ids of a part of the positions in a table
        # whose rows `tensor` divides.
        return self.shape.context if self.by_positions or self.shape.tensor == 1 else 1

    @property
    def whole(self) -> NamedSharding:
        """Of an array that every device has."""
        return NamedSharding(self.mesh, PartitionSpec())

    def specs(self, tree: Tree) -> Tree:
        """Specs of a tree: of parameters, or of what mirrors them, such as a training state."""
        return rules.mirrored(tree, self.params, self.placed)

    def shardings(self, tree: Tree) -> Tree:
        """As `specs`, on the mesh."""
        return jax.tree.map(partial(NamedSharding, self.mesh), self.specs(tree))

    def put(self, tree: Tree) -> Tree:
        """A tree that every process holds whole, laid out."""
        return jax.tree.map(placement.from_host, tree, self.shardings(tree))

    def place_part(self, part: Batch, rows: int) -> Batch:
        """As `place`, of a batch of so many rows, of which this process has its own alone."""
        own = placement.lengthened(part, self.multiple)
        return placement.placed_rows(own, self.mesh, rows, self._position_shards)

    def place(self, batch: Batch) -> Batch:
        """A whole batch, filled up with empty rows and positions, and spread."""
        batch = placement.lengthened(batch, self.multiple)
        rows = placement.rounded_up(placement.rows_of(batch), self.shape.rows)
        return placement.placed(placement.padded(batch, rows), self.mesh, self._position_shards)

    def gathered(self, params: Params) -> Params:
        """Parameters for evaluation and decoding: no longer divided by `fsdp`."""
        return params if self.shape.fsdp == 1 else self._gathered(params)

    def for_use(self, params: Params) -> Params:
        """Parameters after training: `gathered`; with several processes each has its own copy."""
        found = self.gathered(params)
        if jax.process_count() == 1:
            return found
        host = jax.tree.map(placement.fetch, found)
        devices = jax.local_devices()
        if len(devices) == 1:
            return jax.tree.map(jnp.array, host)
        mesh = make_mesh(MeshShape(data=-1), devices)
        return jax.device_put(host, NamedSharding(mesh, PartitionSpec()))

    def gradient(
        self, loss: Loss, seed_of: Callable[[jax.Array, jax.Array], jax.Array]
    ) -> Gradient:
        """The gradient of a sum over the rows of a batch, divided as the parameters are.

        Args:
          loss: of some rows; each share of the batch calls it with its own.
          seed_of: `(key, share) -> key`, another key for each share.
        """
        axes = (*ROWS, "context") if self.by_positions else ROWS
        if math.prod(getattr(self.shape, axis) for axis in axes) == 1:
            return partial(_of_one_share, loss, self.mesh)

        def of_share(params: Params, batch: Any, key: jax.Array) -> tuple[Any, Params]:
            key = seed_of(key, lax.axis_index(axes))

            def whole(params: Params) -> tuple[jax.Array, Any]:
                return loss(jax.tree.map(_gather, params, self._specs), batch, key)

            (_, sums), found = jax.value_and_grad(whole, has_aux=True)(params)
            return lax.psum(sums, axes), jax.tree.map(partial(_sum, axes), found, self._specs)

        stored = jax.tree.map(partial(_only, axes=ROWS), self._specs)

        def whole(params: Params, batch: Any, key: jax.Array) -> tuple[Any, Params]:
            shards = self.shape.context if self.by_positions else 1
            own = jax.tree.map(lambda x: placement.batch_spec(x.shape, shards), batch)
            shared = jax.shard_map(
                of_share,
                mesh=self.mesh,
                in_specs=(stored, own, PartitionSpec()),
                out_specs=(PartitionSpec(), stored),
                axis_names=set(axes),
                # Sums are written out above; the check knows less of what `loss` may call.
                check_vma=False,
            )
            return shared(params, batch, key)

        return whole


def _of_one_share(
    loss: Loss, mesh: Mesh, params: Params, batch: Batch, key: jax.Array
) -> tuple[Any, Params]:
    """Sums and gradient where nothing but `tensor` and `context` divides the computation."""
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        (_, sums), found = jax.value_and_grad(loss, has_aux=True)(params, batch, key)
    return sums, found


def _gather(x: jax.Array, spec: PartitionSpec) -> jax.Array:
    """A parameter whole along `fsdp`; the gradient through it is summed and divided along it."""
    if "fsdp" not in spec:
        return x
    dimension = list(spec).index("fsdp")
    gather = partial(lax.all_gather, axis_name="fsdp", axis=dimension, tiled=True)
    others = _without(spec, axes=ROWS)
    if not any(others):
        return gather(x)
    # XLA would gather along `tensor` as well, did it not see the parts alone.
    return jax.shard_map(
        gather, in_specs=others, out_specs=others, axis_names={"tensor"}, check_vma=False
    )(x)


def _sum(axes: tuple[str, ...], gradient: jax.Array, spec: PartitionSpec) -> jax.Array:
    """The sum over shares, of which `_gather` has made those along `fsdp`."""
    return lax.psum(gradient, tuple(x for x in axes if x != "fsdp" or "fsdp" not in spec))


def _only(spec: PartitionSpec, *, axes: tuple[str, ...]) -> PartitionSpec:
    return PartitionSpec(*(axis if axis in axes else None for axis in spec))


def _without(spec: PartitionSpec, *, axes: tuple[str, ...]) -> PartitionSpec:
    return PartitionSpec(*(None if axis in axes else axis for axis in spec))


def heads_of(model: object) -> dict[str, int]:
    """Numbers of heads of a model's attentions, by their paths.

    Args:
      model: an `nnx.Module`; its attentions have fields `heads` and `learned`.
    """
    found = {}
    for path, node in nnx.iter_graph(model):
        heads = getattr(node, "heads", None)
        if isinstance(heads, int) and hasattr(node, "learned"):
            found["/".join(map(str, path))] = heads
    return found
