"""Layers that differ: a pattern of attentions is repeated over them, and cut off at the last."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.decoding import DecodingConfig, Translator
from attention_jax.models.language import TransformerLM
from attention_jax.models.seq2seq_transformer import Seq2SeqTransformer
from attention_jax.nn import transformer
from attention_jax.nn.transformer import TransformerConfig

SIZES = {"vocabulary_size": 7, "width": 8, "heads": 2, "feed_forward": 8, "dropout_rate": 0.0}
MIXED = "[2*linear, sliding_window(size=3)]"


def model(**changes):
    own = SIZES | {"layers": 5, "attention": MIXED} | changes
    return TransformerLM(TransformerConfig(**own), rngs=nnx.Rngs(0))


@pytest.fixture
def text():
    return jnp.asarray(np.random.default_rng(0).integers(0, 7, (2, 9)), jnp.int32)


def test_layers_have_the_attentions_of_a_pattern_in_turn():
    linear, near = variants.get("linear"), variants.get("sliding_window", size=3)
    found = [layer.attention.variant for layer in model().stack.each()]
    assert found == [linear, linear, near, linear, linear]
    named = [layer.attention.variant for layer in model(attention=(linear, "dot")).stack.each()]
    assert named == [linear, variants.get("dot"), linear, variants.get("dot"), linear]


def test_each_layer_computes_by_its_own(text):
    """The logits are those of layers that are called by hand, one after another."""
    mixed = model()
    x = mixed.embedding(text)
    for layer, name in zip(
        mixed.stack.each(), ["linear"] * 2 + ["near"] + ["linear"] * 2, strict=True
    ):
        attention = layer.attention
        variant = variants.get("linear")
        mask = masks.causal
        if name == "near":
            variant, mask = variants.get("scaled_dot"), mask & masks.sliding_window(3)
        inside = layer.around_attention.pre_norm(x)
        q, (k, v) = attention.queries(inside), attention.keys_values(inside)
        seen = variant.attend({}, q, k, v, Options(mask=mask))
        x = layer.feed_forward_block(x + attention.merge(seen))
    expected = mixed.unembed(mixed.norm(x))
    np.testing.assert_allclose(mixed.logits(text), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_recomputing_and_steps_reproduce_them(text):
    mixed = model()
    expected = mixed.logits(text)
    np.testing.assert_allclose(model(remat=True).logits(text), expected, rtol=1e-5, atol=1e-5)
    state = mixed.start(2, 9)
    for n in range(9):
        state, logits = mixed.step(state, text[:, n])
        np.testing.assert_allclose(logits, expected[:, n], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_decoder_searches_with_caches_of_several_kinds():
    config = TransformerConfig(
        **SIZES | {"vocabulary_size": 12, "layers": 2}, attention="[linear, dot]"
    )
    seq2seq = Seq2SeqTransformer(config, rngs=nnx.Rngs(0))
    graph, params = nnx.split(seq2seq)
    tokenizer = Tokenizer.learn(["abcdefgh"], kind="character")
    search = DecodingConfig("beam", beam_size=3, nbest=3)
    (found,) = Translator(graph, tokenizer, search)(nnx.as_pure(params), ["abc"])
    assert len(found) == 3 and found[0].score >= found[1].score >= found[2].score


def test_what_stands_where_is_told():
    config = TransformerConfig(7, layers=5, attention=MIXED)
    assert transformer.name_at(config, "causal") == MIXED
    assert transformer.name_at(config, "cross") == "[2*linear, scaled_dot]"
    short = TransformerConfig(7, layers=2, attention=MIXED)
    assert transformer.name_at(short, "causal") == "linear"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scan": True}, "`scan` must be False where layers differ"),
        ({"attention": "[]"}, "a pattern is a list in brackets"),
        ({"attention": "[0*linear]"}, "a count must be from 1"),
        ({"attention": "[3*]"}, "a count is a whole number"),
        ({"attention": "[1.5*linear, dot]"}, "a count is a whole number"),
        ({"attention": "[linear, nothing_at_all]"}, "must be one of the variants"),
        ({"attention": "[linear, [dot]]"}, "one attention is asked for"),
        ({"attention": "[linear, induced]"}, "'induced' does not"),
        ({"attention": ()}, "at least one layer"),
    ],
)
def test_patterns_that_cannot_be_are_refused(changes, said):
    with pytest.raises(ValueError, match=said.replace("[", r"\[")):
        model(**changes)


def test_one_attention_is_no_pattern():
    with pytest.raises(ValueError, match="one attention is asked for"):
        variants.resolve(MIXED)
    assert model(scan=True, attention="[2*linear]").stack.depth == 5
