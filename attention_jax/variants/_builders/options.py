"""Helpers around `Options`: refuse what a variant cannot honor, cast what the engine returned."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array

from attention_jax.core import checks, lookups
from attention_jax.core.types import Options, Output

_DEFAULTS = Options()


def refuse(name: str, options: Options, *fields: str) -> None:
    """Raises where one of these options is set.

    Args:
      name: of the variant.
      fields: of `Options` that the variant cannot honor.

    Raises:
      ValueError: one of the fields differs from its default.
    """
    for field in fields:
        value, default = getattr(options, field), getattr(_DEFAULTS, field)
        if value is not default and value != default:
            raise ValueError(
                f"`{field}` must be {default} for {name}, which cannot honor it; got {value!r}. "
                "Leave it out, or use scaled_dot."
            )


def refuse_hidden(name: str, visible: Array | None) -> None:
    """Refuses hidden positions, where what is kept of each is read by all that come later.

    Raises:
      ValueError: `visible` is given.
    """
    if visible is not None:
        raise ValueError(
            f"`visible` must be None for {name}, whose state holds each position, to be seen by "
            f"all later ones; got {visible.dtype}{list(visible.shape)}. Leave hidden positions out."
        )


def check_request(q: Array, k: Array, v: Array, options: Options) -> None:
    """Raises unless arrays and options are a request, which the engine has not checked yet.

    Raises:
      ValueError: an argument breaks its rule.
    """
    checks.attention_arrays(q, k, v)
    at = options.query_offset, options.key_offset
    checks.position("query_offset", at[0], q.shape[1])
    checks.position("key_offset", at[1], k.shape[1])
    lookups.check("mask", options.mask, q, k, *at)
    checks.dropout(options.dropout_rate, options.dropout_key)


def apply(change: Callable[[Array], Array], out: Output) -> Output:
    """`change` of the output; a log-sum-exp beside it stays as it is."""
    return (change(out[0]), out[1]) if isinstance(out, tuple) else change(out)


def cast(out: Output, dtype: jnp.dtype) -> Output:
    """The output in this dtype; a log-sum-exp beside it stays as it is."""
    return apply(lambda x: x.astype(dtype), out)
