"""Cross-entropy and accuracy of weighted tokens.

Both come as (sum, count), so that batches of different sizes add up before the division:

    sums, counts = zip(*(cross_entropy(*batch) for batch in batches))
    loss = sum(sums) / sum(counts)           # nats a token; the perplexity is exp(loss)
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from attention_jax.core import checks

Total = tuple[Float[Array, ""], Float[Array, ""]]  # (sum, count)


def cross_entropy(
    logits: Float[Array, "*n v"],
    targets: Int[Array | np.ndarray, "*n"],
    weights: Float[Array | np.ndarray, "*n"],
    label_smoothing: float = 0.0,
) -> Total:
    """Weighted sum of label-smoothed cross-entropies, in nats.

        loss = (1 - e) nll + e (logsumexp(logits) - mean(logits)),  e = label_smoothing

    This is the cross-entropy to the distribution 1 - e on the target plus e / v on every token,
    without materializing that distribution. Computed in float32.

    Args:
      logits: unnormalized log-probabilities.
      targets: correct tokens.
      weights: 1 on tokens that count, 0 on padding.
      label_smoothing: in [0, 1); 0 gives the negative log-likelihood.

    Returns:
      The weighted sum of losses and the sum of weights.

    Raises:
      ValueError: `label_smoothing` is out of its range, or shapes do not match.

    Reference: Szegedy et al. 2016, arXiv:1512.00567, section 7.

    >>> targets, weights = jnp.array([0, 1, 2]), jnp.array([1.0, 1.0, 0.0])
    >>> total, count = cross_entropy(jnp.zeros((3, 4)), targets, weights)
    >>> print(f"{total / count:.4f} = log 4, over {count:.0f} tokens")
    1.3863 = log 4, over 2 tokens
    """
    checks.fraction("label_smoothing", label_smoothing)
    check_shapes(logits, targets, weights)
    logits, weights = logits.astype(jnp.float32), weights.astype(jnp.float32)
    normalizer = jax.nn.logsumexp(logits, axis=-1)
    at_target = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    loss = normalizer - at_target
    if label_smoothing:
        uniform = normalizer - logits.mean(axis=-1)
        loss = (1 - label_smoothing) * loss + label_smoothing * uniform
    return jnp.sum(loss * weights), jnp.sum(weights)


def accuracy(
    logits: Float[Array, "*n v"],
    targets: Int[Array | np.ndarray, "*n"],
    weights: Float[Array | np.ndarray, "*n"],
) -> Total:
    """Weighted number of targets with the highest logit; a tie counts as wrong.

    Args:
      logits: unnormalized log-probabilities.
      targets: correct tokens.
      weights: 1 on tokens that count, 0 on padding.

    Returns:
      The weighted number of correct predictions and the sum of weights.

    Raises:
      ValueError: shapes do not match.
    """
    check_shapes(logits, targets, weights)
    weights = weights.astype(jnp.float32)
    at_target = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    tokens = jax.lax.broadcasted_iota(targets.dtype, logits.shape, logits.ndim - 1)
    # On CPU `argmax` takes as long as the loss and its gradient together; a maximum fuses.
    hit = at_target > jnp.where(tokens == targets[..., None], -jnp.inf, logits).max(axis=-1)
    return jnp.sum(jnp.where(hit, weights, 0.0)), jnp.sum(weights)


def check_shapes(
    logits: Array | jax.ShapeDtypeStruct,
    targets: Array | np.ndarray,
    weights: Array | np.ndarray,
) -> None:
    """Raises unless targets are whole numbers, and they and the weights fit the logits."""
    for name, array in (("logits", logits), ("targets", targets), ("weights", weights)):
        if not hasattr(array, "shape"):
            raise ValueError(
                f"`{name}` must be an array; got {checks.said(array)}. Use `jnp.asarray`."
            )
    checks.whole("targets", targets)
    if not logits.shape[:-1] == targets.shape == weights.shape:
        raise ValueError(
            "`targets` and `weights` must have the shape of `logits` without its last axis; "
            f"got {targets.shape} and {weights.shape} for logits {logits.shape}."
        )
