"""LASER: attention to the exponentials of values, and the logarithm of what it reads.

    out_i = log(sum_j softmax_j(q_i . k_j / sqrt(d)) exp(v_j))

So a key with a small weight still gets a gradient where its value is large. Values are exponents
here, and may be large: they are taken relative to the largest of their key, which moves to the
logits, and comes out of the difference of two log-sum-exps; the paper takes the largest of each
channel, those that the mask hides included. Channels that are 87 below that of their key count as
nothing, and what dropout leaves nothing of is 0.

Reference: Duvvuri & Dhillon 2024, arXiv:2411.03493.
Cost: t s (2 d + e) products a head.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from attention_jax.core import scores
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import ROLES, Options, Output, Params, Variant, no_parameters
from attention_jax.engine.api import attention


def laser() -> Variant:
    """The logarithm of a mean of exponentials."""
    return Variant(init=no_parameters, attend=_attend, roles=ROLES, divides=True)


def _attend(params: Params, q: Array, k: Array, v: Array, options: Options = Options()) -> Output:
    del params
    dtype = q.dtype
    q, k, v = (x.astype(wide_dtype(q, k, v)) for x in (q, k, v))
    largest = jax.lax.stop_gradient(v.max(-1, keepdims=True))
    # One more channel of queries and keys adds it to the logits.
    scaled = q * q.shape[-1] ** -0.5
    raised_q = jnp.concatenate([scaled, jnp.ones_like(q[..., :1])], axis=-1)
    raised_k = jnp.concatenate([k, largest], axis=-1)
    own = options._replace(return_lse=True)
    sums = own._replace(dropout_rate=0.0, dropout_key=None)
    read, raised = attention(
        raised_q, raised_k, jnp.exp(v - largest), score=scores.dot, **own._asdict()
    )
    _, total = attention(scaled, k, v[..., :1], score=scores.dot, **sums._asdict())
    blind = (total == -jnp.inf)[..., None]
    nothing = blind | (read == 0)
    # The inner ones keep derivatives finite where nothing is seen or read.
    moved = jnp.where(blind[..., 0], 0, raised) - jnp.where(blind[..., 0], 0, total)
    logarithm = jnp.log(jnp.where(nothing, 1, read)) + moved[..., None]
    out = jnp.where(nothing, 0, logarithm).astype(dtype)
    return (out, total) if options.return_lse else out
