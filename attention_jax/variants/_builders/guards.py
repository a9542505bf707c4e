"""Guards of every variant: empty calls give empty or zero outputs, sizes are checked."""

import inspect
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from attention_jax.core import checks
from attention_jax.core.types import AnyArray, Options, Output, Params, Variant
from attention_jax.core.values import Made, bind
from attention_jax.variants._builders.meshes import apart


def guarded(variant: Variant) -> Variant:
    """The variant, of which no function computes with empty arrays, and which takes NumPy's."""
    if isinstance(variant.attend, Made):  # from the registry, which guarded it
        return variant
    given = inspect.signature(variant.attend).parameters
    alone = all(x in given and given[x].default is None for x in ("k", "v"))
    attend = bind(_attend_alone if alone else _attend, bind(apart, variant.attend))
    return variant._replace(init=bind(_init, variant.init), attend=attend)


def _init(
    init: Callable[..., Params], key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int
) -> Params:
    sizes = {"heads": heads, "kv_heads": kv_heads, "head_width": head_width}
    for name, size in sizes.items():
        checks.positive(name, size)
    return init(key, **sizes)


def _attend(
    attend: Callable[..., Output],
    params: Params,
    q: AnyArray,
    k: AnyArray,
    v: AnyArray,
    options: Options = Options(),
) -> Output:
    """`attend`, or zeros where there is no query, no key, no sequence or no width of values."""
    if not isinstance(options, Options):
        raise ValueError(
            f"`options` must be an `Options`; got {type(options).__name__}. "
            "Write `Options(mask=...)`."
        )
    own: list[Array] = [jnp.asarray(x) if isinstance(x, np.ndarray) else x for x in (q, k, v)]
    query, key, value = own
    checks.attention_arrays(query, key, value)
    out = *query.shape[:3], value.shape[-1]
    if not options.return_lse and not (key.shape[1] and np.prod(out)):
        return jnp.zeros(out, query.dtype)
    return attend(params, query, key, value, options)


def _attend_alone(
    attend: Callable[..., Output],
    params: Params,
    q: AnyArray,
    k: AnyArray | None = None,
    v: AnyArray | None = None,
    options: Options = Options(),
) -> Output:
    """`_attend`, where the keys default to the queries and the values to the keys."""
    k = q if k is None else k
    return _attend(attend, params, q, k, k if v is None else v, options)
