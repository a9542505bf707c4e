"""Encoders that listen: the layers against others' convolutions and loops, and their promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax.data.types import Seq2SeqBatch
from attention_jax.models.seq2seq_rnn import Seq2SeqRNN
from attention_jax.models.seq2seq_transformer import Seq2SeqTransformer
from attention_jax.models.speech import (
    AudioFrontEnd,
    CTCHead,
    CTCModel,
    PyramidalRNNEncoder,
    SpeechTransformerEncoder,
    Subsampling,
)
from attention_jax.nn.recurrent import RNNConfig
from attention_jax.nn.spec_augment import Augment
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.training import objectives
from tests.support.passes import forward_and_backward

SIZES = {"vocabulary_size": 11, "width": 8, "layers": 1}
HIDING = Augment(1, 2, 1, 4, 0.5)
LISTENING = {
    "transformer": AudioFrontEnd(features=5, halvings=2, augment=HIDING),
    "transformer, rope": AudioFrontEnd(features=5, halvings=0),
    "transformer, learned, post-norm, scanned": AudioFrontEnd(features=5, halvings=1),
    "las": AudioFrontEnd(features=5, halvings=0, pyramid=2, augment=HIDING),
    "las, location aware, gru, one way": AudioFrontEnd(features=5, halvings=1, pyramid=1),
}
OPTIONS = {
    "transformer, rope": {"positions": "rope"},
    "transformer, learned, post-norm, scanned": {
        "positions": "learned",
        "norm": "post",
        "max_length": 8,
        "scan": True,
    },
    "las": {"cell": "lstm", "layers": 2},
    "las, location aware, gru, one way": {"attention": "location_aware", "bidirectional": False},
}


def listener(name, *, augment=None, **more):
    """The configuration, and what makes the encoder."""
    listening, options = LISTENING[name], OPTIONS.get(name, {}) | more
    listening = listening if augment is None else listening._replace(augment=augment)
    if name.startswith("las"):
        config = RNNConfig(**SIZES | options)
        return config, lambda rngs: PyramidalRNNEncoder(config, listening, rngs=rngs)
    config = TransformerConfig(**SIZES, heads=2, feed_forward=16, **options)
    return config, lambda rngs: SpeechTransformerEncoder(config, listening, rngs=rngs)


def build(name):
    config, encoder = listener(name)
    kind = Seq2SeqRNN if name.startswith("las") else Seq2SeqTransformer
    return kind(config, encoder=encoder, rngs=nnx.Rngs(0))


def aligned(name):
    (config, encoder), rngs = listener(name), nnx.Rngs(0)
    return CTCModel(encoder(rngs), CTCHead(config.width, 11, rngs=rngs))


@pytest.fixture(
    params=[
        pytest.param(name, marks=pytest.mark.slow) if name == "transformer, rope" else name
        for name in LISTENING
    ],
    scope="module",
)
def model(request):
    return build(request.param)


@pytest.fixture(scope="module")
def passed(model):
    return forward_and_backward(model)


@pytest.fixture(scope="module")
def speech():
    draw = np.random.default_rng(0)
    source = draw.normal(size=(3, 13, 5)).astype(np.float32)
    target = draw.integers(4, 11, (3, 6)).astype(np.int32)
    mask = np.arange(13) < np.array([13, 10, 7])[:, None]
    return jnp.asarray(source), jnp.asarray(mask), jnp.asarray(target)


@nnx.jit
def logits_of(model, source, mask, target):
    return model.decode(target, model.encode(source, mask))


@pytest.mark.sampled(1)
def test_steps_reproduce_the_teacher_forced_pass(model, passed, speech):
    source, mask, target = speech

    @nnx.jit
    def stepwise(model, memory):
        state = model.start(memory, 8)
        _, logits = jax.lax.scan(model.step, state, target.T)
        return logits.swapaxes(0, 1)

    _, (whole, memory) = passed(*speech)
    np.testing.assert_allclose(stepwise(model, memory), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_padding_changes_nothing(model, passed, speech):
    source, mask, target = speech
    _, (whole, _) = passed(*speech)
    _, (noise, _) = passed(jnp.where(mask[..., None], source, 9.0), mask, target)
    np.testing.assert_allclose(noise, whole, rtol=1e-5, atol=1e-6)
    alone = logits_of(model, source[1:2, :10], mask[1:2, :10], target[1:2])
    np.testing.assert_allclose(alone[0], whole[1], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_row_of_padding_alone_stays_finite(passed, speech):
    source, mask, target = speech
    _, (logits, _) = passed(source, mask & False, target)
    assert jnp.isfinite(logits).all()


@pytest.mark.slow
def test_every_parameter_has_a_gradient(passed, speech):
    gradient, _ = passed(*speech)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        name = jax.tree_util.keystr(path)
        assert jnp.isfinite(leaf).all(), name
        # A bias of keys shifts all scores of a query alike, which softmax ignores.
        if "'key']['bias']" not in name:
            assert jnp.abs(leaf).max() > 0, name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["transformer", "las"])
def test_parts_are_hidden_in_training_alone(name, speech):
    source, mask, _ = speech

    def encoder(augment):
        # Without dropout, nothing else is drawn.
        return listener(name, augment=augment, dropout_rate=0.0)[1](nnx.Rngs(0))

    @nnx.jit
    def heard(module, seed=None):
        rngs = None if seed is None else nnx.Rngs(dropout=jax.random.key(seed))
        return module(source, mask, rngs=rngs).states

    hiding, plain = encoder(HIDING), encoder(Augment.none())
    np.testing.assert_array_equal(heard(hiding, 1), heard(hiding, 1))
    assert not np.allclose(heard(hiding, 1), heard(hiding, 2))
    np.testing.assert_array_equal(heard(hiding), heard(plain))
    np.testing.assert_array_equal(heard(plain, 1), heard(plain))


@pytest.mark.parametrize("length", [12, 13])
def test_subsampling_is_torchs_convolution(length):
    torch = pytest.importorskip("torch")
    module = Subsampling(
        AudioFrontEnd(features=5, halvings=2), 8, dtype=jnp.float32, rngs=nnx.Rngs(1)
    )
    x = np.random.default_rng(0).normal(size=(2, length, 5)).astype(np.float32)
    y = torch.tensor(x).mT
    for convolution in module.convolutions:
        kernel = np.asarray(convolution.kernel[...])  # [3 i, o], tap by tap
        taps = torch.tensor(kernel.reshape(3, -1, kernel.shape[1]).transpose(2, 1, 0).copy())
        bias = torch.tensor(np.asarray(convolution.bias[...]))
        y = torch.nn.functional.conv1d(y, taps, bias, stride=2, padding=1)
        y = torch.nn.functional.gelu(y, approximate="tanh")
    expected = y.mT.numpy() @ np.asarray(module.project.kernel[...])
    found, mask = module(jnp.asarray(x), jnp.ones((2, length), bool))
    assert found.shape == (2, -(-length // 4), 8) and mask.all()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_pyramid_is_its_equation_in_loops():
    config = RNNConfig(**SIZES, cell="gru", bidirectional=False)
    module = PyramidalRNNEncoder(
        config, AudioFrontEnd(features=5, halvings=0, pyramid=2), rngs=nnx.Rngs(2)
    )
    frames = np.random.default_rng(0).normal(size=(1, 6, 5)).astype(np.float32)
    x = [module.subsampling.project(jnp.asarray(frame)) for frame in frames[0]]
    for number, (cell,) in enumerate(module.layers):
        if number:
            x = x + [jnp.zeros_like(x[0])] * (len(x) % 2)
            x = [jnp.concatenate([x[i], x[i + 1]]) for i in range(0, len(x), 2)]
        carry, out = jnp.zeros((1, 8)), []
        for frame in x:
            carry, y = cell(carry, frame[None])
            out.append(y[0])
        x = out
    memory = module(jnp.asarray(frames), jnp.ones((1, 6), bool))
    assert memory.states.shape == (1, 2, 8)
    np.testing.assert_allclose(memory.states[0], jnp.stack(x), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(memory.summary[0][0], x[-1], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_lengths_are_those_that_are_told(model, passed, speech):
    _, mask, _ = speech
    _, (_, memory) = passed(*speech)
    shortening, lengths = model.encoder.listening.shortening, np.asarray(mask.sum(axis=1))
    np.testing.assert_array_equal(memory.mask.sum(axis=1), -(-lengths // shortening))
    assert memory.states.shape[1] == -(-13 // shortening)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["transformer", "las"])
def test_positions_align_with_tokens(name, speech):
    source, mask, target = speech
    model = aligned(name)
    weights = jnp.ones(target[:, :2].shape)
    batch = Seq2SeqBatch(source, mask, target[:, :2], target[:, :2], weights)
    graphdef, state = nnx.split(model)

    def loss(params):
        model = nnx.merge(graphdef, params)
        return objectives.ctc(model, batch).loss, model.aligner(model.encode(source, mask))

    gradient, logits = jax.jit(jax.grad(loss, has_aux=True))(nnx.as_pure(state))
    leaves = jax.tree_util.tree_leaves_with_path(gradient)
    assert all(jnp.isfinite(leaf).all() for _, leaf in leaves)
    assert logits.shape == (3, 4, 11) and logits.dtype == jnp.float32


@pytest.mark.slow
def test_the_joint_objective_is_the_weighted_sum_of_both(speech):
    source, mask, target = speech
    model = build("transformer")
    model.aligner = CTCHead(model.config.width, 11, rngs=nnx.Rngs(1))
    batch = Seq2SeqBatch(source, mask, target[:, :2], target[:, :2], jnp.ones(target[:, :2].shape))

    @nnx.jit
    def sums(model):
        written = objectives.translation(model, batch, label_smoothing=0.1)
        joint = objectives.joint(0.25)(model, batch, label_smoothing=0.1)
        return written, objectives.ctc(model, batch), joint

    written, aligned, got = sums(model)
    expected = 0.75 * written.loss + 0.25 * aligned.loss
    np.testing.assert_allclose(got.loss, expected, rtol=1e-6)
    assert (got.count, got.correct) == (written.count, written.correct)
    with pytest.raises(ValueError, match=r"`share` must be a Python number in \[0, 1\); got 1.5"):
        objectives.joint(1.5)


def test_a_decoder_deeper_than_the_pyramid_is_refused():
    with pytest.raises(ValueError, match="got layers=2, pyramid=0. Raise `pyramid`"):
        PyramidalRNNEncoder(
            RNNConfig(**SIZES | {"layers": 2}), AudioFrontEnd(pyramid=0), rngs=nnx.Rngs(0)
        )


@pytest.mark.slow
def test_learned_positions_end_where_their_table_does():
    with pytest.raises(ValueError, match="length=9, max_length=8"):
        source = jnp.zeros((1, 17, 5))
        build("transformer, learned, post-norm, scanned").encode(source, source[..., 0] == 0)
