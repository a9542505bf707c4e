"""Request handling of variants that accumulate keys: causal and padding masks only.

`split_mask` and `aligned` refuse what such a variant cannot honor; `prepare` and `finalize` frame
its math.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from attention_jax.core import checks, lookups, masks
from attention_jax.core.jaxprs import depends_on
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import MaskFunction, Options, State
from attention_jax.variants._builders.documents import Runs, runs_of, seen_before, torn
from attention_jax.variants._builders.options import refuse


class SplitMask(NamedTuple):
    """The parts of a mask that treats all queries alike.

    Attributes:
      causal: whether each query sees itself and what came before only.
      keys: those that are seen at all; None for all of them.
      documents: `masks.documents`, where it is one of the parts.
    """

    causal: bool
    keys: Bool[Array, "b s"] | None
    documents: MaskFunction | None = None


def split_mask(
    name: str,
    mask: MaskFunction | None,
    *,
    batch: int,
    length: int,
    offset: int | Array = 0,
    packs: bool = False,
) -> SplitMask:
    """Reads a mask as `masks.causal` and masks of keys; a variant that sums keys takes no other.

    Args:
      name: of the variant, for the error.
      mask: None, or a conjunction of `masks.causal` and masks that depend on b and j only.
      length: number of keys.
      offset: global position of the first key.
      packs: whether a causal pass may be of packed documents.

    Raises:
      ValueError: another mask.
    """
    causal, documents = is_causal(mask), None
    for part in masks.conjuncts(mask):
        _, by_h, by_i, _ = depends_on(part)
        if part == masks.causal or not (by_h or by_i):
            continue
        if packs and causal and masks.is_documents(part) and documents in (None, part):
            documents = part
        else:
            raise ValueError(
                f"{name} takes in a key once for all queries, so `mask` may be `masks.causal`, a "
                "mask that depends on b and j only, or both joined by `&`"
                f"{', and with these `masks.documents` once' if packs else ''}; got one that "
                f"depends on {'h' if by_h else 'i'}. Use `masks.keys` or `masks.lengths` for "
                "padding, or a variant that hides any pair, such as scaled_dot."
            )
    keys = seen_keys(mask, batch=batch, length=length, offset=offset)
    return SplitMask(causal, keys, documents)


def seen_keys(
    mask: MaskFunction | None, *, batch: int, length: int, offset: int | Array = 0
) -> Bool[Array, "b s"] | None:
    """The keys that no part of a mask hides from all queries alike; None for all of them."""
    visible, zero = None, jnp.int32(0)
    at_b = jnp.arange(batch, dtype=jnp.int32)
    at_j = jnp.asarray(offset, jnp.int32) + jnp.arange(length, dtype=jnp.int32)
    for part in masks.conjuncts(mask):
        _, by_h, by_i, _ = depends_on(part)
        if by_h or by_i:
            continue
        per_key = jax.vmap(lambda b, j, part=part, at=zero: part(b, at, at, j), (None, 0))
        own = jax.vmap(per_key, (0, None))(at_b, at_j)
        visible = own if visible is None else visible & own
    return visible


def is_causal(mask: MaskFunction | None) -> bool:
    """Tells whether `masks.causal` is among the masks of which a pair needs all."""
    return any(part == masks.causal for part in masks.conjuncts(mask))


def same_positions(
    queries: int, keys: int, query_offset: int | Array, key_offset: int | Array
) -> bool:
    """Tells whether queries and keys are known to stand at the same positions."""
    fixed = isinstance(query_offset, int) and isinstance(key_offset, int)
    same = query_offset is key_offset or (fixed and query_offset == key_offset)
    return queries == keys and same


def aligned(
    name: str, queries: int, keys: int, query_offset: int | Array, key_offset: int | Array
) -> None:
    """Refuses a causal pass whose queries are not the positions of its keys.

    Raises:
      ValueError: other lengths, or other offsets.
    """
    if not same_positions(queries, keys, query_offset, key_offset):
        raise ValueError(
            f"A causal pass of {name} needs the queries at the positions of the keys; got "
            f"{queries} queries from {query_offset} and {keys} keys from {key_offset}. Decode with "
            "its `start` and `step`."
        )


def inside(
    name: str, why: str, queries: int, keys: int, query_offset: int | Array, key_offset: int | Array
) -> None:
    """Refuses queries that are known to stand beyond the positions of the keys.

    Args:
      why: they must not, for the error.

    Raises:
      ValueError: the last query comes after the last key.
    """
    known = isinstance(query_offset, int) and isinstance(key_offset, int)
    if known and query_offset + queries > key_offset + keys:
        raise ValueError(
            f"The queries of {name} must stand within the positions of the keys, {why}; got "
            f"queries to {query_offset + queries - 1} and keys to {key_offset + keys - 1}. Give "
            "the keys of these positions too."
        )


def only_causal(name: str, causal: bool) -> None:
    """Refuses a request that lets a query see what comes after it."""
    if not causal:
        raise ValueError(
            f"{name} takes in one position after another, so `mask` must hold `masks.causal`; got "
            "one without. Give `masks.causal`, joined with others by `&`, or use a variant that "
            "sees both ways."
        )


def never_causal(mask: MaskFunction | None, reason: str) -> None:
    """Refuses `masks.causal`, where a variant sees all before a query reads it.

    Args:
      reason: why, for the error.
    """
    if is_causal(mask):
        raise ValueError(
            f"`mask` must not hold `masks.causal`: {reason}; got it. Use linear or another causal "
            "variant."
        )


class Prepared(NamedTuple):
    """The arrays of a request, in the dtype of the computation.

    Attributes:
      causal: whether each query sees itself and what came before only.
      q: the queries.
      k, v: 0 where hidden, and where one of the two is not finite.
      visible: the keys that are seen.
      spoiled: the visible keys that are not finite, or whose values are not.
      runs: the documents that are packed into a sequence, if any are.
    """

    causal: bool
    q: Float[Array, "b t h d"]
    k: Float[Array, "b s g d"]
    v: Float[Array, "b s g e"]
    visible: Bool[Array, "b s"]
    spoiled: Bool[Array, "b s g"]
    runs: Runs | None = None


def prepare(
    name: str,
    q: Array,
    k: Array,
    v: Array,
    options: Options,
    *,
    packs: bool = False,
) -> Prepared:
    """Checks a request to a variant that sums keys, and makes hidden keys and values 0.

    Args:
      packs: whether a causal pass may be of packed documents.

    Raises:
      ValueError: an argument breaks its rule, or asks for what sums of keys cannot do.
    """
    checks.attention_arrays(q, k, v)
    refuse(name, options, "return_lse", "implementation")
    checks.dropout(options.dropout_rate, options.dropout_key)
    if options.dropout_rate:
        raise ValueError(
            f"`dropout_rate` must be 0 for {name}, which holds no weights of pairs to drop; got "
            f"{options.dropout_rate}. Drop outputs or features in the layers around it."
        )
    at = options.query_offset, options.key_offset
    checks.position("query_offset", at[0], q.shape[1])
    checks.position("key_offset", at[1], k.shape[1])
    lookups.check("mask", options.mask, q, k, *at)
    keys = {"batch": k.shape[0], "length": k.shape[1], "offset": at[1]}
    shown = split_mask(name, options.mask, **keys, packs=packs)
    if shown.causal:
        aligned(name, q.shape[1], k.shape[1], *at)
    visible, runs = shown.keys, None
    if shown.documents is not None:
        runs = runs_of(name, shown.documents, **keys, alone=visible is None)
        inside = jnp.broadcast_to(runs.inside, k.shape[:2])
        visible = inside if visible is None else visible & inside
    got = taken(q, k, v, visible, dtype=wide_dtype(q, k, v), causal=shown.causal)
    return got._replace(runs=runs)


def taken(
    q: Array,
    k: Array,
    v: Array,
    visible: Bool[Array, "b s"] | None,
    *,
    dtype: DTypeLike,
    causal: bool = True,
) -> Prepared:
    """The arrays in a dtype of their own, hidden keys and values 0; `visible` None for all."""
    visible = jnp.ones(k.shape[:2], bool) if visible is None else visible
    fine = jnp.isfinite(k).all(-1) & jnp.isfinite(v).all(-1)
    taken = (visible[..., None] & fine)[..., None]
    k, v = (jnp.where(taken, x.astype(dtype), 0) for x in (k, v))
    spoiled = visible[..., None] & ~fine
    return Prepared(causal, q.astype(dtype), k, v, visible, spoiled)


def finalize(
    request: Prepared, out: Float[Array, "b t h e"], dtype: DTypeLike
) -> Float[Array, "b t h e"]:
    """The output in the query's dtype; NaN in rows that see a key or value that is not finite.

    And in rows of a document that goes on after another, for the state has begun anew since.
    """
    spoiled = request.spoiled
    if request.causal:
        rows = seen_before(request.runs, spoiled)
        if request.runs is not None:
            rows = rows | torn(request.runs, request.visible)[..., None]
    else:
        rows = spoiled.any(1, keepdims=True)
    rows = jnp.repeat(rows, out.shape[2] // rows.shape[2], axis=2)
    return jnp.where(rows[..., None], jnp.nan, out).astype(dtype)


def marked(request: Prepared, state: State) -> State:
    """The state after a request: NaN in heads that took in what is not finite.

    Args:
      state: arrays, of which the floating ones begin with the axes b and h.
    """
    spoiled = request.spoiled.any(1)

    def of_heads(x: Array) -> Array:
        if not jnp.issubdtype(x.dtype, jnp.floating):
            return x
        own = jnp.repeat(spoiled, x.shape[1] // spoiled.shape[1], axis=1)
        return jnp.where(own.reshape(*own.shape, *[1] * (x.ndim - 2)), jnp.nan, x)

    return jax.tree.map(of_heads, state)
