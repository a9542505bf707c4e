"""Patches, cut by hand; pooling, as its equation in loops."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax import variants
from attention_jax.nn.patches import ConvolutionalStem, ImageConfig, patches
from attention_jax.nn.pooling import AttentionPooling
from tests.support.equations import linear, norm, numbers


def test_patches_are_cut_row_by_row(draw):
    images = draw(2, 6, 4, 3)
    found = patches(images, ImageConfig(6, 4, 3, patch=2))
    whole, number = np.asarray(images), 0
    for top in range(0, 6, 2):
        for left in range(0, 4, 2):
            pixels = [
                whole[:, top + y, left + x, c] for y in range(2) for x in range(2) for c in range(3)
            ]
            np.testing.assert_array_equal(found[:, number], np.stack(pixels, axis=-1))
            number += 1
    assert found.shape == (2, number, 12)


def halved(image, convolution, layer_norm):
    """A convolution of 3 x 3 and stride 2 with a border of zeros, a norm, a ReLU."""
    kernel = numbers(convolution.kernel)
    wide = np.pad(image, [(1, 1), (1, 1), (0, 0)])
    out = np.zeros((image.shape[0] // 2, image.shape[1] // 2, kernel.shape[-1]))
    for y, x in np.ndindex(out.shape[:2]):
        window = wide[2 * y : 2 * y + 3, 2 * x : 2 * x + 3]
        out[y, x] = np.einsum("yxc,yxcd->d", window, kernel) + numbers(convolution.bias)
    return np.maximum(norm(layer_norm, out), 0)


@pytest.mark.slow
def test_a_convolutional_stem_is_that_of_its_equation(draw):
    images = draw(2, 8, 4, 3)
    stem = ConvolutionalStem(ImageConfig(8, 4, 3, patch=4), 6, dtype="float32", rngs=nnx.Rngs(0))
    assert [x.out_features for x in stem.convolutions] == [3, 6]
    for image, found in zip(np.asarray(images, np.float64), stem(images), strict=True):
        for convolution, layer_norm in zip(stem.convolutions, stem.norms, strict=True):
            image = halved(image, convolution, layer_norm)
        np.testing.assert_allclose(found, linear(stem.out, image.reshape(2, 6)), atol=1e-5)


@pytest.mark.parametrize("patch", [1, 3])
def test_convolutions_halve(patch):
    image = ImageConfig(6, 6, 1, patch=patch)
    with pytest.raises(ValueError, match=f"power of two above 1 .* got {patch}. Use 2, 4 or 8"):
        ConvolutionalStem(image, 8, dtype="float32", rngs=nnx.Rngs(0))


def softmax(x):
    weights = np.exp(x - x.max())
    return weights / weights.sum()


@pytest.mark.slow
def test_pooling_is_the_mean_by_the_weights_of_one_question(draw):
    pool = AttentionPooling(
        8, heads=2, variant=variants.get("scaled_dot"), dtype="float32", rngs=nnx.Rngs(0)
    )
    states = draw(3, 5, 8)

    attention, x = pool.attention, np.asarray(states, np.float64)
    query = linear(attention.query, numbers(pool.query))
    keys, values = linear(attention.key, x), linear(attention.value, x)
    wanted = np.zeros((3, 8))
    for b, h in np.ndindex(3, 2):
        own = slice(4 * h, 4 * h + 4)
        weights = softmax(keys[b, :, own] @ query[own] / np.sqrt(4))
        wanted[b, own] = weights @ values[b, :, own]
    np.testing.assert_allclose(pool(states), linear(attention.out, wanted), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 4, 6, 1), (1, 6, 4, 3)])
def test_pictures_of_another_size_are_refused(shape):
    with pytest.raises(ValueError, match=r"as the model was made for; got \(1, .*Resize them"):
        patches(jnp.zeros(shape), ImageConfig(6, 4, 1, patch=2))


def test_a_patch_must_divide_the_picture():
    with pytest.raises(ValueError, match="`patch` must divide `width`; got patch=3, width=4"):
        ImageConfig(6, 4, 1, patch=3).grid  # noqa: B018
