"""Hard attention: each query reads one key, in training one that it draws.

    out_i = v[c_i],  c_i = argmax_j score[i, j] + noise[i, j],  score = q . k / sqrt(d)

With a `dropout_key` the noise is Gumbel's, so that c_i is drawn from the softmax of the scores;
without one it is 0. No derivative passes a choice as it is, so there are two estimators:

    straight_through    values as chosen, scores as if weights were softmax(logits / temperature)
    reinforce           values as chosen, scores by `reinforce_loss` with `log_probability`

It gives up an exact gradient of the scores: the first is biased, the second noisy.
The paper's stochastic attention is the second, in an RNN decoder; its entropy term and its steps
without a draw are left out.

Reference: Xu et al. 2015, arXiv:1502.03044, section 4.1; straight-through Gumbel: Jang et al. 2016,
arXiv:1611.01144, section 2.2.
Cost: t s (d + e) products a head, and t s draws in training; memory linear in s.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core import checks, normalizers
from attention_jax.core.types import (
    ROLES,
    Options,
    Output,
    Params,
    ScoreMod,
    Variant,
    no_parameters,
)
from attention_jax.engine.api import attention

ESTIMATORS = {
    "straight_through": normalizers.straight_through,
    "reinforce": normalizers.hard,
}


def hard(*, estimator: str = "straight_through", temperature: float = 1.0) -> Variant:
    """One key for each query.

    Args:
      estimator: "straight_through" or "reinforce"; see above.
      temperature: above 0; of the softmax that gives "straight_through" its derivative, which is
        less biased and noisier the lower it is. What is drawn does not depend on it.
    """
    checks.one_of("estimator", estimator, tuple(ESTIMATORS))
    if not temperature > 0:
        raise ValueError(f"`temperature` must be above 0; got {temperature!r}.")
    if estimator == "reinforce" and temperature != 1:
        raise ValueError(
            "`temperature` belongs to the estimator straight_through, so it must be 1.0 with "
            f"reinforce; got {temperature!r}."
        )
    normalizer = ESTIMATORS[estimator]

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        del params
        noise, drop = _split(options.dropout_key)
        perturb = _perturb(noise, temperature)
        rest = options._replace(dropout_key=drop)
        return attention(q, k, v, score_mod=perturb, normalizer=normalizer, **rest._asdict())

    return Variant(init=no_parameters, attend=attend, roles=ROLES, stochastic=True)


def log_probability(
    q: Float[Array, "b t h d"],
    k: Float[Array, "b s g d"],
    options: Options,
) -> Float[Array, "b t h"]:
    """Log-probability of the keys that `attend` draws with these options; 0 for an empty row.

        log p[i] = score[i, c_i] - log sum_j exp(score[i, j])

    Args:
      options: as `attend` was given; dropout falls on no draw.
    """
    noise, _ = _split(options.dropout_key)
    rest = options._replace(dropout_rate=0.0, dropout_key=None, return_lse=False)
    # The value of a drawn key is here the key itself, so the score of the draw needs no t×s array.
    drawn: Any = attention(
        q, k, k, score_mod=_perturb(noise, 1.0), normalizer=normalizers.hard, **rest._asdict()
    )
    _, total = attention(q, k, k[..., :1], **rest._replace(return_lse=True)._asdict())
    wide = (x.astype(total.dtype) for x in (q, drawn))
    score = jnp.einsum("bthd,bthd->bth", *wide) * q.shape[-1] ** -0.5
    nothing = total == -jnp.inf
    return jnp.where(nothing, 0, score - jnp.where(nothing, 0, total))


def reinforce_loss(
    loss: Float[Array, " b"],
    log_probabilities: Float[Array, " b"],
    baseline: Float[Array, ""],
    *,
    decay: float = 0.9,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The REINFORCE surrogate of the mean loss, to be differentiated, and the next baseline.

        surrogate = mean_b loss_b + constant(loss_b - baseline) log p_b
        baseline' = decay baseline + (1 - decay) mean_b loss_b

    The gradient of the surrogate is, in expectation over the draws, that of the expected loss,
    whatever the baseline; one near the loss makes it less noisy.

    Args:
      loss: of each example, after the draws.
      log_probabilities: of all draws of an example together: `log_probability` summed over rows,
        heads and layers.
      baseline: from the step before; 0 at the first.
      decay: in [0, 1); the default is the paper's.

    Reference: Xu et al. 2015, arXiv:1502.03044, section 4.1.
    """
    checks.fraction("decay", decay)
    constant = jax.lax.stop_gradient(loss)
    surrogate = (loss + (constant - baseline) * log_probabilities).mean()
    return surrogate, decay * baseline + (1 - decay) * constant.mean()


def _split(key: PRNGKeyArray | None) -> tuple[PRNGKeyArray | None, PRNGKeyArray | None]:
    """Keys of the noise and of dropout."""
    if key is None:
        return None, None
    noise, dropout = jax.random.split(key)
    return noise, dropout


def _perturb(key: PRNGKeyArray | None, temperature: float) -> ScoreMod:
    """Adds the noise of a pair, which depends on its place alone, as that of dropout does."""

    def perturb(score: Array, b: Array, h: Array, i: Array, j: Array) -> Array:
        if key is not None:
            own = key
            for place in (b, h, i, j):
                own = jax.random.fold_in(own, place)
            score = score + jax.random.gumbel(own, dtype=score.dtype)
        return score / temperature

    return perturb
