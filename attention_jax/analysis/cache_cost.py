"""Bytes that decoding holds for a layer, and by how many they grow with each token.

    cache_cost(variants.get("gated_delta"), 8192).bytes_a_token     0: its state does not grow

They are read off the shapes of the cache that a layer makes: the variant's own state where it has
one, keys and values where not. Nothing is computed, and nothing is estimated. Of layers that share
keys and values each has its part of those that the first of them keeps.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from attention_jax.core import checks, plain_types
from attention_jax.core.plain_types import typed_calls
from attention_jax.core.types import Variant
from attention_jax.core.wording import one_line
from attention_jax.nn.attention import MultiHeadAttention
from attention_jax.nn.heads import Heads

LENGTHS = (1024, 8192, 65_536)
HEADS, WIDTH = 8, 64
LAST = 64  # tokens whose mean is taken: states of blocks grow now and then


class CacheCost(NamedTuple):
    """Bytes of the cache of a layer.

    Attributes:
      role: "causal" where tokens are those read and written so far, "cross" where they are those
        of another sequence.
      bytes: in all.
      bytes_a_token: by how many they grow, as the mean of the last tokens, rounded up; 0 for a
        state that does not grow.
    """

    role: str
    bytes: int
    bytes_a_token: int


@typed_calls
def cache_cost(
    variant: Variant,
    length: int,
    *,
    batch: int = 1,
    heads: int = HEADS,
    kv_heads: int | None = None,
    head_width: int = WIDTH,
    dtype: DTypeLike = jnp.float32,
    kv_sharing: int = 1,
) -> CacheCost:
    """The bytes of a layer's cache that has room for `length` tokens.

    Args:
      kv_heads: key and value heads; None for as many as `heads`. Variants such as `multi_query`
        share heads in themselves, after a layer has kept its own.
      dtype: of the layer. States are in float32 at least.
      kv_sharing: self-attentions in a group, of which the first alone has a cache, as of
        `TransformerConfig`; the cost is the mean of a layer, rounded up to bytes.

    Raises:
      ValueError: the variant serves neither where a sequence is seen up to each query nor between
        two, so that nothing is decoded; it takes no such length or sizes; or it keeps a state in
        place of keys and values, which layers cannot share.
    """
    checks.positive("length", length)
    checks.positive("kv_sharing", kv_sharing)
    plain_types.sizes(batch=batch, heads=heads, head_width=head_width)
    role = _role(variant, kv_sharing)
    group = [Heads(heads, kv_heads, shared_kv=n > 0) for n in range(min(kv_sharing, 2))]
    layers = [_layer_of(variant, own, head_width, dtype) for own in group]

    def size(length: int) -> int:
        own, *others = (_size(make, role, batch, length) for make in layers)
        return own + (kv_sharing - 1) * sum(others)  # all that share are alike

    tokens = max(min(LAST, length // 2), 1)
    whole, shorter = size(length), size(length - tokens)
    grown = -(-(whole - shorter) // (tokens * kv_sharing))
    return CacheCost(role, -(-whole // kv_sharing), grown)


def _role(variant: Variant, kv_sharing: int) -> str:
    """Where a variant decodes.

    Raises:
      ValueError: nowhere; or not where layers share keys.
    """
    role = next((x for x in ("causal", "cross") if x in variant.roles), None)
    if role is None:
        raise ValueError(
            "`variant` must look back or at another sequence, to have a cache; got one that sees a "
            "whole sequence at once. Nothing is decoded by it."
        )
    if kv_sharing > 1 and role != "causal":
        raise ValueError(
            "`kv_sharing` must be 1 for a variant that looks at another sequence alone, for layers "
            f"share those of self-attention; got {kv_sharing}. Leave it out."
        )
    return role


def _layer_of(
    variant: Variant, heads: Heads, head_width: int, dtype: DTypeLike
) -> Callable[[], MultiHeadAttention]:
    width = heads.heads * head_width
    return lambda: MultiHeadAttention(
        width, heads=heads, variant=variant, dtype=dtype, rngs=nnx.Rngs(0)
    )


def _size(make: Callable[[], MultiHeadAttention], role: str, batch: int, length: int) -> int:
    """The bytes of a layer's cache."""

    def cache() -> Any:
        layer = make()
        if role == "causal":
            return layer.init_cache(batch, length)
        width = layer.heads * layer.head_width
        return layer.init_cross_cache(jnp.zeros((batch, length, width), layer.dtype))

    return _bytes(jax.eval_shape(cache))


def _bytes(tree: Any) -> int:
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


@typed_calls
def lines(variant: Variant) -> Iterator[str]:
    """The cost at each of `LENGTHS` as text; or a line that says why there is none."""
    try:
        found = cache_cost(variant, LENGTHS[0])
    except Exception as error:  # whatever a person's own variant raises
        yield f"Cache of a layer: {one_line(error)}"
        return
    what = "tokens" if found.role == "causal" else "tokens of the other sequence"
    yield f"Cache of a layer, {HEADS} heads of width {WIDTH} in float32, by {what}:"
    for length in LENGTHS:
        try:
            own = cache_cost(variant, length)
        except Exception as error:
            yield f"  {length:>6,}: {one_line(error)}"
            continue
        yield f"  {length:>6,}: {own.bytes:>13,} bytes, of which a token {own.bytes_a_token:,}"
