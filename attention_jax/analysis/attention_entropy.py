"""Entropy of attention: the number of tokens that a query draws on, in effect."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from flax import nnx
from jaxtyping import Float

from attention_jax.analysis import attention_maps
from attention_jax.core.plain_types import typed_calls
from attention_jax.core.types import Params
from attention_jax.data.batching import Pair, pad, rounded_up
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.data.types import EOS


class AttentionEntropy(NamedTuple):
    """Perplexity of cross-attention, in tokens of the source: 1 is all weight on one token.

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


@typed_calls
def alignment(
    graphdef: nnx.GraphDef, params: Params, tokenizer: Tokenizer, source: str, target: Sequence[int]
) -> tuple[np.ndarray, list[str], list[str]] | None:
    """Cross-attention [l h t s] of a model that writes `target`, and the tokens of both sides.

    None where the model has no attention.

    Args:
      graphdef: of the model, a `nn.protocols.Seq2Seq`.
      params: its parameters.
      tokenizer: of both sides.
      source: the text that is read.
      target: the ids that are written, with EOS.
    """
    ids = tokenizer.encode(source)
    # The step that reads BOS writes the first target token.
    batch = pad([(ids, tuple(target)[:-1])], rows=1, length=max(len(ids) + 1, len(target)))
    maps = attention_maps.attention_maps(
        nnx.merge(graphdef, params),
        batch,
        source_length=len(ids) + 1,
        target_length=len(target),
        kind="cross",
    )
    if not maps:
        return None
    return maps["cross"].weights, tokenizer.tokens([*ids, EOS]), tokenizer.tokens([*target])


@typed_calls
def effective_tokens(
    graphdef: nnx.GraphDef, params: Params, pairs: Sequence[Pair]
) -> AttentionEntropy | None:
    """Perplexity of cross-attention under teacher forcing, over some pairs.

    None where the model has no attention.

    Args:
      graphdef: of the model, a `nn.protocols.Seq2Seq`.
      params: its parameters.
      pairs: source and target ids, as `encode_examples` makes them.
    """
    longest = max(max(len(source), len(target)) for source, target in pairs) + 1
    batch = pad(pairs, rows=len(pairs), length=rounded_up(longest))
    found = attention_maps.weights_of(nnx.merge(graphdef, params), batch, kind="cross")
    if not found:
        return None
    spread, has_weight = shares(np.asarray(found["cross"].weights, np.float64))  # [b l h t s]
    effective = 2 ** entropy(spread)
    # Rows without any weight attend to nothing, and padding does not attend.
    counts = has_weight * batch.weights[:, None, None]
    # A head that attends to nothing at all draws on 0 tokens.
    of_heads = (effective * counts).sum(axis=(0, 3)) / np.maximum(counts.sum(axis=(0, 3)), 1)
    lengths = [len(source) + 1 for source, target in pairs for _ in range(len(target) + 1)]
    return AttentionEntropy(float(of_heads.mean()), float(of_heads.min()), float(np.mean(lengths)))


@typed_calls
def shares(weights: Float[np.ndarray, "*n s"]) -> tuple[np.ndarray, np.ndarray]:
    """Absolute weights, normalized to sum 1 in each row; and which rows have any."""
    size = np.abs(weights).astype(np.float64)
    total = size.sum(axis=-1, keepdims=True)
    return size / np.where(total > 0, total, 1), total[..., 0] > 0


@typed_calls
def entropy(shares: Float[np.ndarray, "*n s"]) -> Float[np.ndarray, "*n"]:
    """`-sum_j p_j log2 p_j` of each row, in bits; 0 of a row of zeros."""
    logs = np.log2(shares, where=shares > 0, out=np.zeros_like(shares))
    return np.asarray(-(shares * logs).sum(axis=-1))
