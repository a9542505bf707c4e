"""Keys and values of stretches of positions, each compressed into one by a network of two layers.

K_n = W_2 gelu(sum_l W_1l (k_(n stride + l) + place_l))        l < length
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Shaped

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


def check_width(width: int, most: int) -> None:
    """Raises where values are wider than keys.

    Raises:
      ValueError: they are.
    """
    if width > most:
        raise ValueError(
            "Values that are summed up may be as wide as keys at most, for which the maps are "
            f"made; got {width} and {most}. Use wider heads, or narrower values."
        )


def count_of(length: int, stride: int, positions: int) -> int:
    """The summaries of so many positions; one of padding where none fits."""
    return max((positions - length) // stride + 1, 1)


def of_keys(
    length: int, stride: int, params: Params, k: Array, v: Array, shown: Bool[Array, "b s"]
) -> Summaries:
    """All summaries that fit; where none does, one of padding, which ends beyond all positions.

    Hidden positions add nothing; one that is seen and not finite makes NaN of its summaries.

    Raises:
      ValueError: values are wider than keys.
    """
    check_width(v.shape[-1], k.shape[-1])
    count = count_of(length, stride, k.shape[1])

    def windows(x: Array) -> Shaped[Array, "b n l *rest"]:
        more = max((count - 1) * stride + length - x.shape[1], 0)
        x = jnp.pad(x, ((0, 0), (0, more), *((0, 0) for _ in x.shape[2:])))
        return x[:, jnp.arange(count)[:, None] * stride + jnp.arange(length)[None]]

    seen = windows(shown)
    made = (compressed(params[name], windows(x), seen) for name, x in (("key", k), ("value", v)))
    return Summaries(*made, seen.any(2))


def renewed(
    length: int,
    stride: int,
    params: Params,
    arrays: Sequence[Array],
    made: Sequence[Array],
    first: Int[Array, " b"],
    new: int,
) -> Summaries:
    """All summaries, of which those are made that end among `new` positions from `first` on.

    Args:
      arrays: keys and values of all positions, the new ones among them.
      made: summaries of those before.
    """
    count = made[0].shape[1]
    # The first that ends at `first` or later, and as many as may end until the last.
    begin = jnp.maximum((first - length) // stride + 1, 0)
    numbers = begin[:, None] + jnp.arange((new - 1) // stride + 1, dtype=jnp.int32)[None]
    ends = numbers * stride + length <= (first + new)[:, None]
    places = numbers[..., None] * stride + jnp.arange(length, dtype=jnp.int32)[None, None]
    to = jnp.where(ends, numbers, count)
    found = []
    for name, x, before in zip(("key", "value"), arrays, made, strict=True):
        own = jax.vmap(lambda x, at: x.at[at].get(mode="clip"))(x, places).astype(before.dtype)
        each = compressed(params[name], own, jnp.ones(places.shape, bool))
        put = jax.vmap(lambda x, at, y: x.at[at].set(y, mode="drop"))
        found.append(put(before, to, each))
    return Summaries(*found, jnp.ones((len(first), count), bool))


def compressed(
    own: Params, windows: Float[Array, "b n l g d"], shown: Bool[Array, "b n l"]
) -> Float[Array, "b n g d"]:
    """One of each stretch of positions."""
    place, w_1, w_2 = (own[name].astype(windows.dtype) for name in ("place", "w_1", "w_2"))
    width, fine = windows.shape[-1], jnp.isfinite(windows).all((3, 4))
    taken = (shown & fine)[..., None, None]
    wide = jnp.where(taken, windows + place[None, None, :, None, :width], 0)
    hidden = jax.nn.gelu(jnp.einsum("bnlgd,ldm->bngm", wide, w_1[:, :width]))
    spoiled = (shown & ~fine).any(2)[..., None, None]
    return jnp.where(spoiled, jnp.nan, hidden @ w_2[:, :width])


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
