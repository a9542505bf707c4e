"""The weights of a trained model are those that its own output is made of."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax import variants
from attention_jax.analysis import attention_maps
from attention_jax.data.batching import pad
from attention_jax.data.types import BOS, EOS
from attention_jax.models.language import RNNLM, TransformerLM
from attention_jax.models.seq2seq_rnn import Seq2SeqRNN
from attention_jax.models.seq2seq_transformer import Seq2SeqTransformer
from attention_jax.models.speech import (
    AudioFrontEnd,
    CTCHead,
    CTCModel,
    PyramidalRNNEncoder,
    SpeechTransformerEncoder,
)
from attention_jax.nn.attention import MultiHeadAttention
from attention_jax.nn.attention_calls import record
from attention_jax.nn.recurrent import RNNConfig
from attention_jax.nn.transformer import TransformerConfig

SOURCE, TARGET = [4, 5, 6, 7, 8, 9, 4, 5, 6, 7], [5, 6, 7, 8, EOS]  # longer than a head is wide
SIZES = {"width": 16, "layers": 2, "heads": 2, "feed_forward": 16}
TANH = """
import jax.numpy as jnp
from attention_jax import variants

def squashed():
    dot = variants.get("scaled_dot")
    return dot._replace(attend=lambda *args: jnp.tanh(dot.attend(*args)), score=None)

def raised():
    dot = variants.get("scaled_dot")
    return dot._replace(attend=lambda *args: dot.attend(*args) + 1, score=None)
"""


class Text(NamedTuple):
    tokens: jax.Array


def split(model):
    graphdef, state = nnx.split(model)
    return graphdef, nnx.as_pure(state)


def transformer(**changes):
    return Seq2SeqTransformer(TransformerConfig(12, **(SIZES | changes)), rngs=nnx.Rngs(0))


def numbers(x):
    return np.asarray(x, np.float64)


def projected(attention, x, y):
    """The queries and keys of a layer."""
    return attention.queries(x), attention.keys_values(y)[0]


def softmax_of(queries, keys, *, causal=False):
    """Equation 1 of arXiv:1706.03762 without the values: [h t s]."""
    q, k = numbers(queries)[0], numbers(keys)[0]
    weights = np.zeros((q.shape[1], q.shape[0], k.shape[0]))
    for h, i in np.ndindex(weights.shape[:2]):
        seen = k[: i + 1, h] if causal else k[:, h]
        exponentials = np.exp(seen @ q[i, h] / np.sqrt(q.shape[-1]))
        weights[h, i, : len(seen)] = exponentials / exponentials.sum()
    return weights


@pytest.fixture(scope="module")
def found():
    model = transformer()
    return model, attention_maps.sentence(model, SOURCE, TARGET)


def test_weights_are_the_softmax_of_the_paper(found):
    model, drawn = found

    @nnx.jit
    def layers(model, source, target):
        """Queries and keys of each layer, by place."""
        memory, each = model.encode(source, source > 0), []
        x, y = model.embedding(source), model.embedding(target)
        for encoder, decoder in zip(model.encoder.each(), model.decoder.each(), strict=True):
            inside = encoder.around_attention.pre_norm(x)
            own = decoder.around_attention.pre_norm(y)
            look = y + decoder.attention(own, mask=lambda b, h, i, j: j <= i)
            look = decoder.around_cross_attention.pre_norm(look)
            each.append(
                {
                    "encoder": projected(encoder.attention, inside, inside),
                    "decoder": projected(decoder.attention, own, own),
                    "cross": projected(decoder.cross_attention, look, memory.states),
                }
            )
            x, y = encoder(x, source > 0), decoder(y, memory)
        return each

    found = layers(model, jnp.int32([[*SOURCE, EOS]]), jnp.int32([[BOS, *TARGET[:-1]]]))
    assert len(found) == len(drawn["cross"].weights) == 2
    for number, layer in enumerate(found):
        for place, (queries, keys) in layer.items():
            weights = softmax_of(queries, keys, causal=place == "decoder")
            np.testing.assert_allclose(
                drawn[place].weights[number], weights, rtol=1e-5, atol=1e-6, err_msg=place
            )


def test_rows_of_a_softmax_sum_to_1_and_are_exact(found):
    for place, drawn in found[1].items():
        np.testing.assert_allclose(drawn.weights.sum(axis=-1), 1, rtol=1e-5, err_msg=place)
        assert drawn.is_exact.all() and not drawn.rest.any()


def recurrent(**changes):
    return Seq2SeqRNN(RNNConfig(12, **({"width": 8} | changes)), rngs=nnx.Rngs(0))


@pytest.mark.sampled(1)
@pytest.mark.parametrize("feeding", [True, False])
def test_weights_of_an_rnn_are_those_of_the_paper(feeding):
    """Section 3.1 of arXiv:1409.0473: softmax_j v . tanh(W h_i + U m_j), in float64."""
    model = recurrent(attention="additive", input_feeding=feeding)
    batch = jax.tree.map(jnp.asarray, pad([(SOURCE, TARGET[:-1])], rows=1, length=16))

    @nnx.jit
    def read(model):
        (call,) = model.attention_calls(batch)
        return call.x, call.memory

    learned = {name: numbers(x[...]) for name, x in model.learned.items()}
    hidden, states = (numbers(x)[0] for x in read(model))
    wanted = np.zeros((5, 11))
    for i in range(5):
        inside = np.tanh(learned["w_q"] @ hidden[i] + states[:11] @ learned["w_k"].T)
        exponentials = np.exp(inside @ learned["w"])
        wanted[i] = exponentials / exponentials.sum()
    drawn = attention_maps.sentence(model, SOURCE, TARGET)
    assert set(drawn) == {"cross"} and drawn["cross"].is_exact.all()
    np.testing.assert_allclose(drawn["cross"].weights[0, 0], wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("feeding", [True, False])
@pytest.mark.parametrize("attention", ["dot", "coverage"])
def test_an_rnn_answers_from_the_mean_by_these_weights(attention, feeding):
    model = recurrent(attention=attention, input_feeding=feeding)
    batch = jax.tree.map(jnp.asarray, pad([(SOURCE, TARGET[:-1])], rows=1, length=16))
    weights = attention_maps.weights_of(model, batch)["cross"].weights[:, 0, 0]

    @nnx.jit
    def answers(model, weights):
        memory = model.encode(batch.source, batch.source_mask)
        (call,) = model.attention_calls(batch)
        context = jnp.einsum("bts,bsm->btm", weights, memory.states)
        attentional = jnp.tanh(model.combine(jnp.concatenate([context, call.x], axis=-1)))
        wanted = model.embedding.logits(attentional) + model.output_bias[...][None, None]
        return model.decode(batch.target_in, memory), wanted

    got, wanted = answers(model, weights)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


def test_a_model_without_attention_has_no_maps():
    model = recurrent(attention="none")
    assert attention_maps.sentence(model, SOURCE, TARGET) == {}


@pytest.mark.slow
def test_heads_may_share_keys_in_half_precision_and_in_a_scan():
    model = transformer(kv_heads=1, dtype="bfloat16", scan=True)
    # The norms of Flax promote.
    with jax.numpy_dtype_promotion("standard"):
        found = attention_maps.sentence(model, SOURCE, TARGET)
    for drawn in found.values():
        assert drawn.is_exact.all() and drawn.weights.dtype == np.float32
        np.testing.assert_allclose(drawn.weights.sum(axis=-1), 1, rtol=2e-2)


@pytest.mark.slow
def test_heads_that_average_their_values_have_weights():
    model = transformer(attention="multi_query", layers=1)
    drawn = attention_maps.sentence(model, SOURCE, TARGET)["encoder"]
    assert drawn.is_exact.all()
    np.testing.assert_allclose(drawn.weights.sum(axis=-1), 1, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "is_exact"), [("squashed", False), ("raised", True)])
def test_what_is_not_a_sum_of_values_is_said(name, is_exact, tmp_path):
    file = tmp_path / f"{name}.py"
    file.write_text(TANH)
    # Larger values, which tanh bends.
    graphdef, params = nnx.split(transformer(attention=str(file), layers=1))
    model = nnx.merge(graphdef, jax.tree.map(lambda x: 4 * x, params))
    drawn = attention_maps.sentence(model, SOURCE, TARGET)
    for place in ("encoder", "decoder"):
        assert (drawn[place].is_exact == is_exact).all(), drawn[place].error
    assert (drawn["encoder"].rest > 0).all() != (name == "squashed")


def test_an_empty_sentence_is_refused():
    with pytest.raises(ValueError, match="`source` must hold at least one token"):
        attention_maps.sentence(transformer(layers=1), [], TARGET)


@pytest.mark.slow
def test_of_frames_the_weights_are_those_of_the_steps():
    config = TransformerConfig(12, **SIZES)
    listening = AudioFrontEnd(features=5, halvings=1)
    model = Seq2SeqTransformer(
        config,
        encoder=lambda rngs: SpeechTransformerEncoder(config, listening, rngs=rngs),
        rngs=nnx.Rngs(0),
    )
    frames = np.random.default_rng(0).normal(size=(1, 16, 5)).astype(np.float32)
    tokens = pad([(TARGET[:-1], TARGET[:-1])], rows=1, length=8)
    batch = tokens._replace(source=frames, source_mask=np.arange(16)[None] < 13)
    drawn = attention_maps.attention_maps(model, batch, source_length=7, target_length=5)
    assert drawn["encoder"].weights.shape == (2, 2, 7, 7) and drawn["cross"].is_exact.all()
    # Without a decoder, the same encoder looks where it did.
    aligned = CTCModel(model.encoder, CTCHead(16, 12, rngs=nnx.Rngs(0)))
    alone = attention_maps.attention_maps(aligned, batch, source_length=7)
    assert set(alone) == {"encoder"}
    np.testing.assert_array_equal(alone["encoder"].weights, drawn["encoder"].weights)


@pytest.mark.slow
def test_cells_that_ctc_trains_have_no_maps():
    config = RNNConfig(12, width=8)
    rngs = nnx.Rngs(0)
    listener = PyramidalRNNEncoder(config, AudioFrontEnd(features=5), rngs=rngs)
    model = CTCModel(listener, CTCHead(8, 12, rngs=rngs))
    tokens = pad([(TARGET[:-1], TARGET[:-1])], rows=1, length=8)
    batch = tokens._replace(source=np.zeros((1, 8, 5), np.float32))
    assert attention_maps.attention_maps(model, batch, source_length=2) == {}


def language(kind):
    if kind == "rnn":
        return RNNLM(RNNConfig(12, width=8, attention="scaled_dot"), rngs=nnx.Rngs(0))
    return TransformerLM(TransformerConfig(12, **(SIZES | {"layers": 1})), rngs=nnx.Rngs(0))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["transformer", "rnn"])
def test_weights_of_a_language_model_are_the_softmax_of_the_paper(kind):
    model = language(kind)
    tokens = jnp.int32([SOURCE, TARGET + TARGET])

    @nnx.jit
    def heads(model):
        """Queries and keys of the second row, by layer."""
        calls = list(model.attention_calls(Text(tokens)))
        assert calls and all(call.kind == "decoder" for call in calls)
        read = [(call.module, call.x[1:, :8]) for call in calls]
        return [projected(module, x, x) for module, x in read]

    drawn = attention_maps.attention_maps(model, Text(tokens), row=1, target_length=8)
    assert set(drawn) == {"decoder"} and drawn["decoder"].is_exact.all()
    for number, layer in enumerate(heads(model)):
        wanted = softmax_of(*layer, causal=True)
        np.testing.assert_allclose(drawn["decoder"].weights[number], wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_model_of_ones_own_needs_one_method():
    class Own(nnx.Module):
        def __init__(self, both):
            self.both = both
            dot = variants.get("scaled_dot")
            self.rows = MultiHeadAttention(8, heads=2, variant=dot, rngs=nnx.Rngs(0))
            self.columns = MultiHeadAttention(8, heads=4, variant=dot, rngs=nnx.Rngs(1))

        def __call__(self, x):
            x = self.rows(x)
            return self.columns(x) if self.both else x

        def attention_calls(self, x):
            return record(self, lambda model: model(x))

    model, x = Own(False), jnp.asarray(np.random.default_rng(0).normal(size=(1, 3, 8)), jnp.float32)
    drawn = attention_maps.attention_maps(model, x)
    wanted = softmax_of(*nnx.jit(projected)(model.rows, x, x))
    np.testing.assert_allclose(drawn["encoder"].weights[0], wanted, rtol=1e-5)
    with pytest.raises(ValueError, match="equal heads and lengths .* encoder has"):
        attention_maps.attention_maps(Own(True), x)
