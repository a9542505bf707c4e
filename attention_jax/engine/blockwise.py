"""Block-wise attention: linear memory, for any score, modifier, mask and normalizer.

Tiles of queries and keys are taken one after another, and of them only those that the mask leaves;
so t×s numbers are never held, and hidden tiles cost nothing. One rule gives all derivatives. From
the tangents `ds` of a tile's scores and its weights `p`, which are computed again,

    d_out = sum_tiles (slope ds) v + p dv - dt sum slope v      dt = sum slope ds / sum slope

as `core.online_normalizers` explains; for the softmax the slope is the weight, and the last sum the
output. That is linear in the tangents. JAX's own transpose of the loop would add whole arrays up
at every tile, so reverse mode has its transpose written out; second derivatives are JAX's again.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import jaxpr_as_fun
from jax.typing import DTypeLike
from jaxtyping import Array, Bool

from attention_jax.core import jaxprs, online_normalizers
from attention_jax.core.jaxprs import Hoisted
from attention_jax.core.normalizers import Normalizer
from attention_jax.core.online_normalizers import Online
from attention_jax.engine import (
    block_map,
    custom_transpose,
    partition,
    seen,
    tile_loops,
    tile_transpose,
    tiles,
    whole_rows,
)
from attention_jax.engine.block_map import BlockMap, Sizes
from attention_jax.engine.implementation import (
    Implementation,
    Output,
    Plan,
    named_output,
    named_rows,
)
from attention_jax.engine.request import Request
from attention_jax.engine.tile_steps import Differentiable, EngineConfig, RowStatistics
from attention_jax.engine.tiles import Captured, Constants, TileSpec


def run(
    request: Request, *, block_sizes: tuple[int, int] | None = None, dense: bool = False
) -> Output:
    """Computes a request whose normalizer has an online form.

    Args:
      block_sizes: queries and keys in a block, at most; None for what is fastest.
      dense: takes all in one tile, for a softmax of short sequences.
    """
    if not (request.rows and request.shape.s):
        return _finish(request, *_nothing(request))
    if not request.value.shape[-1]:  # the log-sum-exp has no need of values
        return _without_values(request, block_sizes, dense)
    q, k, v = _vectors(request)
    hoisted = _hoist(request)
    config = _config(request, hoisted, tile(request, block_sizes, dense=dense))
    starts = (jnp.asarray(x, jnp.int32) for x in request.offsets)
    floats = Captured(*(x.floats if x else () for x in hoisted))
    others = Captured(*(x.others if x else () for x in hoisted))
    constants = Constants(others, *starts, request.dropout.key if request.dropout else None)
    attend = partial(_dense, config) if dense else _rule(config)
    attend = partial(_unfolded, config.spec, attend)
    if block_sizes is None and whole_rows.takes(request):
        attend = _by_whole_rows(config, attend)
    out, lse = attend(floats, constants, q, k, v)
    lse = jnp.where(lse >= -online_normalizers.lowest(request.dtype), -jnp.inf, lse)[..., 0]
    return _finish(request, out, lse)


def _config(request: Request, hoisted: Sequence[Hoisted | None], tiling: BlockMap) -> EngineConfig:
    form: Any = request.normalizer.online
    analysis = request.analysis
    # The arrays are passed beside it: rules of derivatives outlive the trace that these may be of.
    functions = (None if x is None else x._replace(floats=(), others=()) for x in hoisted)
    spec = TileSpec(
        *functions,
        used=(False,) * 4 if analysis.mask is None else analysis.mask.used,
        dropout_rate=request.dropout.rate if request.dropout else 0.0,
        shape=request.shape,
        sizes=tiling.sizes,
        infinite=any(analysis.score.guarded),
        positions=analysis.score.positions,
    )
    known = all(x.is_known(request.offsets) for x in analysis.conjuncts)
    devices = partition.devices()
    # Devices that share the batch or the heads would have to agree on what is empty.
    agreed = devices == 1 or not any(spec.used[:2])
    dynamic = agreed and not (known and tiling.is_exact)
    return EngineConfig(spec, form, tiling, dynamic, devices)


def _without_values(request: Request, block_sizes: tuple[int, int] | None, dense: bool) -> Output:
    wide = jnp.zeros((*request.value.shape[:-1], 1), request.value.dtype)
    found = run(request._replace(value=wide), block_sizes=block_sizes, dense=dense)
    return (found[0][..., :0], found[1]) if isinstance(found, tuple) else found[..., :0]


def tile(
    request: Request, block_sizes: tuple[int, int] | None = None, *, dense: bool = False
) -> BlockMap:
    """The tiles that `run` computes with the same arguments."""
    if request.tiling is not None:
        return request.tiling
    shape, analysis = request.shape, request.analysis
    sizes = Sizes(shape.known.b * shape.g or 1, shape.t or 1, shape.s or 1)
    if not dense:
        masked = request.mask is not None
        width = analysis.score.width
        sizes = block_map.choose_sizes(
            shape, block_sizes, masked=masked, width=width, devices=partition.devices()
        )
    return block_map.block_map(analysis.conjuncts, shape, sizes, request.offsets)


def is_softmax(normalizer: Normalizer) -> bool:
    """True for softmaxes, with a sink or without, whose rows need one sweep alone."""
    return normalizer.online is not None and _is_fused(normalizer.online)


def _is_fused(form: Online) -> bool:
    return form.row_statistics is online_normalizers.SOFTMAX.row_statistics


def _unfolded(
    spec: TileSpec, attend: "Attend", floats: Captured, constants: Constants, *vectors: Array
) -> tuple[Array, Array]:
    out, lse = attend(_fold(spec, floats, *vectors), constants)
    return tiles.unfold(out, spec), tiles.unfold(lse[..., None], spec)


def _by_whole_rows(config: EngineConfig, attend: Callable[..., Any]) -> Callable[..., Any]:
    """By strips of whole rows where no derivative is asked for, else as `attend`."""
    pieces = whole_rows.strips(config)
    if not pieces:
        return attend
    b, g, _, t, s = config.spec.shape
    whole = config._replace(spec=config.spec._replace(sizes=Sizes(b * g, t, s)))
    compute = partial(whole_rows.softmax, whole, pieces=pieces)

    @jax.custom_jvp
    def in_strips(floats: Captured, constants: Constants, *vectors: Array) -> Any:
        return _unfolded(whole.spec, compute, floats, constants, *vectors)

    in_strips.defjvp(lambda primals, tangents: jax.jvp(attend, primals, tangents))
    return in_strips


def _dense(
    config: EngineConfig, arrays: Differentiable, constants: Constants
) -> tuple[Array, Array]:
    out, lse = tile_loops.dense(config, arrays, constants)
    return named_output(out), named_rows(lse)


# (arrays, constants) -> (out, lse), with derivatives
Attend = Callable[[Differentiable, Constants], tuple[Array, Array]]


def _rule(config: EngineConfig) -> Attend:
    return _softmax_rule(config) if _is_fused(config.normalizer) else _normalized_rule(config)


def _softmax_rule(config: EngineConfig) -> Attend:
    """The rows are the results, so they move as these do."""

    @jax.custom_jvp
    def attend(arrays: Differentiable, constants: Constants) -> tuple[Array, Array]:
        return tile_loops.softmax(config, arrays, constants)

    @attend.defjvp
    def attend_jvp(primals: Any, tangents: Any) -> Any:
        out, lse = attend(*primals)
        out, lse = named_output(out), named_rows(lse)
        return (out, lse), _moved(config, primals, RowStatistics(lse, out), tangents)

    return attend


def _normalized_rule(config: EngineConfig) -> Attend:
    """The rows of any normalizer, which has no log-sum-exp: zeros stand for it."""

    @jax.custom_jvp
    def rows_of(arrays: Differentiable, constants: Constants) -> tuple[Array, RowStatistics]:
        return tile_loops.normalized(config, arrays, constants)

    def move(primals: Any, tangents: Any) -> Any:
        out, rows = rows_of(*primals)
        out, rows = named_output(out), RowStatistics(*map(named_rows, rows))
        return out, rows, _moved(config, primals, rows, tangents)

    @rows_of.defjvp
    def rows_jvp(primals: Any, tangents: Any) -> Any:
        _check_second(config)
        out, rows, (d_out, _) = move(primals, tangents)
        # Weights without a fixed sum take nothing from the rows that could change.
        return (out, rows), (d_out, jax.tree.map(jnp.zeros_like, rows))

    @jax.custom_jvp
    def attend(arrays: Differentiable, constants: Constants) -> tuple[Array, Array]:
        out, _ = tile_loops.normalized(config, arrays, constants)
        return out, jnp.zeros_like(out[..., 0])

    @attend.defjvp
    def attend_jvp(primals: Any, tangents: Any) -> Any:
        out, _, moved = move(primals, tangents)
        return (out, jnp.zeros_like(out[..., 0])), moved

    return attend


def _moved(
    config: EngineConfig,
    primals: tuple[Differentiable, Constants],
    rows: RowStatistics,
    tangents: tuple[Differentiable, Any],
) -> tuple[Array, Array]:
    """The tangents of output and log-sum-exp.

    `rows` come with their names, for it is here that the derivative reads them: a policy that keeps
    them saves a sweep.
    """
    functions = partial(tile_loops.tangent, config), partial(tile_transpose.transposed, config)
    return custom_transpose.apply(*functions, (*primals, rows), tangents[0])


def _check_second(config: EngineConfig) -> None:
    if not config.normalizer.twice_differentiable:
        raise NotImplementedError(
            "This normalizer has first derivatives only, where it runs block by block. For "
            'second ones use `implementation="reference"`.'
        )


def _nothing(request: Request) -> tuple[Array, Array]:
    """Output and log-sum-exp where there are no queries or no keys."""
    rows, dtype = request.query.shape[:3], request.dtype
    out = jnp.zeros((*rows, request.value.shape[-1]), dtype)
    return out, jnp.full(rows, -jnp.inf, dtype)


def _vectors(request: Request) -> tuple[Array, Array, Array]:
    """Prepared queries and keys, and values, finite ones."""
    (query, key, value), parts, dtype = request.arrays, request.analysis.score, request.dtype
    of_query, of_key = ((plain, None) for plain in (parts.of_query, parts.of_key))
    if request.mask is not None and parts.guarded[0]:
        of_query = parts.guarded[0], seen.queries(request)
    if request.mask is not None and parts.guarded[1]:
        of_key = parts.guarded[1], seen.keys(request)
    q = _prepare(*of_query, query, dtype) * parts.scale
    k = _prepare(*of_key, key, dtype, value)
    return q, k, jnp.where(jnp.isfinite(value), value.astype(dtype), 0)


def _prepare(
    function: Callable[..., Array] | None,
    has_pair: Bool[Array, "b n h"] | None,
    x: Array,
    dtype: DTypeLike,
    value: Array | None = None,
) -> Array:
    """The score's part of each vector alone, NaN where that, or its value, is not finite.

    So the scores of a vector tell, and the values may be taken as finite. The NaN is set after
    `function`, so that its derivative is asked at finite vectors only.

    Args:
      has_pair: where given, `function` takes it before a vector, and gives vectors without a
        visible pair no derivative.
    """
    good = jnp.isfinite(x)
    if function is not None:
        given = () if has_pair is None else (has_pair,)
        clean = jnp.where(good, x.astype(dtype), 0)
        x = jax.vmap(jax.vmap(jax.vmap(function)))(*given, clean)
        good = good.all(-1, keepdims=True)
    if value is not None:
        fine = jnp.isfinite(value)
        good = good & (fine if fine.shape == good.shape else fine.all(-1, keepdims=True))
    return jnp.where(good, x.astype(dtype), jnp.nan)


def _hoist(request: Request) -> list[Hoisted | None]:
    """The pair, the score modifier and the mask without captured arrays; None where not given."""
    analysis, form = request.analysis, request.normalizer.online
    score_mod = analysis.score_mod
    if form is not None and form.before is not None:
        before = form.before
        change = (lambda x, *at: [x]) if score_mod is None else jaxpr_as_fun(score_mod)
        at = (jax.ShapeDtypeStruct((), jnp.int32),) * 4
        score = jax.ShapeDtypeStruct((), request.dtype)
        score_mod = jax.make_jaxpr(lambda *x: before(change(*x)[0]))(score, *at)
    mask = None if analysis.mask is None else analysis.mask.program
    parts = analysis.score
    # Vectors are finite where pairs are hidden, and so their dot products are.
    finite = not any(parts.guarded)
    programs = (parts.pair, finite), (score_mod, finite and parts.pair is None), (mask, False)
    return [None if x is None else jaxprs.hoist(x, finite=finite) for x, finite in programs]


def _fold(spec: TileSpec, captured: Captured, q: Array, k: Array, v: Array) -> Differentiable:
    shape, sizes = spec.shape, spec.sizes
    keys = (tiles.fold(x, shape, sizes, sizes.keys)[:, :, :, 0] for x in (k, v))
    return Differentiable(captured, tiles.fold(q, shape, sizes, sizes.queries), *keys)


def _finish(request: Request, out: Array, lse: Array) -> Output:
    form = request.normalizer.online
    if form is not None and form.after is not None:
        out, lse = form.after(out, lse)
    out = out.astype(request.query.dtype)
    return (out, lse) if request.return_lse else out


def refuse(request: Request) -> str | None:
    """Needs a normalizer with an online form."""
    normalizer = request.normalizer
    return None if normalizer.online else f"{normalizer.name} needs whole rows of logits."


def plan(request: Request) -> Plan:
    """The blocks of `run`, and its memory."""
    tiling, pair = tile(request), request.analysis.score.width
    heads, queries, keys = tiling.sizes
    blocks = (2 + pair) * heads * request.shape.r * queries * keys
    held = request.vector_numbers + max(blocks, whole_rows.held(request))
    size = request.dtype.itemsize
    return Plan(
        "blockwise",
        block_sizes=(queries, keys),
        skipped=tiling.skipped,
        temporary_bytes=(held + 2 * request.rows) * size,
    )


IMPLEMENTATION = Implementation(
    "blockwise",
    rank=60,
    refuse=refuse,
    prefer=lambda request: "linear memory, and blocks that the mask empties are skipped",
    run=run,
    plan=plan,
    tile=tile,
    symbolic="b",
)
