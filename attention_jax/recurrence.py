"""What variants share that read keys one after another, and so cannot hide single pairs."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from attention_jax import masks
from attention_jax.tracing import depends_on
from attention_jax.types import MaskFunction


class Seen(NamedTuple):
    """What a mask shows, where it treats all queries alike.

    Attributes:
      causal: whether each query sees itself and what came before only.
      keys: those that are seen at all; None for all of them.
    """

    causal: bool
    keys: Bool[Array, "b s"] | None


def seen(
    name: str, mask: MaskFunction | None, *, batch: int, length: int, offset: int | Array = 0
) -> Seen:
    """Reads a mask as `masks.causal` and masks of keys; a variant that sums keys takes no other.

    Args:
      name: of the variant, for the error.
      mask: None, or a conjunction of `masks.causal` and masks that depend on b and j only.
      length: number of keys.
      offset: global position of the first key.

    Raises:
      ValueError: another mask.
    """
    causal, visible, zero = False, None, jnp.int32(0)
    at_b = jnp.arange(batch, dtype=jnp.int32)
    at_j = jnp.asarray(offset, jnp.int32) + jnp.arange(length, dtype=jnp.int32)
    for part in masks.conjuncts(mask):
        if part is masks.causal:
            causal = True
            continue
        _, by_h, by_i, _ = depends_on(part)
        if by_h or by_i:
            raise ValueError(
                f"{name} takes in a key once for all queries, so `mask` may be `masks.causal`, a "
                "mask that depends on b and j only, or both joined by `&`; got one that depends "
                f"on {'h' if by_h else 'i'}. Use `masks.keys` or `masks.lengths` for padding, or "
                "a variant that hides any pair, such as scaled_dot."
            )
        per_key = jax.vmap(lambda b, j, part=part, at=zero: part(b, at, at, j), (None, 0))
        own = jax.vmap(per_key, (0, None))(at_b, at_j)
        visible = own if visible is None else visible & own
    return Seen(causal, visible)


def aligned(name: str, queries: int, keys: int, query_offset: Any, key_offset: Any) -> None:
    """Refuses a causal pass whose queries are not the positions of its keys.

    Raises:
      ValueError: other lengths, or other offsets.
    """
    same = query_offset is key_offset or (
        isinstance(query_offset, int) and isinstance(key_offset, int) and query_offset == key_offset
    )
    if queries != keys or not same:
        raise ValueError(
            f"A causal pass of {name} needs the queries at the positions of the keys; got "
            f"{queries} queries from {query_offset} and {keys} keys from {key_offset}. Decode with "
            "its `start` and `step`."
        )
