"""Sigmoid attention: the weight of a key depends on no other key.

    weight[i, j] = 1 / (1 + n exp(-score[i, j])),  score = q . k / sqrt(d)

with n keys that query i may see. It gives up that weights sum to 1.
The paper's n is the length of the sequence, also where a causal mask hides keys; with a fixed
`bias`, as its language models have, the weight is 1 / (1 + exp(-score - bias)).

Reference: Ramapuram et al. 2024, arXiv:2409.04431, section 2, equation 3.
Cost: t s (d + e) products a head.
"""

from jaxtyping import Array

from attention_jax.core import normalizers
from attention_jax.core.types import ROLES, Options, Output, Params, Variant, no_parameters
from attention_jax.engine.api import attention


def sigmoid(*, bias: float | None = None) -> Variant:
    """The sigmoid of the scaled dot product.

    Args:
      bias: added to every score; None for -log(number of visible keys).
    """
    normalizer = normalizers.sigmoid(bias)

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        del params
        return attention(q, k, v, normalizer=normalizer, **options._asdict())

    return Variant(init=no_parameters, attend=attend, roles=ROLES, divides=True)
