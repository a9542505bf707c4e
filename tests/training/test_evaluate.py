"""Loss, perplexity and accuracy of an epoch against their definition."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax.data.text_windows import AllWindows
from attention_jax.training import objectives
from attention_jax.training.evaluate import loss_evaluator

TEXT = np.random.default_rng(0).integers(0, 5, 30)


class Bigrams(nnx.Module):
    """A language model whose logits are a table of the last token."""

    def __init__(self, scale=1.0):
        table = np.random.default_rng(1).normal(size=(5, 5)).astype(np.float32)
        self.table = nnx.Param(jnp.asarray(scale * table))

    def logits(self, tokens, *, rngs=None):
        return self.table[...][tokens]


def evaluated(model):
    graphdef, state = nnx.split(model)
    batches = AllWindows(TEXT, rows=2, length=4)
    return loss_evaluator(graphdef, objectives.next_token)(nnx.as_pure(state), batches)


def test_means_are_over_all_predictions_whatever_their_batch():
    found = evaluated(Bigrams())
    table = np.asarray(Bigrams().table[...], np.float64)
    log_p = table - np.log(np.exp(table).sum(axis=1, keepdims=True))
    losses = [-log_p[a, b] for a, b in zip(TEXT, TEXT[1:], strict=False)]
    right = [log_p[a].argmax() == b for a, b in zip(TEXT, TEXT[1:], strict=False)]
    assert len(losses) == 29  # of which the last batch holds fewer
    assert found["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert found["perplexity"] == pytest.approx(np.exp(np.mean(losses)), rel=1e-5)
    assert found["accuracy"] == pytest.approx(np.mean(right))


def test_a_perplexity_beyond_all_numbers_stays_finite():
    found = evaluated(Bigrams(scale=1e4))
    assert found["loss"] > 710 and np.isfinite(found["perplexity"])
    assert found["perplexity"] == pytest.approx(np.exp(700.0))
