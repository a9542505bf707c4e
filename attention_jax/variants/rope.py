"""Rotary position embedding: queries and keys are rotated, so that scores depend on distances.

    score[i, j] = (R_i q_i) . (R_j k_j) / sqrt(d) = q_i . R_{j - i} k_j / sqrt(d)

R_i turns the channels 2c and 2c + 1 by the angle i / base^(2c / d). The transformer of this library
has the same as an option of its layers, beside any variant.

Reference: Su et al. 2021, arXiv:2104.09864, section 3.2, equations 14 to 16.
Cost: t s (d + e) + 4 (t + s) d products a head.
"""

from jaxtyping import Array

from attention_jax.core import positions
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Options, Output, Params, Variant, no_parameters
from attention_jax.engine.api import attention
from attention_jax.engine.context_layout import positions_of
from attention_jax.variants._builders.options import cast

ALIASES = ("rotary",)


def rope(*, base: float = 10_000.0) -> Variant:
    """The scaled dot product of turned vectors, whose width is even.

    Args:
      base: above 0; the larger, the slower the slow channels turn.
    """
    if not base > 0:
        raise ValueError(f"`base` must be above 0; got {base!r}.")

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        del params
        # Rounded to the query's dtype, a turned vector would lose what tells its position.
        dtype = wide_dtype(q, k, v)
        turned_q, turned_k = (
            positions.rope(
                x.astype(dtype), offset + positions_of(options.context, x.shape[1]), base=base
            )
            for x, offset in ((q, options.query_offset), (k, options.key_offset))
        )
        out = attention(turned_q, turned_k, v, **options._asdict())
        return cast(out, q.dtype)

    return Variant(init=no_parameters, attend=attend, divides=True)
