"""Local attention around a position that the query predicts, and most to its middle.

    p_i = S sigmoid(v . tanh(W q_i))                    S: how many keys the query may see
    weight[i, j] = softmax over |n_j - p_i| <= distance of (q_i . k_j / sqrt(d))
                   exp(-2 (n_j - p_i)^2 / distance^2)   n_j: how many of them come before key j

Gives up what is further away, and weights that sum to 1, as the paper does. Its S is the length of
the source; counted among the visible keys it is the same, and a decoder's own sequence, of which
each query sees more, and padding anywhere have one as well. W and v are shared by all heads; they
read the query of the head, itself a linear map of the paper's state.

Reference: Luong et al. 2015, arXiv:1508.04025, section 3.2, equations 9 and 10 (local-p).
Cost: t d^2 + t s (d + e) products a head, and t s numbers held: no window is known before a run.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core import checks, normalizers
from attention_jax.core.normalizers import Normalizer
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import ROLES, Options, Output, Params, Variant
from attention_jax.engine.api import attention


def local_predictive(*, distance: int = 10) -> Variant:
    """The scaled dot product within a window that the query places.

    Args:
      distance: of the last key that is seen, on each side of the middle; twice the standard
        deviation of the bell. The default is the paper's.
    """
    checks.positive("distance", distance)

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        wide = q.astype(wide_dtype(q, k, v))
        # What is not finite makes NaN of the scores already, where something is visible.
        share = _share(params, jnp.where(jnp.isfinite(wide), wide, 0))
        return attention(q, k, v, normalizer=_bell(share, distance), **options._asdict())

    return Variant(init=_init, attend=attend, roles=ROLES)


def _init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
    del heads, kv_heads
    key_w, key_v = jax.random.split(key)
    scale = head_width**-0.5
    return {
        "w": scale * jax.random.normal(key_w, (head_width, head_width)),
        "v": scale * jax.random.normal(key_v, (head_width,)),
    }


def _share(params: Params, q: Float[Array, "b t h d"]) -> Float[Array, "b h t"]:
    """The middle of the window, from 0 for the first visible key to 1 beyond the last."""
    w, v = (params[name].astype(q.dtype) for name in ("w", "v"))
    hidden = jnp.tanh(jnp.einsum("bthd,cd->bthc", q, w))
    return jax.nn.sigmoid(jnp.einsum("bthc,c->bht", hidden, v))


def _bell(share: Float[Array, "b h t"], distance: int) -> Normalizer:
    """A softmax in the window, times a bell around its middle."""

    def weights(logits: Float[Array, "b h t s"], visible: Array) -> Float[Array, "b h t s"]:
        visible = jnp.broadcast_to(visible, (*visible.shape[:3], logits.shape[-1]))
        place = jnp.cumsum(visible, -1, dtype=logits.dtype) - 1
        middle = visible.sum(-1, keepdims=True, dtype=logits.dtype) * share[..., None]
        offset = (place - middle) / distance
        near = visible & (jnp.abs(offset) <= 1)
        return normalizers.softmax.weights(logits, near) * jnp.exp(-2 * offset**2)

    return Normalizer("local_predictive", weights)
