"""Transformer-XL: sinusoidal distances that the query reads, and a bias for each of its terms.

    score[i, j] = ((q_i + u) . k_j + (q_i + v) . W R_{i - j}) / sqrt(d)
    R_n[2c] = sin(n / 10000^(2c / d)),  R_n[2c + 1] = cos(n / 10000^(2c / d))

Each head has its own u, v and W. R is as wide as a head here; in the paper it is as wide as the
model. The segments that the paper keeps of the past are keys at earlier positions: give
`query_offset`. Both ways of a sequence are seen as well, as in XLNet.

Reference: Dai et al. 2019, arXiv:1901.02860, section 3.3.
Cost: t s (2 d + e) + t d^2 products a head.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core import checks, positions, scores
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Options, Output, Params, Variant
from attention_jax.engine.api import attention
from attention_jax.variants._builders.options import cast

ALIASES = ("xl",)


def transformer_xl() -> Variant:
    """The dot product of contents, and that of the query with the distance; widths are even."""
    return Variant(init=_init, attend=_attend)


def _init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
    del kv_heads
    of_u, of_v, of_w = jax.random.split(key, 3)
    return {
        "u": 0.02 * jax.random.normal(of_u, (heads, head_width)),
        "v": 0.02 * jax.random.normal(of_v, (heads, head_width)),
        "w": head_width**-0.5 * jax.random.normal(of_w, (heads, head_width, head_width)),
    }


def _attend(params: Params, q: Array, k: Array, v: Array, options: Options = Options()) -> Output:
    checks.attention_arrays(q, k, v)
    dtype = wide_dtype(q, k, v)
    params = {name: x.astype(dtype) for name, x in params.items()}
    at_q = options.query_offset + jnp.arange(q.shape[1])
    at_k = options.key_offset + jnp.arange(k.shape[1])
    query = _query(params, q.astype(dtype), at_q) * q.shape[-1] ** -0.5
    places = positions.sinusoidal(at_k, k.shape[-1]).astype(dtype)[None, :, None]
    key = jnp.concatenate([k.astype(dtype), jnp.broadcast_to(places, k.shape)], axis=-1)
    out = attention(query, key, v, score=scores.dot, **options._asdict())
    return cast(out, q.dtype)


def _query(params: Params, q: Float[Array, "b t h d"], at: Array) -> Float[Array, "b t h 2*d"]:
    """Queries for keys that are followed by the sines and cosines of their positions.

    sin(i - j) and cos(i - j) are sums of products of one number of i and one of j, so the second
    term is a dot product: of y_i = W^T (q_i + v), turned by its position, with those of j.

        y . R_{i - j} = sum_c odd_c cos(j / ...) - even_c sin(j / ...),  (even, odd) = turned y
    """
    # A query that is not finite makes NaN of the first term already.
    finite = jnp.where(jnp.isfinite(q), q, 0)
    asked = jnp.einsum("bthd,hdc->bthc", finite + params["v"][None, None], params["w"])
    signs = jnp.where(jnp.arange(q.shape[-1]) % 2 == 0, -1, 1).astype(q.dtype)
    turned = positions.rope(asked, at) * signs[None, None, None]
    return jnp.concatenate([q + params["u"][None, None], turned], axis=-1)
