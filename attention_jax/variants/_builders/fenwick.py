"""Sums over the past in pieces, each twice as long as the next: the nodes of a Fenwick tree.

    out_i = sum_(j <= i) l_i[level(i, j)] exp(sum_(j < m <= i) log_decay_m) (q_i . k_j) v_j
    level(i, j) = bits of (i xor j)    0 for j = i, n for 2^(n - 1) positions where i has that bit

So a query weighs sums of 1, 1, 2, 4, ... positions by weights of its own, and holds few of those
that are far. `fenwick_scan` takes all positions, for training, `fenwick_step` one, for decoding;
`fenwick_carry` several from a state on. Arrays are in the dtype of the computation already.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from attention_jax.variants._builders.chunked_scan import (
    CHUNK,
    LOWEST,
    added,
    by_blocks,
    chunks,
    decay_of,
    joined,
)


class FenwickState(NamedTuple):
    """Sums of the past.

    Attributes:
      sums: of levels from 1 on; zeros where the position lacks that bit.
      position: of the next query.
    """

    sums: Float[Array, "b h l d e"]
    position: Int[Array, " b"]


def fenwick_scan(
    q: Float[Array, "b t h d"],
    k: Float[Array, "b t h d"],
    v: Float[Array, "b t h e"],
    log_decay: Float[Array, "b t h 1"],
    weights: Float[Array, "b t h l"],
    *,
    chunk: int = CHUNK,
) -> Float[Array, "b t h e"]:
    """The causal pass: pairs within chunks, and a product with one matrix a level beyond.

    A piece of 2 m chunks is two of m, of which the queries of the second read what the first added;
    both together add to the piece of 4 m. So half of the queries read at each level, and there are
    as many matrices as chunks, twice.

    Args:
      log_decay: at most 0.
      weights: l above; for as many levels as the length has.
      chunk: positions in a chunk, a power of two.
    """
    t = q.shape[1]
    _, out = by_blocks(_near, jnp.zeros((), q.dtype), (q, k, v, log_decay, weights), chunk)
    if t <= chunk:
        return out
    log_decay = jnp.maximum(log_decay, LOWEST)
    whole, sums = jax.vmap(added, 1, 1)(*(_pieces(x, chunk) for x in (k, v, log_decay)))
    size = chunk
    while size < t:
        # Sums of pieces of `size` positions; those of the second of two read the first.
        whole, sums = (_even(x) for x in (whole, sums))
        weight = weights[..., size.bit_length()][..., None]
        out = out + jax.checkpoint(_far, static_argnums=4)(q, log_decay, weight, sums[:, ::2], size)
        sums = whole[:, 1::2, ..., None] * sums[:, ::2] + sums[:, 1::2]
        whole, size = whole[:, ::2] * whole[:, 1::2], 2 * size
    return out


def _near(
    chunk: int, state: Array, *inputs: Float[Array, "b m h _"]
) -> tuple[Array, Float[Array, "b m h e"]]:
    """The pairs within chunks."""
    q, k, v, log_decay, weights = (chunks(x, chunk)[:, :, 0] for x in inputs)
    i, j = np.ogrid[:chunk, :chunk]
    # Bits of a whole number below 2^53.
    level = np.frexp((i ^ j).astype(np.float64))[1]
    shares = (q @ k.mT) * decay_of(log_decay).factors().between[..., 0]
    out = (shares * weights[..., i, level]) @ v
    return state, joined(out[:, :, None])


def _far(
    q: Float[Array, "b t h d"],
    log_decay: Float[Array, "b t h 1"],
    weight: Float[Array, "b t h 1"],
    sums: Float[Array, "b c h d e"],
    size: int,
) -> Float[Array, "b t h e"]:
    """The first half of each piece, as read by the queries in its second half."""
    t = q.shape[1]
    q, log_decay, weight = (_pieces(x, 2 * size)[:, :, size:] for x in (q, log_decay, weight))
    share = weight * jnp.exp(jnp.cumsum(log_decay, axis=2))
    out = jnp.einsum("bcnhd,bchde->bcnhe", share * q, sums)
    out = jnp.pad(out, ((0, 0), (0, 0), (size, 0), (0, 0), (0, 0)))
    return out.reshape(out.shape[0], -1, *out.shape[3:])[:, :t]


def _pieces(x: Float[Array, "b t h d"], size: int) -> Float[Array, "b c n h d"]:
    """Pieces of so many positions, of which the last is filled up."""
    b, t, *rest = x.shape
    x = jnp.pad(x, ((0, 0), (0, -t % size), (0, 0), (0, 0)))
    return x.reshape(b, -1, size, *rest)


def _even(x: Float[Array, "b c *d"]) -> Float[Array, "b c2 *d"]:
    """An even number of pieces."""
    return jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), *[(0, 0)] * (x.ndim - 2)))


def fenwick_empty(length: int, shape: tuple[int, ...], dtype: DTypeLike) -> FenwickState:
    """The state before the first of `length` positions, of heads of a shape [b h d e]."""
    levels = max(1, (length - 1).bit_length())
    sums = jnp.zeros((*shape[:2], levels, *shape[2:]), dtype)
    return FenwickState(sums, jnp.zeros(shape[0], jnp.int32))


def fenwick_step(
    state: FenwickState,
    q: Float[Array, "b h d"],
    k: Float[Array, "b h d"],
    v: Float[Array, "b h e"],
    log_decay: Float[Array, "b h 1"],
    weights: Float[Array, "b h l"],
) -> tuple[FenwickState, Float[Array, "b h e"]]:
    """The next position; reproduces `fenwick_scan`. NaN where there is no room for it."""
    at, levels = state.position[:, None], state.sums.shape[2]
    sums = jnp.exp(log_decay)[..., None, None] * state.sums
    new = k[..., None] * v[..., None, :]
    known = weights[..., 1 : levels + 1]
    out = weights[..., :1] * jnp.einsum("bhd,bhde->bhe", q, new)
    out = out + jnp.einsum("bhl,bhd,bhlde->bhe", known, q, sums)
    # Counting on, a position loses its last bits, all ones, and gains the one above them.
    bit = jnp.asarray(1 << np.arange(levels), jnp.int32)[None]
    lost = (at & (2 * bit - 1)) == 2 * bit - 1
    gained = (at & (2 * bit - 1)) == bit - 1
    lost, gained = (x[:, None, :, None, None] for x in (lost, gained))
    merged = new + jnp.where(lost, sums, 0).sum(2)
    sums = jnp.where(gained, merged[:, :, None], jnp.where(lost, 0, sums))
    out = jnp.where((at < 2**levels)[..., None], out, jnp.nan)
    return FenwickState(sums, state.position + 1), out
