"""Entropy of attention: how many tokens a query draws on."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float

from attention_jax.core.types import Params
from attention_jax.data.batching import Pair, pad
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.data.types import BOS, EOS, Seq2SeqBatch


class AttentionEntropy(NamedTuple):
    """How widely cross-attention looks, in tokens of the source: 1 is one token, all weight on it.

        effective = exp(-sum_j w[j] log w[j])

    The mean over target tokens, layers and heads. Weights that do not sum to one count by their
    size.

    Attributes:
      effective: source tokens that a target token draws on.
      sharpest: the same, of the head where it is lowest.
      source: source tokens that there are, EOS included.
    """

    effective: float
    sharpest: float
    source: float


@partial(jax.jit, static_argnums=(0,))
def cross_weights(graphdef: Any, params: Params, batch: Seq2SeqBatch) -> jax.Array | None:
    """Cross-attention [t b l h s] of the steps that read the batch's targets; None without any."""
    model = nnx.merge(graphdef, params)
    memory = model.encode(batch.source, batch.source_mask)
    state = model.start(memory, batch.target_in.shape[1])

    def step(state, token):
        state, _, weights = model.step(state, token, return_weights=True)
        return state, weights

    return jax.lax.scan(step, state, batch.target_in.T)[1]


def alignment(
    graphdef: Any, params: Params, vocabulary: Tokenizer, source: str, target: Sequence[int]
) -> tuple[np.ndarray, list[str], list[str]] | None:
    """Cross-attention [l h t s] of the steps that produce `target` (ids with EOS), and the tokens.

    None where the model has no attention.
    """
    ids = vocabulary.encode(source)
    # The step that reads BOS writes the first target token.
    batch = pad([(ids, tuple(target)[:-1])], rows=1, length=max(len(ids) + 1, len(target)))
    assert batch.target_in[0, 0] == BOS
    weights = cross_weights(graphdef, params, batch)
    if weights is None:
        return None
    drawn = np.asarray(weights, np.float32)[: len(target), 0, :, :, : len(ids) + 1]
    names = vocabulary.tokens([*ids, EOS]), vocabulary.tokens([*target])
    return drawn.transpose(1, 2, 0, 3), *names


def effective_tokens(
    graphdef: Any, params: Params, pairs: Sequence[Pair]
) -> AttentionEntropy | None:
    """The focus of a model that is told to write the targets; None where it has no attention.

    Args:
      graphdef: of the model, a `nn.protocols.Seq2Seq`.
      params: its parameters.
      pairs: source and target ids, as `encode_examples` makes them.
    """
    longest = max(max(len(source), len(target)) for source, target in pairs) + 1
    batch = pad(pairs, rows=len(pairs), length=-(-longest // 8) * 8)
    weights = cross_weights(graphdef, params, batch)
    if weights is None:
        return None
    found, looks = shares(np.asarray(weights, np.float64))  # [t b l h s]
    effective = 2 ** entropy(found)
    # Rows without any weight look at nothing, and padding is not looked from.
    counts = looks * batch.weights.T[:, :, None, None]
    of_heads = (effective * counts).sum(axis=(0, 1)) / counts.sum(axis=(0, 1))
    lengths = [len(source) + 1 for source, target in pairs for _ in range(len(target) + 1)]
    return AttentionEntropy(float(of_heads.mean()), float(of_heads.min()), float(np.mean(lengths)))


def shares(weights: Float[np.ndarray, "*n s"]) -> tuple[np.ndarray, np.ndarray]:
    """Weights without signs, of sum 1 in each row; and which rows have any."""
    size = np.abs(weights).astype(np.float64)
    total = size.sum(axis=-1, keepdims=True)
    return size / np.where(total > 0, total, 1), total[..., 0] > 0


def entropy(shares: Float[np.ndarray, "*n s"]) -> Float[np.ndarray, "*n"]:
    """`-sum_j p_j log2 p_j` of each row, in bits; 0 of a row of zeros."""
    logs = np.log2(shares, where=shares > 0, out=np.zeros_like(shares))
    return np.asarray(-(shares * logs).sum(axis=-1))
