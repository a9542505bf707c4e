"""The class of an image does not depend on the images beside it."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from attention_jax.decoding import classify
from attention_jax.models.image_cnn import CNN, CNNConfig
from attention_jax.nn.patches import ImageConfig


def model():
    return CNN(ImageConfig(4, 4), CNNConfig(3, width=4), rngs=nnx.Rngs(0))


def test_each_image_gets_its_own_answer():
    graphdef, state = nnx.split(model())
    images = np.random.default_rng(0).integers(0, 256, (7, 4, 4, 1), np.uint8)
    classes_of = classify.classifier(graphdef, rows=3)
    together = classes_of(nnx.as_pure(state), images)
    alone = np.concatenate([classes_of(nnx.as_pure(state), image[None]) for image in images])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_allclose(np.exp(together).sum(axis=-1), 1, rtol=1e-5)
    logits = np.asarray(model().classify(jnp.asarray(images / np.float32(255))), np.float64)
    wanted = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    np.testing.assert_allclose(together, wanted, rtol=1e-4, atol=1e-5)
