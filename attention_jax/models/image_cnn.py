"""A small convolutional network, a `nn.protocols.Classifier` as the Vision Transformer is."""

from collections.abc import Iterator
from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from attention_jax.core import checks, plain_types
from attention_jax.core.calls import clear_calls, clear_fields
from attention_jax.nn.attention_calls import AttentionCall
from attention_jax.nn.layers import Linear, check_rngs, dropout
from attention_jax.nn.patches import ImageConfig, centered, check_size, doubling
from attention_jax.nn.protocols import ImageInputs


@clear_fields
class CNNConfig(NamedTuple):
    """Sizes of a small CNN.

    Attributes:
      classes: answers that there are.
      width: channels of the last convolution; each before has half of those after it.
      layers: convolutions.
      dropout_rate: on what the answer is read from.
      dtype: of the computation: "float32" or "bfloat16". Parameters are float32.
    """

    classes: int
    width: int = 64
    layers: int = 2
    dropout_rate: float = 0.1
    dtype: str = "float32"

    def check(self) -> None:
        """Raises ValueError where a field is of another type, or out of its range."""
        plain_types.check_fields(self)
        plain_types.sizes(classes=self.classes, width=self.width, layers=self.layers)
        checks.fraction("dropout_rate", self.dropout_rate)
        checks.one_of("dtype", self.dtype, ("float32", "bfloat16"))


class CNN(nnx.Module):
    """Convolutions of 3 x 3 with a ReLU, each halving the picture by maxima; one linear answer.

    Reference: LeCun et al. 1998, Proceedings of the IEEE 86, section II.
    """

    tokens = 0

    @clear_calls
    def __init__(self, image: ImageConfig, config: CNNConfig, *, rngs: nnx.Rngs):
        plain_types.of_kind("image", image, ImageConfig)
        image.check()
        plain_types.of_kind("config", config, CNNConfig)
        config.check()
        check_rngs(rngs)
        self.image, self.config, dtype = image, config, jnp.dtype(config.dtype)
        channels = doubling(image.channels, config.width, config.layers, name="layers")
        self.convolutions = nnx.List(
            nnx.Conv(inside, outside, (3, 3), dtype=dtype, rngs=rngs)
            for inside, outside in channels
        )
        height, width = image.height, image.width
        for _ in range(config.layers):
            height, width = (_halved(n) for n in (height, width))
        self.head = Linear(height * width * config.width, config.classes, dtype=dtype, rngs=rngs)

    @property
    def grid(self) -> tuple[int, int]:
        """Patches downwards and across, which it does not know of: to hide them one by one."""
        return self.image.grid

    def classify(
        self, images: Float[Array, "b y x c"], *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "b k"]:
        """Logits of each class."""
        check_size(images, self.image)
        x = centered(images)
        for convolution in self.convolutions:
            x = nnx.relu(convolution(x))
            sides = tuple(2 if n > 3 else 1 for n in x.shape[1:3])
            x = nnx.max_pool(x, sides, strides=sides)
        x = dropout(x.reshape(x.shape[0], -1), self.config.dropout_rate, rngs)
        return self.head(x).astype(jnp.float32)

    def attention_calls(self, batch: ImageInputs) -> Iterator[AttentionCall]:
        """None: there is no attention."""
        del batch
        return iter(())


def _halved(pixels: int) -> int:
    """The side after a maximum over 2 x 2, which leaves small pictures alone."""
    return pixels // 2 if pixels > 3 else pixels
