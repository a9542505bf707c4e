"""Image sizes and patch embeddings."""

from itertools import pairwise
from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from attention_jax.core import checks, plain_types
from attention_jax.core.calls import clear_calls, clear_fields
from attention_jax.nn.layers import Linear, OutSharding
from attention_jax.nn.norms import LayerNorm

SPREAD = 0.02  # of learned vectors as they start: arXiv:2010.11929, the authors' code


@clear_fields
class ImageConfig(NamedTuple):
    """Sizes of images and of their patches.

    Attributes:
      height, width: in pixels.
      channels: 1 of gray images, 3 of color images.
      patch: the side of a square patch, in pixels.
    """

    height: int
    width: int
    channels: int = 1
    patch: int = 4

    def check(self, *, cut: bool = False) -> None:
        """Raises ValueError where a field is no whole number of at least 1.

        Args:
          cut: raises too where patches do not fill the picture.
        """
        plain_types.sizes(**self._asdict())
        if cut:
            checks.divides("patch", self.patch, "height", self.height)
            checks.divides("patch", self.patch, "width", self.width)

    @property
    def grid(self) -> tuple[int, int]:
        """Patches downwards and across."""
        self.check(cut=True)
        return self.height // self.patch, self.width // self.patch


def patches(images: Float[Array, "b y x c"], config: ImageConfig) -> Float[Array, "b n pixels"]:
    """The square patches of each picture, row by row; their pixels row by row, channels last.

    Raises:
      ValueError: pictures are not of the size that `config` says.
    """
    check_size(images, config)
    (rows, columns), side = config.grid, config.patch
    cut = images.reshape(-1, rows, side, columns, side, config.channels)
    return cut.swapaxes(2, 3).reshape(-1, rows * columns, side * side * config.channels)


class LinearStem(Linear):
    """One linear map of each patch.

    Reference: Dosovitskiy et al. 2021, arXiv:2010.11929, equation 1.
    """

    @clear_calls
    def __init__(self, image: ImageConfig, width: int, *, dtype: str, rngs: nnx.Rngs):
        pixels = image.patch**2 * image.channels
        super().__init__(pixels, width, dtype=jnp.dtype(dtype), rngs=rngs)
        self.image = image

    def __call__(
        self, inputs: Float[Array, "b y x c"], out_sharding: OutSharding = None
    ) -> Float[Array, "b n m"]:
        return super().__call__(patches(inputs, self.image), out_sharding)


class ConvolutionalStem(nnx.Module):
    """Patches by convolutions that halve the picture, in place of one linear map of each.

        x_0 = image      x_i = relu(norm(conv_i x_(i-1))), of 3 x 3 and stride 2      out = W x_n

    n is log2 of a patch's side. The last convolution has `width` channels, each before it half of
    those after. A vector so sees its patch and a border of others.

    Raises:
      ValueError: the side is no power of two above 1, or the width cannot be halved so often.

    Reference: Xiao et al. 2021, arXiv:2106.14881, section 4; norms here are of layers, not batches.
    """

    @clear_calls
    def __init__(self, image: ImageConfig, width: int, *, dtype: str, rngs: nnx.Rngs):
        count, kind = image.patch.bit_length() - 1, jnp.dtype(dtype)
        if image.patch != 2**count or not count:
            raise ValueError(
                "`patch` must be a power of two above 1 where convolutions make the patches; got "
                f"{image.patch}. Use 2, 4 or 8, or the linear stem."
            )
        pairs = doubling(image.channels, width, count, name="convolutions")
        self.image = image
        self.convolutions = nnx.List(
            nnx.Conv(inside, outside, (3, 3), strides=2, padding=1, dtype=kind, rngs=rngs)
            for inside, outside in pairs
        )
        self.norms = nnx.List(LayerNorm(n, dtype=kind, rngs=rngs) for _, n in pairs)
        self.out = Linear(width, width, dtype=kind, rngs=rngs)

    def __call__(self, images: Float[Array, "b y x c"]) -> Float[Array, "b n m"]:
        check_size(images, self.image)
        x = images
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = nnx.relu(norm(convolution(x)))
        return self.out(x.reshape(x.shape[0], -1, x.shape[-1]))


STEMS = {"linear": LinearStem, "convolutional": ConvolutionalStem}


def doubling(channels: int, width: int, count: int, *, name: str) -> list[tuple[int, int]]:
    """Channels in and out of convolutions: the last has `width`, each half of those after.

    Args:
      channels: of the picture.
      width: of the last convolution.
      count: of convolutions.
      name: of the count, for errors.
    """
    checks.divides(f"2 to the power of {name} - 1", 2 ** (count - 1), "width", width)
    return list(pairwise([channels, *(width // 2**i for i in reversed(range(count)))]))


class Pixels(NamedTuple):
    """How the pixels of each channel, from 0 to 1, are moved and scaled before they are read.

    The default moves them to [-1, 1].
    """

    mean: tuple[float, ...] = (0.5,)
    deviation: tuple[float, ...] = (0.5,)

    def __call__(self, images: Array) -> Array:
        if self == Pixels():
            return centered(images)
        mean, deviation = (jnp.asarray(x, images.dtype).reshape(1, 1, 1, -1) for x in self)
        return (images - mean) / deviation


def centered(images: Array) -> Array:
    """Pixels from [0, 1] moved to [-1, 1]."""
    return 2 * images - 1


def check_size(images: Array, image: ImageConfig) -> None:
    wanted = image.height, image.width, image.channels
    if images.shape[1:] != wanted:
        raise ValueError(
            f"`images` must have shape [b y x c] with y, x, c = {wanted}, as the model was made "
            f"for; got {images.shape}. Resize them, or train a model of that size."
        )
