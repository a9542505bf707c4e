"""GPT-2, Llama and Gemma: logits and greedy texts equal those of `transformers`, there and back."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax import pretrained
from attention_jax.core.rotary import Rotary, Scaling
from attention_jax.models.language import TransformerLM
from attention_jax.nn.transformer import TransformerConfig
from tests.support import checkpoints

SIZES = {"vocab_size": 61, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3}
SIZES |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}
TURNS = {"rope_theta": 5e5, "factor": 4.0, "original_max_position_embeddings": 16}
BANDS = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
GEMMA = SIZES | {"head_dim": 8}
NEAR = {"sliding_window": 5, "query_pre_attn_scalar": 20}
BOUNDS = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}
LAYERS = ["sliding_attention", "sliding_attention", "full_attention"]
PEERS = {
    "gpt2": (
        "GPT2",
        {"vocab_size": 61, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 48},
    ),
    "llama": ("Llama", SIZES),
    "llama3": ("Llama", SIZES | {"rope_parameters": TURNS | BANDS | {"rope_type": "llama3"}}),
    "yarn": ("Llama", SIZES | {"rope_parameters": TURNS | {"rope_type": "yarn"}}),
    "linear": ("Llama", SIZES | {"rope_parameters": TURNS | {"rope_type": "linear"}}),
    "tied": ("Llama", SIZES | {"tie_word_embeddings": True, "head_dim": 6}),
    "mistral": ("Mistral", SIZES | {"sliding_window": 5}),
    "qwen2": (
        "Qwen2",
        SIZES | {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3", SIZES | {"head_dim": 8}),
    "gemma": ("Gemma", GEMMA),
    "gemma2": ("Gemma2", GEMMA | NEAR | BOUNDS | {"attn_implementation": "eager"}),
    "gemma3": ("Gemma3", GEMMA | NEAR | {"layer_types": LAYERS}),
}
ENDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def peer(name, folder):
    transformers = checkpoints.transformers()
    kind, sizes = PEERS[name]
    config = getattr(transformers, "Gemma3TextConfig" if kind == "Gemma3" else f"{kind}Config")
    made = getattr(transformers, "GPT2LMHeadModel" if kind == "GPT2" else f"{kind}ForCausalLM")
    return checkpoints.shaken(made(config(**sizes | ENDS)), folder)


def their_logits(model, tokens):
    torch = checkpoints.torch()
    with torch.no_grad():
        return model(torch.tensor(tokens)).logits.numpy()


def compared(loaded, tokens, theirs):
    """Our logits and theirs, of the tokens that both have."""
    own = checkpoints.own_ids(loaded.order, tokens)
    ours = np.asarray(loaded.model.logits(jnp.asarray(own)))
    kept = [i for i in range(len(loaded.order.theirs)) if i not in loaded.order.silent]
    return ours[..., kept], theirs[..., [loaded.order.theirs[i] for i in kept]]


@pytest.mark.parametrize("name", PEERS)
def test_logits_are_those_of_transformers_and_written_files_are_read(tmp_path, name):
    transformers = checkpoints.transformers()
    model = peer(name, tmp_path / "theirs")
    tokens = np.random.default_rng(0).integers(4, 61, (2, 40))
    wanted = their_logits(model, tokens)
    loaded = pretrained.load(tmp_path / "theirs")
    np.testing.assert_allclose(*compared(loaded, tokens, wanted), rtol=1e-4, atol=1e-4)
    pretrained.save(loaded, tmp_path / "ours")
    read = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours").eval()
    np.testing.assert_allclose(their_logits(read, tokens), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "gemma3"])
def test_greedy_texts_are_those_of_transformers(tmp_path, name):
    torch, model = checkpoints.torch(), peer(name, tmp_path)
    loaded = pretrained.load(tmp_path)
    prompt = np.random.default_rng(1).integers(4, 61, (1, 7))
    theirs = model.generate(
        torch.tensor(prompt), max_new_tokens=12, do_sample=False, suppress_tokens=[0, 1, 2]
    )
    lm = loaded.model
    tokens = jnp.asarray(checkpoints.own_ids(loaded.order, prompt))
    state, logits = lm.read_on(lm.start(1, 32), tokens)
    found = []
    for _ in range(12):
        found.append(int(logits.at[:, :3].set(-jnp.inf).argmax()))
        state, logits = lm.step(state, jnp.asarray(found[-1:]))
    assert [loaded.order.theirs[i] for i in found] == theirs[0, 7:].tolist()


OWN = {"layers": 2, "heads": 2, "feed_forward": 12, "norm_epsilon": 1e-5, "embedding_scale": 1.0}
LLAMA = OWN | {"positions": "rope", "norm_kind": "rms", "activation": "swiglu", "biases": "none"}
LLAMA |= {"rotary": Rotary(layout="halves", rates="share"), "max_length": 64}
YARN = Rotary(5e5, layout="halves", rates="share", scaling=Scaling("yarn", 4.0, 16))
MODELS = {
    "gpt2": ("gpt2", OWN | {"positions": "learned", "activation": "gelu_tanh", "max_length": 20}),
    "llama": ("llama", LLAMA | {"tied": False, "rotary": YARN}),
    "qwen3": (
        "llama",
        LLAMA | {"qk_norm": True, "attention": "[sliding_window(size=3), scaled_dot]"},
    ),
    "gemma2": (
        "gemma",
        LLAMA
        | {"norm": "sandwich", "activation": "geglu_tanh", "embedding_scale": None}
        | {"logit_cap": 5.0, "attention": "[soft_cap(cap=4.0, window=3), soft_cap(cap=4.0)]"},
    ),
}


def made(name, **changes):
    family, own = MODELS[name]
    config = TransformerConfig(23, 8, **own | changes)
    return family, config, TransformerLM(config, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_the_same_after_writing_and_reading(tmp_path, name):
    family, config, model = made(name)
    checkpoints.written(family, config, model, tmp_path)
    loaded = pretrained.load(tmp_path)
    tokens = np.random.default_rng(0).integers(4, 23, (2, 15))
    own = checkpoints.own_ids(loaded.order, tokens)
    wanted, got = model.logits(jnp.asarray(tokens)), loaded.model.logits(jnp.asarray(own))
    kept = list(range(4, 23))
    ours = checkpoints.own_ids(loaded.order, kept)
    np.testing.assert_allclose(got[..., ours], wanted[..., kept], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("llama", {"attention": "alibi"}, "`attention` of a model must be scaled_dot"),
        ("llama", {"norm": "post"}, "`norm` of a model must be 'pre'"),
        ("llama", {"rotary": Rotary()}, '`rotary` of a model must have the layout "halves"'),
        ("gpt2", {"activation": "swiglu"}, "`activation` must be one of"),
        ("gemma2", {"attention": "[soft_cap(cap=4.0), soft_cap(cap=5.0)]"}, "one bound"),
    ],
)
def test_what_a_family_does_not_know_is_refused_and_nothing_is_written(
    tmp_path, name, change, said
):
    family, config, model = made(name, **change)
    with pytest.raises(ValueError, match=said.replace("[", r"\[")):
        checkpoints.written(family, config, model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "nonesuch"}, "`model_type` of .* must be one of .*; got 'nonesuch'"),
        ({"hidden_act": "relu6"}, "`hidden_act` of .* must be one of"),
        ({"hidden_size": None}, "must say `hidden_size`"),
        ({"intermediate_size": 13}, r"must have shape \(8, 13\)"),
        ({"num_hidden_layers": 3}, "must hold .*layers.2.*which it lacks"),
        ({"num_hidden_layers": 1}, "nothing here reads layers.1"),
        ({"rope_parameters": {"rope_type": "longrope"}}, "`rope_type` of .* must be one of"),
    ],
)
def test_files_that_do_not_fit_are_refused_in_one_line(tmp_path, change, said):
    family, config, model = made("llama")
    checkpoints.written(family, config, model, tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=said) as caught:
        pretrained.load(tmp_path)
    assert len(str(caught.value).splitlines()) == 1
