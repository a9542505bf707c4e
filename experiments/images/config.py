"""Configuration, data and model of a run about images."""

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import jax
import numpy as np
from flax import nnx

from attention_jax.core.files import write_whole
from attention_jax.data.folders import in_words
from attention_jax.data.images import datasets
from attention_jax.data.images.batches import ImageBatches
from attention_jax.data.images.datasets import ImageData
from attention_jax.data.images.files import GROUNDS, Fit
from attention_jax.models import image_cnn, image_rnn, image_transformer
from attention_jax.nn.patches import STEMS, ImageConfig
from attention_jax.nn.recurrent import RNNConfig
from experiments.common.config import (
    MODELS,
    DeviceFlags,
    MeshFlags,
    ModelFlags,
    RunFlags,
    TrainingFlags,
    attention_line,
)
from experiments.common.experiment import Build
from experiments.common.flags import Flag, Only

_KNOWN = "pictures.json"  # in a run's folder
_MOST_PATCHES = 7  # a side, where --patch does not say


class DataFlags(NamedTuple):
    """The images, and how models read them.

    Attributes:
      data: images: digits, which scikit-learn brings; or a folder, as it is or in --data_dir, of
        the four files of MNIST's format or of <label>/<file>, which Pillow reads.
      data_dir: folder of the data sets.
      classes: of MNIST's format: number of classes. Default: 10.
      image_size: of a folder of images: resize all to so many pixels each way.
      skip_bad: leave out what is damaged or wrong, and count it.
      ground: what shows where an image is transparent; none: the colors under it.
      images_per_batch: images a batch.
      shift: move training images by up to so many pixels.
      flip: mirror half of the training images, left to right.
      patch: side of a patch in pixels. Default: the smallest that leaves at most 7 a side.
      pooling: Transformer: where the answer is read.
      stem: Transformer: what makes a patch a vector; convolutional wants a --patch of 2, 4 or 8.
      registers: Transformer: learned vectors beside the patches, which are not pooled.
      reads: RNN: what it reads, one after another. --attention pools its states; none takes the
        last.
    """

    data: Annotated[str, Flag(data=True)] = datasets.DIGITS
    data_dir: Annotated[str, Flag(may_change=True)] = "data"
    classes: Annotated[int | None, Flag(low=1)] = None
    image_size: Annotated[int | None, Flag(low=1)] = None
    skip_bad: bool = False
    ground: Annotated[str, Flag(choices=GROUNDS)] = "white"
    images_per_batch: Annotated[int, Flag(low=1)] = 64
    shift: Annotated[int, Flag(low=0)] = 0
    flip: bool = False
    patch: Annotated[int | None, Flag(low=1)] = None
    pooling: Annotated[str, Flag(choices=image_transformer.POOLINGS)] = "token"
    stem: Annotated[str, Flag(choices=tuple(STEMS))] = "linear"
    registers: Annotated[int, Flag(low=0, high=1024)] = 0
    reads: Annotated[str, Flag(choices=image_rnn.READS)] = "rows"


class ImagesConfig(NamedTuple):
    """A run of experiments.images, each field a group of flags."""

    run: RunFlags = RunFlags()
    data: DataFlags = DataFlags()
    model: Annotated[ModelFlags, Only(model=(*MODELS, "cnn"))] = ModelFlags()
    training: TrainingFlags = TrainingFlags()
    device: DeviceFlags = DeviceFlags()
    mesh: MeshFlags = MeshFlags()


class Known(NamedTuple):
    """Facts of the images that a model is made for.

    Attributes:
      classes: what its answers mean.
      image: sizes of the images and of their patches.
      fit: how images from files come to that size.
    """

    classes: tuple[str, ...]
    image: ImageConfig
    fit: Fit = Fit()


def load(config: ImagesConfig) -> ImageData:
    """The images; says how many were left out."""
    own = config.data
    data = datasets.load(
        own.data,
        data_dir=own.data_dir,
        classes=own.classes,
        image_size=own.image_size,
        skip_bad=own.skip_bad,
        ground=own.ground,
    )
    if data.skipped:
        print(f"{data.name}: {data.skipped} images are damaged or wrong, and left out")
    return data


def learn(config: ImagesConfig, data: ImageData, folder: Path | None) -> Known:
    """Classes and sizes of the data, which must be those of a folder that has some.

    Raises:
      ValueError: the run began with others.
    """
    known = Known(data.classes, image_of(config, data))
    if folder is not None and os.path.exists(folder / _KNOWN):
        check_alike(known, recall(config, folder), config, folder)
    return known


def keep(known: Known, folder: Path) -> None:
    """Writes what the run's model knows into its folder, where it is not there yet."""
    path = folder / _KNOWN
    if not os.path.exists(path):
        own = {"classes": known.classes, "image": known.image._asdict()}
        write_whole(path, json.dumps(own, indent=1) + "\n")


def recall(config: ImagesConfig, folder: Path) -> Known:
    """The facts that the model of a run keeps; runs of the first versions ask their data."""
    path = folder / _KNOWN
    if not os.path.exists(path):
        return learn(config, load(config), None)
    own = json.loads(path.read_text(encoding="utf-8"))
    return Known(tuple(own["classes"]), ImageConfig(**own["image"]))


def load_alike(config: ImagesConfig, known: Known, folder: Path) -> ImageData:
    """The images, if they are still such as the run in a folder has learned.

    Raises:
      ValueError: they have other classes, or are of another size.
    """
    data = load(config)
    found = Known(data.classes, ImageConfig(*data.train.images.shape[1:]))
    check_alike(found, known, config, folder)
    return data


def check_alike(found: Known, wanted: Known, config: ImagesConfig, folder: Path) -> None:
    """Refuses other classes or sizes: numbers stand for classes, so all answers would be wrong.

    Raises:
      ValueError: they differ.
    """
    for name, own, other in (
        ("the classes", found.classes, wanted.classes),
        ("the height, width and channels", found.image[:3], wanted.image[:3]),
    ):
        if own != other:
            raise ValueError(
                f"`--data` must have {name} that {folder} was trained with, "
                f"{', '.join(map(str, other))}; {config.data.data} has "
                f"{', '.join(map(str, own))}. Name the data of that time, or train anew."
            )


def image_of(config: ImagesConfig, data: ImageData) -> ImageConfig:
    """Sizes of the data's images and of their patches.

    Raises:
      ValueError: --patch does not divide the images.
    """
    height, width, channels = data.train.images.shape[1:]
    whole = math.gcd(height, width)
    fit = [n for n in range(1, whole + 1) if whole % n == 0]
    few = [n for n in fit if max(height, width) // n <= _MOST_PATCHES]
    patch = config.data.patch or (few or fit)[0 if few else -1]
    if patch not in fit:
        raise ValueError(
            f"`--patch` must divide both sides of the pictures, {height} x {width}; got {patch}. "
            f"Use {', '.join(map(str, fit))}."
        )
    return ImageConfig(height, width, channels, patch)


def notes(config: ImagesConfig, data: ImageData) -> Iterator[str]:
    """Sizes of the data, and where scaled dot stands in for the named attention."""
    yield (
        f"{data.name}: {len(data.train.labels)} images to learn from, "
        f"{len(data.validation.labels)} for validation, {len(data.test.labels)} for the test; "
        f"{len(data.classes)} classes"
    )
    if data.unused:
        yield f"{data.name}: not used: {in_words(data.unused)}"
    line = stand_ins(config)
    if line:
        yield line


def stand_ins(config: ImagesConfig) -> str | None:
    """A line about where scaled dot stands in; None where it does not."""
    if config.model.model == "cnn":
        return None
    places = {"bidirectional": "in the encoder"}
    if config.data.pooling == "attention":
        places["cross"] = "in the pooling"
    return attention_line(config.model.network(1, max_length=1), places)


def batches(config: ImagesConfig, data: ImageData, known: Known) -> ImageBatches:
    """Batches of training, shifted and mirrored as the configuration says."""
    del known
    own = config.data
    return ImageBatches(
        *data.train,
        rows=own.images_per_batch,
        seed=config.run.seed,
        shift=own.shift,
        flip=own.flip,
    )


def build(config: ImagesConfig, known: Known) -> Build:
    """`key -> model`."""
    own, image, classes = config.model, known.image, len(known.classes)
    if own.model == "cnn":
        sizes = image_cnn.CNNConfig(classes, own.width, own.layers, own.dropout, own.dtype)
        return lambda key: image_cnn.CNN(image, sizes, rngs=nnx.Rngs(key))
    network = own.network(classes, max_length=1)
    data = config.data

    def make(key: jax.Array) -> nnx.Module:
        rngs = nnx.Rngs(key)
        if isinstance(network, RNNConfig):
            return image_rnn.ImageRNN(image, network, reads=data.reads, rngs=rngs)
        return image_transformer.VisionTransformer(
            image,
            network,
            pooling=data.pooling,
            stem=data.stem,
            registers=data.registers,
            rngs=rngs,
        )

    return make


def some_of_each(labels: np.ndarray, count: int) -> np.ndarray:
    """Positions of the first images of as many classes as there are, then of second ones."""
    place = np.zeros(len(labels), int)
    for label in np.unique(labels):
        own = labels == label
        place[own] = np.arange(own.sum())
    return np.lexsort((labels, place))[:count]
