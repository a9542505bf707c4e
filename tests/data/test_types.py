"""Special tokens have the first ids, and batches are pytrees."""

import jax
import numpy as np

from attention_jax.data import types


def test_special_tokens_have_the_first_ids():
    ids = (types.PAD, types.BOS, types.EOS, types.UNKNOWN)
    assert ids == (0, 1, 2, 3)  # saved tokenizers and models depend on them
    assert types.SPECIAL_TOKENS == ("<pad>", "<bos>", "<eos>", "<unk>")


def test_batches_are_pytrees_with_weights():
    for kind in (types.Seq2SeqBatch, types.ImageBatch, types.TokenBatch, types.SeriesBatch):
        batch = kind(*(np.full(2, i) for i, _ in enumerate(kind._fields)))
        assert kind._fields[-1] == "weights"
        doubled = jax.tree.map(lambda x: 2 * x, batch)
        assert isinstance(doubled, kind) and doubled.weights[0] == 2 * (len(kind._fields) - 1)
