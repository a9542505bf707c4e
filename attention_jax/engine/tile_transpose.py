"""Reverse mode: the loop over the tiles that transposes `tile_loops.tangent`, written out."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attention_jax.core.online_normalizers import Block
from attention_jax.engine import tile_steps, tiles
from attention_jax.engine.tile_steps import Differentiable, EngineConfig, RowStatistics, Tile
from attention_jax.engine.tiles import Captured, Constants


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
    leaves, tree = jax.tree.flatten(arrays.captured)
    # Captured arrays may be large, and mostly are constant.
    chosen = [n for n, need in enumerate(needed[: len(leaves)]) if need]
    copies = _copies(config, arrays)
    apart: Any = jax.tree.unflatten(tree, [0 if n in copies else None for n in range(len(leaves))])
    config = config._replace(spec=config.spec._replace(apart=apart if copies else tiles.TOGETHER))
    moving = [jnp.broadcast_to(leaves[n], copies.get(n, ()) + leaves[n].shape) for n in chosen]

    def with_chosen(moving: list[Array]) -> Captured:
        whole = list(leaves)
        for n, x in zip(chosen, moving, strict=True):
            whole[n] = x
        return jax.tree.unflatten(tree, whole)

    def contribution(tile: Tile) -> tuple[list[Array], Array, Array, Array]:
        _, q, k, v = tile.own
        row, pulled, ct = tile_steps.read((rows.row, shift, of_out), tile.row)
        row, pulled, ct = (
            jax.tree.map(lambda x: tiles.regroup(x, config.parts), x) for x in (row, pulled, ct)
        )

        def logits(moving: list[Array], q: Array, k: Array) -> Array:
            return tile_steps.logits_of(config, constants, tile, with_chosen(moving), q, k)

        s, pull = jax.vjp(logits, moving, q, k)
        p, slope = tile_steps.weights_of(
            form, Block(s, tile.visible, tile.index.keys), row, "columns"
        )
        keep = tile_steps.keep_of(config, constants, tile)
        of_weights = tile_steps.times(_weights_cotangent(v, ct), keep)
        of_logits = slope * (of_weights - tiles.spread_rows(pulled, "columns"))
        of_moving, of_q, of_k = pull(of_logits)
        of_q = of_q.reshape(of_out.shape[1:-1] + of_q.shape[-1:])
        return of_moving, of_q, of_k, _values_cotangent(tile_steps.times(p, keep), ct)

    def step(masked: bool, at: Array, sums: Any) -> Any:
        tile = tile_steps.make_tile(
            config, arrays, constants, masked, at, "columns", finite=masked, split=True
        )
        of_captured, *added = tile_steps.where_seen(config, tile, lambda: contribution(tile))
        captured, q, k, v = sums
        captured = jax.tree.map(jnp.add, captured, of_captured)
        (q,) = tile_steps.add((q,), added[:1], tile.row)
        return captured, q, *tile_steps.add((k, v), added[1:], tile.column)

    nothing = (jnp.zeros_like(tile_steps.repeated(x, config.parts, 2)) for x in arrays[2:])
    start = list(map(jnp.zeros_like, moving)), jnp.zeros_like(arrays.q), *nothing
    of_chosen, of_q, *rest = tile_steps.loop(config, step, start)
    of_captured: list[Any] = [None] * len(leaves)
    for n, x in zip(chosen, of_chosen, strict=True):
        of_captured[n] = x.sum(tuple(range(len(copies.get(n, ())))))
    of_keys = (
        x.reshape(*like.shape[:3], config.parts, *like.shape[3:]).sum(3)
        for x, like in zip(rest, arrays[2:], strict=True)
    )
    return Differentiable(jax.tree.unflatten(tree, of_captured), of_q, *of_keys)


def _copies(config: EngineConfig, arrays: Differentiable) -> dict[int, tuple[int, int]]:
    """The captured arrays that get a copy for each sequence and key head of a tile; how many.

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
        if x.size * math.prod(copies) <= arrays.q.size
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
