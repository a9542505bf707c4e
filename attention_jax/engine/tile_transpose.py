"""Reverse mode: the loop over the tiles that transposes `tile_loops.tangent`, written out."""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import PyTreeDef
from jaxtyping import Array, Float, PyTree

from attention_jax.core.online_normalizers import Block
from attention_jax.engine import tile_steps, tiles
from attention_jax.engine.tile_steps import Differentiable, EngineConfig, RowStatistics, Tile
from attention_jax.engine.tiles import Captured, Constants


class Chosen(NamedTuple):
    """The captured arrays whose cotangents are asked for, among all of them.

    Attributes:
      leaves, tree: all of them.
      places: of those that are asked for.
      copies: how many of an array are made, by its place: one for each of several parts of a tile.
    """

    leaves: list[Array]
    tree: PyTreeDef
    places: tuple[int, ...]
    copies: dict[int, tuple[int, int]]

    def apart(self) -> Captured:
        """A 0 for each array that has copies, as `TileSpec` takes it."""
        if not self.copies:
            return tiles.TOGETHER
        numbers = range(len(self.leaves))
        return jax.tree.unflatten(self.tree, [0 if n in self.copies else None for n in numbers])

    def copied(self) -> list[Array]:
        """Those that are asked for, with their copies."""
        own = ((self.leaves[n], self.copies.get(n, ())) for n in self.places)
        return [jnp.broadcast_to(x, copies + x.shape) for x, copies in own]

    def put(self, copies: list[Array]) -> Captured:
        """All of them, with other numbers in those that are asked for."""
        whole = list(self.leaves)
        for n, x in zip(self.places, copies, strict=True):
            whole[n] = x
        return jax.tree.unflatten(self.tree, whole)

    def summed(self, cotangents: list[Array]) -> Captured:
        """The cotangents of all, each the sum of those of its copies; None where not asked for."""
        whole: list[Any] = [None] * len(self.leaves)
        for n, x in zip(self.places, cotangents, strict=True):
            whole[n] = x.sum(tuple(range(len(self.copies.get(n, ())))))
        return jax.tree.unflatten(self.tree, whole)


def transposed(
    config: EngineConfig,
    needed: tuple[bool, ...],
    given: tuple[Differentiable, Constants, RowStatistics],
    moved: tuple[Array, Array],
) -> Differentiable:
    """The transpose of `tangent`: the cotangents of the arrays, from those of its result."""
    arrays, constants, rows = given
    of_out, of_lse = moved
    together = tile_steps.moves_rows(config.normalizer)
    shift = (of_out * rows.mean).sum(-1) - of_lse if together else -of_lse
    leaves, tree = jax.tree.flatten(arrays.captured)
    # Captured arrays may be large, and mostly are constant.
    places = tuple(n for n, need in enumerate(needed[: len(leaves)]) if need)
    chosen = Chosen(leaves, tree, places, _copies(config, arrays, places))
    config = config._replace(spec=config.spec._replace(apart=chosen.apart()))
    moving, of_rows = chosen.copied(), (rows.row, shift, of_out)

    def step(masked: bool, at: Array, sums: Any) -> Any:
        tile = tile_steps.make_tile(
            config, arrays, constants, masked, at, "columns", finite=masked, split=True
        )
        own = partial(_contribution, config, constants, chosen, moving, of_rows, tile)
        of_captured, *added = tile_steps.where_seen(config, tile, own)
        captured, q, k, v = sums
        captured = jax.tree.map(jnp.add, captured, of_captured)
        (q,) = tile_steps.add((q,), added[:1], tile.row)
        return captured, q, *tile_steps.add((k, v), added[1:], tile.column)

    nothing = (jnp.zeros_like(tile_steps.repeated(x, config.parts, 2)) for x in arrays[2:])
    start = list(map(jnp.zeros_like, moving)), jnp.zeros_like(arrays.q), *nothing
    of_copies, of_q, *rest = tile_steps.loop(config, step, start)
    of_keys = (
        x.reshape(*like.shape[:3], config.parts, *like.shape[3:]).sum(3)
        for x, like in zip(rest, arrays[2:], strict=True)
    )
    return Differentiable(chosen.summed(of_copies), of_q, *of_keys)


def _contribution(
    config: EngineConfig,
    constants: Constants,
    chosen: Chosen,
    copies: list[Array],
    of_rows: tuple[PyTree, Array, Array],
    tile: Tile,
) -> tuple[list[Array], Array, Array, Array]:
    """A tile's part in the cotangents of the copies, of queries, keys and values.

    Args:
      of_rows: of each query: the row statistics, what its cotangents of weights are lowered by, and
        the cotangent of its output.
    """
    _, q, k, v = tile.own
    shape = of_rows[-1].shape[1:-1]
    of_rows = tile_steps.read(of_rows, tile.row)
    row, shift, ct = jax.tree.map(lambda x: tiles.regroup(x, config.parts), of_rows)

    def logits(copies: list[Array], q: Array, k: Array) -> Array:
        return tile_steps.logits_of(config, constants, tile, chosen.put(copies), q, k)

    s, pull = jax.vjp(logits, copies, q, k)
    block = Block(s, tile.visible, tile.index.keys)
    p, slope, share = tile_steps.weights_of(config.normalizer, block, row, "columns")
    keep = tile_steps.keep_of(config, constants, tile)
    of_weights = tile_steps.times(_weights_cotangent(v, ct), keep)
    shift = tiles.spread_rows(shift, "columns")
    if share is slope:
        of_logits = slope * (of_weights - shift)
    else:
        of_logits = slope * of_weights - share * shift
    of_copies, of_q, of_k = pull(of_logits)
    of_q = of_q.reshape(shape + of_q.shape[-1:])
    return of_copies, of_q, of_k, _values_cotangent(tile_steps.times(p, keep), ct)


def _copies(
    config: EngineConfig, arrays: Differentiable, places: tuple[int, ...]
) -> dict[int, tuple[int, int]]:
    """Arrays at these places that get a copy for each sequence and key head of a tile; how many.

    A copy has no part in the heads of other devices, so its cotangent is summed up after the loop.
    """
    if config.devices == 1 or not config.spec.shape.is_known:
        return {}
    _, b, g, *_ = arrays.q.shape
    number = len(arrays.captured.pair) + len(arrays.captured.score_mod)
    copies = b, g * config.parts
    return {
        n: copies
        for n, x in enumerate(jax.tree.leaves(arrays.captured)[:number])
        if n in places and x.size * math.prod(copies) <= arrays.q.size
    }


def _weights_cotangent(
    v: Float[Array, "b g k e"], ct: Float[Array, "b g r q e"]
) -> Float[Array, "b g k r q"]:
    """The cotangents of the weights, from those of the output."""
    of_weights = jnp.einsum("bgke,bgne->bgkn", v, tiles.flat(ct))
    return of_weights.reshape(*v.shape[:3], *ct.shape[2:4])


def _values_cotangent(
    weights: Float[Array, "b g k r q"], ct: Float[Array, "b g r q e"]
) -> Float[Array, "b g k e"]:
    b, g, s, r, t = weights.shape
    return weights.reshape(b, g, s, r * t) @ tiles.flat(ct)
