"""Context parallelism as a value: along which axis of a mesh a sequence is divided, and how.

    attention(q, k, v, mask=masks.causal, context="sequence")
    attention(q, k, v, mask=masks.causal, context=Context("sequence", "ring", order="zigzag"))

`zigzag` brings a batch into the order in which shards share the pairs of a causal mask, `natural`
back.
"""

from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType
from jaxtyping import PyTree

from attention_jax.core import checks
from attention_jax.core.calls import clear_calls
from attention_jax.core.types import AnyArray, Context, Order, Strategy


def checked(context: Context | str) -> Context:
    """The context; a text names the axis.

    Raises:
      ValueError: it is none.
    """
    own = Context(context) if isinstance(context, str) else context
    if not isinstance(own, Context):
        raise ValueError(
            f"`context` must be the name of an axis of the mesh, or a `Context`; got "
            f'{checks.said(context)}. Write `context="sequence"`, or '
            '`context=Context("sequence", strategy="ring")`.'
        )
    if not isinstance(own.axis, str):
        raise ValueError(
            f"`axis` of `context` must be the name of one axis of the mesh; got "
            f"{checks.said(own.axis)}. Give a text."
        )
    checks.one_of("strategy", own.strategy, get_args(Strategy))
    checks.one_of("order", own.order, get_args(Order))
    if own.strategy == "neighbors" and own.order == "zigzag":
        raise ValueError(
            '`order` must be "natural" where `strategy` is "neighbors"; got "zigzag". A window '
            "gives all shards as many pairs in their natural order."
        )
    return own


def divided_length(name: str, length: int, shards: int, context: Context) -> None:
    """Raises unless the shards hold chunks of equal length.

    Args:
      name: of the array.
      length: of the whole sequence.
    """
    chunks = shards * context.chunks
    if length % chunks:
        below = length - length % chunks
        nearest = f"{below} and {below + chunks}" if below else f"{chunks}"
        told = f"{shards} shards" if context.chunks == 1 else f"2 chunks of {shards} shards"
        raise ValueError(
            f"The length of `{name}` must be a multiple of {chunks}, for {told} of "
            f"`context` {context.axis!r}; got {length}. Pad it and hide the padding by "
            f"`masks.lengths`: the nearest lengths are {nearest}."
        )


@clear_calls
def zigzag(tree: PyTree, *, shards: int, axis: int = 1) -> PyTree:
    """A batch in zigzag order: shard r of n holds the chunks r and 2n - 1 - r of 2n.

    A query of a causal mask has as many pairs as it has positions before it, so an early and a late
    chunk together have as many as any other two. Everything that follows the sequence is brought
    into this order: tokens, targets, positions, weights of the loss. What functions of `attention`
    capture stays as it is, for they are called with positions of the natural order.

    Args:
      tree: arrays, such as `{"tokens": [b t], "targets": [b t]}`.
      shards: of the axis of the mesh that divides the sequence.
      axis: of the sequence, in each array.

    Raises:
      ValueError: the length is no multiple of `2 shards`.

    >>> zigzag(jnp.arange(8)[None], shards=2).tolist()
    [[0, 1, 6, 7, 2, 3, 4, 5]]
    """
    return jax.tree.map(lambda x: _taken(x, zigzag_chunks(shards), axis), tree)


@clear_calls
def natural(tree: PyTree, *, shards: int, axis: int = 1) -> PyTree:
    """The inverse of `zigzag`.

    >>> natural(zigzag(jnp.arange(8)[None], shards=2), shards=2).tolist()
    [[0, 1, 2, 3, 4, 5, 6, 7]]
    """
    return jax.tree.map(lambda x: _taken(x, np.argsort(zigzag_chunks(shards)), axis), tree)


def zigzag_chunks(shards: int) -> np.ndarray:
    """The numbers of the chunks, as the shards hold them one after another."""
    first = np.arange(shards)
    return np.stack([first, 2 * shards - 1 - first], axis=1).reshape(-1)


def _taken(x: AnyArray, chunks: np.ndarray, axis: int) -> jax.Array:
    x, count = jnp.asarray(x), len(chunks)
    checks.index("axis", axis, x.ndim)
    divided_length("tree", x.shape[axis], count // 2, Context("", order="zigzag"))
    length = x.shape[axis] // count  # -1 would divide by 0 where another axis is empty
    parts = x.reshape(*x.shape[:axis], count, length, *x.shape[axis + 1 :])
    own = jax.typeof(parts).sharding
    # Under explicit axes the order changes, and what divides the array does not.
    kept = own.spec if AxisType.Explicit in own.mesh.axis_types else None
    at = (*[slice(None)] * axis, chunks)
    return parts.at[at].get(out_sharding=kept).reshape(x.shape)
