"""The operator `RotaryEmbedding` of ONNX: pairs of channels, rotated by angles of a table.

    (x_c, x_c') rotated by angle c of the position,    cos and sin of which the caches hold

The partner of channel c is c + rotary_embedding_dim / 2, or with `interleaved` the next one. With
caches of `p / base^(2c / d)` and `interleaved` it is `positions.rope`.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attention_jax.core import checks
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import AnyArray
from attention_jax.engine import onnx_inputs


def rotary_embedding(
    x: Float[AnyArray, "b h t d"] | Float[AnyArray, "b t width"],
    cos_cache: Float[AnyArray, "..."],
    sin_cache: Float[AnyArray, "..."],
    position_ids: Int[AnyArray, "b t"] | None = None,
    *,
    interleaved: int = 0,
    num_heads: int | None = None,
    rotary_embedding_dim: int = 0,
) -> Float[Array, "..."]:
    """The operator, with its inputs in their order and its attributes by their names.

    Args:
      x: `[b h t d]`, or `[b t h*d]` with `num_heads`.
      cos_cache, sin_cache: `[positions c]` with `position_ids`, `[b t c]` without; c is half of
        the channels that are rotated.
      position_ids: rows of the caches, from 0; one beyond their end gives NaN.
      interleaved: 1 where the two channels of a pair stand side by side.
      rotary_embedding_dim: how many channels are rotated, the first ones; 0 for all.

    Returns:
      An array of the shape and dtype of `x`; computed in float32, or in float64 for float64.

    Raises:
      ValueError: an argument breaks its rule.

    Reference: onnx.ai/onnx/operators/onnx__RotaryEmbedding.html.
    """
    checks.one_of("interleaved", interleaved, (0, 1))
    heads = onnx_inputs.by_position("x", x, "num_heads", num_heads)
    width = rotary_embedding_dim or heads.shape[-1]
    checks.at_most("rotary_embedding_dim", width, "width of a head", heads.shape[-1])
    sizes = heads.shape[0], heads.shape[1], width
    dtype = wide_dtype(heads, jnp.asarray(cos_cache), jnp.asarray(sin_cache))
    cos, sin = (
        _angles(name, jnp.asarray(cache), position_ids, sizes).astype(dtype)
        for name, cache in (("cos_cache", cos_cache), ("sin_cache", sin_cache))
    )
    rotated, rest = heads[..., :width].astype(dtype), heads[..., width:]
    first, second = rotated[..., 0::2], rotated[..., 1::2]
    if not interleaved:
        first, second = rotated[..., : width // 2], rotated[..., width // 2 :]
    turned = cos * first - sin * second, sin * first + cos * second
    joined = (jnp.stack(turned, -1) if interleaved else jnp.concatenate(turned, -1)).reshape(
        rotated.shape
    )
    out = jnp.concatenate([joined.astype(heads.dtype), rest], -1)
    return onnx_inputs.swapped(out) if jnp.ndim(x) == 4 else out.reshape(x.shape)


def _angles(
    name: str, cache: Array, position_ids: AnyArray | None, sizes: tuple[int, int, int]
) -> Float[Array, "b t 1 c"]:
    """The numbers of each position, for heads side by side."""
    b, t, width = sizes
    if width % 2:
        raise ValueError(f"`rotary_embedding_dim` must be even, to hold pairs; got {width}.")
    if position_ids is None:
        fits, wanted = cache.shape == (b, t, width // 2), f"[b t c] = {[b, t, width // 2]}"
    else:
        checks.shape("position_ids", position_ids, "b t")
        fits, wanted = cache.shape[1:] == (width // 2,), f"[positions c] with c = {width // 2}"
    if not fits:
        raise ValueError(
            f"`{name}` must be {wanted}, half of the {width} channels that are rotated; got "
            f"{list(cache.shape)}. `rotary_embedding_dim` sets how many are."
        )
    if position_ids is not None:
        places = jnp.asarray(position_ids)
        cache = cache.at[places].get(mode="fill", fill_value=jnp.nan)
    return cache[:, :, None]
