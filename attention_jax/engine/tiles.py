"""One tile: some heads, a block of queries and a block of keys, and the user's functions on it.

Arrays are folded into blocks once, so that a tile reads memory in order:

    queries  [blocks, b, g, r, t, d]     b sequences, g key heads in a tile, r query heads of each
    keys     [blocks, b, g, s, d]

A tile is computed in one of two orders of its axes: "rows" `[b g r t s]`, whose sums over keys run
along the last, or "columns" `[b g s r t]`, which the backward pass needs to be fast on a CPU.
Sequences and heads stay axes of their own, so that devices can share either.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from attention_jax.core.jaxprs import Hoisted
from attention_jax.core.numerics import kept_pairs
from attention_jax.engine.block_map import Shape, Sizes

# Axes of a tile, outermost first.
ORDERS = {"rows": "bgrts", "columns": "bgsrt"}


class Captured(NamedTuple):
    """Arrays that the user's functions captured: of `pair`, `score_mod` and `mask`."""

    pair: tuple[Array, ...]
    score_mod: tuple[Array, ...]
    mask: tuple[Array, ...]


# No captured array has copies.
TOGETHER = Captured((), (), ())


class TileSpec(NamedTuple):
    """The functions and sizes of every tile, without arrays.

    Attributes:
      pair: of a prepared query and key; None for their dot product.
      used: which of b, h, i, j the mask depends on.
      infinite: whether prepared vectors may be infinite.
      positions: whether `pair` is also of b, h, i and j.
      apart: for each captured float, 0 where it has a copy for every sequence and key head of the
        tile, [b g ...], or None; left out where none has.
    """

    pair: Hoisted | None
    score_mod: Hoisted | None
    mask: Hoisted | None
    used: tuple[bool, ...]
    dropout_rate: float
    shape: Shape
    sizes: Sizes
    infinite: bool = False
    positions: bool = False
    apart: Captured = TOGETHER


class Constants(NamedTuple):
    """Arrays without a derivative."""

    captured: Captured
    query_offset: Int[Array, ""]
    key_offset: Int[Array, ""]
    dropout_key: Any


class TileIndex(NamedTuple):
    """Positions of a tile: global ones, and which of them are no padding."""

    b: Int[Array, " b"]
    h: Int[Array, "g r"]
    i: Int[Array, " t"]
    j: Int[Array, " s"]
    keys: Int[Array, " s"]  # numbers of the keys, from 0
    real: tuple[Array, Array]  # of queries [t] and keys [s]


def fold(x: Float[Array, "b n h d"], shape: Shape, sizes: Sizes, size: int) -> Array:
    """`[b n h d]` into blocks `[chunks * n/size, sequences, key heads, h/g, size, d]`."""
    b, n, h, d = x.shape
    blocks = -(-n // size)
    if blocks * size > n:
        # Copies of the last keep scores finite, which zeros might not.
        x = jnp.pad(x, ((0, 0), (0, blocks * size - n), (0, 0), (0, 0)), mode="edge")
    (sequences, heads), (of_b, of_g) = sizes.together(shape), sizes.apart(shape)
    x = x.reshape(sequences, of_b, blocks, size, heads, of_g, h // shape.g, d)
    x = x.transpose(1, 5, 2, 0, 4, 6, 3, 7)
    # Else the loops would transpose again what each tile reads.
    return lax.optimization_barrier(x.reshape(of_b * of_g * blocks, *x.shape[3:]))


def unfold(x: Array, spec: TileSpec) -> Float[Array, "b t h d"]:
    """The inverse of `fold`, for queries."""
    b, g, r, t, _ = spec.shape
    total, sequences, heads, _, size, d = x.shape
    of_b, of_g = spec.sizes.apart(spec.shape)
    blocks = total // (of_b * of_g)
    x = x.reshape(of_b, of_g, blocks, sequences, heads, r, size, d)
    return x.transpose(3, 0, 2, 6, 4, 1, 5, 7).reshape(b, blocks * size, g * r, d)[:, :t]


def index(spec: TileSpec, constants: Constants, at: Int[Array, "3"]) -> TileIndex:
    """The positions of the tile of block numbers `at`."""
    (_, _, r, t, s), sizes = spec.shape, spec.sizes
    chunk, block_q, block_k = at
    of_b, of_g = map(jnp.asarray, sizes.members(spec.shape, chunk))
    queries = block_q * sizes.queries + jnp.arange(sizes.queries, dtype=jnp.int32)
    keys = block_k * sizes.keys + jnp.arange(sizes.keys, dtype=jnp.int32)
    heads = of_g[:, None] * r + jnp.arange(r, dtype=jnp.int32)[None]
    real = queries < t, keys < s
    # Padding repeats the last position, where the user's functions are surely defined.
    i = constants.query_offset + jnp.minimum(queries, t - 1)
    j = constants.key_offset + jnp.minimum(keys, s - 1)
    return TileIndex(of_b, heads, i, j, keys, real)


def scores(
    spec: TileSpec,
    floats: Captured,
    constants: Constants,
    q: Float[Array, "b g r t d"],
    k: Float[Array, "b g s p"],
    at: TileIndex,
    order: str,
    seen: Bool[Array, "..."] | None,
) -> Array:
    """The scores of a tile, modified.

    Args:
      seen: the visible pairs, as of `visible`; None where all are. At the others derivatives are 0.
    """
    others, places = constants.captured, (at.b, at.h, at.i, at.j)
    if spec.pair is None:
        x = dot_rows(q, k) if order == "rows" else _dot_columns(q, k)
    else:
        axes: dict[str, tuple] = {"b": (0, 0), "g": (0, 0), "r": (0, None), "t": (0, None)}
        axes["s"] = (None, 0)
        if spec.positions:
            axes = {axis: (*both, *_AT[axis]) for axis, both in axes.items()}
        axes = _with(spec.apart.pair, axes)
        pair = _over_seen(spec.pair, floats.pair, others.pair, axes, order, seen)
        x = pair(q, k, *places) if spec.positions else pair(q, k)
        x = x.astype(q.dtype)
    if spec.score_mod is None:
        return x
    axes = _with(spec.apart.score_mod, {axis: (0, *_AT[axis]) for axis in ORDERS["rows"]})
    change = _over_seen(spec.score_mod, floats.score_mod, others.score_mod, axes, order, seen)
    return change(x, *places).astype(x.dtype)


def _over_seen(
    hoisted: Hoisted,
    floats: tuple[Array, ...],
    others: tuple[Array, ...],
    axes: dict[str, tuple],
    order: str,
    seen: Array | None,
) -> Callable[..., Array]:
    """A function of pairs over the axes of a tile, without derivatives where pairs are hidden."""
    if seen is None or hoisted.guarded is None:
        return partial(_over(_bind(hoisted, others), axes, order), floats)
    guarded, names = hoisted.guarded, ORDERS[order]
    # Of length 1 along what the mask does not depend on.
    short = [isinstance(n, int) and n == 1 for n in seen.shape]
    long = {axis: None if one else 0 for axis, one in zip(names, short, strict=True)}
    visible = seen.squeeze([n for n, one in enumerate(short) if one])
    axes = {axis: (long[axis], *places) for axis, places in axes.items()}

    def function(visible: Array, floats: tuple[Array, ...], *arguments: Array) -> Array:
        return guarded(visible, floats, others, *arguments)

    return partial(_over(function, axes, order), visible, floats)


def dot_rows(q: Float[Array, "b g r t d"], k: Float[Array, "b g s d"]) -> Float[Array, "b g r t s"]:
    return jnp.einsum("bgnd,bgsd->bgns", flat(q), k).reshape(*q.shape[:4], k.shape[2])


def _dot_columns(q: Array, k: Array) -> Array:
    return jnp.einsum("bgsd,bgnd->bgsn", k, flat(q)).reshape(*k.shape[:3], *q.shape[2:4])


def flat(x: Float[Array, "b g r t d"]) -> Float[Array, "b g rt d"]:
    """The queries of all heads of a group after one another."""
    b, g, r, t, d = x.shape
    return x.reshape(b, g, r * t, d)


# Which of b [b], h [g r], i [t], j [s] have each axis of a tile.
_AT = {
    "b": (0, None, None, None),
    "g": (None, 0, None, None),
    "r": (None, 0, None, None),
    "t": (None, None, 0, None),
    "s": (None, None, None, 0),
}


def visible(
    spec: TileSpec, floats: Captured, constants: Constants, at: TileIndex, order: str
) -> Array:
    """The visible pairs of a tile, without padding; of length 1 along axes that do not matter."""
    axes = ORDERS[order]
    rows, keys = at.real
    seen = _spread(rows, "t", axes) & _spread(keys, "s", axes)
    if spec.mask is None:
        return seen
    by_b, by_h, by_i, by_j = spec.used
    needed = {"b": by_b, "g": by_h, "r": by_h, "t": by_i, "s": by_j}
    kept = "".join(axis for axis in axes if needed[axis])
    where = (
        at.b if by_b else at.b[0],
        at.h if by_h else at.h[0, 0],
        at.i if by_i else at.i[0],
        at.j if by_j else at.j[0],
    )
    mask = _bind(spec.mask, constants.captured.mask)
    return seen & _spread(_nest(mask, _with((), _AT), kept)(floats.mask, *where), kept, axes)


def kept(spec: TileSpec, constants: Constants, at: TileIndex, order: str) -> Array:
    """Factors of dropout for the weights of a tile: 0 or 1 / (1 - rate)."""
    axes = ORDERS[order]
    b, h = _spread(at.b, "b", axes), _spread(at.h, "gr", axes)
    i, j = _spread(at.i, "t", axes), _spread(at.j, "s", axes)
    keeps = kept_pairs(constants.dropout_key, spec.dropout_rate, (b, h, i, j))
    return jnp.where(keeps, 1 / (1 - spec.dropout_rate), 0)


def finite(x: Array, *, infinite: bool = False) -> tuple[Array, Array]:
    """Vectors without NaN, and a term for their scores: 0, or NaN where one had a NaN.

    Args:
      infinite: takes infinite numbers for NaN.
    """
    bad = ~jnp.isfinite(x) if infinite else jnp.isnan(x)
    poison = jnp.where(bad.any(-1), jnp.nan, 0).astype(x.dtype)
    return jnp.where(bad, 0, x), lax.stop_gradient(poison)


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def guarded_dot(
    q: Float[Array, "b g r t d"], k: Float[Array, "b g s d"], infinite: bool
) -> Float[Array, "b g r t s"]:
    """The dot products; their derivatives take NaN for 0: it may be that of a hidden pair.

    Args:
      infinite: takes infinite numbers for 0 too.
    """
    return dot_rows(q, k)


@guarded_dot.defjvp
def _guarded_dot_jvp(
    infinite: bool, primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> Any:
    (q, k), (dq, dk) = primals, tangents
    clean_q, clean_k = (finite(x, infinite=infinite)[0] for x in (q, k))
    return guarded_dot(q, k, infinite), dot_rows(dq, clean_k) + dot_rows(clean_q, dk)


def spread_rows(x: Array, order: str) -> Array:
    """Numbers of rows `[b g r t]`, to fit a tile."""
    return _spread(x, "bgrt", ORDERS[order])


def spread_keys(x: Array, order: str) -> Array:
    """Numbers of keys `[b g s]`, to fit a tile."""
    return _spread(x, "bgs", ORDERS[order])


def _spread(x: Array, has: str, axes: str) -> Array:
    return jnp.expand_dims(x, [n for n, axis in enumerate(axes) if axis not in has])


def _bind(hoisted: Hoisted, others: tuple[Array, ...]) -> Callable:
    return lambda floats, *arguments: hoisted.function(floats, others, *arguments)


def _with(apart: tuple, axes: dict[str, tuple]) -> dict[str, tuple]:
    """The axes of a function's arguments, and before them of the floats that it captured."""
    return {axis: (apart if apart and axis in "bg" else None, *axes[axis]) for axis in axes}


def regroup(x: Float[Array, "b g r *n"], parts: int) -> Array:
    """The query heads of each key head in `parts`, as if each part had a key head of its own."""
    b, g, r, *rest = x.shape
    return x.reshape(b, g * parts, r // parts, *rest)


def _over(function: Callable, axes: dict[str, tuple], order: str) -> Callable:
    return _nest(function, axes, ORDERS[order])


def _nest(function: Callable, axes: dict[str, tuple], kept: str) -> Callable:
    """Maps over the axes that are kept, the outermost first in the result."""
    for axis in reversed(kept):
        function = jax.vmap(function, axes[axis])
    return function
