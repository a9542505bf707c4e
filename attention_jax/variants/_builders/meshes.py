"""The door of a variant: no mesh types its arrays, as `jax.shard_map` and explicit axes do."""

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
    if not partition.is_typed((q, k, v, *jax.tree.leaves(params))):
        return attend(params, q, k, v, options)
    with partition.unchecked():
        conjuncts = masks.conjuncts(options.mask)
        programs = (checks.mask_function(partition.untyped(x)) for x in conjuncts)
        mask = lifting.lift_mask(options.mask, programs)
    offsets = {"query_offset": options.query_offset, "key_offset": options.key_offset}
    starts = {name: x for name, x in offsets.items() if isinstance(x, jax.Array)}

    def rebuilt(arrays: PyTree) -> Output:
        params, qkv, captured, starts, key = arrays
        own = options._replace(mask=mask.bound(captured), dropout_key=key, **starts)
        return attend(params, *qkv, own)

    arrays = params, (q, k, v), mask.arrays, starts, options.dropout_key
    return partition.apart(rebuilt, arrays, q)
