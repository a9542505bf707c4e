"""Lightning attention (MiniMax-01): a state that fades at a rate of its own in each head.

    out_i = norm(sum_(j <= i) exp(-slope_h (i - j)) (silu(q_i) . silu(k_j)) silu(v_j))
    slope_h = factor 2^(-8 (h + 1) / heads)

`norm` brings all heads together to mean square 1. The gate after it belongs to the layer. In layer
l of n the model has the factor 1 - l / (n - 1); a variant does not know its layer. Its code has
SiLU of the values too. Hidden keys add nothing, while the distances across them still count.
It gives up looking back precisely: what is far has faded, whatever the query.

Reference: MiniMax 2025, arXiv:2501.08313, and the code of MiniMax-Text-01; Qin et al.
2024, arXiv:2401.04658.
Cost: t d e products a head for the states, and t 32 (d + e) within chunks; d e numbers of state.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from attention_jax.core import checks
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Options, Params, State, Variant
from attention_jax.variants._builders.linear import from_decay, norm_of_all_heads

ALIASES = ("minimax",)


def lightning(*, factor: float = 1.0, normalize: bool = True) -> Variant:
    """Sums of values that fade with distance, of SiLU of queries, keys and values.

    Args:
      factor: of all slopes, above 0.
      normalize: whether all heads together are brought to mean square 1.
    """
    checks.above_zero("factor", factor)

    def fade(
        params: Params, q: Array, k: Array, at: Array, visible: Array
    ) -> tuple[Array, Array, Array]:
        del params, at, visible
        b, t, h, _ = q.shape
        slopes = factor * 2.0 ** (-8 * np.arange(1, h + 1) / h)
        log_decay = jnp.asarray(-slopes, q.dtype)[None, None, :, None]
        return jax.nn.silu(q), jax.nn.silu(k), jnp.broadcast_to(log_decay, (b, t, h, 1))

    base: Any = from_decay("lightning", fade, normalize=norm_of_all_heads if normalize else False)

    def attend(params: Params, q: Array, k: Array, v: Array, options: Options = Options()) -> Array:
        return base.attend(params, q, k, _silu(q, k, v), options)

    def step(
        params: Params, state: State, q: Array, k: Array, v: Array
    ) -> tuple[State, Float[Array, "b h e"]]:
        return base.step(params, state, q, k, _silu(q, k, v))

    def extend(
        params: Params, state: State, q: Array, k: Array, v: Array, visible: Array | None = None
    ) -> tuple[State, Float[Array, "b t h e"]]:
        return base.extend(params, state, q, k, _silu(q, k, v), visible)

    return base._replace(attend=attend, step=step, extend=extend)


def _silu(q: Array, k: Array, v: Array) -> Array:
    """SiLU of the values, in the dtype of the computation."""
    return jax.nn.silu(v.astype(wide_dtype(q, k, v)))
