"""BigBird: attention to near, global and random blocks, for long documents.

    visible[i, j] = |I - J| <= (window - 1) / 2 or I < global_blocks or J < global_blocks
                    or drawn[h, max(I, J), min(I, J)],    I = floor(i / block), J = floor(j / block)

where each block of each head draws `random` of those before it that are neither near nor global,
one from each of as many equal parts. Gives up the other pairs; they are connected through others.

The paper draws from all blocks but the near and the global, for each block of queries, and also has
the last block global. Here a draw counts in both directions and does not depend on the length, so
that decoders see the same pattern step by step; without `masks.causal` a block sees twice `random`
others on average.

Reference: Zaheer et al. 2020, arXiv:2007.14062, section 2 (BigBird-ITC).
Cost: t block (window + 2 global_blocks + 2 random) (d + e) products a head where blocks are
skipped, which is best with blocks as large as the engine's, 256; t s (d + e) where not.
"""

import jax.numpy as jnp
from jaxtyping import Array

from attention_jax.core import checks, masks
from attention_jax.core.types import Variant
from attention_jax.variants._builders.pair import from_mask

ALIASES = ("bigbird",)


def big_bird(
    *, block: int = 64, window: int = 3, global_blocks: int = 2, random: int = 3, seed: int = 0
) -> Variant:
    """The scaled dot product over near, global and random blocks.

    Args:
      block: positions in a block.
      window: near blocks, the query's own in the middle; odd.
      global_blocks: how many of the first blocks see all and are seen by all.
      random: how many earlier blocks each block draws.
      seed: of the draws, from 0 to 2^32 - 1.
    """
    _check(block, window, global_blocks, random, seed)
    side = window // 2

    def visible(b: Array, h: Array, i: Array, j: Array) -> Array:
        earlier, later = jnp.minimum(i, j) // block, jnp.maximum(i, j) // block
        seen = (later - earlier <= side) | (earlier < global_blocks)
        # Blocks between the global and the near ones.
        others = later - side - global_blocks
        for n in range(random):
            first, end = others * n // random, others * (n + 1) // random
            place = _hash(seed, n, h, later) % jnp.maximum(end - first, 1).astype(jnp.uint32)
            drawn = global_blocks + first + place.astype(first.dtype)
            seen = seen | ((end > first) & (earlier == drawn))
        return seen

    return from_mask(masks.Mask(visible))


def _check(block: int, window: int, global_blocks: int, random: int, seed: int) -> None:
    checks.positive("block", block)
    checks.positive("window", window)
    if window % 2 == 0:
        raise ValueError(
            f"`window` must be odd, so that the query's block is in the middle; got {window}. "
            f"The nearest below is {window - 1}."
        )
    for name, value in (("global_blocks", global_blocks), ("random", random), ("seed", seed)):
        checks.natural(name, value)


def _hash(*numbers: Array | int) -> Array:
    """32 bits that look random, of whole numbers: the finalizer of MurmurHash3 after each.

    Arithmetic alone, so that it runs wherever a mask does.
    """
    bits = jnp.uint32(0)
    for number in numbers:
        bits = (bits ^ jnp.asarray(number, jnp.uint32)) + jnp.uint32(0x9E3779B9)
        for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
            bits = (bits ^ (bits >> jnp.uint32(shift))) * jnp.uint32(factor)
        bits = bits ^ (bits >> jnp.uint32(16))
    return bits
