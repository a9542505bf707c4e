"""ReLU attention: the rectifier in place of softmax, so no exponentials, and exact zeros.

    weight[i, j] = max(score[i, j], 0) / n,  score = q . k / sqrt(d)

with n keys that query i may see. It gives up that weights sum to 1.
The paper's n is the length of the sequence, also where keys are hidden.

Reference: Wortsman et al. 2023, arXiv:2309.08586, section 3.
Cost: t s (d + e) products a head.
"""

from jaxtyping import Array

from attention_jax.core import normalizers
from attention_jax.core.types import ROLES, Options, Output, Params, Variant, no_parameters
from attention_jax.engine.api import attention


def relu() -> Variant:
    """The rectified scaled dot product over the number of visible keys."""

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        del params
        return attention(q, k, v, normalizer=normalizers.relu, **options._asdict())

    return Variant(init=no_parameters, attend=attend, roles=ROLES, divides=True)
