"""Fixed sparse attention: within chunks, and to the last keys of every chunk, its summary.

    visible[i, j] = floor(i / stride) = floor(j / stride) or j mod stride >= stride - summaries

Gives up the other keys of other chunks. The paper looks back only, as this does under
`masks.causal`, and may give each head other keys of the chunk to see from outside; here all heads
see the same.

Reference: Child et al. 2019, arXiv:1904.10509, section 4.3.
Cost: t s (d + e) products a head: few blocks are empty, unless the stride is longer than they are.
"""

from attention_jax.core import checks, masks
from attention_jax.core.types import Variant
from attention_jax.variants._builders.pair import from_mask


def fixed_sparse(*, stride: int = 128, summaries: int = 32) -> Variant:
    """The scaled dot product over a fixed pattern.

    Args:
      stride: length of a chunk.
      summaries: keys at the end of a chunk that are seen from everywhere; the defaults are the
        paper's for text.
    """
    checks.positive("stride", stride)
    checks.positive("summaries", summaries)
    checks.at_most("summaries", summaries, "stride", stride)
    return from_mask(masks.chunks(stride) | masks.summaries(stride, summaries))
