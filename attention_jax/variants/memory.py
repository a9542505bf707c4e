"""Persistent memory: learned keys and values beside those of the input.

    out_i = sum_j weight[i, j] v_j + sum_n weight[i, n] value_n
    weight[i] = softmax over visible j, and all slots n, of q_i . (k_j or key_n) / sqrt(d)

No mask hides a slot, but a row whose mask shows no key of the input gives 0, as everywhere in this
library. Slots are as wide as a head; narrower values take the first channels of a slot's.
In the paper the memory replaces the feed-forward layer, with 1024 slots or more; it scales slots
by the roots of their sizes, which speeds up their learning under Adam.

Reference: Sukhbaatar et al. 2019, arXiv:1907.01470, section 4.1.
Cost: t (s + slots) (d + e) products a head.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core import checks
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Options, Params, Variant
from attention_jax.engine.api import attention
from attention_jax.variants._builders.options import refuse


def memory(*, slots: int = 64) -> Variant:
    """The scaled dot product over the input and a learned memory.

    Args:
      slots: learned keys and values in each key and value head.
    """
    checks.positive("slots", slots)
    return Variant(init=_init(slots), attend=_attend)


def _init(slots: int) -> Callable[..., dict[str, Array]]:
    def init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
        del heads
        shape = slots, kv_heads, head_width
        of_key, of_value = jax.random.split(key)
        return {
            "key": jax.random.normal(of_key, shape),
            "value": jax.random.normal(of_value, shape),
        }

    return init


def _attend(
    params: Params, q: Array, k: Array, v: Array, options: Options = Options()
) -> Float[Array, "b t h e"]:
    width, most = v.shape[-1], params["value"].shape[-1]
    if width > most:
        raise ValueError(
            f"`value` must be at most as wide as a slot of the memory; got {width} and {most}. "
            "Project values to the width of a head."
        )
    refuse("memory", options, "return_lse")
    checks.dropout(options.dropout_rate, options.dropout_key)
    of_input, of_slots = _split(options)
    wide = q.astype(wide_dtype(q, k, v))
    slots = (
        x.astype(wide.dtype)[None].repeat(q.shape[0], 0)
        for x in (params["key"], params["value"][..., :width])
    )
    read, total = attention(wide, k, v, **of_input._asdict())
    recalled, own = attention(wide, *slots, **of_slots._asdict())
    return _joined(read, total, recalled, own).astype(q.dtype)


def _split(options: Options) -> tuple[Options, Options]:
    """Options of the input's keys and of the slots; both ask for the log-sum-exp."""
    key = options.dropout_key
    of_input, of_slots = (None, None) if key is None else jax.random.split(key)
    own = options._replace(dropout_key=of_input, return_lse=True)
    slots = own._replace(mask=None, query_offset=0, key_offset=0, dropout_key=of_slots)
    return own, slots


def _joined(
    read: Float[Array, "b t h e"],
    total: Float[Array, "b t h"],
    recalled: Float[Array, "b t h e"],
    own: Float[Array, "b t h"],
) -> Float[Array, "b t h e"]:
    """One softmax of two, by their log-sum-exps; 0 where the first saw nothing."""
    nothing = total == -jnp.inf
    share = jax.nn.sigmoid(jnp.where(nothing, 0, total) - own)[..., None]
    return jnp.where(nothing[..., None], 0, share * read + (1 - share) * recalled)
