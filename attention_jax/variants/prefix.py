"""Prefix language model: the prefix is read both ways, and what follows looks back.

    visible[i, j] = j <= i or j < length

Gives up the sight of what comes later, beyond the prefix. It is causal by itself where it should
be, so it stands where a sequence is seen whole: masks join by "and", and `masks.causal` would hide
the prefix from itself. The paper's prefix is the input, of another length in each sequence; here
`length` holds for all.

Reference: Raffel et al. 2020, arXiv:1910.10683, section 3.2.1 and figure 4; Liu et al. 2018,
arXiv:1801.10198, section 4.2.3.
Cost: t s (d + e) products a head; half of it for a short prefix where blocks are skipped.
"""

from jaxtyping import Array

from attention_jax.core import checks, masks
from attention_jax.core.types import Options, Output, Params, Variant, no_parameters
from attention_jax.engine.api import attention
from attention_jax.variants._builders.keywise import is_causal

ALIASES = ("prefix_lm",)


def prefix(*, length: int = 32) -> Variant:
    """The scaled dot product, causal beyond a prefix.

    Args:
      length: number of positions at the start that see each other, and that all see.
    """
    checks.positive("length", length)
    pattern = masks.causal | masks.prefix(length)

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        del params
        if is_causal(options.mask):
            raise ValueError(
                "`mask` must not hold `masks.causal`, which hides the prefix from itself; got it. "
                "Leave it out, for prefix is causal beyond its prefix; or use scaled_dot."
            )
        return attention(
            q, k, v, **options._replace(mask=masks.both(pattern, options.mask))._asdict()
        )

    return Variant(init=no_parameters, attend=attend, roles=("bidirectional",))
