"""Location-based attention: the query alone scores positions.

    weight[i] = softmax over visible j of W[j] . q_i

Gives up what a key says of itself: keys play no part but for their positions and for being visible.
It also gives up sequences longer than W. Positions are those of the keys; where the query stands
does not matter. W is shared by all heads; in a transformer each head has its own projection before.

Reference: Luong et al. 2015, arXiv:1508.04025, section 3.1, equation 8.
Cost: t s (d + e) products a head.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from attention_jax.core import checks, positions, scores
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import ROLES, Options, Output, Params, Variant
from attention_jax.engine.api import attention


def location(*, max_length: int = 512) -> Variant:
    """A softmax over scores of positions.

    Args:
      max_length: of the keys; longer sequences are refused.
    """
    checks.positive("max_length", max_length)
    return Variant(init=_init(max_length), attend=_attend, roles=ROLES)


def _init(max_length: int) -> Callable[..., dict[str, Array]]:
    def init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
        del heads, kv_heads
        return {"w": head_width**-0.5 * jax.random.normal(key, (max_length, head_width))}

    return init


def _attend(params: Params, q: Array, k: Array, v: Array, options: Options = Options()) -> Output:
    checks.attention_arrays(q, k, v)
    places = positions.learned(params["w"], k.shape[1], offset=options.key_offset)
    places = places.astype(wide_dtype(q, k, v))[None, :, None]
    # The weights of a position stand where its key would.
    keys = jnp.broadcast_to(places, (*k.shape[:3], places.shape[-1]))
    return attention(q, keys, v, score=scores.dot, **options._asdict())
