"""Variants that compute from the layer's input, where there is no layer: `by_queries`."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core.types import Options, Output, Params, State, Variant


def by_queries(variant: Variant) -> Variant:
    """The variant, for which the queries of all heads, joined, are the layer's input.

    So measurements and figures call any variant with queries, keys and values alone. One without
    features is returned as it is.
    """
    of_input = variant.features
    if of_input is None:
        return variant

    def init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> Params:
        sizes = {"heads": heads, "kv_heads": kv_heads, "head_width": head_width}
        return variant.init(key, **sizes, width=heads * head_width)

    def features(params: Params, q: Float[Array, "b t h d"]) -> Any:
        return of_input(params, q.reshape(*q.shape[:2], q.shape[2] * q.shape[3]))

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        return variant.attend(params, q, k, v, options, features=features(params, q))

    def step(
        params: Params, state: State, q: Array, k: Array, v: Array
    ) -> tuple[State, Float[Array, "b h e"]]:
        own = jax.tree.map(lambda x: x[:, 0], features(params, q[:, None]))
        assert variant.step is not None
        return variant.step(params, state, q, k, v, features=own)

    made = variant._replace(init=init, attend=attend, features=None)
    made = made if variant.step is None else made._replace(step=step)
    if variant.extend is None:
        return made
    return made._replace(extend=partial(_extend, variant.extend, features))


def _extend(
    extend: Callable[..., tuple[State, Array]],
    features: Callable[[Params, Array], Any],
    params: Params,
    state: State,
    q: Array,
    k: Array,
    v: Array,
    visible: Array | None = None,
) -> tuple[State, Float[Array, "b t h e"]]:
    return extend(params, state, q, k, v, visible=visible, features=features(params, q))
