"""The engine: attention in linear memory, for any score, modifier, mask and normalizer.

Tiles of queries and keys are taken one after another, and of them only those that the mask leaves;
so t×s numbers are never held, and hidden tiles cost nothing. One rule gives all derivatives. From
the tangents `ds` of a tile's scores and its weights `p`, which are computed again,

    d_out = sum_tiles (slope ds) v + p dv - dt sum slope v      dt = sum slope ds / sum slope

as `core.online_normalizers` explains; for the softmax the slope is the weight, and the last sum the
output. That is linear in the tangents. JAX's own transpose of the loop would add whole arrays up
at every tile, so reverse mode has its transpose written out; second derivatives are JAX's again.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core import jaxprs, online_normalizers
from attention_jax.core.masks import conjuncts
from attention_jax.core.normalizers import Normalizer
from attention_jax.core.numerics import Offset, wide_dtype
from attention_jax.core.types import Like, MaskFunction, Score, ScoreMod
from attention_jax.engine import block_map, custom_transpose, tile_loops, tiles
from attention_jax.engine.block_map import BlockMap, Shape, Sizes
from attention_jax.engine.tile_loops import Differentiable, EngineConfig, RowStatistics
from attention_jax.engine.tiles import Captured, Fixed, Request


def attention(
    query: Float[Array, "b t h d"],
    key: Float[Array, "b s g c"],
    value: Float[Array, "b s g e"],
    *,
    score: Score,
    score_mod: ScoreMod | None,
    mask: MaskFunction | None,
    normalizer: Normalizer,
    dropout_rate: float,
    dropout_key: PRNGKeyArray | None,
    query_offset: Offset,
    key_offset: Offset,
    return_lse: bool,
    block_sizes: tuple[int, int] | None = None,
    dense: bool = False,
) -> Float[Array, "b t h e"] | tuple[Float[Array, "b t h e"], Float[Array, "b t h"]]:
    """Computes what `attention_jax.attention` promises, which checks the arguments.

    Args:
      normalizer: one with an online form.
      block_sizes: queries and keys in a block, at most; None for what is fastest.
      dense: takes all in one tile, for a softmax of short sequences.
    """
    form: Any = normalizer.online
    (b, t, h, _), (_, s, g, e) = query.shape, value.shape
    dtype = wide_dtype(query, key, value)
    if not (b and t and h and s):
        lse = jnp.full((b, t, h), -jnp.inf, dtype)
        return _finish(form, jnp.zeros((b, t, h, e), dtype), lse, query.dtype, return_lse)
    parts = split(score, query, key)
    q = _prepare(parts.of_query, query, dtype) * parts.scale
    k = _prepare(parts.of_key, key, dtype, value)
    v = jnp.where(jnp.isfinite(value), value.astype(dtype), 0)
    hoisted = _hoist(parts.pair, _compose(score_mod, form.before), mask, q, k)
    offsets = (query_offset, key_offset)
    shape = Shape(b, g, h // g, t, s)
    tiling = plan(shape, mask, offsets, block_sizes, width=parts.width, dense=dense)
    request = Request(
        *hoisted,
        used=(False,) * 4 if mask is None else jaxprs.depends_on(mask),
        dropout_rate=0.0 if dropout_key is None else dropout_rate,
        shape=shape,
        sizes=tiling.sizes,
    )
    dynamic = not all(block_map.is_known(x, offsets) for x in conjuncts(mask))
    starts = (jnp.asarray(x, jnp.int32) for x in offsets)
    arrays = _fold(request, Captured(*(x.floats if x else () for x in hoisted)), q, k, v)
    others = Captured(*(x.others if x else () for x in hoisted))
    fixed = Fixed(others, *starts, dropout_key if request.dropout_rate else None)
    static = EngineConfig(request, form, tiling, dynamic)
    run = partial(tile_loops.dense, static) if dense else _rule(static)
    out, lse = run(arrays, fixed)
    out, lse = (tiles.unfold(x, request) for x in (out, lse[..., None]))
    lse = jnp.where(lse >= -online_normalizers.lowest(dtype), -jnp.inf, lse)[..., 0]
    return _finish(form, out, lse, query.dtype, return_lse)


def split(score: Score, query: Like, key: Like) -> jaxprs.Parts:
    """What the engine takes out of the loop over pairs, and what it leaves in."""
    dtype = wide_dtype(query, key)
    return jaxprs.split_pair(score, _vector(query, dtype), _vector(key, dtype))


def plan(
    shape: Shape,
    mask: MaskFunction | None,
    offsets: tuple[Any, Any],
    block_sizes: tuple[int, int] | None = None,
    *,
    width: int = 1,
    dense: bool = False,
) -> BlockMap:
    """The tiles that `attention` computes; `width` is that of a pair (`jaxprs.Parts`)."""
    whole = Sizes(shape.b * shape.g, shape.t, shape.s)
    chosen = block_map.choose_sizes(shape, block_sizes, masked=mask is not None, width=width)
    sizes = whole if dense else chosen
    return block_map.block_map(conjuncts(mask), shape, sizes, offsets)


def is_softmax(normalizer: Normalizer) -> bool:
    """Whether it is a softmax, with a sink or without: the one that knows its rows in one sweep."""
    form = normalizer.online
    return form is not None and form.find is online_normalizers.SOFTMAX.find


def _rule(static: EngineConfig) -> Callable[[Differentiable, Fixed], tuple[Array, Array]]:
    """`(arrays, fixed) -> (out, lse)` with its derivatives; only the softmax has an `lse`."""
    form = static.normalizer
    fused = form.find is online_normalizers.SOFTMAX.find

    @jax.custom_jvp
    def attend(arrays: Differentiable, fixed: Fixed) -> tuple[Array, Array]:
        if fused:
            return tile_loops.softmax(static, arrays, fixed)
        out, _ = tile_loops.normalized(static, arrays, fixed)
        return out, jnp.zeros_like(out[..., 0])

    @jax.custom_jvp
    def rows_of(arrays: Differentiable, fixed: Fixed) -> tuple[Array, RowStatistics]:
        if not fused:
            return tile_loops.normalized(static, arrays, fixed)
        out, lse = attend(arrays, fixed)
        return out, RowStatistics(lse, out)

    def move(
        primals: tuple[Differentiable, Fixed], tangents: tuple[Differentiable, Any]
    ) -> tuple[Any, Any]:
        out, rows = rows_of(*primals)
        functions = partial(tile_loops.tangent, static), partial(tile_loops.transposed, static)
        return (out, rows), custom_transpose.apply(*functions, (*primals, rows), tangents[0])

    @attend.defjvp
    def attend_jvp(primals: Any, tangents: Any) -> Any:
        (out, rows), moved = move(primals, tangents)
        return (out, rows.row if fused else jnp.zeros_like(out[..., 0])), moved

    @rows_of.defjvp
    def rows_jvp(primals: Any, tangents: Any) -> Any:
        if not form.twice:
            raise NotImplementedError(
                "This normalizer has first derivatives only, where it runs block by block. For "
                'second ones use `implementation="reference"`.'
            )
        (out, rows), (d_out, d_lse) = move(primals, tangents)
        if fused:
            return (out, rows), (d_out, RowStatistics(d_lse, d_out))
        # Weights without a fixed sum take nothing from the rows that could change.
        return (out, rows), (d_out, jax.tree.map(jnp.zeros_like, rows))

    return attend


def _vector(x: Like, dtype: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape[-1:], dtype)


def _prepare(
    function: Callable[[Array], Array] | None, x: Array, dtype: Any, value: Array | None = None
) -> Array:
    """What the score needs of each vector alone; with NaN where it, or its value, is not finite.

    So the scores of a vector tell, and the values may be taken as finite. The NaN is set after
    `function`, so that its derivative is asked at finite vectors only.
    """
    good = jnp.isfinite(x)
    if function is not None:
        x = jax.vmap(jax.vmap(jax.vmap(function)))(jnp.where(good, x.astype(dtype), 0))
        good = good.all(-1, keepdims=True)
    if value is not None:
        fine = jnp.isfinite(value)
        good = good & (fine if fine.shape == good.shape else fine.all(-1, keepdims=True))
    return jnp.where(good, x.astype(dtype), jnp.nan)


def _compose(score_mod: ScoreMod | None, before: Callable[[Array], Array] | None) -> Any:
    if score_mod is None or before is None:
        return score_mod if before is None else lambda score, *at: before(score)
    return lambda *arguments: before(score_mod(*arguments))


def _hoist(pair: Score | None, score_mod: ScoreMod | None, mask: Any, q: Array, k: Array) -> Any:
    """The user's functions without captured arrays; None for each that is not there."""
    at = (jax.ShapeDtypeStruct((), jnp.int32),) * 4
    examples = (
        (_vector(q, q.dtype), _vector(k, k.dtype)),
        (jax.ShapeDtypeStruct((), q.dtype), *at),
        at,
    )
    return [
        None if function is None else jaxprs.hoist(function, *example)
        for function, example in zip((pair, score_mod, mask), examples, strict=True)
    ]


def _fold(request: Request, captured: Captured, q: Array, k: Array, v: Array) -> Differentiable:
    sizes, groups = request.sizes, request.shape.g
    keys = (tiles.fold(x, sizes.heads, groups, sizes.keys)[:, :, 0] for x in (k, v))
    return Differentiable(captured, tiles.fold(q, sizes.heads, groups, sizes.queries), *keys)


def _finish(form: Any, out: Array, lse: Array, dtype: Any, return_lse: bool) -> Any:
    if form.after is not None:
        out, lse = form.after(out, lse)
    return (out.astype(dtype), lse) if return_lse else out.astype(dtype)
