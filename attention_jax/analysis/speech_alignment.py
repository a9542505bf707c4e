"""Alignment of a transcript's tokens with the frames they are read from."""

from collections.abc import Sequence

import numpy as np
from flax import nnx
from jaxtyping import Float

from attention_jax.analysis import attention_maps
from attention_jax.core.plain_types import typed_calls
from attention_jax.core.types import Params
from attention_jax.data.audio import batches
from attention_jax.data.audio.corpus import Utterance
from attention_jax.decoding import ctc
from attention_jax.decoding.transcribe import Transcriber


@typed_calls
def alignment(
    transcriber: Transcriber, params: Params, utterance: Utterance, target: Sequence[int]
) -> tuple[Float[np.ndarray, "l h t s"], list[str], int] | None:
    """Weights of each position in each token of `target`, the tokens, and frames per position.

    With CTC, the weights are the posteriors of each token at each position, given all of them.
    None where the model has no attention, or nothing was written.

    Args:
      transcriber: of the model.
      params: its parameters.
      utterance: what is heard.
      target: ids as a `Hypothesis` has them.
    """
    if not len(target):
        return None
    settings, ids = transcriber.settings, tuple(target)
    frames = batches.frames_of(utterance, settings)
    collate = batches.Collate(settings)
    # The step that reads BOS writes the first token.
    length = transcriber.padded_length(utterance)
    batch = collate([(utterance, ids[:-1])], rows=1, length=length)
    model = nnx.merge(transcriber.graphdef, params)
    # How often the padded length was halved does not follow from what it became.
    per_position = model.encoder.listening.shortening
    positions = -(-frames // per_position)
    if transcriber.aligned:
        log_p, mask = transcriber._log_probabilities(params, batch)
        weights = ctc.posteriors(np.asarray(log_p)[0, np.asarray(mask)[0]], ids)[None, None]
    else:
        maps = attention_maps.attention_maps(model, batch, target_length=len(ids), kind="cross")
        if not maps:
            return None
        weights = maps["cross"].weights
    return weights[..., :positions], transcriber.tokenizer.tokens(ids), per_position


@typed_calls
def moves(weights: Float[np.ndarray, "t s"]) -> bool:
    """True where the tokens are heard at different places, so that their order says something.

    The middles of their weights must lie over a tenth of the recording at least, and be three.

    >>> moves(np.eye(4)), moves(np.full((4, 40), 1 / 40))
    (True, False)
    """
    return len(weights) > 2 and bool(np.ptp(_middles(weights)) >= weights.shape[1] / 10)


@typed_calls
def order(weights: Float[np.ndarray, "t s"]) -> float:
    """Monotonicity of an alignment, from -1 to 1; 1 on a diagonal.

    Pearson's correlation between the number of a token and the middle of its weights.

    >>> order(np.eye(4)), order(np.eye(4)[::-1])
    (1.0, -1.0)
    """
    middle = _middles(weights)
    if np.ptp(middle) == 0:  # one token, or all heard at one place: there is no order
        return 0.0
    return round(float(np.corrcoef(np.arange(len(middle)), middle)[0, 1]), 6)


def _middles(weights: Float[np.ndarray, "t s"]) -> Float[np.ndarray, " t"]:
    """The mean position of each token's weights."""
    total = np.maximum(weights.sum(axis=1), 1e-9)
    return (weights * np.arange(weights.shape[1])).sum(axis=1) / total
