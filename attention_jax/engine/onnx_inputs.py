"""Inputs of ONNX operators: heads beside the width or in an axis of their own, and caches."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array

from attention_jax.core import checks
from attention_jax.core.types import AnyArray

# The numbers of `TensorProto.DataType`.
FLOAT, FLOAT16, DOUBLE, BFLOAT16 = 1, 10, 11, 16


def by_position(name: str, x: AnyArray, of_heads: str, heads: int | None) -> Array:
    """`[b n heads d]` of `[b heads n d]`, or of `[b n heads*d]`."""
    x = jnp.asarray(x)
    if x.ndim == 4:
        if heads not in (None, x.shape[1]):
            raise ValueError(
                f"`{of_heads}` must be the length of axis 1 of `{name}`; got {heads} for shape "
                f"{x.shape}. It can be left out."
            )
        return swapped(x)
    if heads is None:
        raise ValueError(
            f"`{of_heads}` must be given where inputs have three axes; got None for `{name}` of "
            f"shape {x.shape}."
        )
    checks.positive(of_heads, heads)
    checks.divides(of_heads, heads, f"width of {name}", x.shape[2])
    return x.reshape(*x.shape[:2], heads, -1)


def heads(
    named: Sequence[tuple[str, AnyArray]], q_num_heads: int | None, kv_num_heads: int | None
) -> list[Array]:
    """Queries, keys and values `[b n heads d]` of either form."""
    of_query, of_key = ("q_num_heads", q_num_heads), ("kv_num_heads", kv_num_heads)
    pairs = zip(named, (of_query, of_key, of_key), strict=True)
    return [by_position(*x, *of_heads) for x, of_heads in pairs]


def swapped(x: Array) -> Array:
    """`[b h t d]` of `[b t h d]`, and the other way round."""
    return x.transpose(0, 2, 1, 3)


def joined(name: str, past: AnyArray | None, new: Array) -> Array:
    """The past `[b g p d]` and the new `[b s g d]`."""
    if past is None:
        return new
    b, _, g, d = new.shape
    if past.shape != (b, g, past.shape[2], d):
        raise ValueError(
            f"`{name}` must be [b g p d] = [{b}, {g}, p, {d}], as what follows it; got shape "
            f"{past.shape}."
        )
    return jnp.concatenate([swapped(jnp.asarray(past)), new], axis=1)


def precise(precision: int | None, *arrays: Array) -> tuple[Array, ...]:
    """Inputs of a softmax that is computed in float32, or in the float64 of any of them.

    Raises:
      ValueError: it is to be more precise than that, and 64-bit mode is off.
    """
    checks.one_of("softmax_precision", precision, (None, FLOAT, FLOAT16, DOUBLE, BFLOAT16))
    if precision != DOUBLE or jnp.float64 in [x.dtype for x in arrays]:
        return arrays
    if not jax.config.jax_enable_x64:
        raise ValueError(
            f"`softmax_precision` {DOUBLE} (double) needs an input of float64, or the option "
            f"`jax_enable_x64`; got {arrays[0].dtype}. Set the option, or ask for {FLOAT} (float)."
        )
    return tuple(x.astype(jnp.float64) for x in arrays)
