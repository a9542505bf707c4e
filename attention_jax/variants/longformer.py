"""Longformer: a sliding window, and a few global tokens that see all and are seen by all.

    visible[i, j] = |i - j| < size or i < global_tokens or j < global_tokens

Gives up far pairs without a global token. Under `masks.causal` the global tokens see only what
comes before them, so they are seen by all, but sum nothing up. The paper has further projections
for the global tokens, and lets each task choose where they stand; here they share the layer's
projections and are the first.

Reference: Beltagy et al. 2020, arXiv:2004.05150, section 3.1.
Cost: 2 t (size + global_tokens) (d + e) products a head where blocks are skipped; t s (d + e)
where not.
"""

from attention_jax.core import checks, masks
from attention_jax.core.types import Variant
from attention_jax.variants._builders.pair import from_mask


def longformer(*, size: int = 257, global_tokens: int = 1) -> Variant:
    """The scaled dot product within a window and with global tokens.

    Args:
      size: keys nearer than this are seen; the default shows 256 on each side, a window of
        512 as in the paper.
      global_tokens: how many of the first positions see all and are seen by all; one serves
        the paper's classification. Without any, use `sliding_window`.
    """
    checks.positive("global_tokens", global_tokens)
    return from_mask(masks.sliding_window(size) | masks.global_tokens(global_tokens))
