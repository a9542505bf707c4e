"""LSH attention (Reformer): among queries and keys that share a hash bucket.

    hash_r(x) = argmax of (R_r x, -R_r x)           R_r: [buckets / 2, d], standard normal
    visible[i, j] = hash_r(q_i) = hash_r(k_j) for a round r, or i = j
    score[i, j] = q_i . k_j / (|k_j| sqrt(d))

Gives up keys of another direction than the query. Hashes have no derivative.

In the paper queries and keys are one projection, and a query sees its own key only where it sees
no other: that is `shared`, for layers that project so. Its rotations are drawn anew at each step;
here they are fixed by a seed. It sorts positions by bucket and cuts them into chunks, which is
fast, but which of the keys before it a query sees then depends on keys after it. Here a query sees
its buckets whole, as the paper defines the attention, so that no future leaks, and a decoder sees
the same.

Reference: Kitaev et al. 2020, arXiv:2001.04451, section 2, equations 2, 4 and 6.
Cost: t s (d + e) products a head and (t + s) rounds d buckets / 2 of the hashes: what the chunks of
the paper save is not saved.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attention_jax.core import checks, masks
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Options, Output, Params, Variant, no_parameters
from attention_jax.engine.api import attention

OWN = 1e5  # what a query's own key is lowered by, as in the paper


def reformer(*, buckets: int = 32, rounds: int = 4, seed: int = 0, shared: bool = False) -> Variant:
    """The scaled dot product with keys of length 1 within buckets.

    Args:
      buckets: how many directions are told apart; even.
      rounds: how many hashes; a pair is seen where one of them agrees.
      seed: of the rotations, from 0 to 2^32 - 1.
      shared: whether queries and keys are one projection.
    """
    _check(buckets, rounds, seed)

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        del params
        checks.attention_arrays(q, k, v)
        shape = rounds, buckets // 2, q.shape[-1]
        rotations = jax.random.normal(jax.random.key(seed), shape)
        of_query, of_key = (_hashes(x, rotations) for x in (q, k))
        alike = _alike(of_query, of_key, options.query_offset, options.key_offset)
        within = options._replace(mask=masks.both(alike, options.mask))
        lower = _lower_own if shared else None
        return attention(q, k, v, score=_score, score_mod=lower, **within._asdict())

    return Variant(init=no_parameters, attend=attend)


def _check(buckets: int, rounds: int, seed: int) -> None:
    checks.positive("buckets", buckets)
    checks.positive("rounds", rounds)
    if buckets % 2:
        raise ValueError(
            f"`buckets` must be even, as each direction has its opposite; got {buckets}. "
            f"The nearest above is {buckets + 1}."
        )
    checks.natural("seed", seed)


def _score(q: Float[Array, " d"], k: Float[Array, " d"]) -> Float[Array, ""]:
    square = k @ k
    # The inner where keeps the derivative of the root finite at 0.
    unit = jnp.where(square > 0, k * jax.lax.rsqrt(jnp.where(square > 0, square, 1)), 0)
    return (q * q.shape[-1] ** -0.5) @ unit


def _lower_own(score: Array, b: Array, h: Array, i: Array, j: Array) -> Array:
    return jnp.where(i == j, score - OWN, score)


def _hashes(
    x: Float[Array, "b n h d"], rotations: Float[Array, "r half d"]
) -> Int[Array, "b n h r"]:
    wide = jax.lax.stop_gradient(x.astype(wide_dtype(x)))
    turned = jnp.einsum("bnhd,rcd->bnhrc", wide, rotations.astype(wide.dtype))
    return jnp.concatenate([turned, -turned], axis=-1).argmax(-1)


def _alike(
    of_query: Int[Array, "b t h r"],
    of_key: Int[Array, "b s g r"],
    query_offset: int | Array,
    key_offset: int | Array,
) -> masks.Mask:
    """The mask of pairs that share a bucket in some round, or stand at one position."""
    group = of_query.shape[2] // of_key.shape[2]

    def visible(b: Array, h: Array, i: Array, j: Array) -> Array:
        ours, theirs = of_query[b, i - query_offset, h], of_key[b, j - key_offset, h // group]
        return (ours == theirs).any() | (i == j)

    return masks.Mask(visible)
