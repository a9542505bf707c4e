"""Sandwich: a score falls with the dot product of sinusoidal positions; nothing is learned.

    score[h, i, j] = q_i . k_j / sqrt(d) + (p_i . p_j - p_i . p_i) / ratio_h
    p_i . p_j = sum_(c < width / 2) cos((i - j) / 10000^(2 c / width))
    ratio_h = 8 (h + 1) / heads

It falls about as the logarithm of distance, slower in later heads. Of sinusoidal embeddings this
keeps the products of two positions, and leaves out those of positions with contents. The paper has
no p_i . p_i, the same number in all rows: the softmax does not see it, and without it near keys
keep their digits.

Reference: Chi et al. 2023, arXiv:2212.10356.
Cost: t s (d + e) products and t s look-ups a head, and (t + s) width sines.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from attention_jax.core import checks
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Options, Output, Params, ScoreMod, Variant, no_parameters
from attention_jax.engine.api import attention


def sandwich(*, width: int = 128) -> Variant:
    """The scaled dot product, lowered by that of positions.

    Args:
      width: of the positions, even.
    """
    checks.positive("width", width)
    if width % 2:
        raise ValueError(
            f"`width` must be even, for a sine beside each cosine; got {width}. The nearest above "
            f"is {width + 1}."
        )

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        del params
        t, s = q.shape[1], k.shape[1]
        first = jnp.asarray(options.query_offset - options.key_offset - (s - 1), jnp.int32)
        distances = first + jnp.arange(t + s - 1, dtype=jnp.int32)
        table = _of_distances(distances.astype(wide_dtype(q, k, v)), width)
        lower = _lowered(table, first, q.shape[2])
        return attention(q, k, v, score_mod=lower, **options._asdict())

    return Variant(init=no_parameters, attend=attend)


def _of_distances(distances: Array, width: int) -> Array:
    """p_i . p_j - p_i . p_i, a sum of cos(x) - 1 = -2 sin(x / 2)^2."""
    rates = 10_000.0 ** (-np.arange(0, width, 2) / width)
    angles = distances[:, None] * jnp.asarray(rates, distances.dtype)[None]
    return -2 * (jnp.sin(angles / 2) ** 2).sum(-1)


def _lowered(table: Array, first: Array, heads: int) -> ScoreMod:
    shares = jnp.asarray(heads / (8 * np.arange(1, heads + 1)), table.dtype)

    def lower(score: Array, b: Array, h: Array, i: Array, j: Array) -> Array:
        return score + (shares[h] * table[i - j - first]).astype(score.dtype)

    return lower
