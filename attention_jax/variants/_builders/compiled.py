"""Passes of variants as one compiled program, also where they are called outside `jax.jit`.

Operation by operation such a pass would compile its loops anew at every call, show what is not
finite between its operations to `jax_debug_infs`, and send each of its constants to the device.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array

from attention_jax.core import values
from attention_jax.core.types import Options, Params, State

Attend = Callable[..., Any]  # (params, q, k, v, options), and features of those that take them
Extend = Callable[..., tuple[State, Array]]  # (params, state, q, k, v, visible), and features
MOST_KEPT = 64
MOVING = ("query_offset", "key_offset", "dropout_key")  # options that may be arrays
# Written out while the caller is traced; before JAX 0.11 that was what True meant.
EARLY: Any = getattr(getattr(jax, "Inline", None), "JAX_EARLY", True)


def compiled(attend: Attend) -> Attend:
    """The same pass, compiled once for options that are equal.

    A mask of a user's own may read what changes, so with one it is compiled at every call.
    """

    def made(fixed: Options, shared: bool) -> Callable[..., Any]:
        def run(params: Params, qkv: tuple[Array, ...], at: dict[str, Any], more: Any) -> Any:
            # One array for both positions shows that queries and keys are aligned.
            both = {"key_offset": at["query_offset"]} if shared else {}
            return attend(params, *qkv, fixed._replace(**both, **at), **more)

        return jax.jit(run, inline=EARLY)

    kept: Any = functools.lru_cache(maxsize=MOST_KEPT)(made)

    @functools.wraps(attend)
    def whole(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options(), **more: Any
    ) -> Any:
        at = {name: getattr(options, name) for name in MOVING}
        at = {name: x for name, x in at.items() if x is not None and not isinstance(x, int)}
        still: dict[str, Any] = dict.fromkeys(at, 0)
        fixed = options._replace(**still)
        shared = options.query_offset is options.key_offset and "key_offset" in at
        if shared:
            del at["key_offset"]
        program = (kept if values.is_settled(fixed) else made)(fixed, shared)
        return program(params, (q, k, v), at, more)

    return whole


def compiled_extension(extend: Extend) -> Extend:
    """The same for `(params, state, q, k, v, ...) -> (state, out)`, which has no options."""
    return jax.jit(extend, inline=EARLY)
