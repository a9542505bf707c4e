"""Stick-breaking attention: keys break shares off a stick, the nearest first.

    weight[i, j] = b[i, j] prod_(j < k < i) (1 - b[i, k])    b = sigmoid(q . k / sqrt(d))

Of two keys that match alike the later one gets more, without positions. A query that no key before
it answers reads nothing; the authors' models give what is left of the stick to a learned vector,
and norm each head, which are left to the layer. The first query sees no key, and gives 0. It gives
up that weights sum to 1, and linear memory.

Reference: Tan et al. 2024, arXiv:2410.17980.
Cost: t s (d + e) products and 2 t s logarithms a head, and t s numbers held.
"""

from jaxtyping import Array

from attention_jax.core import masks, normalizers
from attention_jax.core.types import Options, Output, Params, Variant, no_parameters
from attention_jax.engine.api import attention
from attention_jax.variants._builders import keywise


def stick_breaking(*, itself: bool = False) -> Variant:
    """Shares that are broken off from the query back.

    Args:
      itself: whether a query may read its own position too, which is then the first to break.
    """

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        del params
        keywise.only_causal("stick_breaking", keywise.is_causal(options.mask))
        if not itself:
            options = options._replace(mask=masks.both(_before, options.mask))
        return attention(q, k, v, normalizer=normalizers.stick_breaking, **options._asdict())

    return Variant(init=no_parameters, attend=attend, roles=("causal",), divides=True)


def _before(b: Array, h: Array, i: Array, j: Array) -> Array:
    return j < i
