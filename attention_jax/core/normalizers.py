"""Normalizers: weights from logits, such as the softmax.

`weights(logits, visible) -> weights` over the last axis, 0 where hidden and in rows that see
nothing. `logits` are `[b h t s]`; `visible` broadcasts against them. The number of keys never
enters but as the number of visible ones, so a hidden key equals an absent one.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from attention_jax.core import checks, online_normalizers, online_totals, values
from attention_jax.core.calls import clear_calls
from attention_jax.core.online_normalizers import Online

Logits = Float[Array, "b h t s"]
Visible = Bool[Array, "#b #h #t #s"]


class Normalizer(NamedTuple):
    """A normalizer: a tuple of pure functions.

    Attributes:
      name: what errors call it.
      weights: `(logits, visible) -> weights`, 0 where hidden.
      lse: `(logits, visible) -> [b h t]`, the logarithm of what the weights are divided by;
        None where there is none. `-inf` in rows that see nothing.
      online: the same weights from one block of keys after another; None where that is not known.
    """

    name: str
    weights: Callable[[Array, Array], Array]
    lse: Callable[[Array, Array], Array] | None = None
    online: Online | None = None


def _softmax(logits: Logits, visible: Visible) -> Logits:
    logits = jnp.where(visible, logits, -jnp.inf)
    # exp overflows float32 above 88; the shift cancels in the ratio.
    powers = jnp.exp(logits - _shift(logits))
    return powers / _nonzero(powers.sum(-1, keepdims=True))


def _softmax_lse(logits: Logits, visible: Visible) -> Float[Array, "b h t"]:
    logits = jnp.where(visible, logits, -jnp.inf)
    shift = _shift(logits)
    total = jnp.exp(logits - shift).sum(-1)
    # The inner where keeps the derivative of the logarithm finite at 0.
    return jnp.where(total == 0, -jnp.inf, jnp.log(_nonzero(total)) + shift[..., 0])


softmax = Normalizer("softmax", _softmax, _softmax_lse, online_normalizers.SOFTMAX)
"""Positive weights that sum to 1: `exp(x_j) / sum_k exp(x_k)`."""


@clear_calls
def softmax_with_sink(sink: Float[Array, " h"]) -> Normalizer:
    """A softmax with one more, learned logit per head, whose share goes to no key.

        weight_j = exp(x_j) / (exp(sink_h) + sum_k exp(x_k))

    Reference: OpenAI 2025, gpt-oss model card, arXiv:2508.10925, section 2.2.
    """
    checks.shape("sink", sink, "h")
    weights, lse, leave = (values.bind(x, sink) for x in (_sink_weights, _sink_lse, _leave_sink))
    return Normalizer(
        "softmax_with_sink", weights, lse, online_normalizers.SOFTMAX._replace(after=leave)
    )


def _sink_weights(sink: Array, logits: Logits, visible: Visible) -> Logits:
    logits, escape, shift = _with_sink(sink, logits, visible)
    powers = jnp.exp(logits - shift)
    return powers / (powers.sum(-1, keepdims=True) + jnp.exp(escape - shift))


def _sink_lse(sink: Array, logits: Logits, visible: Visible) -> Float[Array, "b h t"]:
    logits, escape, shift = _with_sink(sink, logits, visible)
    total = jnp.exp(logits - shift).sum(-1, keepdims=True) + jnp.exp(escape - shift)
    return (jnp.log(total) + shift)[..., 0]


def _with_sink(sink: Array, logits: Logits, visible: Visible) -> tuple[Array, Array, Array]:
    logits = jnp.where(visible, logits, -jnp.inf)
    escape = sink.astype(logits.dtype)[None, :, None, None]
    return logits, escape, jnp.maximum(_shift(logits), lax.stop_gradient(escape))


def _leave_sink(sink: Array, out: Array, total: Array) -> tuple[Array, Array]:
    raised = jnp.logaddexp(total, sink.astype(total.dtype)[None, None])
    return out * jnp.exp(total - raised)[..., None], raised


@clear_calls
def sigmoid(bias: float | Float[Array, ""] | None) -> Normalizer:
    """A sigmoid of each logit alone, so that keys do not compete.

        weight_j = 1 / (1 + exp(-x_j - bias))

    Args:
      bias: added to every logit; None for -log(number of visible keys), with which a row of
        equal logits starts near the weights of a softmax.

    Reference: Ramapuram et al. 2024, arXiv:2409.04431, equation 3.
    """
    if bias is None:
        return _SIGMOID_OF_COUNT
    weights, raised = values.bind(_sigmoid, bias), values.bind(_raise, bias)
    return Normalizer("sigmoid", weights, online=online_normalizers.SIGMOID._replace(before=raised))


def _raise(bias: float | Array, score: Array) -> Array:
    return score + jnp.asarray(bias, score.dtype)


def _sigmoid(bias: float | Array, logits: Logits, visible: Visible) -> Logits:
    return jnp.where(visible, jax.nn.sigmoid(_raise(bias, logits)), 0)


def _sigmoid_of_count(logits: Logits, visible: Visible) -> Logits:
    lowered = logits - jnp.log(_count(logits, visible))
    return jnp.where(visible, jax.nn.sigmoid(lowered), 0)


_SIGMOID_OF_COUNT = Normalizer(
    "sigmoid", _sigmoid_of_count, online=online_normalizers.SIGMOID_OF_COUNT
)


def _relu(logits: Logits, visible: Visible) -> Logits:
    return jnp.where(visible, jax.nn.relu(logits), 0) / _count(logits, visible)


relu = Normalizer("relu", _relu, online=online_normalizers.RELU)
"""`max(x_j, 0) / number of visible keys`. Wortsman et al. 2023, arXiv:2309.08586."""


def _hard(logits: Logits, visible: Visible) -> Logits:
    logits = jnp.where(visible, logits, -jnp.inf)
    best = jax.nn.one_hot(logits.argmax(-1), logits.shape[-1], dtype=logits.dtype)
    return _keep_nan(jnp.where(visible, best, 0), logits)


hard = Normalizer("hard", _hard, online=online_normalizers.HARD)
"""All weight on the largest logit, the first of equals; no gradient reaches the logits."""


def _straight_through(logits: Logits, visible: Visible) -> Logits:
    soft = _softmax(logits, visible)
    return _hard(logits, visible) + (soft - lax.stop_gradient(soft))


straight_through = Normalizer(
    "straight_through", _straight_through, online=online_normalizers.STRAIGHT_THROUGH
)
"""The weights of `hard` with the derivative of `softmax`. Bengio et al. 2013, arXiv:1308.3432."""


@clear_calls
def top_k(k: int) -> Normalizer:
    """A softmax over the k largest logits; those that equal the k-th all stay.

    Reference: Gupta et al. 2021, arXiv:2106.06899, section 2.
    """
    checks.positive("k", k)
    return Normalizer("top_k", values.bind(_top_k, k), online=online_normalizers.top_k(k))


def _top_k(k: int, logits: Logits, visible: Visible) -> Logits:
    # Held, so that the k-th is compared with itself, not with a copy that rounds otherwise.
    logits = lax.optimization_barrier(jnp.where(visible, logits, -jnp.inf))
    largest, _ = lax.top_k(lax.stop_gradient(logits), min(k, logits.shape[-1]))
    chosen = visible & (logits >= largest[..., -1:])
    return _keep_nan(_softmax(logits, chosen), logits)


def _sparsemax(logits: Logits, visible: Visible) -> Logits:
    logits = jnp.where(visible, logits, -jnp.inf)
    shifted = logits - _shift(logits)
    ranked, count = _ranked(shifted)
    chosen = 1 + count * ranked > jnp.cumsum(ranked, -1)
    first = jnp.where(chosen, ranked, 0).sum(-1, keepdims=True) - 1
    first = first / jnp.maximum(chosen.sum(-1, keepdims=True, dtype=ranked.dtype), 1)
    support = visible & (shifted > first)
    # Written on the support alone, the threshold has the exact derivative.
    z = jnp.where(support, shifted, 0)
    size = jnp.maximum(support.sum(-1, keepdims=True, dtype=z.dtype), 1)
    threshold = (z.sum(-1, keepdims=True) - 1) / size
    return _keep_nan(jnp.where(support, z - threshold, 0), logits)


sparsemax = Normalizer("sparsemax", _sparsemax, online=online_normalizers.SPARSEMAX)
"""The nearest point of the simplex. Martins & Astudillo 2016, arXiv:1602.02068, algorithm 1."""


def _entmax15(logits: Logits, visible: Visible) -> Logits:
    logits = jnp.where(visible, logits, -jnp.inf)
    shifted = (logits - _shift(logits)) / 2
    ranked, count = _ranked(shifted)
    finite = jnp.where(jnp.isfinite(ranked), ranked, 0)
    mean = jnp.cumsum(finite, -1) / count
    spread = jnp.cumsum(finite**2, -1) - count * mean**2
    height = mean - jnp.sqrt(jnp.maximum((1 - spread) / count, 0))
    height = jnp.where(height <= ranked, height, -jnp.inf).max(-1, keepdims=True, initial=-jnp.inf)
    support = visible & (shifted > height)
    z = jnp.where(support, shifted, 0)
    size = jnp.maximum(support.sum(-1, keepdims=True, dtype=z.dtype), 1)
    mean = z.sum(-1, keepdims=True) / size
    spread = jnp.where(support, (z - mean) ** 2, 0).sum(-1, keepdims=True)
    threshold = mean - jnp.sqrt((1 - spread) / size)
    return _keep_nan(jnp.where(support, (z - threshold) ** 2, 0), logits)


entmax15 = Normalizer("entmax15", _entmax15, online=online_normalizers.ENTMAX15)
"""Between softmax and sparsemax. Peters et al. 2019, arXiv:1905.05702, algorithm 2."""


@clear_calls
def entmax(alpha: float | Float[Array, " h"]) -> Normalizer:
    """Between softmax, where alpha falls to 1, and sparsemax, at 2; with one alpha per head.

        weight_j = max((alpha_h - 1) x_j - threshold, 0)^(1 / (alpha_h - 1))

    with the threshold where the weights sum to 1. Bisection finds it, and two turns of Newton's
    method, which JAX differentiates, give it its exact first and second derivatives, those in
    alpha too.

    Args:
      alpha: above 1, and at most 2; one number for all heads, or one a head. Below 1.01 powers
        lose digits in float32.

    Reference: Peters et al. 2019, arXiv:1905.05702, algorithm 1; the derivative in alpha: Correia
    et al. 2019, arXiv:1909.00015, proposition 1.
    """
    if isinstance(alpha, (int, float)):
        checks.above_zero("alpha", alpha)
    else:
        checks.shape("alpha", alpha, "h" if getattr(alpha, "shape", None) else "")
    if not isinstance(alpha, jax.core.Tracer) and (np.asarray(alpha) <= 1).any():
        raise ValueError(
            f"`alpha` must be above 1; got {np.asarray(alpha).min()}. "
            "At 1 it is the softmax: `normalizers.softmax`."
        )
    return Normalizer("entmax", values.bind(_entmax, alpha))


def _entmax(alpha: Array | float, logits: Logits, visible: Visible) -> Logits:
    logits = jnp.where(visible, logits, -jnp.inf)
    shifted = logits - _shift(logits)
    order = jnp.asarray(alpha, logits.dtype).reshape(1, -1, 1, 1) - 1
    seen = shifted > -jnp.inf
    # The inner where keeps the derivative in alpha finite where nothing is seen.
    z = jnp.where(seen, order * jnp.where(seen, shifted, 0), -jnp.inf)
    threshold = _bisected(*lax.stop_gradient((z, order)))
    for _ in range(2):
        powers, slope = _powers(z, order, threshold)
        threshold = threshold + (powers.sum(-1, keepdims=True) - 1) / _nonzero(slope)
    powers, _ = _powers(z, order, threshold)
    # The sum is 1 but for rounding, which a power of 100 makes visible.
    weights = _keep_nan(powers / _nonzero(powers.sum(-1, keepdims=True)), shifted)
    # Only a run knows a learned alpha.
    return jnp.where(order > 0, weights, jnp.nan)


def _bisected(z: Logits, order: Array) -> Float[Array, "b h t 1"]:
    """The threshold of `entmax`, within [-1, 0] as the largest z is 0."""

    def halve(_: Any, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low + high) / 2
        below = _powers(z, order, middle)[0].sum(-1, keepdims=True) > 1
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    high = jnp.zeros_like(z[..., :1])
    return lax.fori_loop(0, jnp.finfo(z.dtype).nmant + 2, halve, (high - 1, high))[0]


def _powers(z: Logits, order: Array, threshold: Array) -> tuple[Logits, Float[Array, "b h t 1"]]:
    """The weights of `entmax` for a threshold, and the derivative of their sum in it, negated."""
    height = z - threshold
    support = height > 0
    height = jnp.where(support, height, 1)
    powers = jnp.where(support, height ** (1 / order), 0)
    return powers, (powers / height / order).sum(-1, keepdims=True)


def _signed_softmax(logits: Logits, visible: Visible) -> Logits:
    sizes = online_totals.sized(jnp.where(visible, logits, -jnp.inf))
    return jnp.where(visible, jnp.sign(logits), 0) * _softmax(sizes, visible)


signed_softmax = Normalizer("signed_softmax", _signed_softmax, online=online_totals.SIGNED_SOFTMAX)
"""`sign(x_j) exp(|x_j|) / sum_k exp(|x_k|)`. Lv et al. 2024, arXiv:2411.07176."""


def _softpick(logits: Logits, visible: Visible) -> Logits:
    logits = jnp.where(visible, logits, -jnp.inf)
    gains = online_totals.gain(logits, jnp.maximum(_shift(logits), 0))
    sizes = jnp.where(logits == -jnp.inf, 0, jnp.abs(gains))
    return jax.nn.relu(gains) / _nonzero(sizes.sum(-1, keepdims=True))


softpick = Normalizer("softpick", _softpick, online=online_totals.SOFTPICK)
"""`max(exp(x_j) - 1, 0) / sum_k |exp(x_k) - 1|`. Zuhri et al. 2025, arXiv:2504.20966."""


def _stick_breaking(logits: Logits, visible: Visible) -> Logits:
    known = jnp.where(visible, logits, 0)
    left = jnp.where(visible, jax.nn.log_sigmoid(-known), 0)
    # What is left after the keys that come later, itself not among them.
    later = jnp.pad(left[..., 1:], ((0, 0), (0, 0), (0, 0), (0, 1)))
    before = lax.cumsum(later, axis=3, reverse=True)
    return jnp.where(visible, jnp.exp(jax.nn.log_sigmoid(known) + before), 0)


stick_breaking = Normalizer("stick_breaking", _stick_breaking)
"""`sigmoid(x_j) prod_(k > j) (1 - sigmoid(x_k))`, from the last key on. Tan et al. 2024,
arXiv:2410.17980."""


def _count(logits: Logits, visible: Visible) -> Float[Array, "b h t 1"]:
    """Number of visible keys of each row, at least 1."""
    seen = jnp.broadcast_to(visible, logits.shape).sum(-1, keepdims=True, dtype=logits.dtype)
    return jnp.maximum(seen, 1)


def _shift(logits: Logits) -> Float[Array, "b h t 1"]:
    """The largest logit of each row, 0 where all are -inf."""
    largest = lax.stop_gradient(logits).max(-1, keepdims=True, initial=-jnp.inf)
    return jnp.where(largest == -jnp.inf, 0, largest)


def _nonzero(x: Array) -> Array:
    return jnp.where(x == 0, 1, x)


def _ranked(x: Logits) -> tuple[Array, Array]:
    """The logits in falling order, without a derivative, and their ranks from 1."""
    ranked = jnp.sort(lax.stop_gradient(x), -1, descending=True)
    return ranked, jnp.arange(1, x.shape[-1] + 1, dtype=x.dtype)[None, None, None]


def _keep_nan(weights: Logits, logits: Logits) -> Logits:
    """Comparisons drop NaN; put it back, so that it is seen."""
    return jnp.where(jnp.isnan(logits).any(-1, keepdims=True), jnp.nan, weights)
