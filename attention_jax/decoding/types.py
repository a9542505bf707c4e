"""Types of a search: steps and decoded sentences."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attention_jax.core.types import State
from attention_jax.data.types import PAD

Step = Callable[[State, Array], tuple[State, Array]]  # (state, token [b]) -> (state, logits [b v])


class DecodingResult(NamedTuple):
    """Decoded sentences of each row, best first.

    Attributes:
      tokens: ids after BOS, EOS included, then PAD. A sentence cut off at `max_length` has no EOS.
      scores: log-probability of the tokens under the model; `beam` divides it by its length
        penalty. If fewer than `nbest` sentences exist, the rest are empty and score -inf.
      lengths: number of tokens, EOS included.
    """

    tokens: Int[Array, "b n t"]
    scores: Float[Array, "b n"]
    lengths: Int[Array, "b n"]


def decoded(tokens: Int[Array, "b n t"], scores: Float[Array, "b n"]) -> DecodingResult:
    """The result of tokens that are PAD after each sentence."""
    return DecodingResult(tokens, scores, jnp.sum(tokens != PAD, axis=-1, dtype=jnp.int32))


def pick(x: Array, index: Int[Array, " b"]) -> Array:
    """x[b, index[b]]"""
    return jnp.take_along_axis(x, index[:, None], axis=1)[:, 0]


def pick_rows(x: Array, index: Int[Array, "b n"]) -> Array:
    """x[b, index[b, n], :]"""
    return jnp.take_along_axis(x, index[:, :, None], axis=1)


def batch_size(state: State) -> int:
    """Rows of a state.

    Raises:
      ValueError: the leaves of `state` do not share an axis.
    """
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(state)]
    sizes = {shape[:1] for shape in shapes}
    if len(sizes) != 1 or () in sizes:
        raise ValueError(
            "every leaf of `state` must lead with the batch axis, and there must be one; "
            f"got leaves of shape {shapes}. Give scalars one entry for each row."
        )
    return shapes[0][0]
