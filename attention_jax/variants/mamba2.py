"""Mamba-2: sums of values that fade by steps which each head takes from the layer's input.

    S_t = exp(-D_t rate) S_(t-1) + D_t B_t x_t^T    y_t = S_t^T C_t + skip x_t
    D_t = softplus(W u_t + bias)                    out_t = norm(silu(Z u_t) y_t)
    C, B, x = silu(convolve(.) + shift) of q, k, v

u is the layer's input, of which q, k and v are the layer's own projections. `norm` brings all
channels of all heads together to mean square 1; the paper's weights of it are those of the layer's
output map. A hidden key does not let the state fade either, and its `skip` is 0.

Reference: Dao and Gu 2024, arXiv:2405.21060, section 7.
Cost: t d e products a head for the states, and t 32 (d + e) within chunks; d e numbers of state.
"""

from functools import partial

from jaxtyping import PRNGKeyArray

from attention_jax.core import checks
from attention_jax.core.types import Params, Variant
from attention_jax.variants._builders import chunked_scan, exchange, state_space
from attention_jax.variants._builders.recurrence import Recurrence, from_recurrence

ALIASES = ("ssd", "mamba_2")


def mamba2(*, convolution: int | None = 4, normalize: bool = True) -> Variant:
    """A state that fades by steps taken from the layer's input.

    Args:
      convolution: positions that the short causal convolution of queries, keys and values spans;
        None for none.
      normalize: whether the output is brought to mean square 1.
    """
    if convolution is not None:
        checks.positive("convolution", convolution, remedy="Use None for no convolution.")

    rule = Recurrence(
        arrays=state_space.arrays,
        scan=chunked_scan.scan,
        moved=chunked_scan.added,
        before=exchange.state_before,
        step=chunked_scan.step,
        finish=partial(state_space.finished, normalize),
    )
    init = partial(_init, convolution)
    return from_recurrence(
        "mamba2", rule, init=init, features=state_space.features, convolution=convolution
    )


def _init(
    convolution: int | None,
    key: PRNGKeyArray,
    *,
    width: int,
    heads: int,
    kv_heads: int,
    head_width: int,
) -> Params:
    del kv_heads
    return state_space.init(convolution, key, width=width, heads=heads, head_width=head_width)
