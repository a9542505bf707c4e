"""A linear model that each position trains by one step of gradient descent, in small batches.

    z_j = W^T k_j + b    G_j = d/dz_j of half |scale norm(z_j) + shift - target_j|^2
    W_i = W - sum_(j <= i) rate_j k_j G_j^T    b_i = b - sum_(j <= i) rate_j G_j
    out_i = W_i^T q_i + b_i

W and b without an index, at which gradients are taken, are those after the batch before; the sums
go over the batch of i. `inner_scan` takes all positions, for training, `inner_step` one, for
decoding; `inner_carry` several from a state on. Arrays are in the dtype of the computation already.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from attention_jax.variants._builders.chunked_scan import by_blocks, chunks, joined

_EPSILON = 1e-6  # of the norm, as in the authors' code


class InnerState(NamedTuple):
    """How a model differs from the first, and the next position.

    Attributes:
      weights, bias: steps of the batches before, which gradients are taken after.
      more_weights, more_bias: steps of the batch so far.
      position: of the next query.
      seen: whether a position was, before it.
    """

    weights: Float[Array, "b h d e"]
    bias: Float[Array, "b h e"]
    more_weights: Float[Array, "b h d e"]
    more_bias: Float[Array, "b h e"]
    position: Int[Array, " b"]
    seen: Bool[Array, " b"]


class Norm(NamedTuple):
    """The gain and the shift of each channel of each head, after a norm to variance 1."""

    scale: Float[Array, "h e"]
    shift: Float[Array, "h e"]

    def normed(self, z: Float[Array, "*b h e"]) -> Float[Array, "*b h e"]:
        """z with mean 0 and variance 1, times scale, plus shift."""
        return _alike(self.scale, z) * _standard(z)[0] + _alike(self.shift, z)

    def gradient(
        self, z: Float[Array, "*b h e"], target: Float[Array, "*b h e"]
    ) -> Float[Array, "*b h e"]:
        """That of half the squared distance of the normed z from its target."""
        scale = _alike(self.scale, z)
        standard, deviation = _standard(z)
        error = scale * (scale * standard + _alike(self.shift, z) - target)
        along = (error * standard).mean(-1, keepdims=True)
        return (error - error.mean(-1, keepdims=True) - standard * along) / deviation


def _alike(x: Float[Array, "h e"], z: Float[Array, "*b h e"]) -> Float[Array, "*#b h e"]:
    return x.reshape(*[1] * (z.ndim - 2), *x.shape)


def _standard(z: Float[Array, "*b e"]) -> tuple[Float[Array, "*b e"], Float[Array, "*b 1"]]:
    """z with mean 0 and variance 1, and its deviation."""
    centered = z - z.mean(-1, keepdims=True)
    deviation = jnp.sqrt((centered * centered).mean(-1, keepdims=True) + _EPSILON)
    return centered / deviation, deviation


def inner_scan(
    model: tuple[Float[Array, "b h d e"], Float[Array, "b h e"]],
    norm: Norm,
    q: Float[Array, "b t h d"],
    k: Float[Array, "b t h d"],
    target: Float[Array, "b t h e"],
    rate: Float[Array, "b t h"],
    *,
    batch: int,
) -> Float[Array, "b t h e"]:
    """The outputs of all positions, one batch after another.

    Steps within a batch are products of pairs, so no model is made but one a batch:

        out_i = W^T q_i + b - sum_(j <= i) rate_j (q_i . k_j + 1) G_j

    Args:
      model: W and b before the first position.
      batch: positions whose gradients are taken at one model.

    Reference: the dual form of Sun et al. 2024, arXiv:2407.04620, section 2.5.
    """
    inputs = q, k, target, rate[..., None]
    return by_blocks(partial(_block, norm), model, inputs, batch)[1]


def _block(
    norm: Norm, batch: int, model: tuple[Array, Array], *inputs: Float[Array, "b m h _"]
) -> tuple[tuple[Array, Array], Float[Array, "b m h e"]]:
    until = jnp.tril(jnp.ones((batch, batch), bool))[None, None]

    def turn(model: tuple[Array, Array], one: tuple[Array, ...]) -> tuple[tuple, Array]:
        (weights, bias), (q, k, target, rate) = model, one
        z = k @ weights + bias[:, :, None]
        heads_last = norm.gradient(z.swapaxes(1, 2), target.swapaxes(1, 2))
        steps = rate * heads_last.swapaxes(1, 2)
        out = q @ weights + bias[:, :, None] - jnp.where(until, q @ k.mT + 1, 0) @ steps
        return (weights - k.mT @ steps, bias - steps.sum(2)), out

    each = tuple(jnp.moveaxis(chunks(x, batch)[:, :, 0], 2, 0) for x in inputs)
    model, out = jax.lax.scan(turn, model, each)
    return model, joined(jnp.moveaxis(out, 0, 2)[:, :, None])


def inner_empty(shape: tuple[int, ...], dtype: DTypeLike) -> InnerState:
    """The state before the first position, for weights of a shape [b h d e]."""
    weights, bias = jnp.zeros(shape, dtype), jnp.zeros((*shape[:2], shape[-1]), dtype)
    position, seen = jnp.zeros(shape[0], jnp.int32), jnp.zeros(shape[0], bool)
    return InnerState(weights, bias, weights, bias, position, seen)


def inner_step(
    state: InnerState,
    model: tuple[Float[Array, "h d e"], Float[Array, "h e"]],
    norm: Norm,
    *arrays: Float[Array, "b h *_"],
    batch: int,
) -> tuple[InnerState, Float[Array, "b h e"]]:
    """The next position, of q, k, target and rate; reproduces `inner_scan`."""
    q, k, target, rate = arrays
    weights, bias = (x[None] for x in model)

    def read(x: Array, by: Array, to: Array) -> Float[Array, "b h e"]:
        return jnp.einsum("bhd,bhde->bhe", x, weights - by) + bias - to

    z = read(k, state.weights, state.bias)
    own = rate[..., None] * norm.gradient(z, target)
    more = state.more_weights + k[..., None] * own[..., None, :], state.more_bias + own
    steps = state.weights + more[0], state.bias + more[1]
    ends = (state.position + 1) % batch == 0

    def chosen(one: Array, other: Array) -> Array:
        return jnp.where(ends.reshape(-1, *[1] * (one.ndim - 1)), one, other)

    done = (chosen(x, y) for x, y in zip(steps, state[:2], strict=True))
    rest = (chosen(jnp.zeros_like(x), x) for x in more)
    seen = jnp.ones_like(state.seen)
    return InnerState(*done, *rest, state.position + 1, seen), read(q, *steps)
