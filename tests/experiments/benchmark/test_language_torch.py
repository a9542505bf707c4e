"""The language model in torch: our parameters give our logits; updates are our optimizer's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

torch = pytest.importorskip("torch")

from attention_jax.data.text_windows import RandomWindows  # noqa: E402
from attention_jax.models import language  # noqa: E402
from attention_jax.nn.transformer import TransformerConfig  # noqa: E402
from attention_jax.training import loop, objectives  # noqa: E402
from attention_jax.training.config import TrainConfig  # noqa: E402
from experiments.benchmark import language_torch, training_torch  # noqa: E402

CONFIG = TransformerConfig(
    vocabulary_size=11,
    width=8,
    layers=2,
    heads=2,
    feed_forward=16,
    positions="learned",
    activation="gelu",
    dropout_rate=0.0,
    max_length=6,
)
SETTINGS = TrainConfig(
    steps=8,
    optimizer="adamw",
    learning_rate=0.01,
    schedule="cosine",
    final_rate=1e-3,
    warmup_steps=3,
    weight_decay=0.1,
    adam_b2=0.99,
    clip_norm=0.1,
)
WINDOWS = RandomWindows(np.random.default_rng(0).integers(0, 11, 200), rows=4, length=6, seed=0)


def copy_into(model, params):
    """Gives the model in torch our parameters: our embeddings are scaled, theirs are not."""

    def put(parameter, value):
        with torch.no_grad():
            parameter.copy_(torch.tensor(np.asarray(value)))

    put(model.tokens.weight, params["embedding"]["table"]["embedding"])
    put(model.positions.weight, params["embedding"]["learned"]["embedding"])
    put(model.norm.weight, params["norm"]["scale"])
    put(model.norm.bias, params["norm"]["bias"])
    for number, block in enumerate(model.blocks):
        own = params["stack"]["layers"][number]
        parts = [own["attention"][part] for part in ("query", "key", "value")]
        joined = {
            name: np.concatenate([np.asarray(part[name]) for part in parts], axis=-1)
            for name in ("kernel", "bias")
        }
        maps = {
            block.query_key_value: joined,
            block.out: own["attention"]["out"],
            block.up: own["feed_forward"]["up"],
            block.down: own["feed_forward"]["down"],
        }
        for linear, values in maps.items():
            put(linear.weight, np.asarray(values["kernel"]).T)
            put(linear.bias, values["bias"])
        norms = {block.first: "around_attention", block.second: "around_feed_forward"}
        for norm, around in norms.items():
            put(norm.weight, own[around]["norm"]["scale"])
            put(norm.bias, own[around]["norm"]["bias"])


def test_with_our_parameters_it_gives_our_logits():
    ours = language.build(CONFIG, rngs=nnx.Rngs(0))
    # Our embeddings are scaled by the root of the width, and the table of the output is not.
    ours.embedding.width = 1
    theirs = language_torch.Language(CONFIG)
    copy_into(theirs, nnx.as_pure(nnx.state(ours)))
    tokens = WINDOWS[0].tokens
    expected = theirs(training_torch.tensors(WINDOWS[0])).detach().numpy()
    x = ours.embedding(jnp.asarray(tokens))
    found = ours.read(x) @ ours.embedding.table.embedding[...].T
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def updating(model):
    """An update from a batch."""
    update = training_torch.updater(model, SETTINGS)
    return lambda batch: update(training_torch.tensors(batch))


@pytest.mark.slow
def test_both_have_as_many_parameters_and_learn():
    model = language_torch.Language(CONFIG)
    size, step = sum(p.numel() for p in model.parameters()), updating(model)
    state, update = loop.stepper(
        lambda key: language.build(CONFIG, rngs=nnx.Rngs(key)), SETTINGS, objectives.next_token
    )
    assert size == sum(leaf.size for leaf in jax.tree.leaves(state.params))
    ours, theirs = [], []
    for index in range(8):
        state, totals = update(state, WINDOWS[index % 2])
        ours.append(float(totals.loss / totals.tokens))
        theirs.append(step(WINDOWS[index % 2]))
    assert ours[-1] < ours[0] and theirs[-1] < theirs[0]


def test_its_updates_are_those_of_our_optimizer():
    """Rates, decay of matrices alone, and clipping: optax with torch's own gradients."""
    model = language_torch.Language(CONFIG)
    step = updating(model)
    transform = SETTINGS.transform()
    values = {name: jnp.asarray(p.detach().numpy()) for name, p in model.named_parameters()}
    state = transform.init(values)
    for index in range(3):
        step(WINDOWS[index])
        # Clipped already, which a second clipping leaves as it is.
        gradient = {name: jnp.asarray(p.grad.numpy()) for name, p in model.named_parameters()}
        change, state = transform.update(gradient, state, values)
        values = jax.tree.map(jnp.add, values, change)
        for name, parameter in model.named_parameters():
            np.testing.assert_allclose(
                parameter.detach().numpy(), values[name], rtol=1e-5, atol=1e-6, err_msg=name
            )
    assert optax.tree.norm(gradient) == pytest.approx(SETTINGS.clip_norm, rel=1e-5)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"positions": "rope"}, "'positions': 'rope'"),
        ({"attention_dropout_rate": 0.5}, "'attention_dropout_rate': 0.5"),
        ({"remat": True}, "preset tiny_shakespeare.*'remat': True"),
    ],
)
def test_another_model_is_refused(model, message):
    with pytest.raises(ValueError, match=message):
        language_torch.Language(CONFIG._replace(**model))


@pytest.mark.parametrize("settings", [{"optimizer": "muon"}, {"accumulate": 4}])
def test_another_optimizer_is_refused(settings):
    with pytest.raises(ValueError, match="`optimizer` must be adam or adamw"):
        training_torch.check(SETTINGS._replace(**settings))
