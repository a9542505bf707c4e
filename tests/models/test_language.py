"""What every language model promises: Transformers over every variant, and RNNs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax import variants
from attention_jax.core.rotary import Rotary, Scaling
from attention_jax.models import language
from attention_jax.nn.recurrent import RNNConfig
from attention_jax.nn.transformer import TransformerConfig
from tests.support.equations import norm, numbers

SIZES = {"vocabulary_size": 7, "width": 8, "dropout_rate": 0.0}
# With keys and values, with each kind of state, with a position in the score; the others are slow.
FAST = ("scaled_dot", "alibi", "linear", "gated_delta", "retention", "sliding_window")
CAUSAL = [
    pytest.param(name, marks=() if name in FAST else pytest.mark.slow)
    for name in variants.names()
    if "causal" in variants.get(name).roles
]
CHOICES = {
    "learned, gelu": {"positions": "learned", "max_length": 9, "activation": "gelu"},
    "post-norm, sinusoidal, untied": {"norm": "post", "tied": False},
    "rope, grouped": {"positions": "rope", "kv_heads": 1},
    "scanned": {"scan": True},
    "norms of heads, rotary options": {
        "positions": "rope",
        "rotary": Rotary(500.0, "halves", 0.5, scaling=Scaling("yarn", 2.0, 64)),
        "qk_norm": True,
        "biases": "none",
        "embedding_scale": 1.0,
        "embedding_norm": True,
        "output_bias": True,
    },
    "sandwich, rms, gated, wide heads": {
        "norm": "sandwich",
        "norm_kind": "rms",
        "activation": "swiglu",
        "head_width": 12,
        "value_width": 5,
    },
}
RNNS = {
    "gru": {"attention": "none"},
    "lstm, two layers, untied": {
        "attention": "none",
        "cell": "lstm",
        "layers": 2,
        "tied": False,
    },
    "gru, additive": {"attention": "additive"},
    "lstm, linear": {"attention": "linear", "cell": "lstm"},
}


def build(name, **changes):
    rngs = nnx.Rngs(0)
    if name in RNNS:
        return language.RNNLM(RNNConfig(**SIZES | RNNS[name] | changes), rngs=rngs)
    options = CHOICES.get(name) or {"attention": name, "positions": "none"}
    own = {"layers": 1, "heads": 2, "feed_forward": 8} | SIZES | options | changes
    return language.TransformerLM(TransformerConfig(**own), rngs=rngs)


@pytest.fixture(scope="module")
def text():
    return jnp.asarray(np.random.default_rng(0).integers(0, 7, (2, 9)), jnp.int32)


@nnx.jit
def whole(model, text):
    return model.logits(text)


@nnx.jit
def stepwise(model, text):
    state = model.start(text.shape[0], text.shape[1])
    _, logits = jax.lax.scan(model.step, state, text.T)
    return logits.swapaxes(0, 1)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", [*CAUSAL, *CHOICES, *RNNS])
def test_steps_reproduce_the_whole(name, text):
    model = build(name)
    logits = whole(model, text)
    assert logits.shape == (2, 9, 7) and logits.dtype == jnp.float32
    np.testing.assert_allclose(stepwise(model, text), logits, rtol=1e-4, atol=1e-5)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", ["learned, gelu", "linear", *RNNS])
def test_later_tokens_do_not_leak(name, text):
    model = build(name)
    changed = whole(model, text.at[:, 5:].set(3))
    np.testing.assert_allclose(changed[:, :5], whole(model, text)[:, :5], rtol=1e-5, atol=1e-6)
    assert not np.allclose(changed[:, 5:], whole(model, text)[:, 5:])


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", ["rope, grouped", "gru, additive"])
def test_dropout_is_drawn_from_the_key(name, text):
    model = build(name, dropout_rate=0.5)

    @jax.jit
    def dropped(seed):
        return model.logits(text, rngs=nnx.Rngs(dropout=jax.random.key(seed)))

    np.testing.assert_array_equal(dropped(1), dropped(1))
    assert not np.allclose(dropped(1), dropped(2))


@pytest.mark.parametrize("name", ["rope, grouped", "gru, additive"])
def test_bfloat16_keeps_float32_parameters_and_logits(name, text):
    model = build(name, dtype="bfloat16")
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(model))} == {jnp.dtype("float32")}
    # Flax's own layer norm mixes the two types.
    with jax.numpy_dtype_promotion("standard"):
        assert nnx.eval_shape(whole, model, text).dtype == jnp.float32


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", ["learned, gelu", "gru"])
def test_a_regressor_reads_to_the_end(name, draw):
    model = language.SequenceRegressor(build(name), 2, rngs=nnx.Rngs(1))
    vectors = draw(3, 6, 2)
    predict = nnx.jit(lambda vectors: model.predict(vectors))
    numbers = predict(vectors)
    assert numbers.shape == (3,) and numbers.dtype == jnp.float32
    for moved in (0, 5):
        assert not np.allclose(predict(vectors.at[:, moved].add(1)), numbers)


@pytest.mark.parametrize("tied", [True, False])
def test_embeddings_are_scaled_and_normed_and_logits_have_a_bias(tied, text, draw):
    """Before and after the layers, in float64, of a model whose layers do nothing."""
    own = {"positions": "learned", "embedding_scale": 3.0, "embedding_norm": True}
    model = build("learned, gelu", **own, output_bias=True, tied=tied)
    model.output_bias[...] = draw(7)
    model.embedding_norm.scale[...] = draw(8)
    for layer in model.stack.each():
        for last in (layer.attention.out, layer.feed_forward.down):
            last.kernel[...] = jnp.zeros_like(last.kernel[...])
    table = numbers(model.embedding.table.embedding)
    places = numbers(model.embedding.learned.embedding)
    matrix = table.T if tied else numbers(model.output.kernel)
    logits = model.logits(text[:1])[0]
    for t in range(9):
        x = 3 * (table[text[0, t]] + places[t])
        wanted = norm(model.norm, norm(model.embedding_norm, x)) @ matrix
        wanted = wanted + numbers(model.output_bias)
        np.testing.assert_allclose(logits[t], wanted, rtol=1e-4, atol=1e-5)


def test_gelu_is_that_of_torch(draw):
    torch = pytest.importorskip("torch")
    from attention_jax.nn.feed_forward import ACTIVATIONS

    x = draw(64) * 3
    expected = torch.nn.functional.gelu(torch.tensor(np.asarray(x)))
    np.testing.assert_allclose(ACTIVATIONS["gelu"](x), expected.numpy(), rtol=1e-5, atol=1e-6)


def test_the_small_model_of_nanogpt_is_that_of_torch(text):
    """Pre-norm, GELU, learned positions, tied: torch with our parameters gives our logits."""
    torch = pytest.importorskip("torch")
    model = build("learned, gelu", layers=2, width=16, feed_forward=32)
    params = jax.tree.map(lambda x: torch.tensor(np.asarray(x)), nnx.as_pure(nnx.state(model)))
    functional = torch.nn.functional
    tokens = torch.tensor(np.asarray(text)).long()

    def norm(x, own):
        return functional.layer_norm(x, (16,), own["scale"], own["bias"], eps=1e-6)

    def linear(x, own):
        return x @ own["kernel"] + own["bias"]

    def heads(x):
        return x.reshape(2, 9, 2, 8).transpose(1, 2)

    table = params["embedding"]["table"]["embedding"]
    x = 4 * (table[tokens] + params["embedding"]["learned"]["embedding"][:9])
    for layer in params["stack"]["layers"].values():
        own = layer["attention"]
        look = norm(x, layer["around_attention"]["norm"])
        q, k, v = (heads(linear(look, own[part])) for part in ("query", "key", "value"))
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + linear(seen.transpose(1, 2).reshape(2, 9, 16), own["out"])
        own = layer["feed_forward"]
        look = norm(x, layer["around_feed_forward"]["norm"])
        x = x + linear(functional.gelu(linear(look, own["up"])), own["down"])
    expected = norm(x, params["norm"]) @ table.T
    np.testing.assert_allclose(whole(model, text), expected.numpy(), rtol=1e-4, atol=1e-5)


def test_what_cannot_look_back_only_is_refused():
    with pytest.raises(ValueError, match="'coverage' does not. Use scaled_dot"):
        build("coverage")
    with pytest.raises(ValueError, match="'mocha' does not"):
        build("gru, additive", attention="mocha")


def test_learned_positions_end_where_their_table_does(text):
    model = build("learned, gelu")
    assert model.context == 9 and build("gru").context is None
    with pytest.raises(ValueError, match="max_length=10, context=9"):
        model.start(1, 10)


AT_ONCE = ["scaled_dot", "alibi", "linear", "sliding_window(size=3)", "kda", "delta_product"]
AT_ONCE += ["rnn none", "rnn additive", "rnn retention"]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("attention", AT_ONCE)
def test_tokens_read_at_once_are_those_read_one_by_one(attention):
    if attention.startswith("rnn "):
        small = RNNConfig(9, width=8, layers=2, attention=attention.removeprefix("rnn "))
        model = language.RNNLM(small, rngs=nnx.Rngs(0))
    else:
        sizes = {"width": 8, "layers": 2, "heads": 2, "feed_forward": 8}
        config = TransformerConfig(9, **sizes, attention=attention)
        model = language.TransformerLM(config, rngs=nnx.Rngs(0))
    tokens = jax.random.randint(jax.random.key(1), (2, 7), 3, 9)

    @jax.jit
    def read(tokens):
        state, after = model.read_on(model.start(2, 7), tokens[:, :3])
        state, last = model.read_on(state, tokens[:, 3:6])
        return after, last, model.step(state, tokens[:, 6])[1]

    expected = jax.jit(model.logits)(tokens)
    for found, at in zip(read(tokens), (2, 5, 6), strict=True):
        np.testing.assert_allclose(found, expected[:, at], rtol=1e-4, atol=1e-5)


def test_more_tokens_than_there_is_room_for_are_refused_or_nan():
    config = TransformerConfig(9, width=8, layers=1, heads=2, feed_forward=8)
    model = language.TransformerLM(config, rngs=nnx.Rngs(0))
    tokens = jnp.full((1, 5), 4)
    with pytest.raises(ValueError, match="finds no room"):
        model.read_on(model.start(1, 4), tokens)
    with pytest.raises(ValueError, match="finds no room"):
        jax.eval_shape(lambda x: model.read_on(model.start(1, 4), x), tokens)

    @jax.jit
    def twice(tokens):
        state, _ = model.read_on(model.start(1, 8), tokens)
        return model.read_on(state, tokens)[1]

    assert np.isnan(twice(tokens)).all()
