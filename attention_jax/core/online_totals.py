"""Online normalizers whose weights are shares of a total of sizes, so that they may be negative.

weight_j = f(x_j) / total      total = sum_k |g(x_k)|
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from attention_jax.core.online_normalizers import Block, Online, Row, Sweep, grow, log_total, lowest


def sized(x: Array) -> Array:
    """The sizes of logits; that of a hidden one stays -inf."""
    return jnp.where(x == -jnp.inf, x, jnp.abs(x))


def _signed_row(sweep: Sweep) -> Row:
    return log_total(
        *sweep(lambda state, block: grow(state, sized(block.logits)), (lowest(jnp.float32), 0.0))
    )


def _signed_weight(x: Array, lse: Row, keys: Array) -> Array:
    return jnp.sign(x) * jnp.exp(sized(x) - lse)


def _signed_derivative(x: Array, p: Array, lse: Row) -> Array:
    return jnp.abs(p)


def _signed_share(x: Array, p: Array, lse: Row) -> Array:
    return p


SIGNED_SOFTMAX = Online(
    _signed_row,
    _signed_weight,
    _signed_derivative,
    sums_to_one=False,
    share=_signed_share,
    twice_differentiable=False,
)


def gain(x: Array, shift: Array) -> Array:
    """`(exp(x) - 1) exp(-shift)` for a shift of at least 0 and no smaller than x."""
    # Near 0 the difference of two exponentials would lose digits; above 1 expm1 might overflow.
    near = jnp.expm1(jnp.minimum(x, 1)) * jnp.exp(-shift)
    return jnp.where(x < 1, near, jnp.exp(x - shift) - jnp.exp(-shift))


class _Total(NamedTuple):
    shift: Array  # of the logits, before exponentials
    total: Array  # of the sizes of what weights are shares of, after that shift


def _softpick_row(sweep: Sweep) -> Row:
    def look(state: tuple[Array, Array], block: Block) -> tuple[Array, Array]:
        high, total = state
        new = jnp.maximum(high, block.logits.max(-1))
        sizes = jnp.abs(gain(block.logits, new[..., None]))
        added = jnp.where(block.logits == -jnp.inf, 0, sizes).sum(-1)
        return new, total * jnp.exp(high - new) + added

    high, total = sweep(look, (0.0, 0.0))
    return _Total(high, jnp.where(total == 0, 1, total))


def _softpick_weight(x: Array, row: _Total, keys: Array) -> Array:
    return jax.nn.relu(gain(x, row.shift)) / row.total


def _softpick_derivative(x: Array, p: Array, row: _Total) -> Array:
    return jnp.where(x > 0, jnp.exp(x - row.shift) / row.total, 0)


def _softpick_share(x: Array, p: Array, row: _Total) -> Array:
    return jnp.sign(x) * jnp.exp(x - row.shift) / row.total


SOFTPICK = Online(
    _softpick_row,
    _softpick_weight,
    _softpick_derivative,
    sums_to_one=False,
    share=_softpick_share,
    twice_differentiable=False,
)
