"""What scripts about pictures share: the data, the model and the trained run, as flags say."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags
from flax import nnx

from attention_jax.core.types import Params
from attention_jax.data.images import datasets
from attention_jax.data.images.batches import ImageBatches
from attention_jax.data.images.datasets import ImageData
from attention_jax.models import image_cnn, image_rnn, image_transformer
from attention_jax.nn.patches import STEMS, ImageConfig
from attention_jax.nn.protocols import Classifier
from attention_jax.nn.recurrent import RNNConfig
from experiments import common, run_folders, trained

FLAGS = flags.FLAGS
MODELS = (*common.MODELS, "cnn")
_KNOWN = "pictures.json"  # in a run's folder
_MOST_PATCHES = 7  # a side, where --patch does not say


def define_flags() -> None:
    """The pictures, and how models read them."""
    flags.DEFINE_string(
        "data", datasets.DIGITS, "Pictures: digits, which scikit-learn brings; or a folder, as "
        "it is or in --data_dir, of the four files of MNIST's format or of <label>/<file>.png."
    )  # fmt: skip
    flags.DEFINE_integer("classes", None, "Of MNIST's format: number of classes. Default: 10.")
    flags.DEFINE_integer(
        "image_size", None, "Of a folder of pictures: resize all to so many pixels each way.",
        lower_bound=1,
    )  # fmt: skip
    flags.DEFINE_bool("skip_bad", False, "Leave out what is damaged or wrong, and count it.")
    flags.DEFINE_integer("images_per_batch", 64, "Pictures a batch.", lower_bound=1)
    flags.DEFINE_integer("shift", 0, "Move training pictures by up to so many pixels.",
                         lower_bound=0)  # fmt: skip
    flags.DEFINE_bool("flip", False, "Mirror half of the training pictures, left to right.")
    flags.DEFINE_integer(
        "patch", None, "Side of a patch in pixels. Default: the smallest that leaves at most "
        f"{_MOST_PATCHES} a side.", lower_bound=1
    )  # fmt: skip
    flags.DEFINE_enum(
        "pooling", "token", image_transformer.POOLINGS, "Transformer: where the answer is read."
    )
    flags.DEFINE_enum("stem", "linear", STEMS, "Transformer: what makes a patch a vector; "
                      "convolutional wants a --patch of 2, 4 or 8.")  # fmt: skip
    flags.DEFINE_enum("reads", "rows", image_rnn.READS, "RNN: what it reads, one after another. "
                      "--attention pools its states; none takes the last.")  # fmt: skip


run_folders.keep_flags_of(__name__)


class Known(NamedTuple):
    """What a model knows of the pictures that it is made for.

    Attributes:
      classes: what its answers mean.
      image: sizes of the pictures and of their patches.
    """

    classes: tuple[str, ...]
    image: ImageConfig


class Trained(NamedTuple):
    """A run's model, and what it knows."""

    graphdef: Any
    params: Params
    known: Known


def load() -> ImageData:
    """The pictures that flags name; says how many were left out."""
    data = datasets.load(
        FLAGS.data,
        data_dir=FLAGS.data_dir,
        classes=FLAGS.classes,
        image_size=FLAGS.image_size,
        skip_bad=FLAGS.skip_bad,
    )
    if data.skipped:
        print(f"{data.name}: {data.skipped} pictures are damaged or wrong, and left out")
    return data


def training_batches(data: ImageData) -> ImageBatches:
    """The pictures to learn from, changed as flags say."""
    return ImageBatches(
        *data.train,
        rows=FLAGS.images_per_batch,
        seed=FLAGS.seed,
        shift=FLAGS.shift,
        flip=FLAGS.flip,
    )


def image_of(data: ImageData) -> ImageConfig:
    """Sizes of the data's pictures and of their patches.

    Raises:
      ValueError: --patch does not divide the pictures.
    """
    height, width, channels = data.train.images.shape[1:]
    whole = math.gcd(height, width)
    fit = [n for n in range(1, whole + 1) if whole % n == 0]
    few = [n for n in fit if max(height, width) // n <= _MOST_PATCHES]
    patch = FLAGS.patch or (few or fit)[0 if few else -1]
    if patch not in fit:
        raise ValueError(
            f"`--patch` must divide both sides of the pictures, {height} x {width}; got {patch}. "
            f"Use {', '.join(map(str, fit))}."
        )
    return ImageConfig(height, width, channels, patch)


def builder(image: ImageConfig, classes: int) -> Callable[[jax.Array], Classifier]:
    """`key -> model`, as flags say."""
    if FLAGS.model == "cnn":
        sizes = image_cnn.CNNConfig(classes, FLAGS.width, FLAGS.layers, FLAGS.dropout, FLAGS.dtype)
        return lambda key: image_cnn.CNN(image, sizes, rngs=nnx.Rngs(key))
    config = common.model_config(classes, max_length=1)
    if isinstance(config, RNNConfig):
        return lambda key: image_rnn.ImageRNN(image, config, reads=FLAGS.reads, rngs=nnx.Rngs(key))
    return lambda key: image_transformer.VisionTransformer(
        image, config, pooling=FLAGS.pooling, stem=FLAGS.stem, rngs=nnx.Rngs(key)
    )


def attention_line() -> str | None:
    """Says where scaled dot stands in for the named attention; None where it does not."""
    if FLAGS.model == "cnn":
        return None
    places = {"bidirectional": "in the encoder"}
    if FLAGS.pooling == "attention":
        places["cross"] = "in the pooling"
    return common.attention_line(common.model_config(1, max_length=1), places)


def known_of(data: ImageData) -> Known:
    """What a model of the data is to know, as flags say."""
    return Known(data.classes, image_of(data))


def keep_known(known: Known, folder: Path) -> None:
    """Writes what the run's model knows into its folder; a run that goes on knows it already.

    Raises:
      ValueError: the run began with other classes or sizes.
    """
    path = folder / _KNOWN
    if path.exists():
        _check_alike(known, _read_known(path), folder)
    else:
        own = {"classes": known.classes, "image": known.image._asdict()}
        path.write_text(json.dumps(own, indent=1) + "\n", encoding="utf-8")


def load_run(folder: Path) -> Trained:
    """A run's model; afterwards flags are the run's, where this command gives no others.

    Raises:
      ValueError: the folder is none of a run, or holds no trained model.
    """
    trained.adopt_flags(folder)
    path = folder / _KNOWN
    # Runs of the first versions ask their data.
    known = _read_known(path) if path.exists() else known_of(load())
    build: Any = builder(known.image, len(known.classes))
    return Trained(trained.graphdef_of(build), trained.load_final(folder, build), known)


def load_alike(known: Known, folder: Path) -> ImageData:
    """The pictures that flags name, if they are still such as the run in a folder has learned.

    Raises:
      ValueError: they have other classes, or are of another size.
    """
    data = load()
    _check_alike(Known(data.classes, ImageConfig(*data.train.images.shape[1:])), known, folder)
    return data


def _read_known(path: Path) -> Known:
    own = json.loads(path.read_text(encoding="utf-8"))
    return Known(tuple(own["classes"]), ImageConfig(**own["image"]))


def _check_alike(found: Known, wanted: Known, folder: Path) -> None:
    """Numbers stand for classes, so that others in their place would make all answers wrong."""
    for name, own, other in (
        ("the classes", found.classes, wanted.classes),
        ("the height, width and channels", found.image[:3], wanted.image[:3]),
    ):
        if own != other:
            raise ValueError(
                f"`--data` must have {name} that {folder} was trained with, "
                f"{', '.join(map(str, other))}; {FLAGS.data} has {', '.join(map(str, own))}. Name "
                "the data of that time, or train anew."
            )


def some_of_each(labels: np.ndarray, count: int) -> np.ndarray:
    """The first pictures of as many classes as there are, then their second ones, and so on."""
    place = np.zeros(len(labels), int)
    for label in np.unique(labels):
        own = labels == label
        place[own] = np.arange(own.sum())
    return np.lexsort((labels, place))[:count]
