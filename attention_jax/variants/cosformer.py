"""cosFormer: linear attention that prefers near keys, by ReLU features and a cosine of distance.

    weight[i, j] = relu(q_i) . relu(k_j) cos(pi (i - j) / (2 max_length))
    out_i = sum_j weight[i, j] v_j / sum_j weight[i, j]

The cosine of a difference is a sum of two products, so keys are still summed once. A query that
no visible key has a feature in common with gives 0. The paper takes the longest of the sequences
at hand for `max_length`; here it is fixed, so that a position's output does not depend on what
comes after it. It gives up sharp weights, and sequences beyond `max_length`.

Reference: Qin et al. 2022, arXiv:2202.08791, section 3.
Cost: (t + s) 2 d e products a head, and t 32 (2 d + e) more within the chunks of a causal pass;
2 d e numbers of state.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attention_jax.core import checks
from attention_jax.core.types import Options, Params, State, Variant
from attention_jax.variants._builders.linear import from_features


def cosformer(*, max_length: int = 512) -> Variant:
    """A mean weighted by ReLU features and a cosine of distance.

    Args:
      max_length: at this distance the weight is 0; no sequence may be longer.
    """
    checks.positive("max_length", max_length)

    def feature(x: Array, positions: Array) -> Array:
        angles = (positions.astype(x.dtype) * (math.pi / 2 / max_length))[..., None, None]
        x = jax.nn.relu(x)
        return jnp.concatenate([x * jnp.cos(angles), x * jnp.sin(angles)], axis=-1)

    base: Any = from_features("cosformer", feature, feature, roles=("bidirectional", "causal"))

    def attend(params: Params, q: Array, k: Array, v: Array, options: Options = Options()) -> Array:
        checks.attention_arrays(q, k, v)
        offsets = options.query_offset, options.key_offset
        _check_distance(max_length, q.shape[1], k.shape[1], *offsets)
        return base.attend(params, q, k, v, options)

    def start(params: Params, batch: int, length: int, **sizes: Any) -> State:
        checks.at_most("length", length, "max_length", max_length)
        return base.start(params, batch, length, **sizes)

    def step(
        params: Params, state: State, q: Array, k: Array, v: Array
    ) -> tuple[State, Float[Array, "b h e"]]:
        has_room = checks.within(state.position, max_length)
        state, out = base.step(params, state, q, k, v)
        return state, jnp.where(has_room[:, None, None], out, jnp.nan)

    extend = partial(_extend, max_length, base.extend)
    return base._replace(attend=attend, start=start, step=step, extend=extend)


def _extend(
    max_length: int,
    extend: Callable[..., tuple[State, Array]],
    params: Params,
    state: State,
    q: Array,
    k: Array,
    v: Array,
    visible: Array | None = None,
) -> tuple[State, Float[Array, "b t h e"]]:
    at = state.position[:, None] + jnp.arange(q.shape[1], dtype=jnp.int32)[None]
    has_room = checks.within(at, max_length)
    state, out = extend(params, state, q, k, v, visible)
    return state, jnp.where(has_room[..., None, None], out, jnp.nan)


def _check_distance(
    max_length: int, queries: int, keys: int, query_offset: Any, key_offset: Any
) -> None:
    """Refuses distances whose cosine may be below 0."""
    if query_offset is key_offset:
        query_offset = key_offset = 0
    if not (isinstance(query_offset, int) and isinstance(key_offset, int)):
        raise ValueError(
            "`query_offset` and `key_offset` must be Python numbers or the same array for "
            "cosformer, which must know the largest distance; got traced ones. Decode with its "
            "`start` and `step`."
        )
    last = max(query_offset + queries, key_offset + keys)
    checks.at_most("length", last - min(query_offset, key_offset), "max_length", max_length)
