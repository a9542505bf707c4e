"""The demo's packaged model: the page writes what the model writes in JAX, in 200 sentences."""

import base64

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax.analysis import attention_maps
from attention_jax.analysis.pages.live import demo
from attention_jax.data import tasks
from attention_jax.data.batching import pad, rounded_up
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.data.types import EOS
from attention_jax.decoding.search import greedy
from attention_jax.models import seq2seq
from attention_jax.nn.transformer import TransformerConfig
from tests.support import node

CODE = """
const model = new Model(data.own), tokenizer = new Tokenizer(data.own.tokenizer);
return data.texts.map(text => {
  const ids = tokenizer.encode(text), memory = model.encode(ids);
  const {ids: out, found} = Search.greedy(model, memory);
  const of = maps => maps.map(({weights: {shape, data}}) => ({shape, data: [...data]}));
  memory.free();
  return {ids, out, text: tokenizer.decode(out), maps: {
    encoder: of(memory.encoder), decoder: of(found.decoder), cross: of(found.cross)}};
});
"""
ROWS, LONGEST = 50, 80  # sentences at once, and their tokens


def sentences():
    """As many of the test as of the longer ones."""
    return [one.source for split in tasks.get("spanish").tests.values() for one in split[:100]]


def model_of(own):
    """The packaged numbers in the library's own model."""
    config = TransformerConfig(len(own["tokenizer"]["vocabulary"]), layers=2, dropout_rate=0.0)
    numbers = np.frombuffer(base64.b64decode(own["weights"]), "<f2").astype(np.float32)
    abstract = nnx.eval_shape(lambda: seq2seq.build(config, rngs=nnx.Rngs(0)))
    graph, params = nnx.split(abstract)
    arrays, at = {}, 0
    for path, shape in own["shapes"]:
        size = int(np.prod(shape))
        arrays[path], at = jnp.asarray(numbers[at : at + size].reshape(shape)), at + size
    assert at == len(numbers)

    def of(path, leaf):
        name = "/".join(str(getattr(key, "key", getattr(key, "idx", key))) for key in path)
        assert arrays[name].shape == leaf.shape
        return arrays[name]

    return nnx.merge(graph, jax.tree_util.tree_map_with_path(of, nnx.as_pure(params)))


def test_the_model_is_small_and_complete():
    own = demo.read()
    assert len(demo.page().encode()) < 4e6
    size = sum(int(np.prod(shape)) for _, shape in own["shapes"])
    assert len(base64.b64decode(own["weights"])) == 2 * size
    words = Tokenizer.learn(demo.EXAMPLES, kind="word")
    tokens = {token for text in demo.EXAMPLES for token in words.tokens(words.encode(text))}
    known = {token.removeprefix("▁") for token in own["tokenizer"]["vocabulary"]}
    assert tokens <= known, "each example is of words that the model has learned"


@pytest.mark.slow
@node.needs_node
def test_200_sentences_are_those_of_the_model_in_jax(tmp_path):
    own, texts = demo.read(), sentences()
    found = node.run(tmp_path, CODE, {"own": own, "texts": texts}, seconds=1200)
    model = model_of(own)
    for first in range(0, len(texts), ROWS):
        group = found[first : first + ROWS]
        pairs = [(tuple(one["ids"]), tuple(one["out"][:-1])) for one in group]
        batch = jax.tree.map(jnp.asarray, pad(pairs, rows=ROWS, length=LONGEST))
        state = model.start(model.encode(batch.source, batch.source_mask), LONGEST)
        written = jax.jit(lambda state: greedy(model.step, state, max_length=LONGEST))(state)
        weights = attention_maps.weights_of(model, batch)
        for row, one in enumerate(group):
            t, s = len(one["out"]), len(one["ids"]) + 1
            assert one["out"] == written.tokens[row, 0, :t].tolist()
            assert one["out"][-1] == EOS or t == 2 * rounded_up(s) + 16
            sizes = {"encoder": (s, s), "decoder": (t, t), "cross": (t, s)}
            for place, (rows, columns) in sizes.items():
                for layer, own in enumerate(one["maps"][place]):
                    got = np.reshape(own["data"], own["shape"])[:, :rows, :columns]
                    expected = weights[place].weights[row, layer, :, :rows, :columns]
                    np.testing.assert_allclose(got, expected, atol=1e-3)
