"""Attention with a soft cap: scores stay below a bound, and keep a gradient on the way there.

    score = cap tanh(q . k / (cap sqrt(d)))

It gives up weights that differ by more than a factor of exp(2 cap).

Reference: Gemma Team 2024, arXiv:2408.00118, section 2.
Cost: t s (d + e) products and t s hyperbolic tangents a head.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from attention_jax.core import checks, masks, scores
from attention_jax.core.types import Options, Output, Params, Variant, no_parameters
from attention_jax.engine.api import attention
from attention_jax.variants._builders.pair import from_score

ALIASES = ("softcap",)


def soft_cap(*, cap: float = 50.0, window: int | None = None) -> Variant:
    """The scaled dot product between -cap and cap.

    Args:
      cap: above 0; the default is Gemma 2's.
      window: keys nearer than this alone are seen, as in every other layer of Gemma 2; None for
        all. With one it serves in sequences alone, not between two.
    """
    if not cap > 0:
        raise ValueError(f"`cap` must be above 0; got {cap!r}. For no bound use scaled_dot.")

    def score(q: Float[Array, " d"], k: Float[Array, " d"]) -> Float[Array, ""]:
        return cap * jnp.tanh(scores.scaled_dot(q, k) / cap)

    if window is None:
        return from_score(lambda params: score)
    checks.positive("window", window, remedy="Leave it out to see all keys.")
    near = masks.sliding_window(window)

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        del params
        shown = options._replace(mask=masks.both(near, options.mask))
        return attention(q, k, v, score=score, **shown._asdict())

    return Variant(init=no_parameters, attend=attend, divides=True)
