"""Location-aware attention: additive scores that see a convolution of the last weights.

    f_i[j, n] = sum_m filter[m, n] weight[i-1, j + m]
    score[i, j] = w . tanh(W_q q_i + W_k k_j + U f_i[j] + b)
    weight[i, j] = softmax over visible j of sharpness score[i, j]

With `smoothing` weights are sigmoid(score) over their sum, which reads more keys at once. It gives
up queries that are computed at once: they follow one another. Before the first query there are no
weights, so it reads by content alone; hidden keys keep their places, with weight 0. The hidden
layer and the filters are shared by all heads. The paper's windows for long inputs are left out.

Reference: Chorowski et al. 2015, arXiv:1506.07503, equations 8 and 9; smoothing and sharpening:
section 2.3.
Cost: (t + s) d a + t s (n taps + n a + a tanh + e) a head, for n filters and a hidden layer of
width a; t s numbers held.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from attention_jax.core import checks, normalizers
from attention_jax.core.types import Params, Variant
from attention_jax.variants._builders.stateful import (
    additive_energy,
    from_weights,
    init_additive_energy,
)

ALIASES = ("chorowski",)

BLOCK = 64  # keys whose surroundings are taken at once


def location_aware(
    *,
    width: int | None = None,
    filters: int = 10,
    taps: int = 201,
    smoothing: bool = False,
    sharpness: float = 1.0,
) -> Variant:
    """The score of a hidden layer that sees a convolution of the last weights.

    Args:
      width: of the hidden layer; None for that of the heads.
      filters: how many; the paper's number.
      taps: of each filter, odd; the paper's number. Those that reach beyond all keys cost nothing.
      smoothing: whether weights are sigmoids over their sum instead of a softmax.
      sharpness: above 0; what scores are multiplied by before the softmax.
    """
    if width is not None:
        checks.positive("width", width)
    checks.positive("filters", filters)
    _check_taps(taps)
    _check_sharpness(sharpness, smoothing)
    normalize = _smoothed if smoothing else partial(_sharpened, sharpness)

    def init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
        del heads, kv_heads
        key_layer, key_filters, key_u = jax.random.split(key, 3)
        own = init_additive_energy(key_layer, head_width, width)
        return own | {
            "filters": taps**-0.5 * jax.random.normal(key_filters, (taps, filters)),
            "u": filters**-0.5 * jax.random.normal(key_u, (own["w"].size, filters)),
        }

    def weigh(
        params: Params, last: Array, q: Array, k: Array, visible: Array, key: Any
    ) -> tuple[Array, Array]:
        del key
        kernel, u = (params[name].astype(q.dtype) for name in ("filters", "u"))
        located = jnp.einsum("bhsn,an->bhsa", _convolved(last, kernel), u)
        weights = normalize(additive_energy(params, q, k, located), visible[:, None])
        return weights, weights

    return from_weights("location_aware", weigh, init=init)


def _check_taps(taps: int) -> None:
    checks.positive("taps", taps)
    if taps % 2 == 0:
        raise ValueError(
            f"`taps` must be odd, so that the key is in the middle; got {taps}. "
            f"The nearest below is {taps - 1}."
        )


def _check_sharpness(sharpness: float, smoothing: bool) -> None:
    if not sharpness > 0:
        raise ValueError(f"`sharpness` must be above 0; got {sharpness!r}.")
    if smoothing and sharpness != 1:
        raise ValueError(
            "`sharpness` belongs to the softmax, so it must be 1.0 with `smoothing`; got "
            f"{sharpness!r}."
        )


def _smoothed(
    scores: Float[Array, "b h s"], visible: Bool[Array, "b 1 s"]
) -> Float[Array, "b h s"]:
    """Sigmoids over their sum; 0 where that is 0."""
    raised = jnp.where(visible, jax.nn.sigmoid(scores), 0)
    total = raised.sum(-1, keepdims=True)
    return raised / jnp.where(total == 0, 1, total)


def _sharpened(
    sharpness: float, scores: Float[Array, "b h s"], visible: Bool[Array, "b 1 s"]
) -> Float[Array, "b h s"]:
    """The softmax of `sharpness` times the scores."""
    rows = (sharpness * scores)[:, :, None]
    return normalizers.softmax.weights(rows, visible[:, :, None])[:, :, 0]


def _convolved(
    last: Float[Array, "b h s"], kernel: Float[Array, "taps n"]
) -> Float[Array, "b h s n"]:
    """Each filter around each key; beyond the ends there is nothing.

    Keys are taken in blocks, each a product of what lies around it and one banded matrix. That
    matrix depends on the filters alone, so a loop over queries makes it once.
    """
    (b, h, s), (taps, n) = last.shape, kernel.shape
    reach, size = min(taps // 2, s - 1), min(s, BLOCK)
    around, blocks = size + 2 * reach, -(-s // size)
    tap = jnp.arange(around)[:, None] - jnp.arange(size)[None]
    inside = (tap >= 0) & (tap <= 2 * reach)
    own = kernel[jnp.clip(tap + taps // 2 - reach, 0, taps - 1)]
    banded = jnp.where(inside[..., None], own, 0)
    padded = jnp.pad(last, ((0, 0), (0, 0), (reach, reach + blocks * size - s)))
    views = [padded[..., i * size : i * size + around] for i in range(blocks)]
    out = jnp.einsum(
        "bhiw,wjn->bhijn", jnp.stack(views, axis=2), banded, precision=jax.lax.Precision.HIGHEST
    )
    return out.reshape(b, h, blocks * size, n)[:, :, :s]
