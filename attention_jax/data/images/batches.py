"""Resumable batches of images, with augmentation.

batches = ImageBatches(images, labels, rows=128, seed=0, shift=2, flip=True)
batch = batches[1000]           # the same whatever was drawn before it
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int, UInt8

from attention_jax.core import checks
from attention_jax.core.plain_types import typed_calls
from attention_jax.data.batching import EPOCHS
from attention_jax.data.types import ImageBatch


def check_images(images: UInt8[np.ndarray, "n y x c"]) -> None:
    """Raises unless these are images as a model of this library reads them.

    Raises:
      ValueError: other axes, or no bytes.
    """
    checks.shape("images", images, "n y x c", remedy="For gray add an axis: `images[..., None]`.")
    if images.dtype != np.uint8:
        raise ValueError(
            f"`images` must be bytes from 0 to 255, of uint8; got {images.dtype}. Convert "
            "them: `np.round(255 * images).astype(np.uint8)` where they lie in [0, 1]."
        )


class ImageBatches:
    """Batches of all epochs, with random access; a `batching.Batches`.

    Every epoch holds each image once, in an order drawn from `(seed, epoch)`; the last batch is
    padded with empty rows of weight 0. Shifts and flips are drawn from `(seed, epoch, index)` of
    the batch.

    Attributes:
      batches_per_epoch: number of batches that hold each image once.

    Args:
      images: gray or RGB, from 0 to 255.
      labels: class of each image.
      rows: images in a batch.
      seed: seed of order and augmentation.
      shuffle: shuffles; otherwise every epoch goes through the images in order.
      shift: largest random shift in pixels, vertically and horizontally; edges are repeated.
      flip: mirrors half of the images, left to right.

    Raises:
      ValueError: an argument is out of range, or there is no image.
    """

    @typed_calls
    def __init__(
        self,
        images: UInt8[np.ndarray, "n y x c"],
        labels: Int[np.ndarray, " n"],
        *,
        rows: int,
        seed: int = 0,
        shuffle: bool = True,
        shift: int = 0,
        flip: bool = False,
    ):
        checks.positive("rows", rows)
        checks.natural("seed", seed)
        check_images(images)
        checks.shape("labels", labels, "n")
        checks.whole("labels", labels)
        if not len(images) or len(images) != len(labels):
            raise ValueError(
                f"`images` and `labels` must be equally many, and at least one; got {len(images)} "
                f"and {len(labels)}."
            )
        side = min(images.shape[1:3])
        if not 0 <= shift < side:
            raise ValueError(
                f"`shift` must be at least 0 and below {side}, the pixels of a side; got {shift}."
            )
        self._images, self._labels, self._rows, self._seed = images, labels, rows, seed
        self._shuffle, self._shift, self._flip = shuffle, shift, flip
        self.batches_per_epoch = -(-len(images) // rows)
        self._ordered: tuple[int, np.ndarray] = (-1, np.array([], int))

    def __len__(self) -> int:
        return EPOCHS * self.batches_per_epoch

    def __getitem__(self, index: int) -> ImageBatch:
        epoch, position = divmod(int(index), self.batches_per_epoch)
        if self._ordered[0] != epoch:
            self._ordered = epoch, self._order(epoch)
        members = self._ordered[1][position * self._rows :][: self._rows]
        images = self._images[members]
        if self._shift or self._flip:
            generator = np.random.default_rng((self._seed, epoch, position))
            images = changed(images, generator, shift=self._shift, flip=self._flip)
        empty = self._rows - len(members)
        return ImageBatch(
            _filled(images.astype(np.float32) / np.float32(255), empty),
            _filled(self._labels[members].astype(np.int32), empty),
            _filled(np.ones(len(members), np.float32), empty),
        )

    def epoch(self, number: int = 0) -> Iterator[ImageBatch]:
        """Batches of one epoch, with each image once."""
        first = number * self.batches_per_epoch
        return (self[first + i] for i in range(self.batches_per_epoch))

    def _order(self, epoch: int) -> np.ndarray:
        if not self._shuffle:
            return np.arange(len(self._images))
        return np.random.default_rng((self._seed, epoch)).permutation(len(self._images))


def changed(
    images: UInt8[np.ndarray, "n y x c"],
    generator: np.random.Generator,
    *,
    shift: int,
    flip: bool,
) -> UInt8[np.ndarray, "n y x c"]:
    """Augmented images: shifted by -shift to shift pixels each way, and mirrored at random.

    changed[n, y, x] = images[n, clip(y - down_n), clip(x - right_n)]
    """
    n, height, width, _ = images.shape
    down, right = generator.integers(-shift, shift + 1, (2, n))
    mirrored = generator.random(n) < (0.5 if flip else 0.0)
    rows = np.clip(np.arange(height) - down[:, None], 0, height - 1)
    columns = np.clip(np.arange(width) - right[:, None], 0, width - 1)
    columns = np.where(mirrored[:, None], columns[:, ::-1], columns)
    return images[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None]]


def _filled(array: np.ndarray, empty: int) -> np.ndarray:
    return np.concatenate([array, np.zeros((empty, *array.shape[1:]), array.dtype)])
