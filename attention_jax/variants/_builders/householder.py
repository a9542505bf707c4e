"""Softmax attention whose positions each move the keys before them by a reflection or less.

    logit[i, j] = q_i^T H_i H_(i-1) ... H_(j+1) k_j    H_t = I - b_t w_t w_t^T    for j <= i

`mixed` takes chunks of positions, for training; decoding is `householder_cache`. Arrays are in the
dtype of the computation already; a strength b of 0 leaves keys as they are.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from attention_jax.core import normalizers
from attention_jax.core.numerics import dropped
from attention_jax.core.types import Options
from attention_jax.variants._builders.chunked_scan import chunks

CHUNK = 64


class Pairs(NamedTuple):
    """Chunks of positions, of which all logits are products.

    Attributes:
      q: queries, moved back to before their chunk; those of r heads that share a key together.
      k: keys, moved on to after theirs.
      moves: by which a chunk moves the keys before it.
      own: logits of queries with keys of their own chunk, of later ones too.
    """

    q: Float[Array, "c b g rn d"]
    k: Float[Array, "c b g n d"]
    moves: Float[Array, "c b g d d"]
    own: Float[Array, "c b g rn n"]


def pairs(
    q: Float[Array, "b t h d"],
    k: Float[Array, "b t g d"],
    w: Float[Array, "b t g d"],
    strength: Float[Array, "b t g"],
    chunk: int,
) -> Pairs:
    """All that logits are made of, for chunks of positions at once.

    The maps of a chunk make a triangular system:

        (I + L) [x, y] = [M, W]    L[i, j] = w_i . b_j w_j    M[i, j] = w_i . k_j    where j < i
        own = q k^T - R x    q <- q - R y    k <- k - x^T (b W)    moves = I - (b W)^T y
        R[i, j] = q_i . b_j w_j    where j <= i

    Reference: the UT transform of Yang et al. 2025, arXiv:2505.16381, section 3.
    """
    n, d = chunk, q.shape[-1]
    q = chunks(q, n, groups=k.shape[2])
    k, w, erased = (chunks(x, n)[:, :, 0] for x in (k, w, strength[..., None] * w))
    earlier = jnp.tril(jnp.ones((n, n), bool), -1)[None, None, None]
    right = jnp.concatenate([jnp.where(earlier, w @ k.mT, 0), w], axis=-1)
    # Only what stands below the diagonal is read of the matrix.
    solved = jax.lax.linalg.triangular_solve(
        w @ erased.mT, right, left_side=True, lower=True, unit_diagonal=True
    )
    x, y = solved[..., :n], solved[..., n:]
    until = jnp.tril(jnp.ones((n, n), bool))[None, None, None, None]
    read = jnp.where(until, jnp.einsum("bgrcid,bgcjd->bgrcij", q, erased), 0)
    own = jnp.einsum("bgrcid,bgcjd->bgrcij", q, k) - jnp.einsum("bgrcij,bgcjl->bgrcil", read, x)
    q = q - jnp.einsum("bgrcij,bgcjd->bgrcid", read, y)
    moves = jnp.eye(d, dtype=q.dtype)[None, None, None] - erased.mT @ y
    k, moves = (jnp.moveaxis(x, 2, 0) for x in (k - x.mT @ erased, moves))
    q, own = (jnp.moveaxis(x, 3, 0) for x in (q, own))
    q, own = (x.reshape(*x.shape[:3], -1, x.shape[-1]) for x in (q, own))
    return Pairs(q, k, moves, own)


def mixed(
    q: Float[Array, "b t h d"],
    k: Float[Array, "b t g d"],
    v: Float[Array, "b t g e"],
    w: Float[Array, "b t g d"],
    strength: Float[Array, "b t g"],
    *,
    visible: Bool[Array, "b t"],
    first: Int[Array, "b t"] | None = None,
    options: Options = Options(),
) -> Float[Array, "b t h e"]:
    """The causal pass: each chunk of queries walks back along the chunks of keys.

    The backward pass computes each chunk of queries again, so memory holds its rows alone.

    Args:
      visible: the keys that are seen; the others must have strength or w of 0.
      first: the first key of each query; None where they see all before.
      options: of which dropout of the weights is honored here.
    """
    (b, t, h, _), e = q.shape, v.shape[-1]
    chunk = min(CHUNK, t) if isinstance(t, int) else CHUNK
    count = -(-t // chunk)

    def filled(x: Array) -> Array:
        return jnp.pad(x, ((0, 0), (0, count * chunk - t), *[(0, 0)] * (x.ndim - 2)))

    q, k, v, w, strength = map(filled, (q, k, v, w, strength))
    found, shown, at = pairs(q, k, w, strength, chunk), filled(visible), jnp.arange(count * chunk)
    starts = jnp.zeros((b, t), jnp.int32) if first is None else first
    starts = filled(starts).reshape(b, count, chunk).swapaxes(0, 1)
    values = jnp.repeat(v.transpose(0, 2, 1, 3), h // k.shape[2], axis=1)

    def rows(_: None, one: tuple[Array, ...]) -> tuple[None, Array]:
        number, start, *own = one
        logits = _logits(found, number, *own).reshape(b, h, chunk, count * chunk)
        queries = number * chunk + jnp.arange(chunk)
        seen = (at[None, :] <= queries[:, None])[None] & (at[None, None] >= start[:, :, None])
        weights = normalizers.softmax.weights(logits, (shown[:, None] & seen)[:, None])
        return None, _dropped(options, weights, number * chunk) @ values

    steps = jnp.arange(count), starts, found.q, found.own
    out = jax.lax.scan(jax.checkpoint(rows, prevent_cse=False), None, steps)[1]
    return out.transpose(1, 0, 3, 2, 4).reshape(b, count * chunk, h, e)[:, :t]


def _dropped(options: Options, weights: Array, first: Array) -> Float[Array, "b h n s"]:
    """The weights of queries from the first, after dropout, which goes by global positions."""
    if not options.dropout_rate or options.dropout_key is None:
        return weights
    b, h, n, s = map(jnp.arange, weights.shape)
    at = jnp.ix_(b, h, options.query_offset + first + n, options.key_offset + s)
    return dropped(weights, options.dropout_key, options.dropout_rate, at)


def _logits(
    found: Pairs, number: Array, q: Float[Array, "b g rn d"], own: Float[Array, "b g rn n"]
) -> Float[Array, "b g rn s"]:
    """Those of one chunk of queries with all keys; of any number where keys come later."""

    def turn(q: Array, one: tuple[Array, ...]) -> tuple[Array, Array]:
        place, k, moves = one
        return jnp.where(place < number, q @ moves, q), q @ k.mT

    places = jnp.arange(found.k.shape[0])
    _, each = jax.lax.scan(turn, q, (places, found.k, found.moves), reverse=True)
    each = jnp.where((places == number)[:, None, None, None, None], own[None], each)
    return jnp.moveaxis(each, 0, 3).reshape(*q.shape[:3], -1)
