"""Softmax attention by whole rows, in the form that XLA's CPU compiler runs as one kernel.

    out = (exp(min(q k^T, cap) - m) v) / sum exp(min(q k^T, cap) - m)      m = max over keys

`cap` is infinite where a pair is visible and minus that where it is hidden: a minimum stays inside
the kernel with both products, where a choice between two numbers would end it, and with it every
score would be written to memory. A second result ends it too, so whoever asks for the log-sum-exp,
as derivatives do, is served elsewhere. The axes of a tile are [b g n s], where n = r t are all
queries that read a key head.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Int

from attention_jax.core import hidden_pairs, online_normalizers
from attention_jax.engine import partition, tiles
from attention_jax.engine.request import Request
from attention_jax.engine.tile_steps import Differentiable, EngineConfig
from attention_jax.engine.tiles import Captured, Constants, TileSpec

# Scores of the sequences that are taken together. A kernel holds none of them, but where a modifier
# or a vector's own function is more than the compiler has a kernel for, they are all held.
MOST = 2**24
# Strips of a call at most, and scores of a strip and a key head, which each core may hold.
MOST_STRIPS, LARGEST = 16, 2**24
# Keys at most: beyond them blocks hold less, and skip more.
LONGEST = 1024
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
    if request.return_lse:
        return False
    if score_mod is not None and hidden_pairs.needs_guard(score_mod.jaxpr, finite=True):
        return False
    here = jax.default_backend() == "cpu" and partition.devices() == 1
    # Nothing before or after it: a sink reads the log-sum-exp.
    is_softmax = request.normalizer.online == online_normalizers.SOFTMAX
    return here and is_softmax and request.shape.is_known


def held(request: Request) -> int:
    """Scores that are held at once at most."""
    changed = request.analysis.score_mod is not None and takes(request)
    return min(MOST, request.shape.known.scores) if changed and request.shape.s <= LONGEST else 0


class Strip(NamedTuple):
    """Queries from `top` to `bottom`, and the keys from `left` to `right` that they may see."""

    top: int
    bottom: int
    left: int
    right: int


def strips(config: EngineConfig) -> list[Strip] | None:
    """Strips that hold all tiles that are not empty; None where tiles by themselves are faster.

    That is where strips would be large, or would hold many empty tiles.
    """
    (_, _, r, t, s), (chunks, rows, _), sizes = (
        config.spec.shape,
        config.map.counts,
        config.map.sizes,
    )
    together = -(-rows // MOST_STRIPS)
    if s > LONGEST or r * together * sizes.queries * s > LARGEST:
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
    pieces: Sequence[Strip],
) -> tuple[Array, Array]:
    """Output of arrays that are one block, strip after strip; zeros stand for the log-sum-exp."""
    found = [_strip(config, arrays, constants, piece) for piece in pieces]
    out = found[0] if len(found) == 1 else jnp.concatenate(found, -2)
    return out, jnp.zeros(out.shape[:-1], out.dtype)


def _strip(
    config: EngineConfig, arrays: Differentiable, constants: Constants, strip: Strip
) -> Array:
    spec, captured = config.spec, arrays.captured
    own = arrays.q[..., strip.top : strip.bottom, :]
    k, v = (x[0, :, :, strip.left : strip.right] for x in arrays[2:])

    def part(first: Array, *vectors: Array) -> Array:
        at = _places(spec, constants, first, len(vectors[0]), strip)
        cap = _cap(config, captured, constants, at, own.dtype)
        change = partial(_changed, spec, captured, constants, at)
        return _guarded(partial(_out, change, cap), cap, *vectors)

    out = _over_parts(spec, part, (tiles.flat(own[0]), k, v))
    return out.reshape(*own.shape[:-1], v.shape[-1])


def _guarded(
    compute: Callable[..., Array], cap: Array | None, q: Array, k: Array, v: Array
) -> Array:
    """`compute(q, k, v)`, again where NaN shows: vectors make it of the rows that see them alone.

    So arrays that are finite are not looked through.
    """
    found = compute(q, k, v)
    if cap is None:
        return found

    def clean() -> Array:
        bad_q, bad_k = (jnp.isnan(x).any(-1) for x in (q, k))
        bad = ((cap > 0) & (bad_q[..., None] | bad_k[:, :, None])).any(-1)
        finite = (jnp.where(jnp.isnan(x), 0, x) for x in (q, k))
        # By a choice: a modifier may make NaN of a hidden pair by itself.
        return jnp.where(bad[..., None], jnp.nan, compute(*finite, v, chosen=True))

    return lax.cond(jnp.isnan(found).any(), clean, lambda: found)


def _out(
    change: Callable, cap: Array | None, q: Array, k: Array, v: Array, *, chosen: bool = False
) -> Array:
    logits = change(jnp.einsum("bgnd,bgsd->bgns", q, k), q, k)
    if cap is not None:
        logits = jnp.where(cap > 0, logits, cap) if chosen else jnp.minimum(logits, cap)
    high = jnp.maximum(logits.max(-1, keepdims=True), online_normalizers.lowest(logits.dtype))
    powers = jnp.exp(logits - high)
    return powers @ v / jnp.maximum(powers.sum(-1, keepdims=True), TINY)


def _over_parts(spec: TileSpec, body: Callable[..., Array], arrays: tuple[Array, ...]) -> Array:
    """`body(first sequence, *arrays)`, for as many sequences at a time as `MOST` allows."""
    b, own = spec.shape.b, spec.shape.scores // spec.shape.b
    size = max(n for n in range(1, b + 1) if b % n == 0 and n * own <= max(MOST, own))
    if size == b:
        return body(jnp.int32(0), *arrays)
    apart = [x.reshape(b // size, size, *x.shape[1:]) for x in arrays]
    firsts = jnp.arange(0, b, size, dtype=jnp.int32)
    found = lax.map(lambda x: body(x[0], *x[1]), (firsts, apart))
    return found.reshape(b, *found.shape[2:])


def _places(spec: TileSpec, constants: Constants, first: Array, count: int, strip: Strip) -> Places:
    """The positions of a strip, for `count` sequences from `first` on."""
    at, r = tiles.index(spec, constants, jnp.zeros(3, jnp.int32)), spec.shape.r
    i, j = at.i[strip.top : strip.bottom], at.j[strip.left : strip.right]
    return Places(first + at.b[:count], jnp.repeat(at.h, len(i), axis=1), jnp.tile(i, r), j)


def _cap(
    config: EngineConfig,
    captured: Captured,
    constants: Constants,
    at: Places,
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
    for axis in reversed("bgns"):
        if needed[axis]:
            seen = jax.vmap(
                seen, [a if u else None for a, u in zip(_AT[axis], spec.used, strict=True)]
            )
    missing = [n for n, axis in enumerate("bgns") if not needed[axis]]
    limit = jnp.asarray(jnp.inf, dtype)
    return jnp.expand_dims(jnp.where(seen(*given), limit, -limit), missing)


def _changed(
    spec: TileSpec,
    captured: Captured,
    constants: Constants,
    at: Places,
    dots: Array,
    q: Array,
    k: Array,
) -> Array:
    """The logits after `score_mod`, if any, which might drop the NaN of a vector."""
    if spec.score_mod is None:
        return dots
    change = partial(spec.score_mod.function, captured.score_mod, constants.captured.score_mod)
    for axis in reversed("bgns"):
        change = jax.vmap(change, (0, *_AT[axis]))
    changed = change(dots, *at).astype(dots.dtype)
    of_query, of_key = (tiles.finite(x)[1] for x in (q, k))
    return changed + of_query[..., None] + of_key[:, :, None]


# Which of b [b], h [g n], i [n], j [s] have each axis of a tile.
_AT = {
    "b": (0, None, None, None),
    "g": (None, 0, None, None),
    "n": (None, 0, 0, None),
    "s": (None, None, None, 0),
}
