"""What every sequence-to-sequence model promises, tested once for all of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax.analysis import attention_maps
from attention_jax.core.types import ROLES
from attention_jax.data.types import Seq2SeqBatch
from attention_jax.models import seq2seq, seq2seq_rnn, seq2seq_transformer
from attention_jax.nn import linear_cells, recurrent, transformer
from attention_jax.nn.recurrence import Recurrence
from tests.support.passes import forward_and_backward

SIZES = {"vocabulary_size": 11, "width": 8, "layers": 2, "dropout_rate": 0.5}
TRANSFORMERS = {
    "transformer": {},
    "post-norm, learned, untied": {
        "layers": 1,  # of two the others are
        "norm": "post",
        "positions": "learned",
        "max_length": 32,
        "tied": False,
    },
    "rope, grouped": {"positions": "rope", "kv_heads": 1, "layers": 1},
    "scanned": {"scan": True},
    "sandwich, rms, gated": {
        "layers": 1,
        "norm": "sandwich",
        "norm_kind": "rms",
        "activation": "geglu",
        "positions": "rope",
        "qk_norm": True,
        "biases": "qkv",
        "embedding_norm": True,
        "output_bias": True,
        "head_width": 6,
        "value_width": 3,
    },
    "alibi": {"attention": "alibi"},
    "additive": {"attention": "additive"},
    "coverage": {"attention": "coverage"},
    "linear": {"attention": "linear", "positions": "none"},
    "one vector": {"cross_attention": "none"},
    "scanned rg_lru, one way": {"scan": True, "recurrence": Recurrence("rg_lru", False)},
}
RNNS = {
    "gru": {},
    "lstm without attention": {"cell": "lstm", "attention": "none"},
    "one way, without feeding": {
        "bidirectional": False,
        "input_feeding": False,
        "attention": "general",
    },
    "lstm, untied": {"cell": "lstm", "tied": False},
    "gru, coverage": {"attention": "coverage"},
    "lstm, location aware, without feeding": {
        "cell": "lstm",
        "attention": "location_aware",
        "input_feeding": False,
    },
    "gru, heads of a score": {"decoder_heads": 2},
    "lstm, heads that mix": {"cell": "lstm", "decoder_heads": 2, "attention": "talking_heads"},
    "gru, heads with a state, without feeding": {
        "decoder_heads": 2,
        "attention": "coverage",
        "input_feeding": False,
    },
    "gru, self-attention above": {
        "self_attention": transformer.TransformerConfig(11, 8, 1, 2, feed_forward=16)
    },
}
# Encoder, decoder, and the attention between them.
SIDES = {
    "transformer, ssru": ("transformer", "ssru", None),
    "min_gru, rg_lru": ("min_gru", "rg_lru", "additive"),
    "gru, mlstm": ("gru", "mlstm", "coverage"),
    "mlstm, lstm": ("mlstm", "lstm", "additive"),
    "transformer, gru": ("transformer", "gru", "none"),
    "lstm, transformer": ("lstm", "transformer", "none"),
    "gru, lstm": ("gru", "lstm", "dot"),
    "lstm, gru": ("lstm", "gru", "none"),
}
RECOMPUTED = {"recomputed": {"remat": True}}


def side(kind, between):
    if kind in recurrent.CELLS:
        return recurrent.RNNConfig(**SIZES, cell=kind, attention=between or "additive")
    config = transformer.TransformerConfig(**SIZES, heads=2, feed_forward=16)
    own = Recurrence(kind) if kind in linear_cells.CELLS else None
    return config._replace(recurrence=own, cross_attention=between)


def build(name):
    rngs = nnx.Rngs(0)
    if name in SIDES:
        encoder, decoder, between = SIDES[name]
        config = seq2seq.Seq2SeqConfig(side(encoder, None), side(decoder, between))
        return seq2seq.build(config, rngs=rngs)
    if name in RNNS:
        return seq2seq_rnn.Seq2SeqRNN(recurrent.RNNConfig(**SIZES, **RNNS[name]), rngs=rngs)
    options = SIZES | {"heads": 2, "feed_forward": 16} | (TRANSFORMERS | RECOMPUTED)[name]
    config = transformer.TransformerConfig(**options)
    return seq2seq_transformer.Seq2SeqTransformer(config, rngs=rngs)


# Others stand for these in the fast tests.
LONG = (
    "post-norm, learned, untied",
    "scanned",
    "sandwich, rms, gated",
    "alibi",
    "additive",
    "coverage",
    "linear",
    "lstm without attention",
    "one way, without feeding",
    "lstm, untied",
    "gru, coverage",
    "lstm, location aware, without feeding",
    "one vector",
    "scanned rg_lru, one way",
    "lstm, heads that mix",
    "gru, heads with a state, without feeding",
    "gru, self-attention above",
    *(name for name in SIDES if name != "transformer, ssru"),
)
ALL = [
    pytest.param(name, marks=pytest.mark.slow) if name in LONG else name
    for name in (*TRANSFORMERS, *RNNS, *SIDES)
]


@pytest.fixture(params=ALL, scope="module")
def model(request):
    return build(request.param)


@pytest.fixture(scope="module")
def passed(model):
    return forward_and_backward(model)


@pytest.fixture(scope="module")
def text():
    draw = np.random.default_rng(0)
    source, target = draw.integers(4, 11, (2, 3, 6)).astype(np.int32)
    mask = np.arange(6) < np.array([6, 4, 1])[:, None]
    return jnp.asarray(source), jnp.asarray(mask), jnp.asarray(target)


@nnx.jit
def logits_of(model, source, mask, target):
    return model.decode(target, model.encode(source, mask))


@nnx.jit
def stepwise(model, memory, target):
    state = model.start(memory, 8)
    _, logits = jax.lax.scan(model.step, state, target.T)
    return logits.swapaxes(0, 1)


@pytest.mark.sampled(1)
def test_steps_reproduce_the_teacher_forced_pass(model, passed, text):
    _, (whole, memory) = passed(*text)
    stepped = stepwise(model, memory, text[2])
    np.testing.assert_allclose(stepped, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.sampled(1)
def test_later_targets_do_not_leak(passed, text):
    source, mask, target = text
    _, (whole, _) = passed(source, mask, target)
    _, (changed, _) = passed(source, mask, target.at[:, 3:].set(5))
    np.testing.assert_allclose(changed[:, :3], whole[:, :3], rtol=1e-5, atol=1e-6)
    assert not np.allclose(changed[:, 3:], whole[:, 3:])


@pytest.mark.sampled(1)
def test_padding_of_the_source_changes_nothing(model, passed, text):
    source, mask, target = text
    _, (whole, _) = passed(source, mask, target)
    _, (noise, _) = passed(jnp.where(mask, source, 9), mask, target)
    np.testing.assert_allclose(noise, whole, rtol=1e-5, atol=1e-6)
    alone = logits_of(model, source[1:2, :4], mask[1:2, :4], target[1:2])
    np.testing.assert_allclose(alone[0], whole[1], rtol=1e-4, atol=1e-5)


@pytest.mark.sampled(1)
def test_a_row_of_padding_alone_stays_finite(passed, text):
    source, mask, target = text
    _, (logits, _) = passed(source, mask & False, target)
    assert jnp.isfinite(logits).all()


@pytest.mark.sampled(1)
def test_every_parameter_has_a_gradient(passed, text):
    gradient, _ = passed(*text)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        name = jax.tree_util.keystr(path)
        assert jnp.isfinite(leaf).all(), name
        # A bias of keys shifts all scores of a query alike, which softmax ignores.
        if "'key']['bias']" not in name and "['cosine']" not in name:
            assert jnp.abs(leaf).max() > 0, name


@pytest.mark.sampled(2)
def test_dropout_is_drawn_from_the_key(model, text):
    source, mask, target = text

    @jax.jit
    def dropped(seed):
        rngs = nnx.Rngs(dropout=jax.random.key(seed))
        return model.decode(target, model.encode(source, mask, rngs=rngs), rngs=rngs)

    np.testing.assert_array_equal(dropped(1), dropped(1))
    assert not np.allclose(dropped(1), dropped(2))


@pytest.mark.sampled(1)
def test_weights_are_those_of_a_mean_over_what_is_visible(model, text):
    source, mask, target = text
    batch = Seq2SeqBatch(source, mask, target, target, jnp.ones(target.shape))
    found = attention_maps.weights_of(model, batch, kind="cross")
    if not found:
        assert not getattr(model, "attentive", True)
        return
    weights = found["cross"].weights  # [b l h t s]
    assert weights.shape[0] == 3 and weights.shape[3:] == (target.shape[1], 6)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    assert jnp.all(jnp.where(mask[:, None, None, None], 0, weights) == 0)


@pytest.mark.slow
def test_scanned_and_recomputed_layers_compute_the_same(text):
    source, mask, target = text
    plain, scanned = build("transformer"), build("scanned")
    graphdef, empty = nnx.split(scanned)
    pure = nnx.as_pure(nnx.split(plain)[1])
    for stack in ("encoder", "decoder"):
        layers = [pure[stack]["layers"][i] for i in range(2)]
        pure[stack]["layers"] = jax.tree.map(lambda *x: jnp.stack(x), *layers)
    assert jax.tree.structure(pure) == jax.tree.structure(nnx.as_pure(empty))
    got = logits_of(nnx.merge(graphdef, pure), source, mask, target)
    np.testing.assert_allclose(got, logits_of(plain, *text), rtol=1e-4, atol=1e-5)
    recomputed = logits_of(build("recomputed"), source, mask, target)
    np.testing.assert_allclose(recomputed, logits_of(plain, *text), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_bfloat16_keeps_float32_parameters_and_logits(text):
    config = transformer.TransformerConfig(**SIZES, heads=2, dtype="bfloat16")
    for model in (
        seq2seq_transformer.Seq2SeqTransformer(config, rngs=nnx.Rngs(0)),
        seq2seq_rnn.Seq2SeqRNN(recurrent.RNNConfig(**SIZES, dtype="bfloat16"), rngs=nnx.Rngs(0)),
    ):
        dtypes = {leaf.dtype for leaf in jax.tree.leaves(nnx.split(model)[1])}
        assert dtypes == {jnp.dtype("float32")}
        # Flax's own layer norm mixes the two types.
        with jax.numpy_dtype_promotion("standard"):
            assert nnx.eval_shape(logits_of, model, *text).dtype == jnp.float32


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"heads": 3}, "`heads` must divide `width`; got heads=3, width=8"),
        ({"heads": 2, "kv_heads": 3}, "`kv_heads` must divide `heads`"),
        ({"positions": "where"}, "`positions` must be one of"),
        ({"norm": "mid"}, "`norm` must be one of"),
        ({"attention": "alibbi"}, "got 'alibbi'. Did you mean alibi"),
    ],
)
def test_a_bad_transformer_is_refused(config, message):
    with pytest.raises(ValueError, match=message):
        seq2seq_transformer.Seq2SeqTransformer(
            transformer.TransformerConfig(**SIZES)._replace(**config), rngs=nnx.Rngs(0)
        )


def test_learned_positions_end_where_their_table_does(text):
    model = build("post-norm, learned, untied")
    source = jnp.full((1, 33), 5)
    with pytest.raises(ValueError, match="length=33, max_length=32"):
        model.encode(source, source > 0)


def test_an_rnn_takes_scores_of_a_pair_and_alignments():
    message = "'alibi' does neither. Use additive, .*coverage, .*location_aware, .* or none"
    with pytest.raises(ValueError, match=message):
        seq2seq_rnn.Seq2SeqRNN(recurrent.RNNConfig(**SIZES, attention="alibi"), rngs=nnx.Rngs(0))


@pytest.mark.sampled(1)
@pytest.mark.parametrize("feeding", [True, False])
@pytest.mark.parametrize(
    "attention",
    [
        "local_monotonic",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("monotonic", "neural_turing")),
    ],
)
def test_an_rnn_goes_from_query_to_query(text, attention, feeding):
    sizes = {"width": 8, "vocabulary_size": 11, "dropout_rate": 0.0}
    config = recurrent.RNNConfig(**sizes, attention=attention, input_feeding=feeding)
    model = seq2seq_rnn.Seq2SeqRNN(config, rngs=nnx.Rngs(0))
    source, mask, target = text

    @nnx.jit
    def both(model):
        memory = model.encode(source, mask)
        return model.decode(target, memory), stepwise(model, memory, target)

    whole, stepped = both(model)
    np.testing.assert_allclose(stepped, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("feeding", [True, False])
def test_what_draws_in_an_rnn_draws_in_training_only(text, feeding):
    sizes = {"width": 8, "vocabulary_size": 11, "dropout_rate": 0.0}
    config = recurrent.RNNConfig(**sizes, attention="mocha", input_feeding=feeding)
    model = seq2seq_rnn.Seq2SeqRNN(config, rngs=nnx.Rngs(0))
    source, mask, target = text

    @jax.jit
    def both(seed):
        """What is drawn, and what is not."""
        rngs, memory = nnx.Rngs(dropout=jax.random.key(seed)), model.encode(source, mask)
        return model.decode(target, memory, rngs=rngs), model.decode(target, memory)

    (drawn, plain), (again, _), (other, _) = both(1), both(1), both(2)
    np.testing.assert_array_equal(drawn, again)
    assert not np.allclose(drawn, other)
    assert not np.allclose(drawn, plain)


def test_what_stands_where_is_told_by_name():
    config = transformer.TransformerConfig(**SIZES, attention="coverage")
    at = {place: transformer.name_at(config, place) for place in ROLES}
    assert at == {"bidirectional": "scaled_dot", "causal": "scaled_dot", "cross": "coverage"}
    config = config._replace(attention="alibi", cross_attention="dot")
    assert [transformer.name_at(config, place) for place in ROLES] == ["alibi", "alibi", "dot"]
