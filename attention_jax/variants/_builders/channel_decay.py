"""Products of queries and keys of a chunk, between which every channel decays at a rate of its own.

    pairs[i, j] = sum_d rows_id keys_jd prod_(j < m <= i) exp(log_decay_md)    where j <= i

A decay of all pairs of positions would be n^2 d exponentials. A query and a key that stand in two
halves of a chunk share the border between them: what decays from the key to the border, and from
there to the query, are factors of either, so all such pairs are one product of matrices. The same
holds of the halves of each half. That takes n d exponentials, and log2(n) times n d products for
the factors; no factor is above 1, so nothing overflows however strong the decay.

Reference: the second level of chunks of Yang et al. 2023, arXiv:2312.06635, section 4.2, repeated.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Faded(NamedTuple):
    """The products of a chunk, and what enters and leaves it.

    Attributes:
      pairs: the products above; 0 where a key comes after the query.
      rows: after what decays from before the chunk to them, inclusive.
      keys: after what decays from them, exclusive, to the end of the chunk.
      whole: what remains of each channel after the chunk.
    """

    pairs: Float[Array, "*b x n y n"]
    rows: Float[Array, "*b x n d"]
    keys: Float[Array, "*b y n d"]
    whole: Float[Array, "*b d"]


def faded(
    rows: Float[Array, "*b x n d"],
    keys: Float[Array, "*b y n d"],
    log_decay: Float[Array, "*b n d"],
) -> Faded:
    """The products of rows and keys of x and y kinds, for chunks of n positions.

    Args:
      log_decay: at most 0.
    """
    n = rows.shape[-2]
    # Halves of halves need a power of two; what fills it up comes last, and does not decay.
    rows, keys, log_decay = (_filled_up(x) for x in (rows, keys, log_decay))
    rows, keys = (jnp.moveaxis(x, -2, -3)[..., None, :] for x in (rows, keys))
    whole = jnp.exp(log_decay)
    pairs = jnp.einsum("...xsd,...yzd->...xsyz", rows, keys)
    pieces = Faded(pairs, rows * whole[..., None, None, :], keys, whole)
    while pieces.whole.shape[-2] > 1:
        pieces = _joined(*_first_and_second(pieces))
    return Faded(
        pieces.pairs[..., 0, :, :n, :, :n],
        pieces.rows[..., 0, :, :n, :],
        pieces.keys[..., 0, :, :n, :],
        pieces.whole[..., 0, :],
    )


def _filled_up(x: Float[Array, "*b n d"]) -> Float[Array, "*b m d"]:
    n = x.shape[-2]
    return jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(0, (1 << (n - 1).bit_length()) - n), (0, 0)])


def _first_and_second(pieces: Faded) -> tuple[Faded, Faded]:
    """Every other piece of a chunk, and those that follow them."""

    def at(x: Array, axis: int, which: int) -> Array:
        axis += x.ndim
        x = x.reshape(*x.shape[:axis], -1, 2, *x.shape[axis + 1 :])
        return jax.lax.index_in_dim(x, which, axis + 1, keepdims=False)

    first, second = (
        Faded(*(at(x, axis, which) for x, axis in zip(pieces, (-5, -4, -4, -2), strict=True)))
        for which in (0, 1)
    )
    return first, second


def _joined(first: Faded, second: Faded) -> Faded:
    """Pieces of twice the length: rows of the second meet keys of the first at their border."""
    between = jnp.einsum("...xsd,...yzd->...xsyz", second.rows, first.keys)
    nothing = jnp.zeros_like(between)
    above = jnp.concatenate([first.pairs, nothing], axis=-1)
    below = jnp.concatenate([between, second.pairs], axis=-1)
    rows = second.rows * first.whole[..., None, None, :]
    keys = first.keys * second.whole[..., None, None, :]
    return Faded(
        jnp.concatenate([above, below], axis=-3),
        jnp.concatenate([first.rows, rows], axis=-2),
        jnp.concatenate([keys, second.keys], axis=-2),
        first.whole * second.whole,
    )
