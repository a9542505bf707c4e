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
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.decoding.search import beam, greedy
from attention_jax.models import seq2seq
from attention_jax.models.seq2seq import Seq2SeqConfig
from attention_jax.nn.recurrence import Recurrence
from attention_jax.nn.recurrent import RNNConfig
from attention_jax.nn.transformer import TransformerConfig
from tests.support import node

TOKENIZER = Tokenizer.learn(["a b c d e f g h i j k l m"], kind="word")
SIZE, LENGTH = TOKENIZER.size, 12
TINY = TransformerConfig(SIZE, width=16, layers=2, heads=4, feed_forward=24, dropout_rate=0.0)
CELLS = RNNConfig(SIZE, width=16, layers=2, dropout_rate=0.0)
OPTIONS = {"sliding_window": "size=3", "top_k": "k=2", "soft_cap": "cap=2.0, window=4"}
SOURCES = [[5, 9, 4, 12, 7], [8], [4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 9, 8, 7, 6, 5]]


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


def made(config, seed=0):
    """A model whose every parameter is random and rounded as the page's, gains and biases too."""
    model = seq2seq.build(config, rngs=nnx.Rngs(seed))
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    noisy = [x + 0.3 * jax.random.normal(key, x.shape) for x, key in zip(leaves, keys, strict=True)]
    return nnx.merge(graph, live.rounded(jax.tree.unflatten(tree, noisy)), rest)


CODE = """
return data.map(({own, sources, length}) => {
  const model = new Model(own);
  return sources.map(ids => {
    const memory = model.encode(ids);
    const {ids: out, rows, found} = Search.greedy(model, memory, {maxLength: length});
    const plain = maps => maps.filter(x => x.weights).map(
      ({weights: {shape, data}}) => ({shape, data: [...data]}));
    const beams = Search.beam(model, memory, {count: 3, maxLength: length});
    return {out, logits: rows.map(row => [...row]), states: [...memory.states], beams,
      encoder: plain(memory.encoder), decoder: plain(found.decoder), cross: plain(found.cross)};
  });
});
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory, request):
    """What node makes of the models that the selected tests ask for, at once."""
    asked = {item.callspec.params["name"] for item in request.session.items if _asks(item)}
    names = [name for name in MODELS if name in asked]
    data = [
        {"own": live.describe(made(MODELS[name]), TOKENIZER), "sources": SOURCES, "length": LENGTH}
        for name in names
    ]
    return dict(zip(names, node.run(tmp_path_factory.mktemp("node"), CODE, data), strict=True))


def _asks(item):
    return item.path.name == "test_models.py" and "name" in getattr(item, "callspec", _NONE).params


class _NONE:
    params = {}


@node.needs_node
@pytest.mark.parametrize("name", MODELS)
def test_the_page_writes_as_the_model_does(name, found):
    model = made(MODELS[name])
    for ids, own in zip(SOURCES, found[name], strict=True):
        source = jnp.asarray([[*ids, 2]])
        memory = model.encode(source, jnp.ones(source.shape, bool))
        out = greedy(model.step, model.start(memory, LENGTH), max_length=LENGTH)
        tokens = out.tokens[0, 0, : int(out.lengths[0, 0])].tolist()
        assert own["out"] == tokens
        before = jnp.asarray([[1, *tokens[:-1]]])
        np.testing.assert_allclose(own["logits"], model.decode(before, memory)[0], atol=1e-4)
        maps = attention_maps.sentence(model, ids, tokens)
        for place in ("encoder", "decoder", "cross"):
            assert bool(own[place]) == (place in maps), place
            for layer, weights in enumerate(own[place]):
                s, t = len(ids) + 1, len(tokens)
                size = (s, s) if place == "encoder" else (t, t if place == "decoder" else s)
                got = np.reshape(weights["data"], weights["shape"])[:, : size[0], : size[1]]
                np.testing.assert_allclose(got, maps[place].weights[layer], atol=1e-4)
