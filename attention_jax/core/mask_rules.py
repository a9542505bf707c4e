"""The rules of masks, as functions of their parameters and a pair: `(*parameters, b, h, i, j)`.

`core.masks` gives them their parameters, and `core.mask_bounds` says where a block of pairs is
empty or full by arithmetic on its bounds.
"""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from attention_jax.core.types import MaskFunction

Table = Array | np.ndarray  # a captured array


def full(b: Array, h: Array, i: Array, j: Array) -> Array:
    return jnp.asarray(True)


def causal(b: Array, h: Array, i: Array, j: Array) -> Array:
    return j <= i


def window(size: int, b: Array, h: Array, i: Array, j: Array) -> Array:
    return jnp.abs(i - j) < size


def dilated(size: int, dilation: int, b: Array, h: Array, i: Array, j: Array) -> Array:
    return (jnp.abs(i - j) < size * dilation) & ((i - j) % dilation == 0)


def strided(stride: int, b: Array, h: Array, i: Array, j: Array) -> Array:
    return (jnp.abs(i - j) < stride) | ((i - j) % stride == 0)


def chunks(size: int, b: Array, h: Array, i: Array, j: Array) -> Array:
    return i // size == j // size


def column(width: int, b: Array, h: Array, i: Array, j: Array) -> Array:
    return i % width == j % width


def summaries(stride: int, count: int, b: Array, h: Array, i: Array, j: Array) -> Array:
    return j % stride >= stride - count


def global_tokens(count: int, b: Array, h: Array, i: Array, j: Array) -> Array:
    return (i < count) | (j < count)


def neighborhood(
    size: int, height: int, width: int, b: Array, h: Array, i: Array, j: Array
) -> Array:
    inside = (i < height * width) & (j < height * width)
    rows = _near(size, height, i // width, j // width)
    return inside & rows & _near(size, width, i % width, j % width)


def _near(size: int, length: int, at: Array, other: Array) -> Array:
    start = jnp.clip(at - size // 2, 0, max(length - size, 0))
    return (other >= start) & (other < start + size)


def prefix(length: int | Table, b: Array, h: Array, i: Array, j: Array) -> Array:
    return j < length


def lengths(key_lengths: Table, b: Array, h: Array, i: Array, j: Array) -> Array:
    return (j >= 0) & (j < _at(key_lengths, b, fill=0))


def keys(visible: Table, b: Array, h: Array, i: Array, j: Array) -> Array:
    return _at(visible, b, j, fill=False)


def documents(query_ids: Table, key_ids: Table, b: Array, h: Array, i: Array, j: Array) -> Array:
    inside = _inside(query_ids, 1, i) & _inside(key_ids, 1, j)
    return inside & (_at(query_ids, b, i, fill=0) == _at(key_ids, b, j, fill=0))


def from_array(visible: Table, b: Array, h: Array, i: Array, j: Array) -> Array:
    return _at(visible, b, h, i, j, fill=False)


def _at(array: Table, *place: Array, fill: bool | int) -> Array:
    """An entry, where axes of length 1 stand for all places; `fill` before 0 and beyond the end."""
    at = tuple(jnp.asarray(0) if n == 1 else x for n, x in zip(array.shape, place, strict=True))
    filled: Any = jnp.asarray(array).at[at]
    return filled.get(mode="fill", fill_value=fill, wrap_negative_indices=False)


def _inside(array: Table, axis: int, place: Array) -> Array:
    size = array.shape[axis]
    return jnp.asarray(True) if size == 1 else (place >= 0) & (place < size)


def every(*parts_and_pair: object) -> Array:
    """Where all of some masks show a pair; they come before it."""
    return functools.reduce(jnp.logical_and, _each(*parts_and_pair))


def either(*parts_and_pair: object) -> Array:
    """Where any of some masks shows a pair; they come before it."""
    return functools.reduce(jnp.logical_or, _each(*parts_and_pair))


def hidden(part: MaskFunction, *pair: Array) -> Array:
    """Where a mask does not show a pair."""
    return jnp.logical_not(part(*pair))


def _each(*parts_and_pair: Any) -> list[Array]:
    *parts, b, h, i, j = parts_and_pair
    return [part(b, h, i, j) for part in parts]
