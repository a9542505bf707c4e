"""What a model says does not depend on what is asked beside it; its scores are counts."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax.data.types import ImageBatch
from attention_jax.decoding import classify
from attention_jax.evaluation import classification
from attention_jax.models.image_cnn import CNN, CNNConfig
from attention_jax.nn.patches import ImageConfig
from attention_jax.training import losses, objectives


def model():
    return CNN(ImageConfig(4, 4), CNNConfig(3, width=4), rngs=nnx.Rngs(0))


def test_each_picture_gets_its_own_answer():
    graphdef, state = nnx.split(model())
    images = np.random.default_rng(0).integers(0, 256, (7, 4, 4, 1), np.uint8)
    recognise = classify.classifier(graphdef, rows=3)
    together = recognise(nnx.as_pure(state), images)
    alone = np.concatenate([recognise(nnx.as_pure(state), image[None]) for image in images])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_allclose(np.exp(together).sum(axis=-1), 1, rtol=1e-5)
    logits = np.asarray(model().classify(jnp.asarray(images / np.float32(255))), np.float64)
    wanted = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    np.testing.assert_allclose(together, wanted, rtol=1e-4, atol=1e-5)


def test_scores_count_what_is_right():
    logs = np.log(np.array([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25], [0.1, 0.1, 0.8]], np.float32))
    labels = np.array([0, 1, 2])
    found = classification.scores(logs, labels)
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["loss"] == pytest.approx(-np.log([0.5, 0.25, 0.8]).mean(), rel=1e-6)
    names = ("cat", "dog", "emu", "fox")
    assert classification.of_classes(logs, labels, names) == {"cat": 1.0, "dog": 0.0, "emu": 1.0}


def test_the_objective_is_the_cross_entropy_of_real_rows():
    images = jnp.asarray(np.random.default_rng(0).random((4, 4, 4, 1), np.float32))
    labels, weights = jnp.array([0, 1, 2, 0]), jnp.array([1.0, 1.0, 1.0, 0.0])
    found = objectives.classification(model(), ImageBatch(images, labels, weights))
    logits = np.asarray(model().classify(images), np.float64)
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    wanted = -sum(log_p[b, k] for b, k in enumerate((0, 1, 2)))
    assert float(found.loss) == pytest.approx(wanted, rel=1e-5) and float(found.count) == 3
    right, _ = losses.accuracy(model().classify(images), labels, weights)
    assert float(found.correct) == float(right)
