"""Blocks of keys that a query chooses by scores of whole blocks."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num

from attention_jax.core.types import Options, Output
from attention_jax.engine import chosen_blocks
from attention_jax.engine.chosen_blocks import Pairs
from attention_jax.variants._builders import keywise
from attention_jax.variants._builders.options import check_request, refuse

# So many queries choose at once.
QUERIES = 512


def check(name: str, q: Array, k: Array, v: Array, options: Options) -> Bool[Array, "b s"]:
    """The keys that are seen at all, of a causal call that chosen blocks can honor.

    Raises:
      ValueError: it is another call.
    """
    check_request(q, k, v, options)
    refuse(name, options, "implementation")
    b, s = k.shape[:2]
    shown = keywise.split_mask(name, options.mask, batch=b, length=s, offset=options.key_offset)
    keywise.only_causal(name, shown.causal)
    return jnp.ones((b, s), bool) if shown.keys is None else shown.keys


def places(length: int, options: Options) -> Int[Array, "1 t"]:
    """The positions of the queries, counted from the first key."""
    return (options.query_offset - options.key_offset + jnp.arange(length, dtype=jnp.int32))[None]


def places_from(first: Int[Array, " b"], length: int) -> Int[Array, "b t"]:
    """The positions of the queries of sequences that go on from positions of their own."""
    return first[:, None] + jnp.arange(length, dtype=jnp.int32)[None]


def in_blocks(x: Num[Array, "b s *n"], size: int) -> Num[Array, "b n size *n"]:
    """Positions in blocks; zeros fill the last."""
    b, s, *rest = x.shape
    x = jnp.pad(x, ((0, 0), (0, -s % size), *((0, 0) for _ in rest)))
    return x.reshape(b, -1, size, *rest)


def in_turns(
    choose: Callable[[Array, Array], Array], q: Float[Array, "b t h d"], at: Int[Array, "#b t"]
) -> Int[Array, "b t c n"]:
    """`choose(q, at)` of some queries after others, so that few scores of blocks are held."""
    b, t, *rest = q.shape
    if t <= QUERIES:
        return choose(q, at)
    more = -t % QUERIES
    q = jnp.pad(jax.lax.stop_gradient(q), ((0, 0), (0, more), (0, 0), (0, 0)))
    q = q.reshape(b, -1, QUERIES, *rest).swapaxes(0, 1)
    at = jnp.pad(at, ((0, 0), (0, more))).reshape(len(at), -1, QUERIES).swapaxes(0, 1)
    found = jax.lax.map(lambda x: choose(*x), (q, at)).swapaxes(0, 1)
    return found.reshape(b, t + more, *found.shape[3:])[:, :t]


def best(scores: Float[Array, "b t c n"], count: int) -> Int[Array, "b t c m"]:
    """The numbers of the best blocks of each query, -1 for those of score -inf."""
    own, at = jax.lax.top_k(jax.lax.stop_gradient(scores), min(count, scores.shape[-1]))
    return jnp.where(own > -jnp.inf, at, -1).astype(jnp.int32)


def attend(
    q: Array, k: Array, v: Array, chosen: Int[Array, "b t c n"], size: int, options: Options
) -> Output:
    """The scaled dot product over chosen blocks, as the options ask."""
    pairs = Pairs(*options[:5])
    out, lse = chosen_blocks.attend(q, k, v, chosen, size, pairs)
    out = out.astype(q.dtype)
    return (out, lse) if options.return_lse else out
