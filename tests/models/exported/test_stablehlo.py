"""Exported programs beside the models that they were: other sizes than any that was traced."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax import decoding
from attention_jax.models import (
    CNN,
    AudioFrontEnd,
    CNNConfig,
    CTCHead,
    CTCModel,
    ImageRNN,
    Seq2SeqTransformer,
    SequenceRegressor,
    SpeechTransformerEncoder,
    VisionTransformer,
)
from attention_jax.models.exported import Sizes, load_exported, ports, stablehlo
from attention_jax.nn.patches import ImageConfig
from attention_jax.nn.recurrent import RNNConfig
from tests.support.export_cases import CASES, RNNS, WORDS, config, language, translator

pytest.importorskip("flatbuffers", reason="JAX serializes programs by it: the extra `export`")
# Symbols stand where most signatures say `int`.
pytestmark = pytest.mark.usefixtures("users_errors")
SIZES = ((1, 3), (3, 6))


def reread(model, folder, sizes=ports.ANY):
    stablehlo.write(model, folder, sizes, about={})
    return load_exported(folder)


def close(got, want):
    assert got.shape == want.shape and got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def ids(rows, length, *, seed=0):
    return jax.random.randint(jax.random.key(seed), (rows, length), 4, WORDS)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("case", CASES)
def test_a_language_model_at_any_size(case, tmp_path):
    model = language(case)
    exported, whole = reread(model, tmp_path), jax.jit(model.logits)
    for rows, length in SIZES:
        tokens = ids(rows, length)
        close(exported.logits(tokens), whole(tokens))
    state, written = exported.start(rows, length), tokens[:, :1]
    for _ in range(length):
        state, logits = exported.step(state, written[:, -1])
        written = jnp.concatenate([written, logits.argmax(-1)[:, None]], axis=1)
    best = whole(written[:, :-1]).argmax(-1)
    assert (written[:, 1:] == best).all()


@pytest.mark.sampled(1)
@pytest.mark.parametrize("case", [*CASES, *RNNS])
def test_a_translator_at_any_size(case, tmp_path):
    model = translator(case)
    exported, encode = reread(model, tmp_path), jax.jit(model.encode)
    for rows, length in SIZES:
        source = ids(rows, length)
        mask = jnp.arange(length)[None] < jnp.arange(rows)[:, None] + length - rows + 1
        memory, own = exported.encode(source, mask), encode(source, mask)
        close(memory.states, own.states)
    got, want = (greedy(one, own, length) for one in (exported, model))
    assert (got.tokens == want.tokens).all()
    close(got.scores, want.scores)


def greedy(model, memory, length):
    search = jax.jit(
        lambda memory: decoding.greedy(model.step, model.start(memory, length), max_length=length)
    )
    return search(memory)


@pytest.mark.slow
def test_a_beam_finds_the_same(tmp_path):
    model = translator("scaled_dot")
    exported, source = reread(model, tmp_path), ids(2, 4)
    memory = model.encode(source, source > 0)
    found = [
        decoding.beam(one.step, one.start(memory, 5), max_length=5, beam_size=3, nbest=2)
        for one in (exported, model)
    ]
    assert (found[0].tokens == found[1].tokens).all()
    close(found[0].scores, found[1].scores)


IMAGE = ImageConfig(8, 8, 1, patch=4)
CLASSIFIERS = {
    "transformer": lambda rngs: VisionTransformer(IMAGE, config("scaled_dot"), rngs=rngs),
    "rnn": lambda rngs: ImageRNN(IMAGE, RNNConfig(WORDS, 8), rngs=rngs),
    "cnn": lambda rngs: CNN(IMAGE, CNNConfig(WORDS, 8, 2), rngs=rngs),
}


@pytest.mark.sampled(1)
@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_a_classifier_of_any_number_of_images(kind, tmp_path):
    model = CLASSIFIERS[kind](nnx.Rngs(0))
    exported = reread(model, tmp_path)
    for rows in (1, 3):
        images = jax.random.uniform(jax.random.key(0), (rows, 8, 8, 1))
        close(exported.classify(images), jax.jit(model.classify)(images))


def speech(loss):
    rngs, front = nnx.Rngs(0), AudioFrontEnd(features=5, halvings=1)
    encoder = lambda rngs: SpeechTransformerEncoder(config("scaled_dot"), front, rngs=rngs)  # noqa: E731
    if loss == "ctc":
        return CTCModel(encoder(rngs), CTCHead(8, WORDS, rngs=rngs))
    model = Seq2SeqTransformer(config("scaled_dot"), encoder=encoder, rngs=rngs)
    model.aligner = CTCHead(8, WORDS, rngs=rngs)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["ctc", "joint"])
def test_speech_whose_encoder_shortens_it(loss, tmp_path):
    model = speech(loss)
    exported = reread(model, tmp_path, Sizes(length=6))
    for rows, length in ((1, 6), (3, 6)):
        frames, mask = jax.random.normal(jax.random.key(0), (rows, length, 5)), jnp.ones((1, 1))
        mask = jnp.broadcast_to(mask > 0, (rows, length))
        memory, own = exported.encode(frames, mask), model.encode(frames, mask)
        close(memory.states, own.states)
        assert (memory.mask == own.mask).all()
        close(exported.aligner(memory), model.aligner(own))
        if loss == "joint":
            got, want = (greedy(one, own, 6).tokens for one in (exported, model))
            assert (got == want).all()


@pytest.mark.slow
def test_a_predictor_of_numbers(tmp_path):
    model = SequenceRegressor(language("scaled_dot"), 2, rngs=nnx.Rngs(0))
    exported, vectors = reread(model, tmp_path), jax.random.normal(jax.random.key(0), (3, 4, 2))
    close(exported.predict(vectors), model.predict(vectors))


def test_sizes_that_are_fixed_are_kept_to(tmp_path):
    exported = reread(language("scaled_dot"), tmp_path, Sizes(batch=2, length=4))
    assert exported.context == 4
    assert exported.logits(ids(2, 4)).shape == (2, 4, WORDS)
    with pytest.raises(ValueError, match=r"`tokens` must be int32 \[2 4\]; got int32\[2, 5\]"):
        exported.logits(ids(2, 5))
    with pytest.raises(ValueError, match="`name` must be one of logits, start, step; got 'encode'"):
        exported.call("encode")
    with pytest.raises(ValueError, match="`logits` takes 1 inputs, tokens; got 0"):
        exported.call("logits")


def test_a_step_beyond_the_room_is_nan(tmp_path):
    exported = reread(language("scaled_dot"), tmp_path, Sizes(batch=1, length=2))
    state = exported.start(1, 2)
    assert state.tokens_left == 2
    for number in range(3):
        state, logits = exported.step(state, jnp.array([5], jnp.int32))
        assert bool(jnp.isnan(logits).all()) == (number == 2)


def test_programs_of_another_time_are_refused(tmp_path):
    exported = reread(language("scaled_dot"), tmp_path, Sizes(1, 2))
    own = exported.manifest
    low, high = (
        getattr(jax.export, f"{x}_supported_calling_convention_version")
        for x in ("minimum", "maximum")
    )
    for version in (low - 1, high + 1, None):
        changed = own._replace(versions=dict(own.versions) | {"calling_convention": version})
        with pytest.raises(ValueError, match=f"calling conventions {low} to {high} are read, not"):
            stablehlo.calls(tmp_path, changed)
    path = tmp_path / "step.stablehlo"
    program = jax.export.deserialize(bytearray(path.read_bytes()))
    older = dataclasses.replace(program, mlir_module_serialized=b"of another dialect")
    for content in (older.serialize(), b"no program"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="step.stablehlo is of JAX"):
            stablehlo.calls(tmp_path, own)
