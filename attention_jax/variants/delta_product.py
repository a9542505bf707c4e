"""DeltaProduct: the delta rule with several steps a position, so that states move by any rotation.

    S_j <- S_j + b_jn k_jn (v_jn - S_j^T k_jn)^T    for n of 1..m, from S_(j-1), then
    out_j = silu(G x_j) norm(S_j^T q_j)

The state is multiplied by a product of m matrices I - b k k^T, each of which is a reflection where
b is 2; with one step, and b below 1, it could only shrink. The first keys and values are the
layer's own projections; those of further steps, and all strengths b = 2 sigmoid(W x_j), come from
the layer's input x. With `gated` the state first decays by exp(-rate softplus(U x_j + bias)). As in
the gated delta rule, queries, keys and values pass a short causal convolution and SiLU, queries and
keys then have length 1, and `norm` brings each head's output to mean square 1; the paper's weights
of it are those of the layer's output map. A hidden position takes no step.

Reference: Siems et al. 2025, arXiv:2502.10297, section 4; strengths up to 2: Grazzi et al. 2024,
arXiv:2411.12537.
Cost: t m d e products a head for the states, and t m 32 (d + e) within chunks; d e numbers of
state.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core import checks
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Params, Variant
from attention_jax.variants._builders import exchange, inputs, recurrence
from attention_jax.variants._builders.chunked_scan import delta_added, delta_scan, delta_step
from attention_jax.variants._builders.delta import finished, shaped
from attention_jax.variants._builders.recurrence import Given, Recurrence, from_recurrence

ALIASES = ("deltaproduct", "gated_deltaproduct")


def delta_product(
    *,
    steps: int = 2,
    gated: bool = False,
    negative: bool = True,
    convolution: int | None = 4,
    normalize: bool = True,
) -> Variant:
    """A state that is corrected several times at each position.

    Args:
      steps: at each position.
      gated: whether the state decays too.
      negative: whether strengths reach 2, so that eigenvalues reach -1, which tracking a state
        needs; or 1, with eigenvalues from 0 to 1.
      convolution: positions that the short causal convolution of queries, keys and values spans;
        None for none.
      normalize: whether each head's output is brought to mean square 1.
    """
    checks.positive("steps", steps)
    if convolution is not None:
        checks.positive("convolution", convolution, remedy="Use None for no convolution.")
    rule = Recurrence(
        arrays=partial(_arrays, steps),
        scan=partial(_scan, steps),
        moved=lambda *arrays: delta_added(*_in_turn(steps, *arrays)),
        before=exchange.delta_state_before,
        step=partial(_step, steps),
        finish=partial(finished, normalize),
        writes=steps,
        further=None if steps == 1 else lambda features: (features["keys"], features["values"]),
    )
    init = partial(_init, steps, gated, convolution)
    features = partial(_features, 2.0 if negative else 1.0)
    return from_recurrence(
        "delta_product", rule, init=init, features=features, convolution=convolution
    )


def _init(
    steps: int,
    gated: bool,
    convolution: int | None,
    key: PRNGKeyArray,
    *,
    width: int,
    heads: int,
    kv_heads: int,
    head_width: int,
) -> Params:
    del kv_heads
    keys = jax.random.split(key, 7)
    params = {
        "strength": inputs.linear(keys[0], width, heads, steps),
        "gate": inputs.linear(keys[1], width, heads, head_width),
    }
    if steps > 1:
        further = heads, steps - 1, head_width
        params["keys"] = inputs.linear(keys[2], width, *further)
        params["values"] = inputs.linear(keys[3], width, *further)
    if gated:
        params["decay"] = inputs.linear(keys[4], width, heads)
        params |= inputs.rates(jax.random.split(keys[5]), heads)
    if convolution is not None:
        params["taps"] = recurrence.taps(keys[6], heads, convolution, head_width, writes=steps)
    return params


def _features(most: float, params: Params, x: Float[Array, "b t m"]) -> dict[str, Array]:
    wide = x.astype(wide_dtype(x))
    names = ("strength", "gate", "keys", "values", "decay")
    found = {name: inputs.mapped(params[name], wide) for name in names if name in params}
    found["strength"] = most * jax.nn.sigmoid(found["strength"])
    if "decay" in found:
        steps = inputs.step_size(params, found.pop("decay"))
        found["log_decay"] = inputs.faded(params, steps)
    return found


def _arrays(steps: int, given: Given, q: Array, k: Array, v: Array) -> tuple[Array, ...]:
    """The query; keys [b t h n d], values and strengths of all steps; and the log-decay."""
    q, *own = shaped(q, k, v)
    k, v = (x.reshape(*x.shape[:2], -1, steps, x.shape[-1]) for x in own)
    strength = given.shown(given.features["strength"].astype(q.dtype))
    log_decay = jnp.zeros_like(strength[..., 0])
    if "log_decay" in given.features:
        log_decay = given.features["log_decay"].astype(q.dtype)
    return q, k, v, strength, given.decay(log_decay)


def _in_turn(steps: int, k: Array, v: Array, strength: Array, log_decay: Array) -> list[Array]:
    """The steps as positions that follow one another; the first of them decays."""
    first = jnp.arange(steps) == 0
    decays = jnp.where(first[None, None, None], log_decay[..., None], 0)
    moved = (jnp.moveaxis(x, 3, 2) for x in (k, v, strength, decays))
    return [x.reshape(x.shape[0], -1, *x.shape[3:]) for x in moved]


def _scan(
    steps: int, q: Array, *arrays: Array, start: Array | None
) -> tuple[Float[Array, "b h d e"], Float[Array, "b t h e"]]:
    """Each query reads after the last of its steps."""
    asked = jnp.repeat(q, steps, axis=1)
    state, out = delta_scan(asked, *_in_turn(steps, *arrays), start=start)
    return state, out[:, steps - 1 :: steps]


def _step(steps: int, state: Array, q: Array, *arrays: Array) -> tuple[Array, Array]:
    each = _in_turn(steps, *(x[:, None] for x in arrays))
    out = q
    for n in range(steps):
        state, out = delta_step(state, q, *(x[:, n] for x in each))
    return state, out
