"""Parameters that stay as they are, and first parameters that are given."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from attention_jax.training import freezing, loop, objectives, optimizers
from attention_jax.training.config import TrainConfig
from attention_jax.training.prepare import prepare
from attention_jax.training.step import Given
from tests.training.test_loop import Toy, assert_same, fit, toy_batches

SETTINGS = TrainConfig(3, learning_rate=0.05, warmup_steps=0, schedule="constant", clip_norm=0.1)


def build(key):
    """The toy model without dropout."""
    model = Toy(rngs=nnx.Rngs(key))
    model.drop = nnx.Dropout(0.0)
    return model


def params_of(key):
    return nnx.as_pure(nnx.split(build(jax.random.key(key)))[1])


@pytest.mark.parametrize(
    "name", ["adam", *(pytest.param(x, marks=pytest.mark.slow) for x in ("adamw", "muon"))]
)
def test_the_rest_is_trained_as_if_it_were_all(name):
    """Against the optimizer on the trained part alone, whose gradient alone it clips."""
    decay = 0.0 if name == "adam" else 0.1
    settings = SETTINGS._replace(optimizer=name, weight_decay=decay, freeze=("^embed",))
    first, batch = params_of(3), toy_batches()[0]
    state, update = loop.stepper(Given(build, first), settings)
    own = optimizers.optimizer(name, learning_rate=0.05, weight_decay=decay, clip_norm=0.1)
    graphdef, out = nnx.graphdef(build(jax.random.key(0))), {"out": first["out"]}
    opt = own.init(out)

    @jax.value_and_grad
    def loss(out):
        model = nnx.merge(graphdef, {"embed": first["embed"], **out})
        found = objectives.translation(model, batch)
        return found.loss / found.count

    for _ in range(3):
        mean, gradient = loss(out)
        change, opt = own.update(gradient, opt, out)
        out = optax.apply_updates(out, change)
        state, totals = update(state, batch)
        np.testing.assert_allclose(totals.loss / totals.tokens, mean, rtol=1e-5)
        np.testing.assert_allclose(totals.gradient_norm, optax.tree.norm(gradient), rtol=1e-4)
    assert_same(state.params["embed"], first["embed"])
    for a, b in zip(jax.tree.leaves(state.params["out"]), jax.tree.leaves(out), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_the_optimizer_keeps_nothing_of_what_is_frozen():
    sizes = [
        sum(
            x.size for x in jax.tree.leaves(prepare(build, SETTINGS._replace(freeze=own)).state.opt)
        )
        for own in ((), ("embed",))
    ]
    table = params_of(0)["embed"]["embedding"].size
    assert sizes[0] - sizes[1] == 2 * table  # both moments of Adam


def test_a_negative_zero_stays_one():
    before = {"a": jnp.array([-0.0, 1.0]), "b": jnp.array([-0.0])}
    after = jax.tree.map(lambda x: x + 0.0, before)
    assert not np.signbit(after["a"][0])
    found = freezing.kept(before, after, ["a"])
    assert np.signbit(found["a"][0]) and not np.signbit(found["b"][0])


def test_training_begins_with_the_parameters_that_are_given():
    """Whatever the seed; they themselves stay as they are, though a step overwrites its state."""
    first = params_of(7)
    host = jax.tree.map(np.array, first)
    state, update = loop.stepper(Given(build, first), SETTINGS._replace(seed=1))
    assert_same(state.params, host)
    state, _ = update(state, toy_batches()[0])
    assert_same(first, host)
    assert (state.params["embed"]["embedding"] != host["embed"]["embedding"]).any()


@pytest.mark.slow
def test_a_frozen_run_goes_on_to_the_same_end(tmp_path):
    given, own = Given(build, params_of(7)), {"freeze": ("out/bias",), "checkpoint_every": 3}
    whole = fit(tmp_path / "whole", build=given, steps=6, schedule="constant", **own)
    fit(tmp_path / "cut", build=given, steps=3, schedule="constant", **own)
    again = fit(tmp_path / "cut", build=build, steps=6, resume=True, schedule="constant", **own)
    assert_same(again.params, whole.params)
    assert_same(again.params["out"]["bias"], params_of(7)["out"]["bias"])


def test_patterns_that_do_not_fit_are_refused_by_name():
    with pytest.raises(ValueError, match=r"occurs in none of 3.*nearest are embed/embedding"):
        prepare(build, SETTINGS._replace(freeze=("out", "embedding/table")))
    with pytest.raises(ValueError, match="must leave something to train"):
        prepare(build, SETTINGS._replace(freeze=("out", "embed")))
    with pytest.raises(ValueError, match=r"`freeze` must be regular expressions; got 'a\('"):
        SETTINGS._replace(freeze=("a(",)).check()


def test_parameters_of_another_model_are_refused():
    wide = nnx.as_pure(nnx.split(Toy(width=7, rngs=nnx.Rngs(0)))[1])
    with pytest.raises(ValueError, match=r"`params` must be those of the model; embed/embedding"):
        prepare(Given(build, wide), SETTINGS)
