"""The small CNN beside the same in PyTorch."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax.models.image_cnn import CNN, CNNConfig
from attention_jax.nn.patches import ImageConfig


@pytest.mark.parametrize("side", [(7, 9), (4, 3)])
def test_it_is_what_torch_computes(side):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    image = ImageConfig(*side, 3, patch=1)
    model = CNN(image, CNNConfig(5, width=8, layers=2), rngs=nnx.Rngs(0))
    images = np.random.default_rng(0).random((2, *side, 3), np.float32)

    def tensor(x):
        return torch.tensor(np.array(x, np.float64))

    x = tensor(2 * images - 1).permute(0, 3, 1, 2)
    for convolution in model.convolutions:
        kernel = tensor(convolution.kernel[...]).permute(3, 2, 0, 1)
        x = functional.conv2d(x, kernel, tensor(convolution.bias[...]), padding=1).relu()
        halves = tuple(2 if n > 3 else 1 for n in x.shape[2:])
        x = functional.max_pool2d(x, halves)
    x = x.permute(0, 2, 3, 1).flatten(1)
    wanted = x @ tensor(model.head.kernel[...]) + tensor(model.head.bias[...])
    np.testing.assert_allclose(model.classify(jnp.asarray(images)), wanted, rtol=1e-4, atol=1e-5)


def test_channels_halve_downwards():
    with pytest.raises(ValueError, match=r"`2 to the power of layers - 1` must divide `width`"):
        CNN(ImageConfig(8, 8), CNNConfig(5, width=6, layers=3), rngs=nnx.Rngs(0))
