"""Attention of each query to the keys that an indexer scores highest, which are gathered.

    score[i, j] = sum_n weight_(i n) relu(query_(i n) . key_j)
    out_i = softmax over the best visible j of (q_i . k_j / sqrt(d)), times v_j

To the logits of what is chosen the score is added less itself, so that they stay and it learns.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attention_jax.core import numerics
from attention_jax.core.types import Options
from attention_jax.engine import reference

# So many numbers of chosen keys are held at once.
HELD = 2**22


class Index(NamedTuple):
    """The indexer's view of the queries, and of the keys."""

    query: Float[Array, "b t n c"]
    weight: Float[Array, "b t n"]
    key: Float[Array, "b s c"]


def attend(
    count: int, q: Array, k: Array, v: Array, index: Index, options: Options
) -> tuple[Float[Array, "b t h e"], Float[Array, "b t h"]]:
    """The output and the log-sum-exp over the `count` best keys of each query.

    Args:
      index: of the positions of these queries and keys.
      options: its mask shows the keys among which a query chooses.
    """
    b, t = q.shape[:2]
    count = min(count, k.shape[1])
    narrow = q.dtype
    q, k, v, of_query, of_key = reference.finite_parts(q, k, v)
    some = min(max(HELD // (b * count * k.shape[2] * k.shape[3]), 1), t)
    rows = q, of_query, index.query, index.weight

    def cut(x: Array) -> Array:
        x = jnp.pad(x, ((0, 0), (0, -t % some), *((0, 0) for _ in x.shape[2:])), mode="edge")
        return x.reshape(b, -1, some, *x.shape[2:]).swapaxes(0, 1)

    def turn(x: tuple[tuple[Array, ...], Array]) -> tuple[Array, Array]:
        return _read(count, options, *x[0], x[1], (k, v, of_key, index.key))

    first = options.query_offset + jnp.arange(0, t, some, dtype=jnp.int32)
    # The backward pass gathers keys again.
    found = jax.lax.map(jax.checkpoint(turn, prevent_cse=False), (jax.tree.map(cut, rows), first))
    out, lse = (x.swapaxes(0, 1).reshape(b, -1, *x.shape[3:])[:, :t] for x in found)
    return out.astype(narrow), lse


def _read(
    count: int,
    options: Options,
    q: Float[Array, "b t h d"],
    of_query: Float[Array, "b t h"],
    queries: Float[Array, "b t n c"],
    by: Float[Array, "b t n"],
    first: Int[Array, ""],
    keys: tuple[Array, Array, Array, Array],
) -> tuple[Float[Array, "b t h e"], Float[Array, "b t h"]]:
    """The output and the log-sum-exp of some queries, from the position `first` on."""
    k, v, of_key, index = keys
    (b, t, h, d), (_, s, g, _) = q.shape, k.shape
    count_from = partial(jnp.arange, dtype=first.dtype)
    places = count_from(b), count_from(h), first + count_from(t), options.key_offset + count_from(s)
    seen = reference.visible_pairs(options.mask, places)
    products = jax.nn.relu(jnp.einsum("btnc,bsc->btns", queries, index.astype(queries.dtype)))
    own = jnp.einsum("btn,btns->bts", by, products).astype(q.dtype)
    best, at = jax.lax.top_k(jnp.where(seen.any(1), jax.lax.stop_gradient(own), -jnp.inf), count)
    seen = jnp.broadcast_to(seen, (b, seen.shape[1], t, s))
    seen = jnp.take_along_axis(seen, at[:, None], 3) & (best != -jnp.inf)[:, None]
    bias = jnp.take_along_axis(own, at, 2)
    k, v, of_key = (jax.vmap(lambda x, at: x[at])(x, at) for x in (k, v, of_key))
    logits = jnp.einsum("btgrd,btmgd->bgrtm", q.reshape(b, t, g, -1, d) * d**-0.5, k)
    logits = (logits + of_key.transpose(0, 3, 1, 2)[:, :, None]).reshape(b, h, t, count)
    logits += of_query.swapaxes(1, 2)[..., None] + (bias - jax.lax.stop_gradient(bias))[:, None]
    weights, lse = reference.softmax(logits, seen)
    if options.dropout_rate and options.dropout_key is not None:
        pairs = *jnp.ix_(*places[:3], jnp.zeros(1, int))[:3], (options.key_offset + at)[:, None]
        weights = numerics.dropped(weights, options.dropout_key, options.dropout_rate, pairs)
    out = jnp.einsum("bgrtm,btmge->btgre", weights.reshape(b, g, -1, t, count), v)
    return out.reshape(b, t, h, -1), lse.swapaxes(1, 2)
