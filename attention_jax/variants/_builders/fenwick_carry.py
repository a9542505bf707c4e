"""The sums of `fenwick` from a state on, and for packed documents, each with a tree of its own.

Position p is in pieces by its bits. What is in the piece of level n of p is for a later position i
at the level max(n, bits of (p xor i)), for pieces only join others. So a chunk of queries reads the
state before it by one table of levels, and moves it by another.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from attention_jax.variants._builders.chunked_scan import CHUNK, by_blocks, chunks, decay_of, joined
from attention_jax.variants._builders.documents import numbers
from attention_jax.variants._builders.fenwick import FenwickState, fenwick_empty


class Chunk(NamedTuple):
    """Positions of a chunk.

    Attributes:
      q, k, v, weights: as of `fenwick`.
      between, before, after, whole: decays, as of `Decay`.
      number: of the positions in their documents, from 1 on; 0 where there is none.
    """

    q: Float[Array, "b h n d"]
    k: Float[Array, "b h n d"]
    v: Float[Array, "b h n e"]
    weights: Float[Array, "b h n l"]
    between: Float[Array, "b h n n 1"]
    before: Float[Array, "b h n 1"]
    after: Float[Array, "b h n 1"]
    whole: Float[Array, "b h 1"]
    number: Int[Array, "b n"]


def fenwick_carried(
    *arrays: Float[Array, "b t h _"],
    since: Int[Array, "b t"] | None = None,
    start: FenwickState | None = None,
    chunk: int = CHUNK,
) -> tuple[FenwickState, Float[Array, "b t h e"]]:
    """The causal pass, chunk by chunk, as the last state and the outputs.

    It takes l d e products a position, twice; `fenwick_scan` takes fewer, from zeros.

    Args:
      arrays: q, k, v, log_decay and weights, as of `fenwick_scan`.
      since: positions since the document began; None where no documents are packed.
      start: the state before the first position; None for one with room for all.
    """
    q, k, v = arrays[:3]
    if start is None:
        start = fenwick_empty(q.shape[1], (*q.shape[::2], k.shape[-1], v.shape[-1]), q.dtype)
    at = numbers(since, start.position, q.shape[1])
    inputs = *arrays, at[:, :, None, None]
    (sums, _), out = by_blocks(_block, tuple(start), inputs, chunk)
    out = jnp.where((at <= 2 ** sums.shape[2])[..., None, None], out, jnp.nan)
    return FenwickState(sums, start.position + q.shape[1]), out


def _block(
    chunk: int, state: tuple[Array, Array], *inputs: Array
) -> tuple[tuple[Array, Array], Float[Array, "b m h e"]]:
    q, k, v, log_decay, weights, number = (chunks(x, chunk)[:, :, 0] for x in inputs)
    own = q, k, v, weights, *decay_of(log_decay).factors()
    each = Chunk(*(jnp.moveaxis(x, 2, 0) for x in own), jnp.moveaxis(number[:, 0, ..., 0], 1, 0))
    state, out = jax.lax.scan(_turn, state, each)
    return state, joined(jnp.moveaxis(out, 0, 2)[:, :, None])


def _turn(
    state: tuple[Array, Array], own: Chunk
) -> tuple[tuple[Array, Array], Float[Array, "b h n e"]]:
    """The sums after a chunk, and its outputs."""
    sums, position = state
    place, real = own.number - 1, own.number > 0
    document = jnp.cumsum((own.number == 1).astype(jnp.int32), axis=1)
    until = jnp.tril(jnp.ones((place.shape[1],) * 2, bool))[None]
    seen = until & (document[:, :, None] == document[:, None]) & real[:, None]
    near = _weights(own.weights, _bits(place[:, :, None] ^ place[:, None]))
    shares = jnp.where(seen[:, None], own.q @ own.k.mT * own.between[..., 0], 0)
    levels = jnp.arange(1, sums.shape[2] + 1, dtype=jnp.int32)[None]
    far = jnp.maximum(levels[:, None], _bits(position[:, None] ^ place)[..., None])
    far = jnp.where((document == 0)[:, None, :, None], _weights(own.weights, far) * own.before, 0)
    out = (shares * near) @ own.v + jnp.einsum("bhil,bhid,bhlde->bhie", far, own.q, sums)
    after = jnp.where(real.any(1), own.number.max(1, where=_last(real), initial=0), position)
    kept = jnp.where((document[:, -1] == 0)[:, None, None], own.whole, 0)
    levels_of = partial(_levels, levels=levels, dtype=sums.dtype)
    old = levels_of(jnp.maximum(levels, _bits(position ^ after)[:, None]))
    new = levels_of(_bits(place ^ after[:, None]))
    new = jnp.where((real & (document == document[:, -1:]))[..., None], new, 0)
    sums = jnp.einsum("bml,bhmde->bhlde", old, kept[..., None, None] * sums)
    sums = sums + jnp.einsum("bjl,bhjd,bhje->bhlde", new, own.k * own.after, own.v)
    return (sums, after), out


def _bits(x: Int[Array, "*b"]) -> Int[Array, "*b"]:
    """The bits that a whole number takes."""
    return 32 - jax.lax.clz(x)


def _weights(
    weights: Float[Array, "b h n l"], level: Int[Array, "#b n m"]
) -> Float[Array, "b h n m"]:
    """The weights of levels of each query; some number where there is no such level."""
    level = jnp.broadcast_to(level, (weights.shape[0], *level.shape[1:]))
    at = jnp.clip(level, 0, weights.shape[-1] - 1)[:, None]
    return jnp.take_along_axis(
        weights, jnp.broadcast_to(at, (*weights.shape[:2], *at.shape[2:])), 3
    )


def _last(real: Bool[Array, "b n"]) -> Bool[Array, "b n"]:
    """The last position that there is."""
    return real & ~jnp.pad(real[:, 1:], ((0, 0), (0, 1)))


def _levels(
    level: Int[Array, "b m"], *, levels: Int[Array, "1 l"], dtype: jnp.dtype
) -> Float[Array, "b m l"]:
    """1 where a level is that of each."""
    return (level[..., None] == levels[:, None]).astype(dtype)
