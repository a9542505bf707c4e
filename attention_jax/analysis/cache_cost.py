"""Bytes that decoding holds for a layer, and by how many they grow with each token.

    cache_cost(variants.get("gated_delta"), 8192).bytes_a_token     0: its state does not grow

They are read off the shapes of the cache that a layer makes: the variant's own state where it has
one, keys and values where not. Nothing is computed, and nothing is estimated.
"""

import math
from collections.abc import Iterator
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

LENGTHS = (1024, 8192, 65_536)
HEADS, WIDTH = 8, 64


class CacheCost(NamedTuple):
    """Bytes of the cache of a layer.

    Attributes:
      role: "causal" where tokens are those read and written so far, "cross" where they are those
        of another sequence.
      bytes: in all.
      bytes_a_token: of the last token; 0 for a state that does not grow.
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
) -> CacheCost:
    """The bytes of a layer's cache that has room for `length` tokens.

    Args:
      kv_heads: key and value heads; None for as many as `heads`. Variants such as `multi_query`
        share heads in themselves, after a layer has kept its own.
      dtype: of the layer. States are in float32 at least.

    Raises:
      ValueError: the variant serves neither where a sequence is seen up to each query nor between
        two, so that nothing is decoded; or it takes no such length or sizes.
    """
    checks.positive("length", length)
    plain_types.sizes(batch=batch, heads=heads, head_width=head_width)
    role = next((x for x in ("causal", "cross") if x in variant.roles), None)
    if role is None:
        raise ValueError(
            "`variant` must look back or at another sequence, to have a cache; got one that sees a "
            "whole sequence at once. Nothing is decoded by it."
        )

    def cache(length: int) -> Any:
        layer = MultiHeadAttention(
            heads * head_width,
            heads=heads,
            kv_heads=kv_heads,
            variant=variant,
            dtype=dtype,
            rngs=nnx.Rngs(0),
        )
        if role == "causal":
            return layer.init_cache(batch, length)
        return layer.init_cross_cache(jnp.zeros((batch, length, heads * head_width), layer.dtype))

    whole, shorter = (_bytes(jax.eval_shape(lambda n=n: cache(n))) for n in (length, length - 1))
    return CacheCost(role, whole, whole - shorter)


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
