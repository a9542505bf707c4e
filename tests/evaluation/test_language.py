"""Predictions of a language model, right ones and surprises, against its own logits."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax.data.text_windows import AllWindows
from attention_jax.evaluation.language import outcomes, surprisals
from attention_jax.models import language
from attention_jax.nn.recurrent import RNNConfig
from attention_jax.nn.transformer import TransformerConfig

SIZES = {"vocabulary_size": 12, "width": 8, "layers": 1, "dropout_rate": 0.0}


@pytest.fixture(params=["transformer", "rnn"])
def model(request):
    if request.param == "rnn":
        return language.RNNLM(RNNConfig(**SIZES, attention="none"), rngs=nnx.Rngs(0))
    config = TransformerConfig(**SIZES, heads=2, feed_forward=8, positions="learned", max_length=8)
    return language.TransformerLM(config, rngs=nnx.Rngs(0))


@pytest.mark.sampled(1)
def test_outcomes_count_what_is_right_in_each_window(model):
    graphdef, state = nnx.split(model)
    params = nnx.as_pure(state)
    text = np.random.default_rng(0).integers(4, 12, 41)
    found = outcomes(graphdef)(params, AllWindows(text, rows=4, length=8))
    assert [count for _, count in found] == [8] * 5
    for row, (right, _) in enumerate(found):
        window = text[row * 8 : row * 8 + 9]
        best = np.asarray(model.logits(jnp.asarray(window[None, :-1], jnp.int32)))[0].argmax(-1)
        assert right == (best == window[1:]).sum()


@pytest.mark.sampled(1)
def test_surprisals_are_those_of_each_token_in_order(model):
    """Against the softmax of each window's logits in float64; the last window is not full."""
    graphdef, state = nnx.split(model)
    text = np.random.default_rng(0).integers(4, 12, 38)
    found = surprisals(graphdef)(nnx.as_pure(state), AllWindows(text, rows=4, length=8))
    assert found.shape == (37,)
    for first in range(0, 37, 8):
        window = text[first : first + 9]
        logits = model.logits(jnp.asarray(window[None, :-1], jnp.int32))
        exact = np.exp(np.asarray(logits, np.float64)[0])
        for i, token in enumerate(window[1:]):
            want = -np.log(exact[i, token] / exact[i].sum())
            assert found[first + i] == pytest.approx(want, rel=1e-5)
