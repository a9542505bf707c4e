"""Maps of the layer's input, for variants with `features`.

linear       W x
low rank     up f(down x) + bias
decay        -rate softplus(. + bias): the step sizes of Dao and Gu 2024, arXiv:2405.21060
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core.types import Params


def linear(key: PRNGKeyArray, width: int, *shape: int) -> Float[Array, "m ..."]:
    """A map of which a number of mean square 1 stays one."""
    return width**-0.5 * jax.random.normal(key, (width, *shape))


def mapped(weights: Float[Array, "m ..."], x: Float[Array, "b t m"]) -> Float[Array, "b t ..."]:
    """The map of each position, in the dtype of `x`."""
    return jnp.tensordot(x, weights.astype(x.dtype), 1)


def low_rank(key: PRNGKeyArray, width: int, rank: int, *shape: int) -> dict[str, Array]:
    """Two maps, one after another, and a bias of zeros."""
    down, up = jax.random.split(key)
    return {
        "down": linear(down, width, rank),
        "up": linear(up, rank, *shape),
        "bias": jnp.zeros(shape),
    }


def by_low_rank(
    params: Params, x: Float[Array, "b t m"], between: Callable[[Array], Array] = lambda x: x
) -> Float[Array, "b t ..."]:
    """`up between(down x) + bias`."""
    hidden = between(mapped(params["down"], x))
    return mapped(params["up"], hidden) + params["bias"].astype(x.dtype)[None, None]


def rates(keys: Array, heads: int, *channels: int, slowest: float = 1.0) -> dict[str, Array]:
    """Rates of heads up to 16, and steps between 0.001 and 0.1 of them, as in the authors' code.

    Args:
      keys: two random keys.
    """
    key_rate, key_step = keys
    step = jnp.exp(jax.random.uniform(key_step, (heads, *channels), minval=-6.9, maxval=-2.3))
    rate = jax.random.uniform(key_rate, (heads,), minval=slowest, maxval=16.0)
    # The inverse of softplus.
    return {"log_rate": jnp.log(rate), "bias": step + jnp.log(-jnp.expm1(-step))}


def step_size(params: Params, logits: Float[Array, "b t h *d"]) -> Float[Array, "b t h *d"]:
    """softplus(logits + bias)."""
    return jax.nn.softplus(logits + params["bias"].astype(logits.dtype)[None, None])


def faded(params: Params, steps: Float[Array, "b t h *d"]) -> Float[Array, "b t h *d"]:
    """The log-decay -rate steps."""
    rate = jnp.exp(params["log_rate"]).astype(steps.dtype)
    return -rate.reshape(1, 1, -1, *[1] * (steps.ndim - 3)) * steps
