"""Variants in Flax's own layer: what queries see from where, and weights to sow."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from attention_jax import variants
from attention_jax.core import checks, masks
from attention_jax.core.types import Options, Params, Variant

# A weighted sum may differ from the output by rounding, as a share of the largest entry.
ROUNDING = {2: 0.05, 4: 1e-4, 8: 1e-9}


def attention_function(variant: Variant | str, params: Params = None) -> Callable[..., Array]:
    """A variant as `attention_fn` of `flax.nnx.MultiHeadAttention`.

    Flax hands on its mask as an array and no position. With `decode=True` that mask shows the keys
    up to the query, so the query stands at the last of them; `input_positions` of the layer's call
    say otherwise. A variant that needs its own state to decode refuses. With `sow_weights=True` the
    weights are sown as Flax does, before dropout: NaN in a head whose output is no sum of values.

    Args:
      variant: a Variant, or a text that `variants.resolve` takes.
      params: what `variant.init` returned; None where nothing is learned.

    Raises:
      ValueError: when called with `broadcast_dropout`: every pair is dropped by itself here; or
        with `input_positions` that do not count up by 1, alike in all sequences.

    >>> layer = nnx.MultiHeadAttention(
    ...     num_heads=2, in_features=8, decode=False, rngs=nnx.Rngs(0),
    ...     attention_fn=attention_function("alibi"),
    ... )
    >>> layer(jnp.ones((1, 5, 8))).shape
    (1, 5, 8)
    """
    own, params = variants.resolve(variant, argument="variant"), {} if params is None else params

    def attend(
        query: Float[Array, "*b t h d"],
        key: Float[Array, "*b s g d"],
        value: Float[Array, "*b s g e"],
        *,
        mask: Array | None = None,
        dropout_rng: Any = None,
        dropout_rate: float = 0.0,
        broadcast_dropout: bool = True,
        deterministic: bool = False,
        is_causal: bool = False,
        module: nnx.Module | None = None,  # where to sow weights
        input_positions: Array | None = None,
        **unused: Any,  # dtype, precision
    ) -> Float[Array, "*b t h e"]:
        del unused
        rate = 0.0 if deterministic else rate_of(dropout_rate, broadcast_dropout)
        options = options_of(own, query, key, mask, input_positions, causal=is_causal)
        batch = query.shape[:-3]
        q, k, v = (x.reshape(-1, *x.shape[-3:]) for x in (query, key, value))
        if module is not None:
            sow_weights(module, lambda x: own.attend(params, q, k, x, options), v, batch)
        if rate > 0:
            options = options._replace(dropout_rate=rate, dropout_key=dropout_rng)
        out = own.attend(params, q, k, v, options)
        return out.reshape(*batch, *out.shape[1:])

    return attend


def options_of(
    variant: Variant,
    query: Float[Array, "*b t h d"],
    key: Float[Array, "*b s g d"],
    mask: Array | None,
    input_positions: Array | None,
    *,
    causal: bool,
) -> Options:
    """The mask and the offsets of a call."""
    at = offsets(variant, query, key, mask, input_positions)
    # What only looks back must be told so; in decoding Flax's mask means the same.
    decodes = at[0] is not at[1] and variant.roles == ("causal",)
    seen = masks.causal if causal or decodes else None
    if mask is not None:
        whole = jnp.broadcast_to(mask, (*query.shape[:-3], *mask.shape[-3:])) != 0
        seen = masks.both(seen, masks.from_array(whole.reshape(-1, *mask.shape[-3:])))
    return Options(seen, *at)


def offsets(
    variant: Variant,
    query: Float[Array, "*b t h d"],
    key: Float[Array, "*b s g d"],
    mask: Array | None,
    input_positions: Array | None,
) -> tuple[int | Array, int | Array]:
    """Positions of the first query and the first key.

    In decoding, Flax's layer hands on one query, its whole cache, and a mask that shows the keys
    up to that query: the last of them is the query's own. `input_positions` say it outright.

    Args:
      input_positions: `[*b t]`, one after another and alike in all sequences.

    Raises:
      ValueError: they are known not to be.
    """
    t, s = query.shape[-3], key.shape[-3]
    if input_positions is not None:
        first = _first_of(input_positions, t)
        return first, first if t == s else 0
    goes_by_position = "causal" in variant.roles or "bidirectional" in variant.roles
    if mask is None or t != 1 or s == 1 or mask.shape[-2:] != (1, s) or not goes_by_position:
        return 0, 0
    shown = (mask != 0).reshape(-1, s).any(0)
    last = jnp.where(shown, jnp.arange(s, dtype=jnp.int32), 0).max()
    return (last if isinstance(last, jax.core.Tracer) else int(last)), 0


def rate_of(rate: float, broadcast: bool) -> float:
    """The rate of dropout.

    Raises:
      ValueError: pairs are to be dropped in all sequences alike, as is Flax's default.
    """
    if rate > 0 and broadcast:
        raise ValueError(
            "`broadcast_dropout` must be False: a pair is dropped by itself, not all of a "
            "batch alike; got True. Give it to nnx.MultiHeadAttention."
        )
    return rate


def _first_of(input_positions: Array, length: int) -> int | Array:
    if input_positions.ndim == 0 or input_positions.shape[-1] != length:
        raise ValueError(
            f"`input_positions` must hold a position for each of {length} queries; got shape "
            f"{tuple(input_positions.shape)}."
        )
    first = input_positions.reshape(-1)[0]
    if isinstance(first, jax.core.Tracer):
        return first
    rows = np.asarray(input_positions).reshape(-1, length)
    if (rows != int(first) + np.arange(length)[None]).any():
        raise ValueError(
            "`input_positions` must count up by 1, alike in all sequences, for a variant knows one "
            f"offset; got {rows[0].tolist()} in the first. Leave them out, or use `jax.vmap`."
        )
    return int(first)


def sow_weights(
    module: nnx.Module,
    attend: Callable[[Array], Float[Array, "b t h e"]],
    v: Float[Array, "b s g e"],
    batch: tuple[int, ...],
) -> None:
    """Sows the weights `[*batch h t s]` into `nnx.Intermediate`, as Flax's own attention does.

    They are what the output takes of each key: `attend` of unit vectors for values. Where a head's
    output is no such sum of the values, its weights are NaN.

    Args:
      attend: of values, without dropout.
    """
    weights, rest = _of_units(attend, v), attend(jnp.zeros_like(v)).swapaxes(1, 2)
    out = attend(v).swapaxes(1, 2).astype(jnp.float32)
    total = jnp.einsum("bhtgs,bsge->bhte", weights, v.astype(jnp.float32)) + rest
    error = jnp.abs(total - out).max((2, 3), initial=0)
    size = jnp.abs(out).max((2, 3), initial=0)
    exact = error <= ROUNDING[v.dtype.itemsize] * jnp.where(size > 0, size, 1)
    shown = jnp.where(exact[:, :, None, None], weights.sum(3), jnp.nan).astype(v.dtype)
    module.sow(nnx.Intermediate, "attention_weights", shown.reshape(*batch, *shown.shape[1:]))


def _of_units(attend: Callable[[Array], Array], v: Array) -> Float[Array, "b h t g s"]:
    """As many unit vectors at once as a value has entries; one value head after another."""
    _, s, g, e = v.shape
    checks.positive("width of a value", e)
    rest = attend(jnp.zeros_like(v)).swapaxes(1, 2)

    def unit(head_and_first: tuple[Array, Array]) -> Array:
        head, first = head_and_first
        units = (jnp.arange(s)[:, None] == first + jnp.arange(e)[None]).astype(v.dtype)
        own = (jnp.arange(g) == head).astype(v.dtype)
        units = units[None, :, None] * own[None, None, :, None]
        return attend(jnp.broadcast_to(units, v.shape)).swapaxes(1, 2) - rest

    heads, firsts = jnp.meshgrid(jnp.arange(g), jnp.arange(0, s, e), indexing="ij")
    blocks = jax.lax.map(unit, (heads.ravel(), firsts.ravel()))
    blocks = jnp.moveaxis(blocks.reshape(g, -1, *blocks.shape[1:]), (0, 1), (-3, -2))
    return blocks.reshape(*blocks.shape[:4], -1)[..., :s].astype(jnp.float32)
