"""Scores of one query and one key: `score(q[d], k[d]) -> scalar`, as the papers write them.

`attention` maps them over all pairs, and hoists by itself what depends on one side only.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attention_jax.core import checks, values
from attention_jax.core.calls import clear_calls
from attention_jax.core.types import Score


@clear_calls
def dot(q: Float[Array, " d"], k: Float[Array, " d"]) -> Float[Array, ""]:
    """The dot product.

        score = q . k

    Reference: Luong et al. 2015, arXiv:1508.04025, section 3.1.
    """
    return q @ k


@clear_calls
def scaled_dot(q: Float[Array, " d"], k: Float[Array, " d"]) -> Float[Array, ""]:
    """The dot product over the square root of the width, so that its variance stays 1.

        score = q . k / sqrt(d)

    Reference: Vaswani et al. 2017, arXiv:1706.03762, equation 1.
    """
    # The query is scaled, not the score: d numbers instead of one a pair.
    return (q * q.shape[-1] ** -0.5) @ k


@clear_calls
def cosine(*, temperature: float = 1.0) -> Score:
    """The cosine of the angle between query and key, over a temperature.

        score = q . k / (|q| |k| temperature)

    A zero vector scores 0 and gets a zero gradient.

    Args:
      temperature: above 0; smaller is sharper.

    Reference: Graves et al. 2014, arXiv:1410.5401, equation 6.
    """
    checks.above_zero("temperature", temperature)
    return values.bind(_cosine, temperature)


def _cosine(temperature: float, q: Float[Array, " d"], k: Float[Array, " d"]) -> Float[Array, ""]:
    return (_unit(q) / temperature) @ _unit(k)


@clear_calls
def general(w: Float[Array, "d d"]) -> Score:
    """The bilinear score.

        score = q . W k

    Reference: Luong et al. 2015, arXiv:1508.04025, section 3.1.
    """
    checks.shape("w", w, "d d")
    return values.bind(_general, w)


def _general(
    w: Float[Array, "d d"], q: Float[Array, " d"], k: Float[Array, " d"]
) -> Float[Array, ""]:
    return (q @ w.astype(q.dtype)) @ k


@clear_calls
def additive(w_q: Float[Array, "a d"], w_k: Float[Array, "a d"], w: Float[Array, " a"]) -> Score:
    """The score of one hidden layer.

        score = w . tanh(W_q q + W_k k)

    Reference: Bahdanau et al. 2014, arXiv:1409.0473, appendix A.1.2.
    """
    for name, array, axes in (("w_q", w_q, "a d"), ("w_k", w_k, "a d"), ("w", w, "a")):
        checks.shape(name, array, axes)
    return values.bind(_additive, w_q, w_k, w)


def _additive(w_q: Array, w_k: Array, w: Array, q: Array, k: Array) -> Float[Array, ""]:
    dtype = q.dtype
    return w.astype(dtype) @ jnp.tanh(w_q.astype(dtype) @ q + w_k.astype(dtype) @ k)


@clear_calls
def concat(w: Float[Array, "a c"], v: Float[Array, " a"]) -> Score:
    """The score of one hidden layer, which reads query and key as one vector.

        score = v . tanh(W [q; k])

    Args:
      w: as wide as a query and a key together.

    Reference: Luong et al. 2015, arXiv:1508.04025, section 3.1.
    """
    for name, array, axes in (("w", w, "a c"), ("v", v, "a")):
        checks.shape(name, array, axes)
    return values.bind(_concat, w, v)


def _concat(w: Array, v: Array, q: Array, k: Array) -> Float[Array, ""]:
    if w.shape[1] != len(q) + len(k):
        raise ValueError(
            f"`w` must be as wide as a query and a key together, {len(q)} + {len(k)}; "
            f"got {w.shape}. Make it anew for these widths."
        )
    # W [q; k] as a sum: its terms need one side each, and so are hoisted out of the pairs.
    of_query, of_key = w[:, : len(q)].astype(q.dtype), w[:, len(q) :].astype(q.dtype)
    return v.astype(q.dtype) @ jnp.tanh(of_query @ q + of_key @ k)


@clear_calls
def distance(*, width: float | None = None) -> Score:
    """The square of the distance between query and key, so that the nearest key scores highest.

        score = -|q - k|^2 / (2 width^2)
        score = -|q - k|^2 / sqrt(d)          without a width

    Args:
      width: of the Gaussian that the softmax makes of it, above 0.

    Reference: Nadaraya 1964 and Watson 1964 with a width; Kim et al. 2021, arXiv:2006.04710,
    section 3.2, without.
    """
    if width is not None:
        checks.above_zero("width", width, beside=", or None")
    return values.bind(_distance, width)


def _distance(width: float | None, q: Array, k: Array) -> Float[Array, ""]:
    scale = len(q) ** -0.5 if width is None else 0.5 / width**2
    # 2 q . k - |q|^2 - |k|^2 as one dot product, which is a matrix product over all pairs.
    wide_q = jnp.concatenate([_append(2 * q, -1.0), -(q @ q)[None]]) * scale
    return wide_q @ _append(jnp.concatenate([k, (k @ k)[None]]), 1.0)


def _unit(x: Float[Array, " d"]) -> Float[Array, " d"]:
    square = x @ x
    # The inner where keeps the derivative of the root finite at 0.
    return jnp.where(square > 0, x * jax.lax.rsqrt(jnp.where(square > 0, square, 1)), 0)


def _append(x: Float[Array, " d"], number: float) -> Float[Array, " d+1"]:
    return jax.lax.pad(x, jnp.asarray(number, x.dtype), [(0, 1, 0)])
