"""Variants that are a score of one query and one key, or a mask."""

from collections.abc import Callable

from jaxtyping import Array

from attention_jax.core import checks, masks
from attention_jax.core.types import (
    ROLES,
    MaskFunction,
    Options,
    Output,
    Params,
    Score,
    Variant,
    no_parameters,
)
from attention_jax.core.values import bind
from attention_jax.engine.api import attention


def from_score(
    score: Callable[[Params], Score], init: Callable[..., Params] = no_parameters
) -> Variant:
    """A variant that is nothing but the score of a pair.

    Args:
      score: `params -> score`; the score captures its parameters.
      init: `(key, *, heads, kv_heads, head_width) -> params`.

    Returns:
      A variant for transformers and for RNN decoders.
    """
    checks.called_with(
        "score", score, "(params)", remedy="Write `lambda params: scores.dot`, for one without any."
    )
    attend = bind(_attend_by_score, score)
    return Variant(init=init, attend=attend, score=score, roles=ROLES, divides=True)


def _attend_by_score(
    score: Callable[[Params], Score],
    params: Params,
    q: Array,
    k: Array,
    v: Array,
    options: Options = Options(),
) -> Output:
    return attention(q, k, v, score=score(params), **options._asdict())


def from_mask(visible: MaskFunction) -> Variant:
    """A variant that is the scaled dot product over some of the pairs.

    Args:
      visible: which; a request's own mask hides others beside them.
    """
    checks.called_with(
        "visible", visible, "(b, h, i, j)", remedy="Wrap an array with `masks.from_array`."
    )
    return Variant(init=no_parameters, attend=bind(_attend_by_mask, visible), divides=True)


def _attend_by_mask(
    visible: MaskFunction,
    params: Params,
    q: Array,
    k: Array,
    v: Array,
    options: Options = Options(),
) -> Output:
    del params
    shown = options._replace(mask=masks.both(visible, options.mask))
    return attention(q, k, v, **shown._asdict())
