"""The steps of a small call of attention as arrays: scores, visible pairs, weights, output."""

from collections.abc import Callable
from functools import partial
from typing import Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from attention_jax.core import captured_arrays
from attention_jax.core.calls import clear_calls
from attention_jax.core.explanation import Explanation
from attention_jax.core.numerics import dropped
from attention_jax.core.types import AnyArray, Context
from attention_jax.engine import context_plan, reference
from attention_jax.engine.request import Keywords, Request, make_request

MOST_PAIRS = 2**24


@clear_calls
def explain(
    query: Float[AnyArray, "b t h d"],
    key: Float[AnyArray, "b s g d"],
    value: Float[AnyArray, "b s g e"],
    *,
    context: Context | str | None = None,
    **keywords: Unpack[Keywords],
) -> Explanation:
    """Every step of `attention` with the same arguments, for a call small enough to hold all pairs.

        weights = dropout(normalize(score_mod(score(q, k)), visible));  output = weights @ value

    Args:
      query, key, value: as of `attention`.
      context: as of `attention`; the steps are those of whole sequences, in their natural order.
      **keywords: as of `attention`: `score`, `score_mod`, `mask`, `normalizer`, dropout, offsets.

    Returns:
      An `Explanation`, which prints as tables; `analysis.plots.explanation` draws it.

    Raises:
      ValueError: an argument breaks its rule, or there are more than 2^24 pairs.

    >>> from attention_jax.core import masks
    >>> x = jnp.ones((1, 3, 2, 4))
    >>> print(explain(x, x, x, mask=masks.causal).table().split("\\n\\n")[2])
    weights, b=0, h=0
           k0     k1     k2
    q0  1.000      .      .
    q1  0.500  0.500      .
    q2  0.333  0.333  0.333
    """
    request = make_request(query, key, value, **keywords)
    if context is not None:
        request = context_plan.in_order(request, context)
    shape = request.query.shape[0], request.query.shape[2], request.query.shape[1]
    shape = *shape, request.key.shape[1]
    if np.prod(shape) > MOST_PAIRS:
        raise ValueError(
            f"`explain` holds the numbers of all pairs, at most 2^24; got {shape} of [b h t s]. "
            "Give fewer sequences or shorter ones, such as `query[:1, :64]`."
        )
    if not request.is_typed:
        return _steps(request, shape)
    return request.apart(partial(_steps, shape=shape), None)


def _steps(request: Request, shape: tuple[int, int, int, int]) -> Explanation:
    starts = (0, 0, request.offsets.query, request.offsets.key)
    at = tuple(
        jnp.asarray(start, jnp.int32) + jnp.arange(n, dtype=jnp.int32)
        for start, n in zip(starts, shape, strict=True)
    )
    visible = jnp.broadcast_to(reference.visible_pairs(request.mask, at), shape)
    q, k, _, poison = reference.finite(*request.arrays)
    places = at if request.score_takes_positions else ()
    plain = reference.pair_scores(request.score, q, k, at=places)
    scores = plain
    if request.score_mod is not None:
        scores = _over_pairs(request.score_mod)(plain, *at).astype(plain.dtype)
    weights = request.normalizer.weights(scores + poison, visible)
    if request.dropout is not None:
        rate, dropout_key = request.dropout
        weights = dropped(weights, dropout_key, rate, jnp.ix_(*at))
    out = reference.run(request._replace(return_lse=False))
    output = out[0] if isinstance(out, tuple) else out
    return Explanation(plain + poison, scores + poison, visible, weights, output, at[2], at[3])


def _over_pairs(score_mod: Callable[..., Array]) -> Callable[..., Array]:
    """The modifier of all scores [b h t s] at once."""
    function = partial(captured_arrays.call, score_mod)
    for axis in (3, 2, 1, 0):
        function = jax.vmap(function, (0, *(0 if axis == n else None for n in range(4))))
    return function
