"""Additive attention: the score is a network of one hidden layer.

    score = w . tanh(W_q q + W_k k)

The network is shared by all heads; in a transformer each head has its own projections before.

Reference: Bahdanau et al. 2014, arXiv:1409.0473, appendix A.1.2.
Cost: (t + s) d a + t s (a tanh + e) a head, for a hidden layer of width a.
"""

from collections.abc import Callable

import jax
from jaxtyping import Array, PRNGKeyArray

from attention_jax.core import checks, scores
from attention_jax.core.types import Variant
from attention_jax.variants._builders.pair import from_score

ALIASES = ("bahdanau",)


def additive(*, width: int | None = None) -> Variant:
    """The score of a hidden layer.

    Args:
      width: of the hidden layer; None for that of the heads.
    """
    if width is not None:
        checks.positive("width", width)
    return from_score(lambda params: scores.additive(**params), _init(width))


def _init(width: int | None) -> Callable[..., dict[str, Array]]:
    def init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
        del heads, kv_heads
        hidden = width or head_width
        key_q, key_k, key_w = jax.random.split(key, 3)
        # The hidden layer adds two products, so each starts with half the variance.
        project = jax.nn.initializers.variance_scaling(
            0.5, "fan_in", "normal", in_axis=1, out_axis=0
        )
        return {
            "w_q": project(key_q, (hidden, head_width)),
            "w_k": project(key_k, (hidden, head_width)),
            "w": jax.random.normal(key_w, (hidden,)) * hidden**-0.5,
        }

    return init
