"""The page's models write what the library's do, with the same attention."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax.analysis import attention_maps
from attention_jax.analysis.pages import live
from attention_jax.core.rotary import Rotary, Scaling
from attention_jax.core.sinusoids import Sinusoids
from attention_jax.data.batching import pad
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.data.types import EOS
from attention_jax.decoding.search import beam
from attention_jax.models import seq2seq
from attention_jax.models.seq2seq import Seq2SeqConfig
from attention_jax.nn.recurrence import Recurrence
from attention_jax.nn.recurrent import RNNConfig
from attention_jax.nn.transformer import TransformerConfig
from tests.support import node
from tests.support.asked import asked
from tests.support.drawn_models import drawn

TOKENIZER = Tokenizer.learn(["a b c d e f g h i j k l m"], kind="word")
SIZE, LENGTH = TOKENIZER.size, 12
TINY = TransformerConfig(SIZE, width=16, layers=2, heads=4, feed_forward=24, dropout_rate=0.0)
CELLS = RNNConfig(SIZE, width=16, layers=2, dropout_rate=0.0)
OPTIONS = {"sliding_window": "size=3", "top_k": "k=2", "soft_cap": "cap=2.0, window=4"}
SOURCES = [[5, 9, 4, 12, 7], [8], [4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]]
BEAMS = ("transformer, scaled_dot", "gru")


def texts():
    for name in live.LIVE:
        yield name if name not in OPTIONS else f"{name}({OPTIONS[name]})"


SSRU = TINY._replace(recurrence=Recurrence("ssru"))
MODELS = {
    **{f"transformer, {text}": TINY._replace(attention=text) for text in texts()},
    "pattern": TINY._replace(attention="[alibi, dot]", cross_attention="[additive, sparsemax]"),
    "post": TINY._replace(norm="post", activation="gelu"),
    "sandwich, rms": TINY._replace(norm="sandwich", norm_kind="rms", activation="swiglu"),
    "rope": TINY._replace(positions="rope", kv_heads=2, qk_norm=True, biases="qkv"),
    "rope, scaled": TINY._replace(
        positions="rope",
        rotary=(Rotary(layout="halves", share=0.5), Rotary(scaling=Scaling("yarn", 4.0))),
        head_width=8,
        value_width=6,
    ),
    "learned": TINY._replace(positions="learned", max_length=64, embedding_norm=True),
    "halves": TINY._replace(
        sinusoids=Sinusoids("halves", "tensor2tensor", 2), tied=False, output_bias=True
    ),
    "caps": TINY._replace(logit_cap=2.0, layer_scale=0.5, embedding_scale=1.5, biases="none"),
    "geglu": TINY._replace(activation="geglu_tanh", scan=True),
    "swish, no positions": TINY._replace(activation="swish", positions="none"),
    "one vector": TINY._replace(cross_attention="none"),
    "ssru": SSRU,
    "ssru decoder": Seq2SeqConfig(TINY, TINY._replace(recurrence=Recurrence("ssru"))),
    "gru": CELLS,
    "gru, one way": CELLS._replace(bidirectional=False, input_feeding=False, tied=False),
    "gru, one vector": CELLS._replace(attention="none"),
    "gru, dot": CELLS._replace(attention="scaled_dot"),
    "gru, general": CELLS._replace(attention="general"),
    "gru, heads": CELLS._replace(
        decoder_heads=4, attention="sparsemax", self_attention=TINY._replace(positions="none")
    ),
    "lstm": CELLS._replace(cell="lstm"),
    "transformer to lstm": Seq2SeqConfig(TINY, CELLS._replace(cell="lstm")),
    "lstm to transformer": Seq2SeqConfig(CELLS._replace(cell="lstm"), TINY),
    "gru to one vector": Seq2SeqConfig(CELLS, TINY._replace(cross_attention="none")),
}


def made(config):
    return drawn(lambda: seq2seq.build(config, rngs=nnx.Rngs(0)))


def padded(source, target=()):
    return jax.tree.map(jnp.asarray, pad([(tuple(source), tuple(target))], rows=1, length=16))


CODE = """
/** Weights as the steps make them, row by row, of what attention found. */
function stepped(found, variant, length) {
  const {shape: [h, t, s]} = found.weights, rows = [];
  for (let head = 0; head < h; head++) for (let i = 0; i < Math.min(t, length); i++) {
    const at = Array.from({length: s}, (_, j) => j), score = headOf(found.logits, head);
    const seen = headOf(found.visible, 0), sink = found.sink && headOf(found.sink, head)(0, 0);
    const steps = Normalizing.steps(variant, at.map(j => score(i, j)), at.map(j => seen(i, j) > 0),
      sink);
    rows.push(Normalizing.weights(steps));
  }
  return {shape: [h, Math.min(t, length), s], data: rows.flat()};
}
const headOf = ({shape: [, t, s], data}, head) => (i, j) => data[(head * t + i) * s + j];

return data.map(({own, sources, length}) => {
  const model = new Model(own);
  return sources.map(ids => {
    const memory = model.encode(ids);
    const {ids: out, rows, found} = Search.greedy(model, memory, {maxLength: length});
    const plain = maps => maps.filter(x => x.weights).map(
      ({weights: {shape, data}}) => ({shape, data: [...data]}));
    const whole = model.next(memory, [BOS, ...out.slice(0, -1)], {whole: true});
    const {encoder, decoder} = own, of = encoder.own ?? encoder.above?.own;
    const steps = {
      encoder: memory.encoder.map((x, n) => stepped(x, of.attention[n], ids.length + 1)),
      decoder: whole.decoder.map((x, n) => stepped(x, decoder.own.attention[n], out.length)),
      cross: whole.cross.map((x, n) => stepped(x, decoder.kind === "rnn" ? decoder.attention
        : decoder.own.cross[n], out.length)),
    };
    const beams = Search.beam(model, memory, {count: 3, maxLength: length});
    return {out, logits: rows.map(row => [...row]), states: [...memory.states], beams, steps,
      encoder: plain(memory.encoder), decoder: plain(found.decoder), cross: plain(found.cross)};
  });
});
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory, request):
    """What node makes of the models that the selected tests ask for, at once."""
    names = [name for name in MODELS if name in asked(request, "name")]
    data = [
        {"own": live.describe(made(MODELS[name]), TOKENIZER), "sources": SOURCES, "length": LENGTH}
        for name in names
    ]
    return dict(zip(names, node.run(tmp_path_factory.mktemp("node"), CODE, data), strict=True))


@node.needs_node
@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", MODELS)
def test_the_page_writes_as_the_model_does(name, found):
    model = made(MODELS[name])
    for ids, own in zip(SOURCES, found[name], strict=True):
        tokens, s = own["out"], len(ids) + 1
        batch = padded(ids, tokens[:-1])
        memory = model.encode(batch.source, batch.source_mask)
        logits = np.array(model.decode(batch.target_in, memory)[0, : len(tokens)])
        np.testing.assert_allclose(own["logits"], logits, atol=1e-4)
        # Greedy: each token is the best of the true model's logits, and EOS ends.
        logits[:, :EOS] = -np.inf
        assert tokens == logits.argmax(axis=1).tolist()
        assert EOS not in tokens[:-1] and (tokens[-1] == EOS or len(tokens) == LENGTH)
        maps = attention_maps.attention_maps(
            model, batch, source_length=s, target_length=len(tokens)
        )
        for place in ("encoder", "decoder", "cross"):
            expected = maps[place].weights if place in maps else []
            assert len(own[place]) == len(expected), place
            for weights, layer in zip(own[place], expected, strict=True):
                _, t, s = layer.shape
                got = np.reshape(weights["data"], weights["shape"])[:, :t, :s]
                np.testing.assert_allclose(got, layer, atol=1e-4)
            # Step by step, in plain numbers, the same comes out.
            for weights, layer in zip(own["steps"][place], expected, strict=True):
                _, t, s = layer.shape
                got = np.reshape(weights["data"], weights["shape"])[:, :t, :s]
                np.testing.assert_allclose(got, layer, atol=1e-4)


@pytest.mark.sampled(1)
@node.needs_node
@pytest.mark.parametrize("name", BEAMS)
def test_the_beam_is_that_of_the_library(name, found):
    model = made(MODELS[name])
    for ids, own in zip(SOURCES, found[name], strict=True):
        batch = padded(ids)
        state = model.start(model.encode(batch.source, batch.source_mask), LENGTH)
        expected = beam(model.step, state, max_length=LENGTH, beam_size=3, nbest=3)
        for rank, one in enumerate(own["beams"]):
            length = int(expected.lengths[0, rank])
            assert one["ids"] == expected.tokens[0, rank, :length].tolist()
            np.testing.assert_allclose(one["score"], expected.scores[0, rank], atol=1e-4)


def test_the_variants_of_the_page_are_those_of_its_script(tmp_path):
    if node.PROGRAM is None:
        pytest.skip("node is not installed")
    assert node.run(tmp_path, "return Scores.LIVE;", {}) == list(live.LIVE)


def test_a_model_that_the_page_cannot_compute_says_why():
    why = {
        "linformer": TINY._replace(attention="linformer"),
        "min_gru": TINY._replace(recurrence=Recurrence("min_gru")),
        "kv_sharing": TINY._replace(kv_sharing=2),
        "bfloat16": TINY._replace(dtype="bfloat16"),
        "coverage": CELLS._replace(attention="coverage"),
    }
    for name, config in why.items():
        found = live.why_recorded(made(config), TOKENIZER)
        assert name in [got for _, got in found]
        with pytest.raises(ValueError, match="must be one that the page can compute"):
            live.describe(made(config), TOKENIZER)
