"""torch.nn.Transformer: states equal those of torch, by a file of its state dict."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax import pretrained
from attention_jax.models.vector_transformer import VectorConfig, VectorInputs, VectorTransformer
from attention_jax.nn.transformer import TransformerConfig
from tests.support import checkpoints

SIZES = {"d_model": 16, "nhead": 4, "num_encoder_layers": 2, "num_decoder_layers": 1}
SIZES |= {"dim_feedforward": 24, "dropout": 0.0}
CASES = {
    "as it is": {},
    "norm first, gelu": {"norm_first": True, "activation": "gelu"},
    "no biases": {"bias": False, "layer_norm_eps": 1e-3},
}


def peer(settings, path=None):
    """A small random model of torch, and its state dict as a file."""
    torch = checkpoints.torch()
    model = torch.nn.Transformer(**SIZES | settings, batch_first=True)
    random = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=random)
    if path is not None:
        from safetensors.torch import save_file

        save_file(model.state_dict(), path)
    return model.eval()


def vectors():
    random = np.random.default_rng(0)
    source, target = (random.normal(size=(2, n, 16)).astype(np.float32) for n in (6, 5))
    return source, target, np.arange(6) < np.array([[6], [4]])


def their_states(model, source, target, mask):
    torch = checkpoints.torch()
    causal = torch.triu(torch.full((5, 5), True), 1)
    hidden = torch.tensor(~mask)
    with torch.no_grad():
        found = model(
            torch.tensor(source),
            torch.tensor(target),
            tgt_mask=causal,
            src_key_padding_mask=hidden,
            memory_key_padding_mask=hidden,
        )
    return found.numpy()


def states(model, source, target, mask):
    return model.decode(jnp.asarray(target), model.encode(jnp.asarray(source), jnp.asarray(mask)))


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True:UserWarning")
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
def test_states_are_those_of_torch_which_reads_what_is_written(tmp_path, settings):
    model = peer(settings, tmp_path / "torch.safetensors")
    own = {"family": "torch_transformer", "settings": SIZES | settings}
    loaded, given = pretrained.load(tmp_path / "torch.safetensors", **own), vectors()
    wanted = their_states(model, *given)
    np.testing.assert_allclose(states(loaded.model, *given), wanted, rtol=1e-4, atol=1e-5)

    from safetensors.torch import load_file

    pretrained.save(loaded, tmp_path / "ours")
    other = peer(settings)
    for parameter in other.parameters():
        parameter.data.zero_()
    other.load_state_dict(load_file(tmp_path / "ours" / "model.safetensors"))
    np.testing.assert_array_equal(their_states(other, *given), wanted)


def random_model(**changes):
    own = {"layers": 1, "heads": 4, "feed_forward": 24, "norm_epsilon": 1e-5, "norm": "post"}
    own |= {"positions": "none", "dropout_rate": 0.1, "attention_dropout_rate": 0.1} | changes
    config = VectorConfig(TransformerConfig(1, 16, **own), 2)
    return config, VectorTransformer(config, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("changes", [{}, {"norm": "pre", "biases": "none", "activation": "gelu"}])
def test_a_model_is_the_same_after_writing_and_reading(tmp_path, changes):
    config, model = random_model(**changes)
    checkpoints.written("torch_transformer", config, model, tmp_path)
    loaded = pretrained.load(tmp_path)
    assert loaded.config == config
    np.testing.assert_array_equal(states(loaded.model, *vectors()), states(model, *vectors()))


def test_attentions_are_those_of_both_sides():
    _, model = random_model()
    source, target, mask = map(jnp.asarray, vectors())
    calls = list(model.attention_calls(VectorInputs(source, mask, target)))
    assert [call.kind for call in calls] == ["encoder", *["decoder", "cross"] * 2]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"heads": 4}, "`settings` must be among d_model, nhead, .*; got 'heads'"),
        ({"activation": "tanh"}, '`activation` .* must be one of "relu", "gelu"; got \'tanh\''),
        ({"num_encoder_layers": 2}, "must hold 'encoder.layers.1.self_attn.in_proj_weight'"),
        ({"dim_feedforward": 20}, r"linear1.weight must have shape \(16, 20\)"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, settings, said):
    config, model = random_model()
    checkpoints.written("torch_transformer", config, model, tmp_path)
    own = SIZES | {"num_encoder_layers": 1, "num_decoder_layers": 2} | settings
    path = tmp_path / "model.safetensors"
    with pytest.raises(ValueError, match=said):
        pretrained.load(path, family="torch_transformer", settings=own)


@pytest.mark.parametrize("changes", [{"norm": "sandwich"}, {"activation": "swiglu"}])
def test_a_model_that_torch_has_not_is_not_written(tmp_path, changes):
    config, model = random_model(**changes)
    with pytest.raises(ValueError, match="to be written as torch_transformer"):
        checkpoints.written("torch_transformer", config, model, tmp_path / "new")
    assert not (tmp_path / "new").exists()
