"""The live page about a run of experiments.images."""

import numpy as np

from attention_jax.analysis import image_attribution
from attention_jax.analysis.pages.live import parts, pictures
from experiments.common.experiment import LivePage, PageFlags, Run
from experiments.common.pages import one_model
from experiments.images import page
from experiments.images.predict import log_probabilities


def write(call: LivePage) -> str:
    """The page: pictures that --file names, or some of the test.

    Of a model that the page cannot compute, it shows what the run makes of them.

    Raises:
      ValueError: other runs or checkpoints are asked for, which this page does not show.
    """
    run = call.run
    one_model(call)
    about = page.about(run)  # refuses runs without attention
    reasons = pictures.why_recorded(run.model)
    shown = parts.Shown(run.folder.resolve().name, about, reasons)
    chosen = offered(run, call.inputs)
    if reasons:
        chosen = recorded(run, chosen)
    model = None if reasons else pictures.describe(run.model, run.known.classes)
    return pictures.page(shown, model, chosen, grid(run), run.known.classes)


def offered(run: Run, given: PageFlags) -> list[pictures.Picture]:
    """The pictures that --file names, or some of the test."""
    if given.file is not None or given.text:
        return [pictures.Picture(image, name=name) for name, image in page.items(run, given)]
    data, numbers = page.of_test(run, given)
    return [
        pictures.Picture(
            data.test.images[n], number=int(n) + 1, label=data.classes[data.test.labels[n]]
        )
        for n in numbers
    ]


def recorded(run: Run, chosen: list[pictures.Picture]) -> list[pictures.Picture]:
    """Pictures with what the run makes of them."""
    logs = log_probabilities(run, np.stack([own.image for own in chosen]))
    found = []
    for own, row in zip(chosen, logs, strict=True):
        inside = own.image.astype(np.float32) / np.float32(255)
        maps = image_attribution.of_image(run.graphdef, run.params, inside)
        found.append(own._replace(recorded=pictures.Recorded(np.exp(row).tolist(), maps)))
    return found


def grid(run: Run) -> pictures.Grid:
    """Positions of the pictures of a run's model."""
    model = run.model
    return pictures.Grid(*model.grid, model.tokens, getattr(model, "register_count", 0))
