"""Log-linear attention: Mamba-2, whose past is kept in pieces that grow with their distance.

    y_t = sum_n l_t[n] C_t^T sum_(j in piece n of t) exp(-rate sum_(j < m <= t) D_m) D_j B_j x_j^T
    l_t = softplus(scale W u_t)    out_t = norm(silu(Z u_t) (y_t + skip x_t))

Piece 0 is t itself; the others are the nodes of a Fenwick tree that make up the positions before t:
piece n has 2^(n - 1) positions, and is there where t has that bit. So what is near keeps a state of
its own, and each query says, by weights l from the layer's input u, at which distances it looks;
weights of 1 give Mamba-2. C, B, x, D, Z, skip and norm are as in `mamba2`. Positions count from the
first key of a pass or of a packed document; a hidden one adds nothing and lets no state fade, but
keeps its place.

Reference: Guo et al. 2025, arXiv:2506.04761, sections 3 and 4.
Cost: t d e log2(t / 32) / 2 products a head for the states, 2 t d e log2(t) from a state on and for
packed documents, and t 32 (d + e) within chunks; d e numbers a level of state, of which there are
log2(t) rounded up.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core import checks
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Params, Variant
from attention_jax.variants._builders import fenwick, inputs, state_space
from attention_jax.variants._builders.fenwick import FenwickState
from attention_jax.variants._builders.fenwick_carry import fenwick_carried
from attention_jax.variants._builders.recurrence import Given, Recurrence, from_recurrence

ALIASES = ("loglinear", "log_linear_mamba2", "fenwick")


def log_linear(*, levels: int = 15, convolution: int | None = 4, normalize: bool = True) -> Variant:
    """States of pieces of the past that grow with their distance.

    Args:
      levels: with weights, for sequences of 2^(levels - 1) positions at most.
      convolution: positions that the short causal convolution of queries, keys and values spans;
        None for none.
      normalize: whether the output is brought to mean square 1.
    """
    checks.positive("levels", levels)
    if convolution is not None:
        checks.positive("convolution", convolution, remedy="Use None for no convolution.")
    rule = Recurrence(
        arrays=_arrays,
        scan=partial(_scan, levels),
        step=_step,
        finish=partial(state_space.finished, normalize),
        empty=partial(_empty, levels),
    )
    init = partial(_init, levels, convolution)
    return from_recurrence(
        "log_linear", rule, init=init, features=_features, convolution=convolution
    )


def _init(
    levels: int,
    convolution: int | None,
    key: PRNGKeyArray,
    *,
    width: int,
    heads: int,
    kv_heads: int,
    head_width: int,
) -> Params:
    del kv_heads
    key, own = jax.random.split(key)
    params = state_space.init(convolution, key, width=width, heads=heads, head_width=head_width)
    weights = inputs.linear(own, width, heads, levels)
    return params | {"weights": weights, "scale": jnp.ones((heads, levels))}


def _features(params: Params, x: Float[Array, "b t m"]) -> dict[str, Array]:
    wide = x.astype(wide_dtype(x))
    scale = params["scale"].astype(wide.dtype)[None, None]
    weights = jax.nn.softplus(scale * inputs.mapped(params["weights"], wide))
    return state_space.features(params, x) | {"weights": weights}


def _arrays(given: Given, q: Array, k: Array, v: Array) -> tuple[Array | None, ...]:
    """C, D B, x, the log-decay, the weights of levels, and `given.since`."""
    weights = given.features["weights"].astype(q.dtype)
    return *state_space.arrays(given, q, k, v), weights, given.since


def _scan(
    levels: int,
    q: Array,
    k: Array,
    v: Array,
    log_decay: Array,
    weights: Array,
    since: Array | None,
    *,
    start: FenwickState | None,
) -> tuple[FenwickState | None, Float[Array, "b t h e"]]:
    _check("A sequence", levels, q.shape[1])
    own = q, k, v, log_decay, weights
    if start is None and since is None:
        return None, fenwick.fenwick_scan(*own)
    return fenwick_carried(*own, since=since, start=start)


def _step(
    state: FenwickState,
    q: Array,
    k: Array,
    v: Array,
    log_decay: Array,
    weights: Array,
    since: None,
) -> tuple[FenwickState, Float[Array, "b h e"]]:
    del since
    return fenwick.fenwick_step(state, q, k, v, log_decay, weights)


def _empty(
    levels: int, params: Params, length: int, shape: tuple[int, ...], dtype: DTypeLike
) -> FenwickState:
    del params
    _check("The state", levels, length)
    return fenwick.fenwick_empty(length, shape, dtype)


def _check(subject: str, levels: int, length: int) -> None:
    """Raises where there are more positions than weights of levels.

    Raises:
      ValueError: there are.
    """
    if length > 2 ** (levels - 1):
        raise ValueError(
            f"{subject} of log_linear must be of 2^(`levels` - 1) positions at most; got {length} "
            f"with levels={levels}. Use levels={(length - 1).bit_length() + 1}."
        )
