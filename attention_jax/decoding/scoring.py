"""Log-probabilities of given tokens: what a model thinks of sentences, however they were found."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from attention_jax.core import checks
from attention_jax.core.plain_types import typed_calls
from attention_jax.core.types import State
from attention_jax.data.types import BOS, PAD
from attention_jax.decoding.types import Step, batch_size, pick
from attention_jax.nn.protocols import require_room


@typed_calls
def token_scores(step: Step, state: State, tokens: Int[Array, "b n t"]) -> Float[Array, "b n t"]:
    """Log-probability of each token of given sentences, in nats; 0 at PAD.

        scores[b, n, i] = log p(tokens[b, n, i] | tokens[b, n, <i])

    Their sum is the model's log-probability of a sentence: no option of a search has a part in it.

        found = decoding.beam(model.step, state, max_length=64, nbest=5)
        scores = decoding.token_scores(model.step, state, found.tokens)

    Args:
      step: `(state, token [b]) -> (state, logits [b v])`, called with `b * n` rows.
      state: initial state; the first axis of every leaf is the batch.
      tokens: n sentences for each row, without BOS; PAD after their end, as `DecodingResult` has.

    Raises:
      ValueError: `tokens` are not of shape [b n t], of other rows than `state`, or more than it has
        room for.
    """
    rows = batch_size(state)
    checks.shape("tokens", tokens, "b n t", remedy="Give `DecodingResult.tokens`.")
    checks.whole("tokens", tokens)
    if tokens.ndim != 3 or tokens.shape[0] != rows:
        raise ValueError(
            f"`tokens` must have shape [b n t], with {rows} rows as `state` has; got "
            f"{tokens.shape}. Give `DecodingResult.tokens`."
        )
    b, n, t = tokens.shape
    require_room(state, t)
    flat = tokens.reshape(b * n, t)
    before = jnp.concatenate([jnp.full((b * n, 1), BOS, flat.dtype), flat[:, :-1]], axis=1)

    def read(state: State, pair: tuple[Array, Array]) -> tuple[State, Array]:
        state, logits = step(state, pair[0])
        return state, pick(jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1), pair[1])

    repeated = jax.tree.map(lambda leaf: jnp.repeat(leaf, n, axis=0), state)
    scores = lax.scan(read, repeated, (before.T, flat.T))[1].T
    return jnp.where(flat == PAD, 0.0, scores).reshape(b, n, t)
