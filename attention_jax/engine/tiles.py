"""One tile: some heads, a block of queries and a block of keys, and the user's functions on it.

Arrays are folded into blocks once, so that a tile reads memory in order:

    queries  [blocks, c, r, t, d]     c sequences and key heads in a tile, r query heads of each
    keys     [blocks, c, s, d]

A tile is computed in one of two orders of its axes: "rows" `[c r t s]`, whose sums over keys run
along the last, or "columns" `[c s r t]`, which the backward pass needs to be fast on a CPU.
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
ORDERS = {"rows": "crts", "columns": "csrt"}


class TileSpec(NamedTuple):
    """The functions and sizes of every tile, without arrays.

    Attributes:
      pair: of a prepared query and key; None for their dot product.
      used: which of b, h, i, j the mask depends on.
      infinite: whether prepared vectors may be infinite.
      positions: whether `pair` is also of b, h, i and j.
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


class Captured(NamedTuple):
    """Arrays that the user's functions captured: of `pair`, `score_mod` and `mask`."""

    pair: tuple[Array, ...]
    score_mod: tuple[Array, ...]
    mask: tuple[Array, ...]


class Constants(NamedTuple):
    """Arrays without a derivative."""

    captured: Captured
    query_offset: Int[Array, ""]
    key_offset: Int[Array, ""]
    dropout_key: Any


class TileIndex(NamedTuple):
    """Positions of a tile: global ones, and which of them are no padding."""

    b: Int[Array, " c"]
    h: Int[Array, "c r"]
    i: Int[Array, " t"]
    j: Int[Array, " s"]
    keys: Int[Array, " s"]  # numbers of the keys, from 0
    real: tuple[Array, Array]  # of queries [t] and keys [s]


def fold(x: Float[Array, "b n h d"], heads: int, groups: int, size: int) -> Array:
    """`[b n h d]` into blocks `[n/size * b groups/heads, heads, h/groups, size, d]`."""
    b, n, h, d = x.shape
    blocks = -(-n // size)
    if blocks * size > n:
        # Copies of the last keep scores finite, which zeros might not.
        x = jnp.pad(x, ((0, 0), (0, blocks * size - n), (0, 0), (0, 0)), mode="edge")
    x = x.reshape(b, blocks, size, groups, h // groups, d).transpose(0, 3, 1, 4, 2, 5)
    x = x.reshape(-1, heads, *x.shape[2:]).swapaxes(1, 2)
    # Else the loops would transpose again what each tile reads.
    return lax.optimization_barrier(x.reshape(-1, *x.shape[2:]))


def unfold(x: Array, spec: TileSpec) -> Float[Array, "b t h d"]:
    """The inverse of `fold`, for queries."""
    b, g, r, t, _ = spec.shape
    _, heads, _, size, d = x.shape
    x = x.reshape(b * g // heads, -1, heads, r, size, d).swapaxes(1, 2)
    x = x.reshape(b, g, -1, r, size, d).transpose(0, 2, 4, 1, 3, 5)
    return x.reshape(b, -1, g * r, d)[:, :t]


def index(spec: TileSpec, constants: Constants, at: Int[Array, "3"]) -> TileIndex:
    """The positions of the tile of block numbers `at`."""
    (_, g, r, t, s), sizes = spec.shape, spec.sizes
    chunk, block_q, block_k = at
    row = chunk * sizes.heads + jnp.arange(sizes.heads, dtype=jnp.int32)
    queries = block_q * sizes.queries + jnp.arange(sizes.queries, dtype=jnp.int32)
    keys = block_k * sizes.keys + jnp.arange(sizes.keys, dtype=jnp.int32)
    heads = (row % g)[:, None] * r + jnp.arange(r, dtype=jnp.int32)[None]
    real = queries < t, keys < s
    # Padding repeats the last position, where the user's functions are surely defined.
    i = constants.query_offset + jnp.minimum(queries, t - 1)
    j = constants.key_offset + jnp.minimum(keys, s - 1)
    return TileIndex(row // g, heads, i, j, keys, real)


def scores(
    spec: TileSpec,
    floats: Captured,
    constants: Constants,
    q: Float[Array, "c r t d"],
    k: Float[Array, "c s p"],
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
        axes: dict[str, tuple] = {"c": (0, 0), "r": (0, None), "t": (0, None), "s": (None, 0)}
        if spec.positions:
            axes = {axis: (*both, *_AT[axis]) for axis, both in axes.items()}
        pair = _over_seen(spec.pair, floats.pair, others.pair, axes, order, seen)
        x = pair(q, k, *places) if spec.positions else pair(q, k)
        x = x.astype(q.dtype)
    if spec.score_mod is None:
        return x
    axes = {axis: (0, *_AT[axis]) for axis in "crts"}
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
        return _over(_bind(hoisted, floats, others), axes, order)
    guarded, names = hoisted.guarded, ORDERS[order]
    # Of length 1 along what the mask does not depend on.
    long = {axis: 0 if n > 1 else None for axis, n in zip(names, seen.shape, strict=True)}
    visible = seen.reshape([n for n in seen.shape if n > 1])
    axes = {axis: (long[axis], *places) for axis, places in axes.items()}

    def function(visible: Array, *arguments: Array) -> Array:
        return guarded(visible, floats, others, *arguments)

    return partial(_over(function, axes, order), visible)


def dot_rows(q: Float[Array, "c r t d"], k: Float[Array, "c s d"]) -> Float[Array, "c r t s"]:
    c, r, t, d = q.shape
    return jnp.einsum("cnd,csd->cns", q.reshape(c, r * t, d), k).reshape(c, r, t, -1)


def _dot_columns(q: Array, k: Array) -> Array:
    c, r, t, d = q.shape
    return jnp.einsum("csd,cnd->csn", k, q.reshape(c, r * t, d)).reshape(c, -1, r, t)


# Which of b [c], h [c r], i [t], j [s] have each axis of a tile.
_AT = {
    "c": (0, 0, None, None),
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
    needed = {"c": by_b or by_h, "r": by_h, "t": by_i, "s": by_j}
    kept = "".join(axis for axis in axes if needed[axis])
    where = (
        at.b if needed["c"] else at.b[0],
        at.h if by_h else at.h[:, 0] if needed["c"] else at.h[0, 0],
        at.i if by_i else at.i[0],
        at.j if by_j else at.j[0],
    )
    mask = _bind(spec.mask, floats.mask, constants.captured.mask)
    return seen & _spread(_nest(mask, _AT, kept)(*where), kept, axes)


def kept(spec: TileSpec, constants: Constants, at: TileIndex, order: str) -> Array:
    """Factors of dropout for the weights of a tile: 0 or 1 / (1 - rate)."""
    axes = ORDERS[order]
    b, h = _spread(at.b, "c", axes), _spread(at.h, "cr", axes)
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
    q: Float[Array, "c r t d"], k: Float[Array, "c s d"], infinite: bool
) -> Float[Array, "c r t s"]:
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
    """Numbers of rows `[c r t]`, to fit a tile."""
    return _spread(x, "crt", ORDERS[order])


def spread_keys(x: Array, order: str) -> Array:
    """Numbers of keys `[c s]`, to fit a tile."""
    return _spread(x, "cs", ORDERS[order])


def _spread(x: Array, has: str, axes: str) -> Array:
    return jnp.expand_dims(x, [n for n, axis in enumerate(axes) if axis not in has])


def _bind(hoisted: Hoisted, floats: tuple[Array, ...], others: tuple[Array, ...]) -> Callable:
    return lambda *arguments: hoisted.function(floats, others, *arguments)


def _over(function: Callable, axes: dict[str, tuple], order: str) -> Callable:
    return _nest(function, axes, ORDERS[order])


def _nest(function: Callable, axes: dict[str, tuple], kept: str) -> Callable:
    """Maps over the axes that are kept, the outermost first in the result."""
    for axis in reversed(kept):
        function = jax.vmap(function, axes[axis])
    return function
