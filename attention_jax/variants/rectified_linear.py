"""Rectified linear attention (ReLA): sums weighted by ReLU, and a gated norm where softmax had one.

    z_i = sum_j max(score[i, j], 0) v_j,  score = q . k / sqrt(d)
    out_i = z_i / sqrt(mean(z_i^2) + 1e-8) sigmoid(gate z_i)

The mean is over all heads together; the gate has a number for each channel. So weights are sparse,
and a head may look at nothing; relu is the same weights over the number of keys, without a norm.
The gain of the paper's norm is left to the projection that follows. It gives up that outputs are
means of values.

Reference: Zhang et al. 2021, arXiv:2104.07012, ReLA-g, and the authors' code.
Cost: t s (d + e) products a head.
"""

import jax
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core import merging
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import ROLES, Options, Params, Variant
from attention_jax.engine.api import attention
from attention_jax.variants._builders.options import refuse

ALIASES = ("rela",)


def rectified_linear() -> Variant:
    """The rectified scaled dot product, under a gated norm of all heads."""
    return Variant(init=_init, attend=_attend, roles=ROLES)


def _attend(
    params: Params, q: Array, k: Array, v: Array, options: Options = Options()
) -> Float[Array, "b t h e"]:
    refuse("rectified_linear", options, "return_lse")
    width, most = v.shape[-1], params["gate"].shape[-1]
    if width > most:
        raise ValueError(
            f"`value` must be at most as wide as the gate of a head; got {width} and {most}. "
            "Project values to the width of a head."
        )
    # A sum of many keys in halves would lose what tells them apart.
    wide = q.astype(wide_dtype(q, k, v))
    read = attention(wide, k, v, normalizer=merging.RELU_SUM, **options._asdict())
    assert not isinstance(read, tuple)
    gate = params["gate"][:, :width].astype(wide.dtype)[None, None]
    square = (read**2).mean((-2, -1), keepdims=True)
    return (read * jax.lax.rsqrt(square + 1e-8) * jax.nn.sigmoid(gate * read)).astype(q.dtype)


def _init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
    del kv_heads
    bound = (3 / (heads * head_width)) ** 0.5
    shape = (heads, head_width)
    return {"gate": jax.random.uniform(key, shape, minval=-bound, maxval=bound)}
