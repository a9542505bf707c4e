"""What the page shows of runs of experiments.images: patches of pictures, and their classes."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import flags
from flax import nnx

from attention_jax.analysis import image_attribution
from attention_jax.analysis.pages import explorer
from attention_jax.analysis.plots import image_overlays
from attention_jax.decoding import classify
from experiments import common, image_models, inputs, trained

FLAGS = flags.FLAGS
OF = "picture"
ALTERNATIVES = 3  # classes, where --alternatives does not say
CLASS_TOKEN = "[class]"


class Loaded(NamedTuple):
    """A trained run, and how its model cuts a picture up."""

    run: explorer.Run
    folder: Path
    found: image_models.Trained
    tokens: int
    grid: tuple[int, int]


def load(folder: Path) -> Loaded:
    """A run's model, with the flags that it was trained by.

    Raises:
      ValueError: it has no attention.
    """
    trained.refuse("images", "text", "beam")
    found = image_models.load_run(folder)
    if common.attention_name() == "none":
        raise ValueError(
            f"`--run` must be of a model with attention; {folder} is of a {FLAGS.model} without. "
            f"Which patches decided is drawn in {folder / 'attention.png'}."
        )
    how = f"reads {FLAGS.reads}" if FLAGS.model == "rnn" else f"pooling {FLAGS.pooling}"
    run = explorer.Run(folder.resolve().name, f"{trained.about()}, {how}")
    model = nnx.merge(found.graphdef, found.params)
    return Loaded(run, folder, found, model.tokens, model.grid)


def check_alike(first: Loaded, other: Loaded) -> None:
    """Only runs of one size of pictures, with the same classes, can stand side by side."""
    known = [loaded.found.known for loaded in (first, other)]
    sizes = [one.image[:3] for one in known]
    if sizes[0] != sizes[1]:
        shown = [" x ".join(map(str, size)) for size in sizes]
        raise ValueError(
            f"`--other_run` must read pictures as `--run` does, of {shown[0]} numbers; got "
            f"{shown[1]}. Write a page of each."
        )
    if known[0].classes != known[1].classes:
        raise ValueError(
            "`--other_run` must know the classes of `--run`; got "
            f"{', '.join(known[1].classes)} beside {', '.join(known[0].classes)}. Write a page of "
            "each."
        )


def given(loaded: Loaded) -> list[tuple[str, inputs.Picture]]:
    """The pictures that --file names, or some of the test, with titles."""
    if FLAGS.file is not None:
        return inputs.pictures(FLAGS.file, loaded.found.known.image, skip_bad=FLAGS.skip_bad)
    data = image_models.load_alike(loaded.found.known, loaded.folder)
    chosen = image_models.some_of_each(data.test.labels, FLAGS.examples)
    return [
        (f"Test picture {i + 1}, of class {data.classes[data.test.labels[i]]}", data.test.images[i])
        for i in chosen
    ]


def read(loaded: Loaded, items: list[tuple[str, inputs.Picture]]) -> list[explorer.Reading]:
    """What a run makes of each picture: the most probable classes, and the weights of patches."""
    found = loaded.found
    images = np.stack([image for _, image in items])
    logs = classify.classifier(found.graphdef)(found.params, images)
    no_part = np.zeros((loaded.tokens, 4))
    boxes = np.concatenate([no_part, explorer.tiles(*loaded.grid)])
    readings = []
    for (title, image), row in zip(items, logs, strict=True):
        best = np.argsort(-row, kind="stable")[: FLAGS.alternatives or ALTERNATIVES]
        classes = [found.known.classes[label] for label in best]
        inside = image.astype(np.float32) / np.float32(255)
        readings.append(
            explorer.Reading(
                source=names(loaded.grid, loaded.tokens),
                target=classes[:1],
                alternatives=list(zip(classes, row[best].tolist(), strict=True)),
                maps=image_attribution.of_image(found.graphdef, found.params, inside),
                picture=explorer.Picture(image_overlays.enlarged(image), boxes, f"{title}."),
            )
        )
    return readings


def names(grid: tuple[int, int], tokens: int) -> list[str]:
    """What the positions of a picture are called.

    >>> names((2, 1), 1)
    ['[class]', 'row 1', 'row 2']
    """
    rows, columns = grid
    if columns == 1:
        return [CLASS_TOKEN] * tokens + [f"row {y + 1}" for y in range(rows)]
    places = [f"row {y + 1}, column {x + 1}" for y in range(rows) for x in range(columns)]
    return [CLASS_TOKEN] * tokens + places
