"""Every variant learns in a Transformer; those with options once more with one of them changed."""

import importlib
import inspect
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx

from attention_jax import models, nn, variants
from attention_jax.variants._by_queries import by_queries
from tests.support.paths import ROOT

STEPS = 300
SMALL = (
    "--task=reverse --task_option=vocabulary=10 --task_option=max_length=8 "
    "--task_option=longer_length=9 --task_option=train_size=2000 --task_option=validation_size=50 "
    f"--task_option=test_size=8 --width=32 --heads=4 --layers=1 --feed_forward=64 --steps={STEPS} "
    f"--tokens_per_batch=512 --evaluate_every={STEPS} --evaluate_sentences=4 --seed=0"
).split()

# One of each kind of cache, trained by the command that a user gives.
BY_THE_FLAG = ("scaled_dot", "retention", "coverage", "talking_heads")
# Other values of options, of which the first that a variant takes stands in for its default.
TRIED = {
    bool: (True, False),
    int: (16, 3, 4, 2),
    float: (0.5, 2.0),
    str: ("input", "key", "query", "power"),
}


def changed(name):
    """The text of a variant with its first option changed that can be; None without options."""
    factory = getattr(importlib.import_module(f"{variants.__name__}.{name}"), name)
    for option in inspect.signature(factory).parameters.values():
        kinds = [kind for kind in TRIED if kind.__name__ in str(option.annotation)]
        for value in (value for kind in kinds for value in TRIED[kind] if value != option.default):
            text = f"{name}({option.name}={value!r})"
            try:
                init = by_queries(variants.resolve(text)).init
                # Its shapes alone: an option that is refused is refused there.
                sizes = {"heads": 4, "kv_heads": 4, "head_width": 8}
                jax.eval_shape(lambda: init(jax.random.key(0), **sizes))  # noqa: B023
            except ValueError:
                continue
            return text
    return None


CHANGED = [text for text in map(changed, variants.names()) if text is not None]


def test_every_variant_with_options_has_one_to_change():
    for name in variants.names():
        factory = getattr(importlib.import_module(f"{variants.__name__}.{name}"), name)
        options = inspect.signature(factory).parameters
        assert any(text.startswith(f"{name}(") for text in CHANGED) == bool(options), name
    assert len(CHANGED) >= 50


@pytest.mark.slow
@pytest.mark.parametrize("text", [*variants.names(), *CHANGED])
def test_the_loss_falls(text):
    """In a Transformer that reverses digits, by the text of the variant."""
    sizes = {"width": 32, "layers": 1, "heads": 4, "feed_forward": 64, "dropout_rate": 0.0}
    config = nn.TransformerConfig(vocabulary_size=12, attention=text, **sizes)
    graphdef, params = nnx.split(models.Seq2SeqTransformer(config, rngs=nnx.Rngs(0)))
    optimizer = optax.adam(3e-3)
    source = jax.random.randint(jax.random.key(1), (64, 8), 1, 12)
    target = jnp.flip(source, axis=1)
    given = jnp.pad(target[:, :-1], ((0, 0), (1, 0)))

    def loss(params, key):
        model, rngs = nnx.merge(graphdef, params), nnx.Rngs(dropout=key)
        memory = model.encode(source, jnp.ones(source.shape, bool), rngs=rngs)
        logits = model.decode(given, memory, rngs=rngs)
        return optax.softmax_cross_entropy_with_integer_labels(logits, target).mean()

    def step(carry, key):
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params, key)
        change, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, change), state), value

    keys = jax.random.split(jax.random.key(2), 60)
    with jax.numpy_dtype_promotion("standard"):  # Optax counts on it
        losses = jax.jit(lambda carry: jax.lax.scan(step, carry, keys)[1])(
            (params, optimizer.init(params))
        )
    assert losses[-1] < 0.8 * losses[0]
    assert losses[-10:].mean() < losses[20:30].mean()


@pytest.mark.slow
@pytest.mark.parametrize("name", BY_THE_FLAG)
def test_a_run_learns(name, tmp_path):
    """To less than that of guessing each number by its frequency, and further at the end."""
    done = subprocess.run(
        [sys.executable, "-m", "experiments.translation", *SMALL]
        + [f"--attention={name}", f"--run={tmp_path / 'run'}"],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    losses = [x["loss"] for x in map(json.loads, lines) if x["split"] == "train"]
    assert len(losses) >= 5
    assert losses[-1] < losses[len(losses) // 2] < losses[0]
    assert losses[-1] < 0.8 * losses[0]
