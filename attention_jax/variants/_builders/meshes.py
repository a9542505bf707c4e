"""The door of a variant: no mesh types its arrays, as `jax.shard_map` and explicit axes do."""

import functools
from collections.abc import Callable

import jax
from jaxtyping import Array, PyTree

from attention_jax.core import checks, lifting, masks
from attention_jax.core.types import Options, Output, Params
from attention_jax.engine import partition


def apart(
    attend: Callable[..., Output],
    params: Params,
    q: Array,
    k: Array,
    v: Array,
    options: Options,
) -> Output:
    """`attend` of a variant, that loops and reshapes as on one device whatever mesh there is."""
    if not partition.is_typed((q, k, v)):
        return attend(params, q, k, v, options)
    with partition.unchecked():
        conjuncts = masks.conjuncts(options.mask)
        programs = [checks.mask_function(partition.untyped(x)) for x in conjuncts]
        parts = [lifting.lift(*x) for x in zip(conjuncts, programs, strict=True)]
    offsets = {"query_offset": options.query_offset, "key_offset": options.key_offset}
    starts = {name: x for name, x in offsets.items() if isinstance(x, jax.Array)}

    def rebuilt(arrays: PyTree) -> Output:
        params, qkv, captured, starts, key = arrays
        own = (x.bound(given) for x, given in zip(parts, captured, strict=True))
        mask = functools.reduce(masks.both, own, None)
        return attend(params, *qkv, options._replace(mask=mask, dropout_key=key, **starts))

    captured = [x.arrays for x in parts]
    return partition.apart(rebuilt, (params, (q, k, v), captured, starts, options.dropout_key), q)
