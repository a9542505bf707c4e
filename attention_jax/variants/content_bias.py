"""Content bias: a bias by distance, that the layer's input at the query computes.

    score[h, i, j] = q_i . k_j / sqrt(d) + a_(h i) . B_h[i - j]    a_(h i) = A_h x_i, of width r

Keys at `reach` positions before the query and further have no bias. B starts at 0, which is the
scaled dot product. So a query may ask for the word before it, or for the start of its line, as what
it has read demands; ALiBi and T5 bias every query alike, and Shaw's vectors of distance see the
query alone. The products with B take t reach numbers a head, not t s.

Reference: https://github.com/marin-community/marin/issues/7426, July 2026; there is no paper.
Cost: t s (d + e) products and t s look-ups a head, t r (m + reach) products for the biases of an
input of width m; t reach numbers held.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core import checks
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Options, Output, Params, Variant
from attention_jax.engine.api import attention
from attention_jax.variants._builders import inputs, keywise


def content_bias(*, reach: int = 256, rank: int = 16) -> Variant:
    """The scaled dot product and a bias of distance that hangs on the query's position in x.

    Args:
      reach: distances that are told apart, from 0; Marin has 1,024.
      rank: width of a.
    """
    checks.positive("reach", reach)
    checks.positive("rank", rank)

    def init(
        key: PRNGKeyArray, *, width: int, heads: int, kv_heads: int, head_width: int
    ) -> dict[str, Array]:
        del kv_heads, head_width
        return {
            "content": inputs.linear(key, width, heads, rank),
            "distance": jnp.zeros((heads, rank, reach)),
        }

    return Variant(init, _attend, roles=("causal",), features=_features)


def _features(params: Params, x: Float[Array, "b t m"]) -> Float[Array, "b t h r"]:
    """The bias of each distance."""
    wide = x.astype(wide_dtype(x))
    content = inputs.mapped(params["content"], wide)
    return jnp.einsum("bthc,hcr->bthr", content, params["distance"].astype(wide.dtype))


def _attend(
    params: Params,
    q: Array,
    k: Array,
    v: Array,
    options: Options = Options(),
    *,
    features: Float[Array, "b t h r"],
) -> Output:
    del params
    keywise.only_causal("content_bias", keywise.is_causal(options.mask))
    beyond = jnp.zeros_like(features[..., :1])
    table = jnp.concatenate([features, beyond], axis=-1)
    last, first = features.shape[-1], options.query_offset

    def raised(score: Array, b: Array, h: Array, i: Array, j: Array) -> Array:
        return score + table[b, i - first, h, jnp.clip(i - j, 0, last)].astype(score.dtype)

    return attention(q, k, v, score_mod=raised, **options._asdict())
