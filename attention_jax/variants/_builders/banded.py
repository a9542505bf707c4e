"""Each query with keys of its own, those at `first + i` to `first + i + width - 1` for query i.

They are products of blocks: a block of queries meets its own block of keys and the first of the
next. So t (size + width) numbers are held, not t s, and nothing is gathered pair by pair.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

# Smaller blocks make small matrix products.
_LEAST = 32


def windows(
    x: Float[Array, "b s g d"], *, first: int | Array, length: int, width: int
) -> Float[Array, "b n w g d"]:
    """The keys that a block of queries meets, for each block.

    Args:
      first: index of the first key of query 0; those outside of the sequence are some other key.
      length: number of queries.
      width: keys of a query.
    """
    (b, s, g, d), size = x.shape, max(width, _LEAST)
    blocks = -(-length // size)
    places = jnp.clip(first + jnp.arange((blocks + 1) * size), 0, s - 1)
    own = jnp.take(x, places, axis=1).reshape(b, blocks + 1, size, g, d)
    return jnp.concatenate([own[:, :-1], own[:, 1:, : width - 1]], axis=2)


def products(
    q: Float[Array, "b t h d"], keys: Float[Array, "b n w g d"], *, width: int
) -> Float[Array, "b t h c"]:
    """The product of each query with each of its own keys; `keys` are `windows`."""
    (b, t, h, d), (_, blocks, wide, g, _) = q.shape, keys.shape
    size = wide - width + 1
    q = jnp.pad(q, ((0, 0), (0, blocks * size - t), (0, 0), (0, 0)))
    q = q.reshape(b, blocks, size, g, h // g, d)
    flat = jnp.einsum("bnigrd,bnjgd->bngrij", q, keys).reshape(b, blocks, h, -1)
    # In rows that are longer by one, each row begins one later: diagonals become columns.
    flat = jnp.pad(flat, ((0, 0), (0, 0), (0, 0), (0, size)))
    found = flat.reshape(b, blocks, h, size, wide + 1)[..., :width]
    return found.swapaxes(2, 3).reshape(b, blocks * size, h, width)[:, :t]


def sums(
    weights: Float[Array, "b t h c"], values: Float[Array, "b n w g e"]
) -> Float[Array, "b t h e"]:
    """The weighted sum of each query's own values; `values` are `windows`."""
    (b, t, h, width), (_, blocks, wide, g, e) = weights.shape, values.shape
    size = wide - width + 1
    rows = ((0, 0), (0, blocks * size - t), (0, 0), (0, wide + 1 - width))
    rows = jnp.pad(weights, rows).reshape(b, blocks, size, h, wide + 1).swapaxes(2, 3)
    flat = rows.reshape(b, blocks, h, -1)[..., : size * wide]
    grouped = flat.reshape(b, blocks, g, h // g, size, wide)
    found = jnp.einsum("bngrij,bnjge->bnigre", grouped, values)
    return found.reshape(b, blocks * size, h, e)[:, :t]
