"""Attention to the k keys that score highest, and no others.

    weight[i] = softmax over the k largest of score[i, j] = q_i . k_j / sqrt(d)

Scores that equal the k-th all stay. It gives up a gradient to the keys that are not chosen.

Reference: Zhao et al. 2019, arXiv:1912.11637, section 3.
Cost: t s (d + e) products and t s comparisons with k numbers a head; memory t k a head.
"""

from jaxtyping import Array

from attention_jax.core import normalizers
from attention_jax.core.types import ROLES, Options, Output, Params, Variant, no_parameters
from attention_jax.engine.api import attention

ALIASES = ("topk",)


def top_k(*, k: int = 8) -> Variant:
    """The scaled dot product over the best keys.

    Args:
      k: how many keys a query reads; where it sees fewer, it reads all.
    """
    best = normalizers.top_k(k)

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        del params
        return attention(q, k, v, normalizer=best, **options._asdict())

    return Variant(init=no_parameters, attend=attend, roles=ROLES, divides=True)
