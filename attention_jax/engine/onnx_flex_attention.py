"""The preview operator `FlexAttention` of ONNX: a softmax whose scores and weights are changed.

    S = score_mod(scale q_i . k_j)    P = prob_mod(softmax over j of S)    Y_i = sum_j P v_j

The operator's modifiers are graphs over all scores at once, of shape `[b h t s]`, and so are the
functions here: memory is quadratic. Where a modifier changes each score by itself, `attention`
computes the same in linear memory by a `score_mod` of one pair, and skips what a `mask` hides.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from attention_jax.core import checks, normalizers
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import AnyArray
from attention_jax.engine import onnx_inputs, reference
from attention_jax.engine.onnx_inputs import swapped

Modifier = Callable[[Float[Array, "b h t s"]], Float[Array, "b h t s"]]


def flex_attention(
    query: Float[AnyArray, "b h t d"],
    key: Float[AnyArray, "b g s d"],
    value: Float[AnyArray, "b g s e"],
    *,
    scale: float | None = None,
    score_mod: Modifier | None = None,
    prob_mod: Modifier | None = None,
    softmax_precision: int | None = None,
) -> Float[Array, "b h t e"]:
    """The operator, with its inputs in their order and its attributes by their names.

    Args:
      query, key, value: query head n reads key head n // (h / g).
      scale: 1 / sqrt(d) where None.
      score_mod: of all scores; -inf hides a pair. A query that sees no key gives 0.
      prob_mod: of all weights.
      softmax_precision: a `TensorProto.DataType`; the softmax is at least as precise.

    Raises:
      ValueError: an argument breaks its rule, or a modifier changes the shape.

    Reference: onnx.ai/onnx/operators/onnx_aionnx_preview_FlexAttention.html.

    >>> x = jnp.ones((1, 2, 3, 4))
    >>> float(flex_attention(x, x, x, prob_mod=lambda p: p / 2)[0, 0, 0, 0])
    0.5
    """
    q, k, v = (swapped(jnp.asarray(x)) for x in (query, key, value))
    checks.attention_arrays(q, k, v)
    dtype = wide_dtype(*onnx_inputs.precise(softmax_precision, q, k, v))
    factor = q.shape[-1] ** -0.5 if scale is None else scale
    wide = (x.astype(dtype) for x in (q, k))
    scores = reference.pair_scores(lambda q, k: (q * factor) @ k, *wide)
    scores = _modified("score_mod", score_mod, scores)
    weights = normalizers.softmax.weights(scores, scores != -jnp.inf)
    weights = _modified("prob_mod", prob_mod, weights)
    return swapped(reference.weighted_sum(weights, v.astype(dtype))).astype(v.dtype)


def _modified(name: str, change: Modifier | None, x: Array) -> Array:
    if change is None:
        return x
    changed = jnp.asarray(change(x))
    if changed.shape != x.shape:
        raise ValueError(
            f"`{name}` must keep the shape [b h t s] = {list(x.shape)}; got "
            f"{list(changed.shape)}. It sees all of it at once."
        )
    return changed.astype(x.dtype)
