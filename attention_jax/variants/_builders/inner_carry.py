"""The model of `inner_steps` from a state on, and for packed documents, each with its own batches.

Batches then begin anywhere in a chunk, which is no longer than one. Of the positions of a chunk the
first go on with the batch before; at most one batch begins there whose model is that of the past,
for the next is a batch later; and those of new documents are at the first model.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from attention_jax.variants._builders.chunked_scan import by_blocks, chunks, joined
from attention_jax.variants._builders.documents import numbers
from attention_jax.variants._builders.inner_steps import InnerState, Norm, inner_empty


class Steps(NamedTuple):
    """The steps of a model [a e] of a = d + 1 rows, the last of which is the bias.

    Attributes:
      done: those of the batches before, at which gradients are taken.
      all: with those of the batch so far.
    """

    done: Float[Array, "b h a e"]
    all: Float[Array, "b h a e"]


def inner_carried(
    model: tuple[Float[Array, "h d e"], Float[Array, "h e"]],
    norm: Norm,
    *arrays: Float[Array, "b t h *_"],
    since: Int[Array, "b t"] | None,
    start: InnerState | None,
    batch: int,
) -> tuple[InnerState, Float[Array, "b t h e"]]:
    """The last state, and the outputs of all positions, one chunk after another.

    Args:
      model: W and b before the first step.
      arrays: q, k, target and rate, as of `inner_scan`.
      since: positions since the document began; None where no documents are packed.
      start: the state before the first position; None for that before any step.
      batch: positions whose gradients are taken at one model.
    """
    q, k, target, rate = arrays
    shape = *q.shape[::2], q.shape[-1], target.shape[-1]
    before = inner_empty(shape, q.dtype) if start is None else start
    first = jnp.concatenate([model[0], model[1][:, None]], axis=1)
    at = numbers(since, before.position, q.shape[1])
    inputs = _with_one(q), _with_one(k), target, rate[..., None], at[:, :, None, None]
    done = _joined(before.weights, before.bias)
    steps = Steps(done, done + _joined(before.more_weights, before.more_bias))
    steps, out = by_blocks(partial(_block, batch, first, norm), steps, inputs, batch)
    position = before.position + q.shape[1]
    ends = (position % batch == 0)[:, None, None, None]
    done = jnp.where(ends, steps.all, steps.done)
    parts = done, jnp.where(ends, 0, steps.all - steps.done)
    (weights, bias), (more_weights, more_bias) = ((x[:, :, :-1], x[:, :, -1]) for x in parts)
    seen = before.seen
    return InnerState(weights, bias, more_weights, more_bias, position, seen), out


def _with_one(x: Float[Array, "b t h d"]) -> Float[Array, "b t h a"]:
    return jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=-1)


def _joined(weights: Float[Array, "b h d e"], bias: Float[Array, "b h e"]) -> Array:
    return jnp.concatenate([weights, bias[:, :, None]], axis=2)


def _block(
    batch: int,
    first: Float[Array, "h a e"],
    norm: Norm,
    chunk: int,
    steps: Steps,
    *inputs: Array,
) -> tuple[Steps, Float[Array, "b m h e"]]:
    q, k, target, rate, number = (chunks(x, chunk)[:, :, 0] for x in inputs)
    by_first = tuple(jnp.einsum("bhcnd,hde->bhcne", x, first) for x in (q, k))
    each = [jnp.moveaxis(x, 2, 0) for x in (q, k, target, rate, *by_first)]
    own = jnp.moveaxis(number[:, 0, ..., 0], 1, 0)
    steps, out = jax.lax.scan(partial(_turn, batch, norm), steps, (*each, own))
    return steps, joined(jnp.moveaxis(out, 0, 2)[:, :, None])


def _turn(
    batch: int, norm: Norm, steps: Steps, one: tuple[Array, ...]
) -> tuple[Steps, Float[Array, "b h n e"]]:
    q, k, target, rate, q_first, k_first, number = one
    document = jnp.cumsum((number == 1).astype(jnp.int32), axis=1)
    old = document == 0
    begins = (number > 1) & ((number - 1) % batch == 0)
    later = jnp.cumsum(begins.astype(jnp.int32), axis=1) > 0
    later = later & old

    def of(rows: Bool[Array, "b n"], x: Array) -> Float[Array, "b h n e"]:
        return jnp.where(rows[:, None, :, None], x, 0)

    def own(z: Array) -> Float[Array, "b h n e"]:
        return rate * norm.gradient(z.swapaxes(1, 2), target.swapaxes(1, 2)).swapaxes(1, 2)

    taken = own(k_first - of(old, k @ steps.done))
    renewed = steps.all + k.mT @ of(old & ~later, taken)
    taken = jnp.where(later[:, None, :, None], own(k_first - k @ renewed), taken)
    until = jnp.tril(jnp.ones((number.shape[1],) * 2, bool))[None]
    seen = (until & (document[:, :, None] == document[:, None]))[:, None]
    out = q_first - of(old, q @ steps.all) - jnp.where(seen, q @ k.mT, 0) @ taken
    added = k.mT @ of(document == document[:, -1:], taken)

    begun, same = (x[:, None, None, None] for x in (later.any(1), old.all(1)))
    done = jnp.where(same, jnp.where(begun, renewed, steps.done), 0)
    return Steps(done, jnp.where(same, steps.all, 0) + added), out
