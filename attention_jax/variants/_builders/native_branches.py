"""Branches of native sparse attention: summaries, chosen blocks, and what is near."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from attention_jax.core import masks
from attention_jax.core.types import MaskFunction, Options
from attention_jax.engine.api import attention
from attention_jax.variants._builders import block_choice, kept, summaries
from attention_jax.variants._builders.summaries import Summaries


class Sizes(NamedTuple):
    """The arguments of `native_sparse`."""

    summary: int
    stride: int
    size: int
    blocks: int
    window: int


def of_pass(
    sizes: Sizes, made: Summaries, q: Array, k: Array, v: Array, options: Options
) -> tuple[Array, ...]:
    """The outputs of the three branches, of queries among the keys."""
    at = block_choice.places(q.shape[1], options)
    chosen = block_choice.in_turns(partial(choose, sizes, k.shape[1], made), q, at)
    near: Any = options._replace(mask=masks.both(options.mask, masks.sliding_window(sizes.window)))
    key = options.dropout_key
    over = Options(
        _ends(sizes, made),
        options.query_offset - options.key_offset,
        dropout_rate=options.dropout_rate,
        dropout_key=None if key is None else jax.random.fold_in(key, 1),
    )
    found: Any = (
        attention(q, made.k, made.v, **over._asdict()),
        block_choice.attend(q, k, v, chosen, sizes.size, options),
        attention(q, k, v, **near._asdict()),
    )
    return found


def of_cache(
    sizes: Sizes, made: Summaries, q: Array, k: Array, v: Array, first: Int[Array, " b"]
) -> tuple[Array, ...]:
    """The same of queries from the position `first` on, which are among the keys already."""
    t = q.shape[1]
    at = block_choice.places_from(first, t)
    chosen = block_choice.in_turns(partial(choose, sizes, k.shape[1], made), q, at)
    # Of the cache the window alone is read, which begins before its first position at times.
    start = first - (sizes.window - 1)
    rows = start[:, None] + jnp.arange(sizes.window - 1 + t, dtype=jnp.int32)[None]
    own = (jax.vmap(lambda x, at: x.at[at].get(mode="clip"))(x, rows) for x in (k, v))

    def near(b: Array, h: Array, i: Array, j: Array) -> Array:
        return (i <= j) & (j < i + sizes.window) & (start[b] + j >= 0)

    found: Any = (
        attention(q, made.k, made.v, mask=_ends(sizes, made, first)),
        block_choice.attend(q, k, v, chosen, sizes.size, Options(kept.up_to(first))),
        attention(q, *own, mask=masks.Mask(near)),
    )
    return found


def _ends(sizes: Sizes, made: Summaries, first: Int[Array, " b"] | None = None) -> MaskFunction:
    """Summaries that end before a query or at it."""

    def seen(b: Array, h: Array, i: Array, j: Array) -> Array:
        at = i if first is None else first[b] + i
        return (j * sizes.stride + sizes.summary <= at + 1) & made.shown[b, j]

    return masks.Mask(seen)


def choose(
    sizes: Sizes, keys: int, made: Summaries, q: Array, at: Int[Array, "#b t"]
) -> Int[Array, "b t g m"]:
    """The blocks of each query; those of a key head choose together."""
    (b, t, _, d), (_, n, g, _) = q.shape, made.k.shape
    logits = jnp.einsum("btgrd,bngd->btgrn", q.reshape(b, t, g, -1, d) * d**-0.5, made.k)
    ends = jnp.arange(n) * sizes.stride + sizes.summary - 1
    seen = (ends[None, None] <= at[..., None]) & made.shown[:, None]
    weights = jax.nn.softmax(logits, where=seen[:, :, None, None])
    shares = jnp.nan_to_num(weights).sum(3)
    count, each = -(-keys // sizes.size), sizes.size // sizes.stride
    strides = summaries.by_stride(shares, sizes.summary // sizes.stride, count * each)
    scores = strides.reshape(b, t, g, count, each).sum(-1)
    block, own = jnp.arange(count)[None, None, None], (at // sizes.size)[..., None, None]
    for place, bonus in ((block == 0, 1e6), (block == own - 1, 2e6), (block == own, 3e6)):
        scores = jnp.where(place, bonus, scores)
    return block_choice.best(jnp.where(block <= own, scores, -jnp.inf), sizes.blocks)
