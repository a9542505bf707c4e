"""Attention on two levels: to the words of each segment, then to the segments.

    a[i, j] = softmax over j in segment m of q_i . k_j / sqrt(d)
    key[i, m] = sum_j a[i, j] k_j,  value[i, m] = sum_j a[i, j] v_j
    out_i = sum_m softmax over m of (q_i . W key[i, m]) value[i, m]

A segment holds `size` positions that follow each other; one that shows a query no key is not
there for it. W is learned, shared by all heads, and starts as 1 / sqrt(d).
The query stands where the paper has a learned context vector on each level; the paper's recurrent
encoders below both levels, and its hidden layer before each score, are left out. Dropout acts on
the weights of both levels.

Reference: Yang et al. 2016, "Hierarchical Attention Networks for Document Classification",
NAACL, section 2.2.
Cost: t s (2 d + e) + t (s / size) (d^2 + d + e) products a head; memory t (s / size) (d + e).
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core import checks, lookups, masks, scores
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import ROLES, Options, Params, Variant
from attention_jax.engine.api import attention
from attention_jax.variants._builders.options import refuse


def hierarchical(*, size: int = 4) -> Variant:
    """Words in segments, then segments.

    Args:
      size: positions in a segment; the first begins at position 0.
    """
    checks.positive("size", size)
    return Variant(init=_init, attend=partial(_attend, size=size), roles=ROLES)


def _init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
    del key, heads, kv_heads
    return {"w": jnp.eye(head_width) * head_width**-0.5}


def _attend(
    params: Params,
    q: Array,
    k: Array,
    v: Array,
    options: Options = Options(),
    *,
    size: int,
) -> Float[Array, "b t h e"]:
    checks.attention_arrays(q, k, v)
    refuse("hierarchical", options, "return_lse")
    checks.dropout(options.dropout_rate, options.dropout_key)
    checks.position("key_offset", options.key_offset)
    if options.mask is not None:
        checks.mask_function(options.mask)
        lookups.check("mask", options.mask, q, k, options.query_offset, options.key_offset)
    key = options.dropout_key
    of_words, of_segments = (None, None) if key is None else jax.random.split(key)
    # Rounded between the levels, a segment would lose digits.
    q_wide, k_wide, v_wide = (x.astype(wide_dtype(q, k, v)) for x in (q, k, v))
    words = options._replace(dropout_key=of_words)
    keys, values, seen = _segments(q_wide, k_wide, v_wide, words, size=size)
    segments = Options(
        masks.from_array(seen),
        dropout_rate=options.dropout_rate,
        dropout_key=of_segments,
        implementation=options.implementation,
    )
    # Every query has segments of its own, so it stands on the batch axis.
    out: Any = attention(
        q_wide.reshape(-1, 1, *q.shape[2:]),
        keys,
        values,
        score=scores.general(params["w"]),
        **segments._asdict(),
    )
    return out.reshape(*q.shape[:3], -1).astype(q.dtype)


def _segments(
    q: Array,
    k: Array,
    v: Array,
    options: Options,
    *,
    size: int,
) -> tuple[Array, Array, Array]:
    """Each query's key and value of each segment, [bt m h d] and e, and which it sees [bt h 1 m].

    Segments stand on the batch axis, so that one call of the engine attends within all of them.
    """
    (b, t, h, d), s = q.shape, k.shape[1]
    mask, key_offset = options.mask, options.key_offset
    lead = key_offset % size
    # A traced offset may be anywhere in its segment.
    count = -(-(s + (lead if isinstance(lead, int) else size - 1)) // size)

    def cut(x: Array) -> Array:
        whole = jnp.zeros((b, count * size, *x.shape[2:]), x.dtype)
        whole = jax.lax.dynamic_update_slice_in_dim(whole, x, lead, axis=1)
        return whole.reshape(b * count, size, *x.shape[2:])

    def visible(n: Array, h: Array, i: Array, j: Array) -> Array:
        # Of segment n: key j of the padded sequence, and of the whole one.
        j = n % count * size + j
        inside = (j >= lead) & (j < lead + s)
        j = j - lead + key_offset
        return inside if mask is None else inside & mask(n // count, h, i, j)

    both = cut(jnp.concatenate([k, v], -1))
    own = options._replace(mask=visible, key_offset=0, return_lse=True)
    read, total = attention(q.repeat(count, 0), both[..., :d], both, **own._asdict())
    read = read.reshape(b, count, t, h, -1).swapaxes(1, 2).reshape(b * t, count, h, -1)
    seen = total.reshape(b, count, t, h).transpose(0, 2, 3, 1).reshape(b * t, h, 1, count)
    # NaN is seen, so that it shows.
    return read[..., :d], read[..., d:], seen != -jnp.inf
