"""Whisper: what is written greedily is what `transformers` writes; files go there and back."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax import decoding, pretrained
from attention_jax.data.types import EOS
from attention_jax.models.whisper import WhisperConfig, sines, whisper
from attention_jax.nn.transformer import TransformerConfig
from tests.support import checkpoints

SIZES = {
    "vocab_size": 41,
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 20,
    "num_mel_bins": 6,
    "max_source_positions": 10,
    "max_target_positions": 12,
    "pad_token_id": 5,
    "bos_token_id": 40,
    "eos_token_id": 39,
    "decoder_start_token_id": 7,
}
FRAMES = 20


def peer(folder):
    """A small random model of `transformers`, written to a folder."""
    transformers = checkpoints.transformers()
    config = transformers.WhisperConfig(**SIZES)
    model = checkpoints.shaken(transformers.WhisperForConditionalGeneration(config), folder)
    # So that what is written hangs on positions and on what is heard.
    decoder = model.model.decoder
    decoder.embed_positions.weight.data *= 10
    for part in ("out_proj", "q_proj"):
        getattr(decoder.layers[0].encoder_attn, part).weight.data *= 8
    model.save_pretrained(folder)
    return model


def frames(rows=3):
    return np.random.default_rng(0).normal(size=(rows, FRAMES, 6)).astype(np.float32)


def their_logits(model, source, target):
    torch = checkpoints.torch()
    features = torch.tensor(source.transpose(0, 2, 1))
    with torch.no_grad():
        return model(features, decoder_input_ids=torch.tensor(target)).logits.numpy()


def their_writing(model, source, most):
    """Their ids, token by token; padding and the first token are never written, as here."""
    found, ended = np.full((len(source), 1), SIZES["decoder_start_token_id"]), False
    for _ in range(most):
        logits = their_logits(model, source, found)[:, -1]
        logits[:, [SIZES["pad_token_id"], SIZES["decoder_start_token_id"]]] = -np.inf
        token = np.where(ended, SIZES["pad_token_id"], logits.argmax(-1))
        found = np.concatenate([found, token[:, None]], axis=1)
        ended = ended | (token == SIZES["eos_token_id"])
    return found[:, 1:]


def own_model(loaded, source):
    mask = jnp.ones(source.shape[:2], bool)
    return loaded.model, loaded.model.encode(jnp.asarray(source), mask)


def test_what_is_written_is_what_transformers_writes(tmp_path):
    model, source = peer(tmp_path), frames()
    loaded = pretrained.load(tmp_path)
    own, memory = own_model(loaded, source)
    target = np.random.default_rng(1).integers(8, 39, (3, 7))
    wanted = their_logits(model, source, target)
    ids = jnp.asarray(checkpoints.own_ids(loaded.order, target))
    got = own.decode(ids, memory)
    written = [i for i in range(len(loaded.order.theirs)) if i not in loaded.order.silent]
    theirs = [loaded.order.theirs[i] for i in written]
    np.testing.assert_allclose(got[..., jnp.asarray(written)], wanted[..., theirs], 1e-4, 1e-4)

    found = decoding.greedy(own.step, own.start(memory, 12), max_length=12)
    order = np.array([-1 if x is None else x for x in loaded.order.theirs])
    theirs = their_writing(model, source, 12)
    np.testing.assert_array_equal(order[np.asarray(found.tokens[:, 0])], theirs)
    assert len(np.unique(theirs, axis=0)) == 3
    assert len(np.unique(theirs)) > 5


def test_transformers_reads_what_is_written(tmp_path):
    model, source = peer(tmp_path / "theirs"), frames()
    pretrained.save(pretrained.load(tmp_path / "theirs"), tmp_path / "ours")
    read = type(model).from_pretrained(tmp_path / "ours").eval()
    target = np.random.default_rng(1).integers(0, 41, (3, 7))
    first, second = (their_logits(x, source, target) for x in (model, read))
    np.testing.assert_array_equal(first, second)


def test_positions_begin_as_those_of_transformers_do():
    transformers = checkpoints.transformers()
    fresh = transformers.WhisperModel(transformers.WhisperConfig(**SIZES))
    theirs = fresh.encoder.embed_positions.weight.detach().numpy()
    np.testing.assert_allclose(sines(10, 16), theirs, rtol=1e-5, atol=1e-6)


def test_positions_begin_as_sines_and_cosines():
    _, model = random_model()
    wanted = np.zeros((FRAMES // 2, 8))
    for i, c in np.ndindex(FRAMES // 2, 4):
        angle = i / 10_000 ** (c / 3)
        wanted[i, c], wanted[i, 4 + c] = np.sin(angle), np.cos(angle)
    np.testing.assert_allclose(model.encoder.learned.embedding[...], wanted, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="`width` must be even and at least 4"):
        sines(3, 5)


def random_model(**changes):
    own = {"layers": 1, "heads": 2, "feed_forward": 12, "positions": "learned", "max_length": 9}
    own |= {"activation": "gelu", "norm_epsilon": 1e-5, "embedding_scale": 1.0} | changes
    config = WhisperConfig(TransformerConfig(23, 8, **own), 6, 2, 4, 20, FRAMES // 2)
    return config, whisper(config, rngs=nnx.Rngs(0))


def test_a_model_is_the_same_after_writing_and_reading(tmp_path):
    config, model = random_model()
    checkpoints.written("whisper", config, model, tmp_path)
    source = jnp.asarray(frames(2))
    special = {"pad_token_id": 0, "decoder_start_token_id": 1, "eos_token_id": 2}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | special))
    loaded = pretrained.load(tmp_path)
    target, mask = jnp.asarray([[1, 9, 8], [1, 7, 5]]), jnp.ones((2, FRAMES), bool)
    wanted = model.decode(target, model.encode(source, mask))
    ids = jnp.asarray(checkpoints.own_ids(loaded.order, target))
    got = loaded.model.decode(ids, loaded.model.encode(source, mask))
    columns = jnp.asarray(checkpoints.own_ids(loaded.order, np.arange(3, 23)))
    np.testing.assert_array_equal(got[..., columns], wanted[..., 3:])
    same = {"vocabulary_size": 23, "output_bias": False}  # of ours, for a token that is unknown
    assert loaded.config._replace(transformer=loaded.config.transformer._replace(**same)) == config


def test_states_of_a_shorter_recording_do_not_see_padding():
    _, model = random_model()
    source, mask = jnp.asarray(frames(1)), jnp.arange(FRAMES)[None] < 11
    memory = model.encode(source, mask)
    assert memory.mask.sum() == 6
    changed = model.encode(jnp.where(mask[..., None], source, 9.0), mask)
    np.testing.assert_array_equal(memory.states[:, :6], changed.states[:, :6])


def test_the_bias_of_keys_changes_nothing():
    _, model = random_model()
    source, mask = jnp.asarray(frames(1)), jnp.ones((1, FRAMES), bool)
    target = jnp.asarray([[1, 9, 8, EOS]])
    wanted = model.decode(target, model.encode(source, mask))
    graph, state = nnx.split(model)
    flat = nnx.as_pure(state)

    def moved(path, leaf):
        names = [str(getattr(x, "key", x)) for x in path]
        return leaf + 3.0 if names[-2:] == ["key", "bias"] else leaf

    other = nnx.merge(graph, jax.tree_util.tree_map_with_path(moved, flat))
    got = other.decode(target, other.encode(source, mask))
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


def test_a_scaled_table_is_refused(tmp_path):
    config, model = random_model()
    checkpoints.written("whisper", config, model, tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"scale_embedding": True}))
    with pytest.raises(ValueError, match="`scale_embedding` .* must be one of false; got True"):
        pretrained.load(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"scale_embedding": False}))
    kept = json.loads(path.read_text())
    path.write_text(json.dumps(kept | {"num_mel_bins": 8}))
    with pytest.raises(ValueError, match=r"encoder\.conv1\.weight must have shape \(24, 8\)"):
        pretrained.load(tmp_path)


def test_a_model_that_no_whisper_is_like_is_not_written(tmp_path):
    config, model = random_model()
    other = config._replace(transformer=config.transformer._replace(tied=False))
    with pytest.raises(ValueError, match="`tied` of a model must be True to be written as whisper"):
        checkpoints.written("whisper", other, model, tmp_path / "new")
    assert not (tmp_path / "new").exists()
