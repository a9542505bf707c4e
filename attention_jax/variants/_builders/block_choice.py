"""Blocks of keys that a query chooses by scores of whole blocks."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from attention_jax.core import checks, lookups
from attention_jax.core.types import Options, Output
from attention_jax.engine import chosen_blocks
from attention_jax.engine.chosen_blocks import Pairs
from attention_jax.variants._builders import keywise
from attention_jax.variants._builders.options import refuse


def check(name: str, q: Array, k: Array, v: Array, options: Options) -> None:
    """Raises unless it is a causal call that chosen blocks can honor."""
    checks.attention_arrays(q, k, v)
    refuse(name, options, "implementation")
    checks.dropout(options.dropout_rate, options.dropout_key)
    checks.position("query_offset", options.query_offset, q.shape[1])
    checks.position("key_offset", options.key_offset, k.shape[1])
    lookups.check("mask", options.mask, q, k, options.query_offset, options.key_offset)
    keywise.only_causal(name, keywise.is_causal(options.mask))


def shown(k: Array, options: Options) -> Bool[Array, "b s"]:
    """The keys that the mask hides from no query by themselves, and that are finite."""
    b, s = k.shape[:2]
    seen = keywise.seen_keys(options.mask, batch=b, length=s, offset=options.key_offset)
    fine = jnp.isfinite(k).all((2, 3))
    return fine if seen is None else fine & seen


def places(length: int, options: Options) -> Int[Array, " t"]:
    """The positions of the queries, counted from the first key."""
    return options.query_offset - options.key_offset + jnp.arange(length, dtype=jnp.int32)


def in_blocks(x: Float[Array, "b s *n"], size: int) -> Float[Array, "b n size *n"]:
    """Positions in blocks; zeros fill the last."""
    b, s, *rest = x.shape
    x = jnp.pad(x, ((0, 0), (0, -s % size), *((0, 0) for _ in rest)))
    return x.reshape(b, -1, size, *rest)


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
