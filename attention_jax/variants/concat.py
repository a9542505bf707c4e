"""Concat attention: the score is a network of one hidden layer over query and key together.

    score = v . tanh(W [q; k])

What additive attention computes, with both of its matrices in one. The network is shared by all
heads; in a transformer each head has its own projections before.

Reference: Luong et al. 2015, arXiv:1508.04025, section 3.1 (concat).
Cost: (t + s) d a + t s (a tanh + e) a head, for a hidden layer of width a.
"""

from collections.abc import Callable

import jax
from jaxtyping import Array, PRNGKeyArray

from attention_jax.core import checks, scores
from attention_jax.core.types import Variant
from attention_jax.variants._builders.pair import from_score


def concat(*, width: int | None = None) -> Variant:
    """The score of a hidden layer over both vectors.

    Args:
      width: of the hidden layer; None for that of the heads.
    """
    if width is not None:
        checks.positive("width", width)
    return from_score(lambda params: scores.concat(**params), _init(width))


def _init(width: int | None) -> Callable[..., dict[str, Array]]:
    def init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
        del heads, kv_heads
        hidden, both = width or head_width, 2 * head_width
        key_w, key_v = jax.random.split(key)
        return {
            "w": both**-0.5 * jax.random.normal(key_w, (hidden, both)),
            "v": hidden**-0.5 * jax.random.normal(key_v, (hidden,)),
        }

    return init
