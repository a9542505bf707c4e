"""Retrieval from a modern Hopfield network: a query is updated by what it recalls, and asks again.

    q <- softmax over j of (beta q . k_j) k_j        steps - 1 times
    out = softmax over j of (beta q . k_j) v_j

One step is the attention of the transformer. Dropout acts on the weights of the values only, after
the last step. The paper also normalizes queries and keys, and may stop early, where q rests.

Reference: Ramsauer et al. 2020, arXiv:2008.02217, equations 3 and 10.
Cost: steps times t s 2 d products a head, the last with d + e.
"""

from typing import Any

from jaxtyping import Array, Float

from attention_jax.core import checks
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import ROLES, Options, Params, Variant, no_parameters
from attention_jax.engine.api import attention
from attention_jax.variants._builders.options import refuse


def hopfield(*, steps: int = 2, beta: float | None = None) -> Variant:
    """Attention to the keys, repeated, before that to the values.

    Args:
      steps: how often the network is asked, the values included; at least 1.
      beta: above 0, larger is sharper; None for 1 / sqrt(d).
    """
    checks.positive("steps", steps)
    if beta is not None and not beta > 0:
        raise ValueError(f"`beta` must be above 0; got {beta!r}. None is 1 / sqrt(d).")

    def score(q: Float[Array, " d"], k: Float[Array, " d"]) -> Float[Array, ""]:
        return (q * (q.shape[-1] ** -0.5 if beta is None else beta)) @ k

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Float[Array, "b t h e"]:
        del params
        refuse("hopfield", options, "return_lse")
        search = options._replace(dropout_rate=0.0, dropout_key=None)

        def ask(state: Array, values: Array, own: Options) -> Any:
            return attention(state, k, values, score=score, **own._asdict())

        # Rounded between two steps, a state would lose digits.
        state = q.astype(wide_dtype(q, k, v))
        for _ in range(steps - 1):
            state = ask(state, k, search)
        return ask(state, v, options).astype(q.dtype)

    return Variant(init=no_parameters, attend=attend, roles=ROLES)
