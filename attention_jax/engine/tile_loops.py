"""Loops over the tiles: the output and its tangent.

Each step reads the blocks that its tile needs, and adds to those that it changes; so a loop holds
one tile, and its program does not grow with the lengths. A tile that turns out empty is skipped.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from attention_jax.core import online_normalizers
from attention_jax.core.online_normalizers import Block
from attention_jax.engine import tile_steps, tiles
from attention_jax.engine.tile_steps import Differentiable, EngineConfig, RowStatistics
from attention_jax.engine.tiles import Constants


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
    masked, plain = not len(config.map.full_runs), tile_steps.is_plain(config)
    at = jnp.zeros(3, jnp.int32)
    tile = tile_steps.make_tile(config, arrays, constants, masked, at, "rows", finite=not plain)
    if plain and masked:
        dots = tiles.guarded_dot(tile.own.q, tile.own.k, config.spec.infinite)
        logits = tile_steps.hide(tile, dots)
    else:
        logits = tile_steps.logits_of(config, constants, tile, *tile.own[:3])
    keep = tile_steps.keep_of(config, constants, tile)
    return jax.tree.map(lambda x: x[None], _softmax_mean(plain, logits, keep, tile.own.v))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _softmax_mean(plain: bool, logits: Array, keep: Array | None, v: Array) -> tuple[Array, Array]:
    """Output and log-sum-exp. The sums are divided, which are fewer than the weights."""
    high, powers, total = _powers(logits)
    return _divide(_weighted_sum(tile_steps.times(powers, keep), v), high, total)


@_softmax_mean.defjvp
def _softmax_mean_and_tangent(plain: bool, primals: Any, tangents: Any) -> tuple[Any, Any]:
    """No weight is divided here either, and the derivative of a saturated row is exactly 0."""
    (logits, keep, v), (d_logits, _, d_v) = primals, tangents
    high, powers, total = _powers(logits)
    kept = tile_steps.times(powers, keep)
    d_powers = powers * d_logits
    d_lse = _shares(d_powers.sum(-1)[..., None], total)
    change = d_powers - powers * d_lse
    if plain:  # Joined to the product with values, it is slower on CPUs.
        change = lax.optimization_barrier(change)
    d_out = _weighted_sum(tile_steps.times(change, keep), v) + _weighted_sum(kept, d_v)
    out, lse = _divide(_weighted_sum(kept, v), high, total)
    return (out, lse), (_shares(d_out, total), d_lse[..., 0])


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
    out = _weighted_sum(tile_steps.times(powers, keep), v)
    if state is not None:
        shrink = jnp.exp(state[1] - high)
        out, total = out + state[0] * shrink[..., None], total + state[2] * shrink
    return out, high, total


def _divide(out: Array, high: Array, total: Array) -> tuple[Array, Array]:
    return _shares(out, total), online_normalizers.log_total(high, total)


def _shares(x: Array, total: Array) -> Array:
    """Sums of powers as shares of the total of their row; 0 where it sees nothing."""
    return x / jnp.where(total == 0, 1, total)[..., None]


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
        p, slope, _ = tile_steps.weights_of(form, block, row, "rows")
        added = (
            _weighted_sum(tile_steps.times(p, keep), v),
            _weighted_sum(tile_steps.times(slope, keep), v),
            slope.sum(-1),
        )
        return added if state is None else jax.tree.map(jnp.add, state, added)

    row = form.row_statistics(sweep)
    nothing = jnp.zeros((*shape, arrays.v.shape[-1]), dtype)
    start = nothing, nothing, jnp.zeros(shape, dtype)
    out, pull, slopes = _over_rows(config, arrays, constants, add, start, row)
    if form.share is not None:
        return out, RowStatistics(row, out)
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
        tile = tile_steps.make_tile(config, arrays, constants, masked, at, "rows", finite=masked)
        own, d_own = tile.own, tile_steps.blocks(moved, tile.row, tile.column)
        logits = partial(tile_steps.logits_of, config, constants, tile)
        s, ds = jax.jvp(logits, own[:3], d_own[:3])
        row = tile_steps.read(rows.row, tile.row)
        block = Block(s, tile.visible, tile.index.keys)
        p, slope, share = tile_steps.weights_of(form, block, row, "rows")
        change, keep = slope * ds, tile_steps.keep_of(config, constants, tile)
        out = _weighted_sum(tile_steps.times(change, keep), own.v) + _weighted_sum(
            tile_steps.times(p, keep), d_own.v
        )
        return out, (share * ds).sum(-1)

    def step(masked: bool, at: Array, sums: Any) -> Any:
        added = contribution(masked, at, given, moved)
        return tile_steps.add(sums, added, tile_steps.numbers(config, at)[0])

    start = jnp.zeros_like(rows.mean), jnp.zeros_like(rows.mean[..., 0])
    d_out, d_lse = tile_steps.loop(config, step, start)
    moved_out = d_out - d_lse[..., None] * rows.mean if tile_steps.moves_rows(form) else d_out
    return moved_out, d_lse


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
        tile = tile_steps.make_tile(config, arrays, constants, masked, at, "rows", finite=False)
        before, *rows = tile_steps.read((whole, *found), tile.row)
        # Where a row has one tile, nothing comes before it.
        earlier = None if config.map.counts[2] == 1 else before

        def update() -> Any:
            logits = tile_steps.logits_of(config, constants, tile, *tile.own[:3])
            block = Block(logits, tile.visible, tile.index.keys)
            keep = tile_steps.keep_of(config, constants, tile)
            return look(earlier, block, tile.own.v, keep, *rows)

        after = tile_steps.where_seen(config, tile, update, lambda: before)
        return tile_steps.put(whole, after, tile.row)

    return tile_steps.loop(config, step, start)


def _weighted_sum(
    weights: Float[Array, "b g r q k"], v: Float[Array, "b g k e"]
) -> Float[Array, "b g r q e"]:
    return (tiles.flat(weights) @ v).reshape(*weights.shape[:4], v.shape[-1])
