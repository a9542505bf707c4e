"""Attention to near keys only.

    visible[i, j] = |i - j| < size

Reference: Beltagy et al. 2020, arXiv:2004.05150, section 3.1.
Cost: t size (d + e) products a head where windows are skipped; t s (d + e) where not.
"""

from typing import Any

from jaxtyping import Array

from attention_jax import masks
from attention_jax.attention import attention
from attention_jax.types import MaskFunction, Params, Variant, no_parameters


def sliding_window(*, size: int = 257) -> Variant:
    """The scaled dot product within a window.

    Args:
      size: keys nearer than this are seen; the default shows 256 on each side, a window of
        512 as in the paper.
    """
    window = masks.sliding_window(size)

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
        return attention(q, k, v, mask=masks.both(window, mask), **request)

    return Variant(init=no_parameters, attend=attend)
