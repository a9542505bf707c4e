"""Softmax attention by whole rows, in the form that XLA's CPU compiler runs as one kernel.

    out = (exp(min(q k^T, cap) - m) v) / sum exp(min(q k^T, cap) - m)      m = max over keys

`cap` is infinite where a pair is visible and minus that where it is hidden: a minimum stays inside
the kernel with both products, where a choice between two numbers would end it, and with it every
score would be written to memory. A second result ends it too, so the output has a kernel of its
own where the log-sum-exp is not asked for. The axes of a tile are

    rows  [b g n s]      columns  [b g s n]      n = r t: all queries that read a key head
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from attention_jax.core import hidden_pairs, online_normalizers
from attention_jax.engine import partition, tile_transpose, tiles
from attention_jax.engine.request import Request
from attention_jax.engine.shapes import Shape
from attention_jax.engine.tile_steps import Differentiable, EngineConfig, RowStatistics
from attention_jax.engine.tiles import Captured, Constants, TileSpec

# Scores that are held at once where rows or derivatives are asked for; else a kernel holds none,
# but where the compiler has no such kernel.
HELD, MOST = 2**23, 2**26
# Strips of a call at most, and scores of a strip and a key head, which each core may hold.
MOST_STRIPS, LARGEST = 16, 2**24
# Tiles of strips, over those that are not empty.
MOST_IN_VAIN = 1.5
# The least sum of powers by which is divided: rows that see something have 1 at least.
TINY = 1e-37


class Places(NamedTuple):
    """Positions of the axes: `h` and `i` of each query of a key head."""

    b: Int[Array, " b"]
    h: Int[Array, "g n"]
    i: Int[Array, " n"]
    j: Int[Array, " s"]


def takes(request: Request) -> bool:
    """True where logits are dot products, changed by `score_mod` or not, of one CPU's arrays."""
    parts, score_mod = request.analysis.score, request.analysis.score_mod
    if parts.pair is not None or any(parts.guarded) or request.dropout is not None:
        return False
    if score_mod is not None and hidden_pairs.needs_guard(score_mod.jaxpr, finite=True):
        return False
    form = request.normalizer.online
    is_softmax = (
        form is not None and form.row_statistics is online_normalizers.SOFTMAX.row_statistics
    )
    here = jax.default_backend() == "cpu" and partition.devices() == 1
    return here and is_softmax and form.before is None and request.shape.is_known


class Strip(NamedTuple):
    """Queries from `top` to `bottom`, and the keys from `left` to `right` that they may see."""

    top: int
    bottom: int
    left: int
    right: int


def strips(config: EngineConfig) -> list[Strip] | None:
    """Strips that hold all tiles that are not empty; None where tiles by themselves are faster.

    That is where strips would be many or long, or hold many empty tiles, also such as only a run
    can tell.
    """
    (_, _, r, t, s), (chunks, rows, _), sizes = (
        config.spec.shape,
        config.map.counts,
        config.map.sizes,
    )
    by_rows_alone = config.dynamic and config.spec.used[2]
    together = -(-rows // MOST_STRIPS)
    if by_rows_alone or r * together * sizes.queries * s > LARGEST:
        return None
    runs = np.concatenate([config.map.partial_runs, config.map.full_runs])
    found, taken = [], 0
    for row in range(0, rows, together):
        own = runs[(runs[:, 1] >= row) & (runs[:, 1] < row + together)]
        if not len(own):
            return None
        last = min(row + together, rows)
        left, right = own[:, 2].min(), (own[:, 2] + own[:, 3]).max()
        taken += int(right - left) * (last - row) * chunks
        ends = last * sizes.queries, right * sizes.keys
        start = row * sizes.queries, left * sizes.keys
        found.append(Strip(start[0], min(ends[0], t), int(start[1]), int(min(ends[1], s))))
    return found if taken <= MOST_IN_VAIN * runs[:, 3].sum() else None


def softmax(
    config: EngineConfig,
    arrays: Differentiable,
    constants: Constants,
    *,
    rows: bool,
    pieces: Sequence[Strip] | None = None,
) -> tuple[Array, Array]:
    """Output and log-sum-exp, of arrays that are one block.

    Args:
      rows: whether both are needed; else XLA drops the log-sum-exp, which is computed apart.
      pieces: the strips that are computed one after another; None for one of everything.
    """
    t, s = config.spec.shape[3:]
    found = [_strip(config, arrays, constants, x, rows) for x in pieces or [Strip(0, t, 0, s)]]
    if len(found) == 1:
        return found[0]
    out, lse = zip(*found, strict=True)
    return jnp.concatenate(out, -2), jnp.concatenate(lse, -1)


def _strip(
    config: EngineConfig, arrays: Differentiable, constants: Constants, strip: Strip, rows: bool
) -> tuple[Array, Array]:
    spec, captured = config.spec, arrays.captured
    own = arrays.q[..., strip.top : strip.bottom, :]
    k, v = (x[0, :, :, strip.left : strip.right] for x in arrays[2:])

    def part(first: Array, *vectors: Array) -> tuple[Array, ...]:
        at = _places(spec, constants, first, len(vectors[0]), strip)
        cap = _cap(config, captured, constants, at, "bgns", own.dtype)
        change = partial(_changed, spec, captured, constants, at, "bgns")
        if rows:
            return _guarded(partial(_both, change, cap), cap, *vectors)
        return *_guarded(partial(_out, change, cap), cap, *vectors), *_guarded(
            partial(_lse, change, cap), cap, *vectors
        )

    out, lse = _over_parts(spec, part, (tiles.flat(own[0]), k, v), held=rows)
    shape = own.shape[:-1]
    return out.reshape(*shape, v.shape[-1]), lse.reshape(shape)


def _guarded(
    compute: Callable[..., tuple[Array, ...]], cap: Array | None, q: Array, k: Array, v: Array
) -> tuple[Array, ...]:
    """`compute(q, k, v)`, again where NaN shows: vectors make it of the rows that see them alone.

    So arrays that are finite are not looked through.
    """
    found = compute(q, k, v)
    if cap is None:
        return found

    def clean() -> tuple[Array, ...]:
        bad_q, bad_k = (jnp.isnan(x).any(-1) for x in (q, k))
        bad = ((cap > 0) & (bad_q[..., None] | bad_k[:, :, None])).any(-1)
        finite = (jnp.where(jnp.isnan(x), 0, x) for x in (q, k))
        again = compute(*finite, v)
        return tuple(jnp.where(bad if x.ndim == 3 else bad[..., None], jnp.nan, x) for x in again)

    return lax.cond(jnp.isnan(found[0]).any(), clean, lambda: found)


def _both(change: Callable, cap: Array | None, q: Array, k: Array, v: Array) -> tuple[Array, Array]:
    high, powers, total = _powers(_logits(change, cap, q, k))
    return powers @ v / jnp.maximum(total, TINY), _log(high, total)


def _out(change: Callable, cap: Array | None, q: Array, k: Array, v: Array) -> tuple[Array]:
    _, powers, total = _powers(_logits(change, cap, q, k))
    return (powers @ v / jnp.maximum(total, TINY),)


def _lse(change: Callable, cap: Array | None, q: Array, k: Array, v: Array) -> tuple[Array]:
    high, _, total = _powers(_logits(change, cap, q, k))
    return (_log(high, total),)


def _log(high: Array, total: Array) -> Float[Array, "b g n"]:
    return online_normalizers.log_total(high[..., 0], total[..., 0])


def _logits(change: Callable, cap: Array | None, q: Array, k: Array) -> Float[Array, "b g n s"]:
    logits = change(jnp.einsum("bgnd,bgsd->bgns", q, k), q, k)
    return logits if cap is None else jnp.minimum(logits, cap)


def _powers(logits: Array) -> tuple[Array, Array, Array]:
    """The largest logit of each row; powers relative to it, and their sum."""
    high = logits.max(-1, keepdims=True)
    high = jnp.maximum(high, online_normalizers.lowest(high.dtype))
    powers = jnp.exp(logits - high)
    return high, powers, powers.sum(-1, keepdims=True)


def transposed(
    config: EngineConfig,
    needed: tuple[bool, ...],
    given: tuple[Differentiable, Constants, RowStatistics],
    moved: tuple[Array, Array],
) -> Differentiable:
    """The transpose of `tile_loops.tangent`, as `tile_transpose.transposed`, without captured."""
    arrays, constants, rows = given
    if any(needed[: len(jax.tree.leaves(arrays.captured))]):
        return tile_transpose.transposed(config, needed, given, moved)
    of_out, of_lse = moved
    q, k, v = _flat(arrays)
    b, g, n, _ = q.shape
    of_rows = of_out.reshape(b, g, n, -1), *(x.reshape(b, g, n) for x in (rows.row, of_lse))
    body = jax.checkpoint(partial(_cotangents, config, arrays.captured, constants))
    found = _over_parts(config.spec, body, (q, k, v, *of_rows), held=True)
    found = (x.reshape(y.shape) for x, y in zip(found, arrays[1:], strict=True))
    nothing: Any = jax.tree.map(lambda x: None, arrays.captured)
    return Differentiable(nothing, *found)


def _cotangents(
    config: EngineConfig,
    captured: Captured,
    constants: Constants,
    first: Array,
    q: Float[Array, "b g n d"],
    k: Float[Array, "b g s d"],
    v: Float[Array, "b g s e"],
    ct: Float[Array, "b g n e"],
    lse: Float[Array, "b g n"],
    of_lse: Float[Array, "b g n"],
) -> tuple[Array, Array, Array]:
    """Those of queries, keys and values; NaN reaches them by the log-sum-exp of its row."""
    spec = config.spec
    at = _places(spec, constants, first, len(q))
    cap = _cap(config, captured, constants, at, "bgsn", q.dtype)
    if cap is not None:
        q, k = (jnp.where(jnp.isnan(x), 0, x) for x in (q, k))
    dots = jnp.einsum("bgsd,bgnd->bgsn", k, q)
    logits, pull = jax.vjp(partial(_changed, spec, captured, constants, at, "bgsn"), dots)
    if cap is not None:
        logits = jnp.minimum(logits, cap)
    weights = jnp.exp(logits - lse[:, :, None])
    of_weights = jnp.einsum("bgse,bgne->bgsn", v, ct)
    # Not from the output: where one weight is 1, this is its own cotangent, to the last digit.
    mean = (weights * of_weights).sum(2) - of_lse
    of_logits = weights * (of_weights - mean[:, :, None])
    (of_dots,) = pull(of_logits)
    return jnp.einsum("bgsn,bgsd->bgnd", of_dots, k), of_dots @ q, weights @ ct


def _flat(arrays: Differentiable) -> tuple[Array, Array, Array]:
    _, q, k, v = arrays
    return tiles.flat(q[0]), k[0], v[0]


def _over_parts(
    spec: TileSpec, body: Callable[..., Any], arrays: tuple[Array, ...], *, held: bool
) -> Any:
    """`body(first sequence, *arrays)` for some sequences at a time, where scores are held."""
    b = spec.shape.b
    size = _sequences(spec.shape, HELD if held else MOST)
    if size == b:
        return body(jnp.int32(0), *arrays)
    apart = [x.reshape(b // size, size, *x.shape[1:]) for x in arrays]
    firsts = jnp.arange(0, b, size, dtype=jnp.int32)
    found = lax.map(lambda x: body(x[0], *x[1]), (firsts, apart))
    return jax.tree.map(lambda x: x.reshape(b, *x.shape[2:]), found)


def _sequences(shape: Shape, most: int) -> int:
    """Sequences that are taken together: as many as have at most so many scores, but one."""
    own = shape.scores // shape.b
    return max(n for n in range(1, shape.b + 1) if shape.b % n == 0 and n * own <= max(most, own))


def at_once(shape: Shape) -> int:
    """Scores that are held at once at most."""
    return shape.scores // shape.b * _sequences(shape, HELD)


def _places(
    spec: TileSpec, constants: Constants, first: Array, count: int, strip: Strip | None = None
) -> Places:
    """The positions of a strip, or of all, for `count` sequences from `first` on."""
    at, r = tiles.index(spec, constants, jnp.zeros(3, jnp.int32)), spec.shape.r
    i, j = at.i, at.j
    if strip is not None:
        i, j = i[strip.top : strip.bottom], j[strip.left : strip.right]
    return Places(first + at.b[:count], jnp.repeat(at.h, len(i), axis=1), jnp.tile(i, r), j)


def _cap(
    config: EngineConfig,
    captured: Captured,
    constants: Constants,
    at: Places,
    order: str,
    dtype: DTypeLike,
) -> Array | None:
    """Infinite where visible, minus that where hidden; of length 1 along axes that do not matter.

    None where all is visible.
    """
    spec = config.spec
    if spec.mask is None or len(config.map.full_runs) == math.prod(config.map.counts):
        return None
    by_b, by_h, by_i, by_j = spec.used
    needed = {"b": by_b, "g": by_h, "n": by_h or by_i, "s": by_j}
    used = dict(zip(("b", "h", "i", "j"), spec.used, strict=True))
    given = [x if used[name] else x.reshape(-1)[0] for name, x in at._asdict().items()]
    seen = partial(spec.mask.function, captured.mask, constants.captured.mask)
    for axis in reversed(order):
        if needed[axis]:
            seen = jax.vmap(
                seen, [a if u else None for a, u in zip(_AT[axis], spec.used, strict=True)]
            )
    missing = [n for n, axis in enumerate(order) if not needed[axis]]
    limit = jnp.asarray(jnp.inf, dtype)
    return jnp.expand_dims(jnp.where(seen(*given), limit, -limit), missing)


def _changed(
    spec: TileSpec,
    captured: Captured,
    constants: Constants,
    at: Places,
    order: str,
    dots: Array,
    *vectors: Array,
) -> Array:
    """The logits after `score_mod`, if any, which might drop the NaN of a vector."""
    if spec.score_mod is None:
        return dots
    change = partial(spec.score_mod.function, captured.score_mod, constants.captured.score_mod)
    for axis in reversed(order):
        change = jax.vmap(change, (0, *_AT[axis]))
    changed = change(dots, *at).astype(dots.dtype)
    if not vectors:
        return changed
    of_query, of_key = (tiles.finite(x)[1] for x in vectors)
    return changed + of_query[..., None] + of_key[:, :, None]


# Which of b [b], h [g n], i [n], j [s] have each axis of a tile.
_AT = {
    "b": (0, None, None, None),
    "g": (None, 0, None, None),
    "n": (None, 0, 0, None),
    "s": (None, None, None, 0),
}
