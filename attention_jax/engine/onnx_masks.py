"""Masks of ONNX's operator `Attention`: `attn_mask`, `is_causal`, windows and padding."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attention_jax.core import checks, masks
from attention_jax.core.types import AnyArray, MaskFunction


class Bias(NamedTuple):
    """Numbers to add to the scores, with axes of length 1 where all share them.

    Attributes:
      table: `[#b #h #t s]`, finite or NaN, 0 beyond its end; None where nothing is added.
      visible: the pairs that take part, at global positions; None for all.
    """

    table: Float[Array, "#b #h #t s"] | None = None
    visible: masks.Mask | None = None


def bias_of(attn_mask: AnyArray | None, sizes: tuple[int, ...], past: int) -> Bias:
    """The numbers and the pairs of an `attn_mask`, for `sizes` b, h, t, s.

    Raises:
      ValueError: its shape does not broadcast to the sizes.
    """
    if attn_mask is None:
        return Bias()
    table = jnp.reshape(attn_mask, (1,) * (4 - attn_mask.ndim) + attn_mask.shape)
    *outer, last = zip(table.shape, sizes, strict=False)
    if (
        table.ndim > 4
        or any(n not in (1, size) for n, size in outer)
        or not (1 < last[0] <= last[1] or last == (1, 1))
    ):
        raise ValueError(
            f"`attn_mask` must broadcast to [b h t s] = {list(sizes)}, or have a shorter last "
            "axis, but not of 1, which opset 23 repeats and opset 24 fills up with -inf; got "
            f"shape {attn_mask.shape}. Repeat it, or fill it up, by hand."
        )
    numbers = table.dtype != jnp.bool_
    if numbers:
        checks.floating("attn_mask", table)
    shown = masks.from_array(table != -jnp.inf if numbers else table)
    visible = masks.Mask(lambda b, h, i, j: shown(b, h, i - past, j))
    if not numbers:
        return Bias(None, visible)
    finite = jnp.where(table == -jnp.inf, 0, table)
    return Bias(jnp.pad(finite, [(0, 0)] * 3 + [(0, last[1] - last[0])]), visible)


def at_pair(table: Float[Array, "#b #h #t s"], past: int, *at: Array) -> Array:
    """The number that a bias adds at global positions b, h, i, j."""
    b, h, i, j = at
    places = zip(table.shape, (b, h, i - past, j), strict=True)
    return table[tuple(jnp.zeros_like(x) if n == 1 else x for n, x in places)]


def order(
    is_causal: int,
    window: tuple[int, int],
    key_lengths: Int[AnyArray, " b"] | None,
    queries: int,
) -> MaskFunction | None:
    """The causal mask, the window and the padding mask.

        visible = p - left <= j <= p + right,    p = i, or i + lengths[b] - t

    Args:
      window: keys before and after a query's own position that it sees; -1 for all.
    """

    lengths = None if key_lengths is None else jnp.asarray(key_lengths).astype(jnp.int32)

    def position(b: Array, i: Array) -> Array:
        return i if lengths is None else i + lengths[b] - queries

    left, right = window
    shown: MaskFunction | None = None if lengths is None else masks.lengths(lengths)
    if is_causal:
        before = masks.Mask(lambda b, h, i, j: j <= position(b, i))
        shown = masks.both(shown, masks.causal if lengths is None else before)
    if left >= 0:
        near = masks.Mask(lambda b, h, i, j: position(b, i) - j <= left)
        shown = masks.both(shown, near)
    if right >= 0:
        near = masks.Mask(lambda b, h, i, j: j - position(b, i) <= right)
        shown = masks.both(shown, near)
    return shown
