"""Variants that are a score of one query and one key, or a mask."""

from collections.abc import Callable
from typing import Any

from jaxtyping import Array

from attention_jax.core import masks
from attention_jax.core.types import (
    PLACES,
    MaskFunction,
    Params,
    Score,
    Variant,
    no_parameters,
)
from attention_jax.engine.api import attention


def from_score(
    score: Callable[[Params], Score], init: Callable[..., Params] = no_parameters
) -> Variant:
    """A variant that is nothing but the score of a pair.

    Args:
      score: `params -> score`; the score captures its parameters.
      init: `(key, *, heads, kv_heads, head_width) -> params`.

    Returns:
      A variant for transformers and for RNN decoders; `attend` takes the keywords of
      `attention` but `score`.
    """

    def attend(params: Params, q: Array, k: Array, v: Array, **request: Any) -> Any:
        return attention(q, k, v, score=score(params), **request)

    return Variant(init=init, attend=attend, score=score, serves=PLACES)


def from_mask(visible: MaskFunction) -> Variant:
    """A variant that is the scaled dot product over some of the pairs.

    Args:
      visible: which; a request's own mask hides others beside them.
    """

    def attend(
        params: Params,
        q: Array,
        k: Array,
        v: Array,
        *,
        mask: MaskFunction | None = None,
        **request: Any,
    ) -> Any:
        del params
        return attention(q, k, v, mask=masks.both(visible, mask), **request)

    return Variant(init=no_parameters, attend=attend)
