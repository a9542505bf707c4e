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
    features: PyTree = None,
) -> Output:
    """`attend` of a variant, that loops and reshapes as on one device whatever mesh there is."""
    if not partition.is_typed((q, k, v, *jax.tree.leaves((params, features)))):
        return called(attend, params, q, k, v, options, features)
    arrays, rebuild = lifted(params, q, k, v, options, features)
    return partition.apart(lambda arrays: called(attend, *rebuild(arrays)), arrays, q)


def called(attend: Callable[..., Output], *call: PyTree) -> Output:
    """`attend` of the arguments of a call, the last of which are features, or None."""
    *own, features = call
    return attend(*own) if features is None else attend(*own, features=features)


# What a variant attends with: `(params, q, k, v, options, features)`.
Arguments = tuple[Params, Array, Array, Array, Options, PyTree]


def lifted(
    params: Params, q: Array, k: Array, v: Array, options: Options, features: PyTree = None
) -> tuple[PyTree, Callable[[PyTree], Arguments]]:
    """All arrays of a call, and the call as a function of them.

    The first are `(q, k, v, features)`, which follow the sequence.
    """
    with partition.unchecked():
        conjuncts = masks.conjuncts(options.mask)
        programs = (checks.mask_function(partition.untyped(x)) for x in conjuncts)
        mask = lifting.lift_mask(options.mask, programs)
    offsets = {"query_offset": options.query_offset, "key_offset": options.key_offset}
    starts = {name: x for name, x in offsets.items() if isinstance(x, jax.Array)}
    # One array for both shows that queries and keys are aligned.
    shared = len(starts) == 2 and options.query_offset is options.key_offset

    def rebuilt(arrays: PyTree) -> Arguments:
        (*qkv, own), params, captured, starts, key = arrays
        starts = starts | ({"key_offset": starts["query_offset"]} if shared else {})
        changed = options._replace(mask=mask.bound(captured), dropout_key=key, **starts)
        return params, *qkv, changed, own

    return ((q, k, v, features), params, mask.arrays, starts, options.dropout_key), rebuilt
