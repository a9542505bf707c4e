"""Time that decoding takes for a token as the text before it grows, measured here and now.

    token_time(variants.get("gated_delta"), 8192)     seconds: its state does not grow

What a token needs of a cache is in `cache_cost`.
"""

import functools
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from attention_jax.analysis.cache_cost import HEADS, LENGTHS, WIDTH
from attention_jax.analysis.call_times import call_times
from attention_jax.core import checks
from attention_jax.core.plain_types import typed_calls
from attention_jax.core.types import Variant
from attention_jax.core.wording import one_line
from attention_jax.nn.attention import MultiHeadAttention

STEPS, REPEATS = 16, 5  # tokens of a call, and calls that count


@typed_calls
def token_time(
    variant: Variant,
    length: int,
    *,
    heads: int = HEADS,
    head_width: int = WIDTH,
    repeats: int = REPEATS,
) -> float:
    """The median seconds of a token of one layer, after `length` tokens but a few.

    Args:
      repeats: calls of `STEPS` tokens that count, after one that compiles.

    Raises:
      ValueError: the variant does not look back; it takes no such length or sizes; or the length is
        below `STEPS`.
    """
    checks.positive("repeats", repeats)
    call = reads(variant, length, heads=heads, head_width=head_width)
    return statistics.median(call_times(call, repeats)) / STEPS


@typed_calls
def reads(
    variant: Variant, length: int, *, heads: int = HEADS, head_width: int = WIDTH
) -> Callable[[], Array]:
    """A call that reads the last `STEPS` tokens of a text of this length, by a compiled program.

    The cache has room for the text, and is changed in place.
    """
    checks.at_most("STEPS", STEPS, "length", length)
    if "causal" not in variant.roles:
        raise ValueError(
            "`variant` must look back to read a text token by token; got one for "
            f"{' and '.join(variant.roles)}. `cache_cost` tells what its cache holds."
        )
    graphdef, params = _layer(variant, heads, head_width)
    x = jax.random.normal(jax.random.key(1), (STEPS, 1, 1, heads * head_width))
    first = length - STEPS

    @functools.partial(jax.jit, donate_argnums=1)
    def read(params: Any, cache: Any, x: Array) -> tuple[Any, Array]:
        layer = nnx.merge(graphdef, params)

        def step(cache: Any, own: tuple[Array, Array]) -> tuple[Any, Array]:
            return layer.decode_step(own[0], cache, own[1])

        at = first + jnp.arange(STEPS, dtype=jnp.int32)
        return jax.lax.scan(step, cache, (x, at))

    # Copies, for keys and values begin as one array, which cannot be given away twice.
    empty = nnx.merge(graphdef, params).init_cache(1, length)
    held = [_at(jax.tree.map(jnp.array, empty), first)]

    def call() -> Array:
        cache, out = read(params, held[0], x)
        held[0] = _at(cache, first)
        return out

    return call


def _layer(variant: Variant, heads: int, head_width: int) -> tuple[nnx.GraphDef, Any]:
    def build() -> MultiHeadAttention:
        width = heads * head_width
        return MultiHeadAttention(width, heads=heads, variant=variant, rngs=nnx.Rngs(0))

    graphdef, _ = nnx.split(nnx.eval_shape(build))
    return graphdef, jax.jit(lambda: nnx.split(build())[1])()


def _at(cache: Any, position: int) -> Any:
    """A cache whose next position is this one, where it counts positions."""
    whole = lambda leaf: jnp.issubdtype(leaf.dtype, jnp.integer)  # noqa: E731
    return jax.tree.map(lambda x: jnp.full_like(x, position) if whole(x) else x, cache)


@typed_calls
def lines(variant: Variant) -> Iterator[str]:
    """The time at each of `cache_cost.LENGTHS` as text, or why there is none."""
    yield f"Time of a token of such a layer, on this {jax.default_backend()}, after so many tokens:"
    for length in LENGTHS:
        try:
            found = f"{1e6 * token_time(variant, length):>13,.1f} microseconds"
        except Exception as error:  # whatever a person's own variant raises
            found = one_line(error)
        yield f"  {length:>6,}: {found}"
