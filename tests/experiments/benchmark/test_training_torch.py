"""Models in torch: our parameters give our logits, and padding counts in no loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

torch = pytest.importorskip("torch")

from attention_jax.data.types import TokenBatch  # noqa: E402
from attention_jax.training import loop  # noqa: E402
from attention_jax.training.config import TrainConfig  # noqa: E402
from experiments.benchmark import training_torch  # noqa: E402
from experiments.benchmark.training_cases import MAKERS, Sizes  # noqa: E402

SIZES = Sizes(vocabulary=12, sentences=3, length=5, dropout=0.0)


def put(parameter, value):
    with torch.no_grad():
        value = torch.tensor(np.asarray(value))
        assert parameter.shape == value.shape
        parameter.copy_(value)


def put_linear(linear, own):
    put(linear.weight, np.asarray(own["kernel"]).T)
    put(linear.bias, own["bias"])


def put_norm(norm, own):
    put(norm.weight, own["scale"])
    put(norm.bias, own["bias"])


def put_attention(attention, own):
    parts = [own[part] for part in ("query", "key", "value")]
    put(attention.in_proj_weight, np.concatenate([np.asarray(x["kernel"]).T for x in parts]))
    put(attention.in_proj_bias, np.concatenate([np.asarray(x["bias"]) for x in parts]))
    put_linear(attention.out_proj, own["out"])


def put_layer(layer, own, *, decoder=False):
    """A layer of torch's encoder or decoder."""
    norms = ["around_attention", *(["around_cross_attention"] * decoder), "around_feed_forward"]
    for number, name in enumerate(norms, 1):
        put_norm(getattr(layer, f"norm{number}"), own[name]["norm"])
    put_attention(layer.self_attn, own["attention"])
    if decoder:
        put_attention(layer.multihead_attn, own["cross_attention"])
    put_linear(layer.linear1, own["feed_forward"]["up"])
    put_linear(layer.linear2, own["feed_forward"]["down"])


def put_decoder(model, own):
    put(model.embedding.weight, own["embedding"]["table"]["embedding"])
    for number, layer in enumerate(model.core.decoder.layers):
        put_layer(layer, own["decoder"]["layers"][number], decoder=True)
    put_norm(model.core.decoder.norm, own["decoder_norm"])


def put_seq2seq(model, own):
    put_decoder(model, own)
    for number, layer in enumerate(model.core.encoder.layers):
        put_layer(layer, own["encoder"]["layers"][number])
    put_norm(model.core.encoder.norm, own["encoder_norm"])


def put_speech(model, own):
    put_decoder(model, own)
    front = own["encoder"]["subsampling"]
    for number, convolution in enumerate(model.convolutions):
        linear = front["convolutions"][number]
        # Ours takes three frames one after another, [3 i, o]; torch's kernel is [o i 3].
        kernel = np.asarray(linear["kernel"]).reshape(3, -1, linear["kernel"].shape[-1])
        put(convolution.weight, kernel.transpose(2, 1, 0))
        put(convolution.bias, linear["bias"])
    put_linear(model.project, front["project"])
    for number, layer in enumerate(model.core.encoder.layers):
        put_layer(layer, own["encoder"]["layers"]["layers"][number])
    put_norm(model.core.encoder.norm, own["encoder"]["norm"])


def put_images(model, own):
    for number, (convolution, norm) in enumerate(zip(model.convolutions, model.norms, strict=True)):
        convolved = own["embed"]["convolutions"][number]
        put(convolution.weight, np.asarray(convolved["kernel"]).transpose(3, 2, 0, 1))
        put(convolution.bias, convolved["bias"])
        put_norm(norm, own["embed"]["norms"][number])
    put_linear(model.out, own["embed"]["out"])
    for number, layer in enumerate(model.encoder.layers):
        put_layer(layer, own["encoder"]["layers"][number])
    put_norm(model.encoder.norm, own["norm"])
    put_linear(model.head, own["head"])


def logits_of(model, batch):
    if hasattr(model, "classify"):
        return model.classify(batch.images)
    return model.decode(batch.target_in, model.encode(batch.source, batch.source_mask))


@pytest.mark.parametrize(
    ("name", "copy"),
    [("transformer_tiny", put_seq2seq), ("speech", put_speech), ("vit", put_images)],
)
def test_with_our_parameters_it_gives_our_logits(name, copy):
    case = MAKERS[name](SIZES)
    # Three of the batch suffice, one of them with padding.
    batch = jax.tree.map(lambda x: np.array(x[:3]), case.batch)
    if hasattr(batch, "source_mask"):
        batch.source_mask[1, -3:] = False
    ours, theirs = case.build(jax.random.key(0)), training_torch.model_of(case).eval()
    copy(theirs, nnx.as_pure(nnx.state(ours)))
    found = np.asarray(logits_of(ours, jax.tree.map(jnp.asarray, batch)))
    expected = theirs(training_torch.tensors(batch)).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
def test_both_have_as_many_parameters(name):
    """But for the cells: torch's have two biases where Flax's have one, or none."""
    case = MAKERS[name](SIZES)
    state, _ = loop.stepper(case.build, case.training, case.objective)
    ours = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    theirs = sum(p.numel() for p in training_torch.model_of(case).parameters())
    if name not in ("gru_additive", "lstm_plain"):
        assert ours == theirs
    else:
        assert 0 < theirs - ours < 0.01 * ours


@pytest.mark.parametrize("name", ["gru_additive", "lstm_plain"])
def test_recurrent_models_learn(name):
    case = MAKERS[name](SIZES)._replace(training=TrainConfig(20, warmup_steps=1))
    step = training_torch.training_step(case, compiled=False)
    losses = [step() for _ in range(15)]
    assert losses[-1] < losses[0]


def test_padding_counts_in_no_loss():
    weights = np.array([[1, 0, 1]], np.float32)
    batch = TokenBatch(np.array([[1, 2, 3]]), np.array([[4, 5, 0]]), weights)
    found = training_torch.tensors(batch)
    assert found["goal"].tolist() == [4, -100, 0] and found["tokens"].dtype == torch.int64
    assert "weights" not in found
