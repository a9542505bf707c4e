"""Steps of the loops over the tiles: reading the blocks of a tile, and adding to them."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PyTree

from attention_jax.core.online_normalizers import Block, Online
from attention_jax.engine import tiles
from attention_jax.engine.block_map import BlockMap, tiles_of
from attention_jax.engine.tiles import Captured, Constants, TileIndex, TileSpec

# Tiles that are written into the program one by one; of more, it holds the runs.
MOST_LISTED = 2**14


class EngineConfig(NamedTuple):
    """Static configuration."""

    spec: TileSpec
    normalizer: Online
    map: BlockMap
    dynamic: bool  # whether a partial tile may turn out empty
    devices: int = 1  # that may share the batch and the heads

    @property
    def parts(self) -> int:
        """Parts of the query heads of a key head that devices may share."""
        shape = self.spec.shape
        return math.gcd(shape.r, self.devices // math.gcd(shape.g, self.devices))


class Differentiable(NamedTuple):
    """Arrays with a derivative: captured floats, and folded queries, keys and values."""

    captured: Captured
    q: Float[Array, "nt b g r q d"]
    k: Float[Array, "ns b g k d"]
    v: Float[Array, "ns b g k e"]


class RowStatistics(NamedTuple):
    """Statistics of each query that the derivative needs, beside the arrays."""

    row: PyTree  # those of the normalizer
    mean: Float[Array, "nt b g r q e"]  # of the values, that a row as a whole moves along


class Tile(NamedTuple):
    """A tile of the loop: its queries and keys, and the visible pairs."""

    row: Array  # the block of queries, over all heads
    column: Array  # the block of keys, over all heads
    index: TileIndex
    masked: bool
    visible: Bool[Array, "..."]
    own: Differentiable  # its blocks
    poison: Array | None  # where these are made finite: NaN at pairs that were not, else 0
    order: str


def loop(
    config: EngineConfig, step: Callable[[bool, Array, PyTree], PyTree], carry: PyTree
) -> PyTree:
    """`step(masked, block numbers, carry) -> carry` for every tile that is not empty."""
    for masked, runs in ((True, config.map.partial_runs), (False, config.map.full_runs)):
        count = int(runs[:, 3].sum())
        if count == 1:
            carry = step(masked, jnp.asarray(runs[0, :3]), carry)
        elif count > MOST_LISTED:
            carry = _along_runs(partial(step, masked), runs, count, carry)
        elif count:
            body = lambda carry, at, masked=masked: (step(masked, at, carry), None)  # noqa: E731
            carry, _ = lax.scan(body, carry, jnp.asarray(tiles_of(runs)))
    return carry


def _along_runs(
    step: Callable[[Array, PyTree], PyTree], runs: Int[np.ndarray, "n 4"], count: int, carry: PyTree
) -> PyTree:
    """`step(block numbers, carry) -> carry` for every tile, where a list of them would be long."""
    table = jnp.asarray(runs)

    def body(state: tuple[PyTree, Array, Array], _: None) -> tuple[PyTree, None]:
        carry, number, within = state
        run = table[number]
        carry = step(jnp.stack([run[0], run[1], run[2] + within]), carry)
        ends = within + 1 == run[3]
        return (carry, number + ends.astype(jnp.int32), jnp.where(ends, 0, within + 1)), None

    start = carry, jnp.int32(0), jnp.int32(0)
    return lax.scan(body, start, None, length=count)[0][0]


def where_seen(
    config: EngineConfig,
    tile: Tile,
    compute: Callable[[], PyTree],
    otherwise: Callable[[], PyTree] | None = None,
) -> PyTree:
    """`compute()` where any pair of the tile is visible; else `otherwise()`, or zeros."""
    if not (config.dynamic and tile.masked):
        return compute()
    if otherwise is None:
        shapes = jax.eval_shape(compute)
        otherwise = lambda: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)  # noqa: E731
    return lax.cond(tile.visible.any(), compute, otherwise)


def numbers(config: EngineConfig, at: Array) -> tuple[Array, Array]:
    """The numbers, over all heads, of a tile's block of queries and block of keys."""
    _, queries, keys = config.map.counts
    return at[0] * queries + at[1], at[0] * keys + at[2]


def is_plain(config: EngineConfig) -> bool:
    """True where logits are nothing but dot products: these are NaN where a vector is."""
    return config.spec.pair is None and config.spec.score_mod is None


def make_tile(
    config: EngineConfig,
    arrays: Differentiable,
    constants: Constants,
    masked: bool,
    at: Array,
    order: str,
    *,
    finite: bool,
    split: bool = False,
) -> Tile:
    """A tile, and its blocks: made finite where asked, and for functions that might drop a NaN.

    For derivatives `finite` matters where pairs are hidden, since 0 times NaN is NaN. With `split`
    each part of the query heads gets a key head of its own.
    """
    index = tiles.index(config.spec, constants, at)
    row, column = numbers(config, at)
    own, visible, poison = blocks(arrays, row, column), jnp.ones((1,) * 5, bool), None
    if split and config.parts > 1:
        own = Differentiable(
            own.captured,
            tiles.regroup(own.q, config.parts),
            *(repeated(x, config.parts, 1) for x in own[2:]),
        )
        index = index._replace(h=tiles.regroup(index.h[None], config.parts)[0])
    if masked:
        visible = tiles.visible(config.spec, arrays.captured, constants, index, order)
    if finite or not is_plain(config):
        infinite = finite and config.spec.infinite
        (q, of_query), (k, of_key) = (tiles.finite(x, infinite=infinite) for x in own[1:3])
        poison = tiles.spread_rows(of_query, order) + tiles.spread_keys(of_key, order)
        own = own._replace(q=q, k=k)
    return Tile(row, column, index, masked, visible, own, poison, order)


def logits_of(
    config: EngineConfig,
    constants: Constants,
    tile: Tile,
    captured: Captured,
    q: Array,
    k: Array,
) -> Array:
    """Scores of a tile, -inf where hidden."""
    seen = tile.visible if tile.masked else None
    s = tiles.scores(config.spec, captured, constants, q, k, tile.index, tile.order, seen)
    return hide(tile, s if tile.poison is None else s + tile.poison)


def hide(tile: Tile, logits: Array) -> Array:
    return jnp.where(tile.visible, logits, -jnp.inf) if tile.masked else logits


def weights_of(form: Online, block: Block, row: PyTree, order: str) -> tuple[Array, Array, Array]:
    """Weights of a tile, their derivatives in the logits, and what moves their rows as a whole."""
    row = jax.tree.map(lambda x: tiles.spread_rows(x, order), row)
    keys = tiles.spread_keys(block.keys[None, None], order)
    p = form.weight(block.logits, row, keys)
    slope = form.derivative(block.logits, p, row)
    return p, slope, slope if form.share is None else form.share(block.logits, p, row)


def moves_rows(form: Online) -> bool:
    """True where a logit moves all weights of its row, by a sum or a total that they share."""
    return form.sums_to_one or form.share is not None


def keep_of(config: EngineConfig, constants: Constants, tile: Tile) -> Array | None:
    if not config.spec.dropout_rate:
        return None
    return tiles.kept(config.spec, constants, tile.index, tile.order)


def times(x: Array, keep: Array | None) -> Array:
    return x if keep is None else x * keep.astype(x.dtype)


def blocks(arrays: Differentiable, row: Array, column: Array) -> Differentiable:
    """The arrays of one tile."""
    k, v = read((arrays.k, arrays.v), column)
    return Differentiable(arrays.captured, read(arrays.q, row), k, v)


def read(tree: PyTree, number: Array) -> PyTree:
    return jax.tree.map(lambda x: lax.dynamic_index_in_dim(x, number, 0, keepdims=False), tree)


def put(tree: PyTree, new: PyTree, number: Array) -> PyTree:
    def put(x: Array, y: Array) -> Array:
        return y[None] if len(x) == 1 else lax.dynamic_update_index_in_dim(x, y, number, 0)

    return jax.tree.map(put, tree, new)


def add(tree: PyTree, added: PyTree, number: Array) -> PyTree:
    """Adds to one block of each array."""
    return put(tree, jax.tree.map(jnp.add, read(tree, number), tuple(added)), number)


def repeated(x: Array, parts: int, axis: int) -> Array:
    return x if parts == 1 else jnp.repeat(x, parts, axis)
