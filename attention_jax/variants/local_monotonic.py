"""Local attention around the query's own position, for two sequences in the same order.

    visible[i, j] = |i - j| <= distance

Gives up what is further away; a query that far beyond the last key sees nothing and gives 0. The
paper looks from a translation to its source. Within one sequence it is `sliding_window`, whose
`size` is one more than `distance`.

Reference: Luong et al. 2015, arXiv:1508.04025, section 3.2 (local-m).
Cost: t distance (d + e) products a head where blocks are skipped, t s (d + e) where not; a step of
decoding keeps `distance` + 1 keys.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool

from attention_jax.core import checks, masks
from attention_jax.core.types import ROLES, Options, Params, State, Variant, no_parameters
from attention_jax.engine.api import attention
from attention_jax.variants._builders.options import refuse_hidden
from attention_jax.variants._builders.pair import from_mask


def local_monotonic(*, distance: int = 10) -> Variant:
    """The scaled dot product within a window.

    Args:
      distance: of the last key that is seen, on each side; the default is the paper's.
    """
    checks.positive("distance", distance)
    attend = from_mask(masks.sliding_window(distance + 1)).attend
    extend = partial(_extend, distance, attend)

    def start(params: Params, batch: int, length: int, **sizes: Any) -> State:
        del params
        return _empty(batch, min(length, distance + 1), **sizes)

    def cross_step(
        params: Params, state: State, q: Array, k: Array, v: Array, *, visible: Bool[Array, "b s"]
    ) -> tuple[State, Array]:
        at = state["position"]
        out = attend(params, q[:, None], k, v, Options(masks.keys(visible), query_offset=at[0]))
        return state | {"position": at + 1}, out[:, 0]

    def step(params: Params, state: State, q: Array, k: Array, v: Array) -> tuple[State, Array]:
        size = state["keys"].shape[1]
        # What holds the whole window never ends.
        has_room = size > distance or checks.within(state["position"], size)[:, None, None]
        state, out = _step(params, state, q, k, v)
        return state, jnp.where(has_room, out, jnp.nan)

    return Variant(no_parameters, attend, start, step, cross_step, roles=ROLES, extend=extend)


def _empty(
    batch: int,
    size: int,
    *,
    heads: int,
    kv_heads: int,
    head_width: int,
    value_width: int,
    dtype: DTypeLike,
) -> State:
    """The state before the first position, which keeps `size` keys."""
    del heads
    return {
        "position": jnp.zeros(batch, jnp.int32),
        "keys": jnp.zeros((batch, size, kv_heads, head_width), dtype),
        "values": jnp.zeros((batch, size, kv_heads, value_width), dtype),
    }


def _extend(
    distance: int,
    attend: Callable[..., Any],
    params: Params,
    state: State,
    q: Array,
    k: Array,
    v: Array,
    visible: Array | None = None,
) -> tuple[State, Array]:
    """The next positions, which see the keys that are kept and their own."""
    refuse_hidden("local_monotonic", visible)
    size, at = state["keys"].shape[1], state["position"]
    places = at[:, None] + jnp.arange(q.shape[1], dtype=jnp.int32)[None]
    has_room = size > distance or checks.within(places, size)[..., None, None]
    keys, values = (
        jnp.concatenate([kept, new.astype(kept.dtype)], axis=1)
        for kept, new in ((state["keys"], k), (state["values"], v))
    )
    seen = masks.causal & masks.Mask(lambda b, h, i, j: j >= 0)
    options = Options(seen, query_offset=at[0], key_offset=at[0] - size)
    out = jnp.where(has_room, attend(params, q, keys, values, options), jnp.nan)
    last = {"keys": keys[:, q.shape[1] :], "values": values[:, q.shape[1] :]}
    return {"position": at + q.shape[1]} | last, out


def _step(params: Params, state: State, q: Array, k: Array, v: Array) -> tuple[State, Array]:
    """The next position of one sequence, which sees the keys that are kept, itself the last."""
    del params
    keys, values = (
        jnp.concatenate([kept[:, 1:], new[:, None].astype(kept.dtype)], axis=1)
        for kept, new in ((state["keys"], k), (state["values"], v))
    )
    at = state["position"]
    begun = masks.Mask(lambda b, h, i, j: j >= 0)
    first = at[0] - (keys.shape[1] - 1)
    places = {"query_offset": at[0], "key_offset": first}
    out: Any = attention(q[:, None], keys, values, mask=begun, **places)
    return {"position": at + 1, "keys": keys, "values": values}, out[:, 0]
