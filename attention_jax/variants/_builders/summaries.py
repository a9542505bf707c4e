"""Keys and values of stretches of positions, each compressed into one by a network of two layers.

K_n = W_2 gelu(sum_l W_1l (k_(n stride + l) + place_l))        l < length
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Shaped

from attention_jax.core.types import Params


class Summaries(NamedTuple):
    """Compressed keys and values, and whether a summary shows any position."""

    k: Float[Array, "b n g d"]
    v: Float[Array, "b n g e"]
    shown: Bool[Array, "b n"]


def maps(key: PRNGKeyArray, length: int, width: int) -> dict[str, Params]:
    """The networks of keys and of values."""
    keys = jax.random.split(key, 4)
    return {
        name: {
            "place": jnp.zeros((length, width)),
            "w_1": (length * width) ** -0.5 * jax.random.normal(first, (length, width, width)),
            "w_2": width**-0.5 * jax.random.normal(second, (width, width)),
        }
        for name, first, second in zip(("key", "value"), keys[:2], keys[2:], strict=True)
    }


def of_keys(
    length: int, stride: int, params: Params, k: Array, v: Array, shown: Bool[Array, "b s"]
) -> Summaries:
    """All summaries that fit; where none does, one of padding, which ends beyond all positions.

    Hidden positions add nothing; one that is seen and not finite makes NaN of its summaries.

    Raises:
      ValueError: values are wider than keys.
    """
    if v.shape[-1] > k.shape[-1]:
        raise ValueError(
            "Values that are summed up may be as wide as keys at most, for which the maps are "
            f"made; got {v.shape[-1]} and {k.shape[-1]}. Use wider heads, or narrower values."
        )
    count = max((k.shape[1] - length) // stride + 1, 1)

    def windows(x: Array) -> Shaped[Array, "b n l *rest"]:
        more = max((count - 1) * stride + length - x.shape[1], 0)
        x = jnp.pad(x, ((0, 0), (0, more), *((0, 0) for _ in x.shape[2:])))
        return x[:, jnp.arange(count)[:, None] * stride + jnp.arange(length)[None]]

    def compressed(x: Array, own: Params) -> Float[Array, "b n g d"]:
        place, w_1, w_2 = (own[name].astype(x.dtype) for name in ("place", "w_1", "w_2"))
        width, fine = x.shape[-1], jnp.isfinite(x).all((2, 3))
        taken = (shown & fine)[..., None, None]
        added = jnp.where(windows(taken), place[None, None, :, None, :width], 0)
        wide = windows(jnp.where(taken, x, 0)) + added
        hidden = jax.nn.gelu(jnp.einsum("bnlgd,ldm->bngm", wide, w_1[:, :width]))
        spoiled = windows(shown & ~fine).any(2)[..., None, None]
        return jnp.where(spoiled, jnp.nan, hidden @ w_2[:, :width])

    some = windows(shown).any(2)
    return Summaries(compressed(k, params["key"]), compressed(v, params["value"]), some)


def by_stride(shares: Float[Array, "*b n"], reach: int, count: int) -> Float[Array, "*b m"]:
    """The shares of summaries, each of `reach` strides, added up over the strides they span.

    Args:
      count: strides to give; what lies beyond the last summary has 0.
    """
    ways = [(first, reach - 1 - first) for first in range(reach)]
    rest = ((0, 0),) * (shares.ndim - 1)
    total: Any = sum(jnp.pad(shares, (*rest, way)) for way in ways)
    total = total[..., :count]
    return jnp.pad(total, (*rest, (0, count - total.shape[-1])))
