"""Patches, cut by hand; pooling, as its equation in loops."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax import variants
from attention_jax.patches import AttentionPooling, ImageConfig, patches


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


def softmax(x):
    weights = np.exp(x - x.max())
    return weights / weights.sum()


def test_pooling_is_the_mean_by_the_weights_of_one_question(draw):
    pool = AttentionPooling(
        8, heads=2, variant=variants.get("scaled_dot"), dtype="float32", rngs=nnx.Rngs(0)
    )
    states = draw(3, 5, 8)

    def linear(layer, x):
        return x @ np.asarray(layer.kernel[...], np.float64) + np.asarray(layer.bias[...])

    attention, x = pool.attention, np.asarray(states, np.float64)
    query = linear(attention.query, np.asarray(pool.query[...], np.float64))
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
