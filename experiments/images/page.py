"""The page about runs of experiments.images: patches of images, and their classes."""

from typing import Any

import numpy as np

from attention_jax.analysis import image_attribution
from attention_jax.analysis.pages import explorer
from attention_jax.analysis.plots import image_overlays
from attention_jax.data.images.datasets import ImageData
from experiments.common.experiment import Items, Page, PageFlags, Run
from experiments.common.load_run import refuse
from experiments.common.pages import described
from experiments.images.config import load_alike, some_of_each
from experiments.images.predict import log_probabilities, pictures

ALTERNATIVES = 3  # classes, where --alternatives does not say
CLASS_TOKEN = "[class]"


def about(run: Run) -> str:
    """The model of a run, in a few words.

    Raises:
      ValueError: it has no attention.
    """
    own, data = run.config.model, run.config.data
    if own.attention_text == "none":
        raise ValueError(
            f"`--run` must be of a model with attention; {run.folder} is of a {own.model} without. "
            f"Which patches decided is drawn in {run.folder / 'attention.png'}."
        )
    pooling = data.pooling if run.pretrained is None else run.model.pooling
    how = f"reads {data.reads}" if own.model == "rnn" else f"pooling {pooling}"
    return f"{described(own.model, own.attention_text)}, {how}"


def check_alike(first: Run, other: Run) -> None:
    """Refuses runs that do not know images of one size and the same classes.

    Raises:
      ValueError: they do not.
    """
    known = [run.known for run in (first, other)]
    sizes = [one.image[:3] for one in known]
    if sizes[0] != sizes[1]:
        shown = [" x ".join(map(str, size)) for size in sizes]
        raise ValueError(
            f"`--other_run` must read images as `--run` does, of {shown[0]} numbers; got "
            f"{shown[1]}. Write a page of each."
        )
    if known[0].classes != known[1].classes:
        raise ValueError(
            "`--other_run` must know the classes of `--run`; got "
            f"{', '.join(known[1].classes)} beside {', '.join(known[0].classes)}. Write a page of "
            "each."
        )


def items(run: Run, given: PageFlags) -> Items:
    """The images that --file names, or some of the test, with titles."""
    if given.text:
        refuse(run.experiment, ["text"], ["text"])
    if given.file is not None:
        return pictures(run, given.file)
    if run.pretrained is not None:
        raise ValueError(
            f"`--file` must name a picture, or a folder of such, for {run.folder} comes without "
            "any; got none."
        )
    data, chosen = of_test(run, given)
    return [
        (f"Test picture {i + 1}, of class {data.classes[data.test.labels[i]]}", data.test.images[i])
        for i in chosen
    ]


def of_test(run: Run, given: PageFlags) -> tuple[ImageData, np.ndarray]:
    """The run's data, and positions of some images of its test."""
    data = load_alike(run.config, run.known, run.folder)
    return data, some_of_each(data.test.labels, given.examples)


def read(run: Run, items: Items, given: PageFlags) -> list[explorer.Reading]:
    """The most probable classes of each image, and the weights of its patches."""
    images = np.stack([image for _, image in items])
    logs = log_probabilities(run, images)
    model: Any = run.model
    no_part = np.zeros((model.tokens, 4))
    boxes = np.concatenate([no_part, explorer.tiles(*model.grid)])
    readings = []
    for (title, image), row in zip(items, logs, strict=True):
        best = np.argsort(-row, kind="stable")[: given.alternatives or ALTERNATIVES]
        classes = [run.known.classes[label] for label in best]
        inside = image.astype(np.float32) / np.float32(255)
        readings.append(
            explorer.Reading(
                source=names(model.grid, model.tokens, getattr(model, "register_count", 0)),
                target=classes[:1],
                alternatives=list(zip(classes, row[best].tolist(), strict=True)),
                maps=image_attribution.of_image(run.graphdef, run.params, inside),
                picture=explorer.Picture(image_overlays.enlarged(image), boxes, f"{title}."),
            )
        )
    return readings


def names(grid: tuple[int, int], tokens: int, registers: int = 0) -> list[str]:
    """Names of the positions of an image, of which so many come before its own.

    >>> names((2, 1), 2, registers=1)
    ['[class]', '[register 1]', 'row 1', 'row 2']
    """
    before = [CLASS_TOKEN] * (tokens - registers)
    before += [f"[register {i + 1}]" for i in range(registers)]
    rows, columns = grid
    if columns == 1:
        return before + [f"row {y + 1}" for y in range(rows)]
    places = [f"row {y + 1}, column {x + 1}" for y in range(rows) for x in range(columns)]
    return before + places


PAGE = Page("picture", about, items, check_alike, read)
