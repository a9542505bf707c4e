"""Heads of BERT and RoBERTa: masked words as `transformers` guesses them; there and back."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax import pretrained
from attention_jax.models.text_encoder import TextEncoder, TextEncoderConfig
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.pretrained.types import Special
from tests.support import checkpoints

SIZES = {
    "vocab_size": 41,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 14,
}
PADDING = {"Bert": 0, "Roberta": 1, "XLMRoberta": 1}
PEERS = ["BertForMaskedLM", "BertForPreTraining", "RobertaForMaskedLM", "RobertaModel"]
PEERS += ["XLMRobertaForMaskedLM"]
# Of both, the ids of padding, begin, end and unknown.
OURS = {"bert": Special(*range(4)), "roberta": Special(1, 0, 2, 3)}


def peer(name, folder):
    """A small random model of `transformers`, written to a folder."""
    transformers = checkpoints.transformers()
    kind = name.split("For")[0].removesuffix("Model")
    own = {"pad_token_id": PADDING[kind], "bos_token_id": 0, "eos_token_id": 2}
    config = getattr(transformers, f"{kind}Config")(**SIZES | (own if kind != "Bert" else {}))
    return checkpoints.shaken(getattr(transformers, name)(config), folder)


def text(padding):
    tokens = np.random.default_rng(0).integers(4, SIZES["vocab_size"], (3, 9))
    mask = np.arange(9) < np.array([[9], [4], [7]])
    return np.where(mask, tokens, padding), mask


def theirs(model, tokens, mask):
    torch = checkpoints.torch()
    with torch.no_grad():
        found = model(torch.tensor(tokens), torch.tensor(mask).long())
    for name in ("prediction_logits", "logits", "last_hidden_state"):
        if hasattr(found, name):
            return getattr(found, name).numpy(), getattr(found, "pooler_output", None)
    raise AssertionError(name)


@pytest.mark.parametrize("name", PEERS)
def test_guesses_are_those_of_transformers_and_written_files_are_read(tmp_path, name):
    model = peer(name, tmp_path / "theirs")
    tokens, mask = text(PADDING[name.split("For")[0].removesuffix("Model")])
    wanted, pooled = theirs(model, tokens, mask)
    loaded = pretrained.load(tmp_path / "theirs")
    ids, real = jnp.asarray(checkpoints.own_ids(loaded.order, tokens)), jnp.asarray(mask)
    if loaded.config.words:
        got = loaded.model.guesses(ids, real)
        columns = [i for i in range(len(loaded.order.theirs)) if i not in loaded.order.silent]
        wanted_columns = [loaded.order.theirs[i] for i in columns]
        got, wanted = np.asarray(got)[..., columns], wanted[..., wanted_columns]
    else:
        got = np.asarray(loaded.model.states(ids, real))
        vectors = loaded.model.vectors(ids, real, pooling="pooler")
        np.testing.assert_allclose(vectors, pooled.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got[mask], wanted[mask], rtol=1e-4, atol=1e-4)

    pretrained.save(loaded, tmp_path / "ours")
    kind = type(model)
    if name.startswith("XLM"):  # which is a RoBERTa by another name
        kind = checkpoints.transformers().RobertaForMaskedLM
    read = kind.from_pretrained(tmp_path / "ours").eval()
    again, _ = theirs(read, tokens, mask)
    first, _ = theirs(model, tokens, mask)
    np.testing.assert_array_equal(again[mask], first[mask])


def random_model(**changes):
    own = {"layers": 1, "heads": 2, "feed_forward": 12, "positions": "learned", "max_length": 10}
    own |= {"norm": "post", "activation": "gelu", "norm_epsilon": 1e-12}
    own |= {"embedding_scale": 1.0, "embedding_norm": True}
    config = TextEncoderConfig(TransformerConfig(19, 8, **own), **changes)
    model = TextEncoder(config, rngs=nnx.Rngs(0))
    random, state = np.random.default_rng(0), nnx.state(model, nnx.Param)
    nnx.update(model, jax.tree.map(lambda x: x + 0.3 * random.normal(size=x.shape), state))
    return config, model


def hand_written_guesses(model, states):
    """The equation in float64, position by position."""
    head, table = model.words, np.asarray(model.embedding.table.embedding[...], np.float64)
    erf = np.vectorize(math.erf)
    found = np.zeros((*states.shape[:2], len(table)))
    for b, i in np.ndindex(*states.shape[:2]):
        x = np.asarray(states[b, i], np.float64) @ np.asarray(head.dense.kernel[...], np.float64)
        x = x + np.asarray(head.dense.bias[...], np.float64)
        x = x * (1 + erf(x / np.sqrt(2))) / 2
        x = (x - x.mean()) / np.sqrt(x.var() + 1e-12)
        x = x * np.asarray(head.norm.scale[...]) + np.asarray(head.norm.bias[...])
        found[b, i] = table @ x + np.asarray(head.bias[...])
    return found


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_a_model_is_the_same_after_writing_and_reading(tmp_path, family):
    config, model = random_model(token_types=1, words=True)
    checkpoints.written(family, config, model, tmp_path, special=OURS[family])
    loaded = pretrained.load(tmp_path)
    tokens = jnp.asarray(np.random.default_rng(0).integers(4, 19, (2, 6)))
    mask = jnp.arange(6)[None] < jnp.asarray([[6], [3]])
    states = model.states(tokens, mask)
    got = model.guesses(tokens, mask)
    np.testing.assert_allclose(got, hand_written_guesses(model, states), rtol=1e-4, atol=1e-4)
    ids = jnp.asarray(checkpoints.own_ids(loaded.order, tokens))
    columns = [loaded.order.theirs.index(i) for i in range(4, 19)]
    np.testing.assert_array_equal(loaded.model.guesses(ids, mask)[..., columns], got[..., 4:])
    assert loaded.config.words and loaded.config.transformer.max_length == 10


def test_a_head_of_its_own_table_is_refused(tmp_path):
    config, model = random_model(words=True)
    checkpoints.written("bert", config, model, tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tie_word_embeddings": False}))
    with pytest.raises(ValueError, match="`tie_word_embeddings` .* must be one of true"):
        pretrained.load(tmp_path)


def test_a_model_without_a_head_does_not_guess():
    _, model = random_model()
    tokens = jnp.asarray([[5, 6]])
    with pytest.raises(ValueError, match="`guesses` needs a layer of logits"):
        model.guesses(tokens, tokens > 0)


def test_a_roberta_with_a_pooler_and_a_head_is_not_written(tmp_path):
    config, model = random_model(words=True, pooler=True)
    with pytest.raises(ValueError, match="`pooler` of a model must be False to be written as rob"):
        checkpoints.written("roberta", config, model, tmp_path / "new", special=OURS["roberta"])
