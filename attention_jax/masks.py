"""Who may see whom: functions `(b, h, i, j) -> bool` of global positions, True where visible.

They combine with `&`, `|` and `~`, also with plain functions:

    masks.causal & masks.sliding_window(256)
    masks.causal & (lambda b, h, i, j: j != 0)

Masks made from arrays look positions up, so with `query_offset` and `key_offset` the arrays
still start at position 0. Positions beyond an array's end are hidden.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from attention_jax import checks
from attention_jax.types import MaskFunction

Position = Array | int


@dataclass(frozen=True)
class Mask:
    """A mask function that combines with others.

    Attributes:
      function: of `(b, h, i, j)`.
      parts: the masks of which it is the conjunction, where it is one: each empties blocks of
        pairs by itself, whatever is known of the others.
    """

    function: MaskFunction
    parts: tuple[MaskFunction, ...] = ()

    def __call__(self, b: Position, h: Position, i: Position, j: Position) -> Array:
        at = (jnp.asarray(position) for position in (b, h, i, j))
        return jnp.asarray(self.function(*at))

    def __and__(self, other: MaskFunction) -> "Mask":
        parts = (*conjuncts(self), *conjuncts(other))
        return Mask(lambda *at: jnp.logical_and(self(*at), other(*at)), parts)

    def __or__(self, other: MaskFunction) -> "Mask":
        return Mask(lambda *at: jnp.logical_or(self(*at), other(*at)))

    def __invert__(self) -> "Mask":
        return Mask(lambda *at: jnp.logical_not(self(*at)))

    __rand__ = __and__
    __ror__ = __or__


def conjuncts(mask: MaskFunction | None) -> tuple[MaskFunction, ...]:
    """The masks of which a pair needs all; none where `mask` is None."""
    if mask is None:
        return ()
    return getattr(mask, "parts", ()) or (mask,)


full = Mask(lambda b, h, i, j: jnp.asarray(True))
"""Every query sees every key."""

causal = Mask(lambda b, h, i, j: j <= i)
"""A query sees itself and what came before: j <= i."""


def both(first: MaskFunction | None, second: MaskFunction | None) -> MaskFunction | None:
    """What both masks show; None shows everything."""
    if first is None or second is None:
        return second if first is None else first
    return Mask(first) & second


def sliding_window(size: int) -> Mask:
    """A query sees keys nearer than `size`, on both sides.

        visible = |i - j| < size

    Args:
      size: at least 1 position, which is the query's own.

    Raises:
      ValueError: `size` holds no position.

    Reference: Beltagy et al. 2020, arXiv:2004.05150, section 3.1.

    >>> bool(sliding_window(2)(0, 0, 5, 4)), bool(sliding_window(2)(0, 0, 5, 3))
    (True, False)
    """
    if size < 1:
        raise ValueError(f"`size` must hold at least 1 position; got {size}.")
    return Mask(lambda b, h, i, j: jnp.abs(i - j) < size)


def prefix(length: int | Int[Array, ""]) -> Mask:
    """Every query sees the first `length` keys; combine as `causal | prefix(length)`.

    Reference: Raffel et al. 2020, arXiv:1910.10683, figure 4.
    """
    return Mask(lambda b, h, i, j: j < length)


def lengths(key_lengths: Int[Array, " b"]) -> Mask:
    """Hides the padding at the end: sequence b has `key_lengths[b]` keys."""
    checks.shape("key_lengths", key_lengths, "b")
    return Mask(lambda b, h, i, j: j < key_lengths[b])


def keys(visible: Bool[Array, "b s"]) -> Mask:
    """Hides padding anywhere: key j of sequence b is seen where `visible[b, j]`."""
    checks.shape("visible", visible, "b s")
    _boolean("visible", visible)
    return Mask(lambda b, h, i, j: _at(visible, b, j, fill=False))


def documents(query_ids: Int[Array, "b t"], key_ids: Int[Array, "b s"]) -> Mask:
    """Sequences packed into one row see only themselves: `query_ids[b, i] == key_ids[b, j]`."""
    checks.shape("query_ids", query_ids, "b t")
    checks.shape("key_ids", key_ids, "b s")

    def same(b: Position, h: Position, i: Position, j: Position) -> Array:
        inside = (i < query_ids.shape[1]) & (j < key_ids.shape[1])
        return inside & (_at(query_ids, b, i, fill=0) == _at(key_ids, b, j, fill=0))

    return Mask(same)


def from_array(visible: Bool[Array, "b h t s"]) -> Mask:
    """Wraps an array, True where visible; axes of length 1 hold for all, as in broadcasting.

    Where the array shows a pattern (a window, padding), the function for it is faster.
    """
    checks.shape("visible", visible, "b h t s", remedy="Give missing axes length 1.")
    _boolean("visible", visible)

    def look_up(*at: Position) -> Array:
        sizes = visible.shape
        place = (jnp.asarray(0) if n == 1 else x for n, x in zip(sizes, at, strict=True))
        return _at(visible, *place, fill=False)

    return Mask(look_up)


def _at(array: Array, *place: Position, fill: bool | int) -> Array:
    return jnp.asarray(array).at[place].get(mode="fill", fill_value=fill)


def _boolean(name: str, array: Array) -> None:
    if array.dtype != jnp.bool_:
        raise ValueError(
            f"`{name}` must be boolean, True where visible; got {array.dtype}. "
            f"Convert it with `{name} != 0`."
        )
