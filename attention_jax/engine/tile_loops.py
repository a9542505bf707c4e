"""Loops over the tiles: the output, its tangent, and the transpose of that.

Each step reads the blocks that its tile needs, and adds to those that it changes; so a loop holds
one tile, and its program does not grow with the lengths. A tile that turns out empty is skipped.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PyTree

from attention_jax.core import online_normalizers
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


class Differentiable(NamedTuple):
    """Arrays with a derivative: captured floats, and folded queries, keys and values."""

    captured: Captured
    q: Float[Array, "nt c r q d"]
    k: Float[Array, "ns c k d"]
    v: Float[Array, "ns c k e"]


class RowStatistics(NamedTuple):
    """Statistics of each query that the derivative needs, beside the arrays."""

    row: PyTree  # those of the normalizer
    mean: Float[Array, "nt c r q e"]  # of the values, weighted by the slopes


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


def softmax(
    config: EngineConfig, arrays: Differentiable, constants: Constants
) -> tuple[Array, Array]:
    """Output and log-sum-exp in one sweep; each tile corrects for a larger logit than before."""
    shape, dtype = arrays.q.shape[:-1], arrays.q.dtype
    start = (
        jnp.zeros((*shape, arrays.v.shape[-1]), dtype),
        jnp.full(shape, online_normalizers.lowest(dtype), dtype),
        jnp.zeros(shape, dtype),
    )
    return _divide(*_over_rows(config, arrays, constants, _online_softmax_step, start))


def dense(
    config: EngineConfig, arrays: Differentiable, constants: Constants
) -> tuple[Array, Array]:
    """Output and log-sum-exp of one tile that holds everything; derivatives are JAX's own."""
    masked, plain = not len(config.map.full_runs), _plain(config)
    at = jnp.zeros(3, jnp.int32)
    tile = _tile(config, arrays, constants, masked, at, "rows", finite=not plain)
    if plain and masked:
        logits = _hide(tile, tiles.guarded_dot(tile.own.q, tile.own.k, config.spec.infinite))
    else:
        logits = _logits(config, constants, tile, *tile.own[:3])
    # Weights are divided, not their sum: so the derivative of a saturated row cancels exactly.
    high, powers, total = _powers(logits)
    weights = powers / jnp.where(total == 0, 1, total)[..., None]
    out = _weighted_sum(_times(weights, _keep(config, constants, tile)), tile.own.v)
    return out[None], online_normalizers.log_total(high, total)[None]


def _powers(logits: Array, before: Array | None = None) -> tuple[Array, Array, Array]:
    """The largest logit of each row, here and before; powers relative to it, and their sum."""
    high = logits.max(-1) if before is None else jnp.maximum(before, logits.max(-1))
    # The largest logit cancels, so it needs no derivative.
    high = lax.stop_gradient(jnp.maximum(high, online_normalizers.lowest(high.dtype)))
    powers = jnp.exp(logits - high[..., None])
    return high, powers, powers.sum(-1)


def _online_softmax_step(
    state: Any, block: Block, v: Array, keep: Array | None
) -> tuple[Array, Array, Array]:
    """Weighted sum, largest logit and sum of powers, with one more block of keys."""
    high, powers, total = _powers(block.logits, None if state is None else state[1])
    out = _weighted_sum(_times(powers, keep), v)
    if state is not None:
        shrink = jnp.exp(state[1] - high)
        out, total = out + state[0] * shrink[..., None], total + state[2] * shrink
    return out, high, total


def _divide(out: Array, high: Array, total: Array) -> tuple[Array, Array]:
    return out / jnp.where(total == 0, 1, total)[..., None], online_normalizers.log_total(
        high, total
    )


def normalized(
    config: EngineConfig, arrays: Differentiable, constants: Constants
) -> tuple[Array, RowStatistics]:
    """Output of any normalizer: its row statistics in sweeps of their own, then the sums."""
    form, shape, dtype = config.normalizer, arrays.q.shape[:-1], arrays.q.dtype

    def sweep(look: Callable[..., Any], start: Any, *found: Any) -> Any:
        first, start = start, jax.tree.map(lambda x: jnp.full(shape, x, dtype), start)

        def plain(state: Any, block: Block, v: Array, keep: Any, *found: Any) -> Any:
            if state is None:
                state = jax.tree.map(lambda x: jnp.full(shape[1:], x, dtype), first)
            return look(state, block, *found)

        return _over_rows(config, arrays, constants, plain, start, *found)

    def add(state: Any, block: Block, v: Array, keep: Array | None, row: Any) -> Any:
        p, slope = _weights(form, block, row, "rows")
        added = (
            _weighted_sum(_times(p, keep), v),
            _weighted_sum(_times(slope, keep), v),
            slope.sum(-1),
        )
        return added if state is None else jax.tree.map(jnp.add, state, added)

    row = form.row_statistics(sweep)
    nothing = jnp.zeros((*shape, arrays.v.shape[-1]), dtype)
    start = nothing, nothing, jnp.zeros(shape, dtype)
    out, pull, slopes = _over_rows(config, arrays, constants, add, start, row)
    return out, RowStatistics(row, pull / jnp.where(slopes == 0, 1, slopes)[..., None])


def tangent(
    config: EngineConfig,
    given: tuple[Differentiable, Constants, RowStatistics],
    moved: Differentiable,
) -> tuple[Array, Array]:
    """The tangents of output and log-sum-exp, linear in `moved`."""
    form, rows = config.normalizer, given[2]

    # Reverse mode, where JAX makes it of this, computes each tile again.
    @partial(jax.checkpoint, static_argnums=0)
    def contribution(
        masked: bool, at: Array, given: Any, moved: Differentiable
    ) -> tuple[Array, Array]:
        arrays, constants, rows = given
        tile = _tile(config, arrays, constants, masked, at, "rows", finite=masked)
        own, d_own = tile.own, _blocks(moved, tile.row, tile.column)
        logits = partial(_logits, config, constants, tile)
        s, ds = jax.jvp(logits, own[:3], d_own[:3])
        row = _read(rows.row, tile.row)
        p, slope = _weights(form, Block(s, tile.visible, tile.index.keys), row, "rows")
        change, keep = slope * ds, _keep(config, constants, tile)
        out = _weighted_sum(_times(change, keep), own.v) + _weighted_sum(_times(p, keep), d_own.v)
        return out, change.sum(-1)

    def step(masked: bool, at: Array, sums: Any) -> Any:
        added = contribution(masked, at, given, moved)
        return _add(sums, added, _numbers(config, at)[0])

    start = jnp.zeros_like(rows.mean), jnp.zeros_like(rows.mean[..., 0])
    d_out, d_lse = _loop(config, step, start)
    return d_out - d_lse[..., None] * rows.mean if form.sums_to_one else d_out, d_lse


def transposed(
    config: EngineConfig,
    needed: tuple[bool, ...],
    given: tuple[Differentiable, Constants, RowStatistics],
    moved: tuple[Array, Array],
) -> Differentiable:
    """The transpose of `tangent`: the cotangents of the arrays, from those of its result."""
    arrays, constants, rows = given
    of_out, of_lse = moved
    form = config.normalizer
    shift = (of_out * rows.mean).sum(-1) - of_lse if form.sums_to_one else -of_lse
    # Captured arrays may be large, and mostly are constant.
    leaves, tree = jax.tree.flatten(arrays.captured)
    chosen = [n for n, need in enumerate(needed[: len(leaves)]) if need]

    def with_chosen(moving: list[Array]) -> Captured:
        whole = list(leaves)
        for n, x in zip(chosen, moving, strict=True):
            whole[n] = x
        return jax.tree.unflatten(tree, whole)

    def contribution(tile: Tile) -> tuple[list[Array], Array, Array, Array]:
        _, q, k, v = tile.own
        row, pulled, ct = _read((rows.row, shift, of_out), tile.row)

        def logits(moving: list[Array], q: Array, k: Array) -> Array:
            return _logits(config, constants, tile, with_chosen(moving), q, k)

        s, pull = jax.vjp(logits, [leaves[n] for n in chosen], q, k)
        p, slope = _weights(form, Block(s, tile.visible, tile.index.keys), row, "columns")
        keep = _keep(config, constants, tile)
        of_weights = _times(_weights_cotangent(v, ct), keep)
        of_logits = slope * (of_weights - tiles.spread_rows(pulled, "columns"))
        return *pull(of_logits), _values_cotangent(_times(p, keep), ct)

    def step(masked: bool, at: Array, sums: Any) -> Any:
        tile = _tile(config, arrays, constants, masked, at, "columns", finite=masked)
        of_captured, *added = _where_seen(config, tile, lambda: contribution(tile))
        captured, q, k, v = sums
        captured = jax.tree.map(jnp.add, captured, of_captured)
        (q,) = _add((q,), added[:1], tile.row)
        return captured, q, *_add((k, v), added[1:], tile.column)

    start = [jnp.zeros_like(leaves[n]) for n in chosen], *map(jnp.zeros_like, arrays[1:])
    of_chosen, *rest = _loop(config, step, start)
    of_captured: list[Any] = [None] * len(leaves)
    for n, x in zip(chosen, of_chosen, strict=True):
        of_captured[n] = x
    return Differentiable(jax.tree.unflatten(tree, of_captured), *rest)


def _over_rows(
    config: EngineConfig,
    arrays: Differentiable,
    constants: Constants,
    look: Callable[..., Any],
    start: Any,
    *found: Any,
) -> Any:
    """`look(state, block, values, kept, *found) -> state` for every tile, by rows."""

    def step(masked: bool, at: Array, whole: Any) -> Any:
        tile = _tile(config, arrays, constants, masked, at, "rows", finite=False)
        before, *rows = _read((whole, *found), tile.row)
        # Where a row has one tile, nothing comes before it.
        state = None if config.map.counts[2] == 1 else before

        def update() -> Any:
            logits = _logits(config, constants, tile, *tile.own[:3])
            block = Block(logits, tile.visible, tile.index.keys)
            return look(state, block, tile.own.v, _keep(config, constants, tile), *rows)

        return _put(whole, _where_seen(config, tile, update, lambda: before), tile.row)

    return _loop(config, step, start)


def _loop(config: EngineConfig, step: Callable[[bool, Array, Any], Any], carry: Any) -> Any:
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
    step: Callable[[Array, Any], Any], runs: Int[np.ndarray, "n 4"], count: int, carry: Any
) -> Any:
    """`step(block numbers, carry) -> carry` for every tile, where a list of them would be long."""
    table = jnp.asarray(runs)

    def body(state: tuple[Any, Array, Array], _: None) -> tuple[Any, None]:
        carry, number, within = state
        run = table[number]
        carry = step(jnp.stack([run[0], run[1], run[2] + within]), carry)
        ends = within + 1 == run[3]
        return (carry, number + ends.astype(jnp.int32), jnp.where(ends, 0, within + 1)), None

    start = carry, jnp.int32(0), jnp.int32(0)
    return lax.scan(body, start, None, length=count)[0][0]


def _where_seen(
    config: EngineConfig,
    tile: Tile,
    compute: Callable[[], Any],
    otherwise: Callable[[], Any] | None = None,
) -> Any:
    """`compute()` where any pair of the tile is visible; else `otherwise()`, or zeros."""
    if not (config.dynamic and tile.masked):
        return compute()
    if otherwise is None:
        shapes = jax.eval_shape(compute)
        otherwise = lambda: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)  # noqa: E731
    return lax.cond(tile.visible.any(), compute, otherwise)


def _numbers(config: EngineConfig, at: Array) -> tuple[Array, Array]:
    """The numbers, over all heads, of a tile's block of queries and block of keys."""
    _, queries, keys = config.map.counts
    return at[0] * queries + at[1], at[0] * keys + at[2]


def _plain(config: EngineConfig) -> bool:
    """True where logits are nothing but dot products: these are NaN where a vector is."""
    return config.spec.pair is None and config.spec.score_mod is None


def _tile(
    config: EngineConfig,
    arrays: Differentiable,
    constants: Constants,
    masked: bool,
    at: Array,
    order: str,
    *,
    finite: bool,
) -> Tile:
    """A tile, and its blocks: made finite where asked, and for functions that might drop a NaN.

    For derivatives `finite` matters where pairs are hidden, since 0 times NaN is NaN.
    """
    index = tiles.index(config.spec, constants, at)
    row, column = _numbers(config, at)
    own, visible, poison = _blocks(arrays, row, column), jnp.ones((1,) * 4, bool), None
    if masked:
        visible = tiles.visible(config.spec, arrays.captured, constants, index, order)
    if finite or not _plain(config):
        infinite = finite and config.spec.infinite
        (q, of_query), (k, of_key) = (tiles.finite(x, infinite=infinite) for x in own[1:3])
        poison = tiles.spread_rows(of_query, order) + tiles.spread_keys(of_key, order)
        own = own._replace(q=q, k=k)
    return Tile(row, column, index, masked, visible, own, poison, order)


def _logits(
    config: EngineConfig, constants: Constants, tile: Tile, captured: Captured, q: Array, k: Array
) -> Array:
    """Scores of a tile, -inf where hidden."""
    seen = tile.visible if tile.masked else None
    s = tiles.scores(config.spec, captured, constants, q, k, tile.index, tile.order, seen)
    return _hide(tile, s if tile.poison is None else s + tile.poison)


def _hide(tile: Tile, logits: Array) -> Array:
    return jnp.where(tile.visible, logits, -jnp.inf) if tile.masked else logits


def _weights(form: Online, block: Block, row: Any, order: str) -> tuple[Array, Array]:
    """Weights of a tile, and their derivatives in the logits."""
    row = jax.tree.map(lambda x: tiles.spread_rows(x, order), row)
    keys = tiles.spread_keys(block.keys[None], order)
    p = form.weight(block.logits, row, keys)
    return p, form.derivative(block.logits, p, row)


def _keep(config: EngineConfig, constants: Constants, tile: Tile) -> Array | None:
    if not config.spec.dropout_rate:
        return None
    return tiles.kept(config.spec, constants, tile.index, tile.order)


def _times(x: Array, keep: Array | None) -> Array:
    return x if keep is None else x * keep.astype(x.dtype)


def _blocks(arrays: Differentiable, row: Array, column: Array) -> Differentiable:
    """The arrays of one tile."""
    k, v = _read((arrays.k, arrays.v), column)
    return Differentiable(arrays.captured, _read(arrays.q, row), k, v)


def _read(tree: Any, number: Array) -> Any:
    return jax.tree.map(lambda x: lax.dynamic_index_in_dim(x, number, 0, keepdims=False), tree)


def _put(tree: Any, new: Any, number: Array) -> Any:
    def put(x: Array, y: Array) -> Array:
        return y[None] if len(x) == 1 else lax.dynamic_update_index_in_dim(x, y, number, 0)

    return jax.tree.map(put, tree, new)


def _add(tree: Any, added: Any, number: Array) -> Any:
    """Adds to one block of each array."""
    return _put(tree, jax.tree.map(jnp.add, _read(tree, number), tuple(added)), number)


def _flat(x: Array) -> Array:
    """Rows of all heads of a group after one another: `[c r q e] -> [c rq e]`."""
    return x.reshape(x.shape[0], -1, x.shape[-1])


def _weighted_sum(
    weights: Float[Array, "c r q k"], v: Float[Array, "c k e"]
) -> Float[Array, "c r q e"]:
    return (_flat(weights) @ v).reshape(*weights.shape[:3], -1)


def _weights_cotangent(
    v: Float[Array, "c k e"], ct: Float[Array, "c r q e"]
) -> Float[Array, "c k r q"]:
    """The cotangents of the weights, from those of the output."""
    return jnp.einsum("cke,cne->ckn", v, _flat(ct)).reshape(*v.shape[:2], *ct.shape[1:3])


def _values_cotangent(
    weights: Float[Array, "c k r q"], ct: Float[Array, "c r q e"]
) -> Float[Array, "c k e"]:
    return weights.reshape(*weights.shape[:2], -1) @ _flat(ct)
