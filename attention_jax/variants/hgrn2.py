"""HGRN2: a gated linear recurrence with a matrix for its state; what is forgotten makes room.

    S_j = diag(f_j) S_(j-1) + (1 - f_j) v_j^T        f_j = bound + (1 - bound) sigmoid(k_j)
    out_j = norm(S_j^T silu(q_j))

So the paper's forget gate is the key here, its input the value, and its output gate the query:
three linear maps of the layer's input, as those of any attention. `norm` brings all heads together
to mean square 1. The bound below which no gate falls is learned in the paper, and grows from 0 in
the first layer; a variant does not know its layer. A hidden key does not let the state fade either.
Channels that forget fast hold what is near, channels that forget slowly what is far.

Reference: Qin et al. 2024, arXiv:2404.07904.
Cost: t d e products a head for the states, and t d exponentials and t 32 (d + e) products within
chunks; d e numbers of state.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from attention_jax.core import checks
from attention_jax.core.types import Params, Variant
from attention_jax.variants._builders.linear import from_decay, norm_of_all_heads


def hgrn2(*, lower_bound: float = 0.0, normalize: bool = True) -> Variant:
    """Sums of values that fade channel by channel, as fast as the keys say.

    Args:
      lower_bound: of the forget gates, in [0, 1).
      normalize: whether all heads together are brought to mean square 1.
    """
    checks.fraction("lower_bound", lower_bound)

    def fade(
        params: Params, q: Array, k: Array, at: Array, visible: Array
    ) -> tuple[Array, Array, Array]:
        del params, at
        log_forget = jax.nn.log_sigmoid(k)
        if lower_bound:
            rest = float(np.log1p(-lower_bound)) + log_forget
            log_forget = jnp.logaddexp(jnp.full_like(rest, np.log(lower_bound)), rest)
        keys = (1 - lower_bound) * jax.nn.sigmoid(-k)
        return jax.nn.silu(q), keys, jnp.where(visible[:, :, None, None], log_forget, 0)

    return from_decay("hgrn2", fade, normalize=norm_of_all_heads if normalize else False)
