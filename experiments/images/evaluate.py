"""Scores of classifiers of images, in training and after it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx
from jaxtyping import Float

from attention_jax.analysis import image_attribution
from attention_jax.analysis.plots import image_overlays, run_plots
from attention_jax.core import messages
from attention_jax.core.files import write_whole
from attention_jax.core.types import Params
from attention_jax.data.images.batches import ImageBatches
from attention_jax.data.images.datasets import ImageData
from attention_jax.decoding import classify
from attention_jax.evaluation import classification
from attention_jax.training import objectives
from attention_jax.training.evaluate import loss_evaluator
from attention_jax.training.loop import Evaluate
from experiments.common.experiment import Outcome, Run
from experiments.common.run_folder import next_command, size_and_time
from experiments.images.config import ImagesConfig, Known, some_of_each

DRAWN = 10  # test images of which the attention is drawn, and
WITH_HEADS = 3  # those of them of which all heads are


def validate(
    config: ImagesConfig, data: ImageData, known: Known, graphdef: nnx.GraphDef
) -> Evaluate:
    """`params -> scores` on the validation split."""
    del known
    rows = config.data.images_per_batch
    batches = ImageBatches(*data.validation, rows=rows, shuffle=False)
    losses = loss_evaluator(graphdef, objectives.classification)

    def scores_of(params: Params) -> dict[str, float]:
        return losses(params, batches)

    return scores_of


def evaluate(run: Run, data: ImageData, facts: dict[str, Any]) -> Outcome:
    """Scores the test; writes outcomes.json and figures."""
    found = classify.classifier(run.graphdef)(run.params, data.test.images)
    labels = data.test.labels
    summary = {
        "task": data.name,
        **facts,
        "tests": {"test": classification.scores(found, labels)},
        "of_classes": {"test": classification.of_classes(found, labels, data.classes)},
        "skipped": data.skipped,
    }
    right = [[int(hit), 1] for hit in found.argmax(axis=-1) == labels]
    write_whole(run.folder / "outcomes.json", json.dumps({"test": {"accuracy": right}}) + "\n")
    run_plots.curves(run.folder / "metrics.jsonl", run.folder / "curves.png")
    figures = [run.folder / "curves.png", *draw(run, data, found)]
    return Outcome(summary, closing_text(run, summary, figures))


def draw(run: Run, data: ImageData, found: Float[np.ndarray, "n c"]) -> list[Path]:
    """Draws where the model looks in a few test images of each class, and what decided."""
    chosen = some_of_each(data.test.labels, DRAWN)
    images = data.test.images[chosen]
    inputs = images.astype(np.float32) / np.float32(255)
    titles = [
        title(data.classes[label], data.classes[log.argmax()], float(np.exp(log.max())))
        for label, log in zip(data.test.labels[chosen], found[chosen], strict=True)
    ]
    seen = image_attribution.attention(run.graphdef, run.params, inputs)
    lost = image_attribution.occlusion(run.graphdef, run.params, inputs)
    weights = {} if seen is None else image_attribution.columns(seen)
    paths = [run.folder / "attention.png"]
    image_overlays.overview(images, titles, weights, lost, paths[0])
    if seen is not None:
        for number in range(min(WITH_HEADS, len(images))):
            paths.append(run.folder / f"heads_{number + 1}.png")
            image_overlays.heads(
                images[number],
                image_attribution.heads(seen)[number],
                paths[-1],
                names=image_attribution.names(seen),
                title=titles[number],
            )
    return paths


def title(label: str, answer: str, probability: float) -> str:
    """The model's answer, and the true class where it is another."""
    said = f"{answer}: {probability:.0%}"
    return said if answer == label else f"{said} (is {label})"


def closing_text(run: Run, summary: dict[str, Any], figures: Sequence[Path]) -> str:
    """The scores, where the figures are and what to type next."""
    kind, test = messages.said("class"), messages.said("test")
    width = max(map(len, [kind, test, *summary["of_classes"]["test"]])) + 2
    shares = summary["of_classes"]["test"].items()
    own, nats = summary["tests"]["test"], messages.said("{loss:.4f} nats an image")
    return "\n".join(
        [
            "",
            f"{kind:<{width}}{messages.said('right'):>8}",
            *(f"{name:<{width}}{share:>8.1%}" for name, share in shares),
            f"{test:<{width}}{own['accuracy']:>8.2%}   {nats.format(loss=own['loss'])}",
            f"\n{size_and_time(summary)}",
            messages.said("figures: {paths}").format(paths=" ".join(map(str, figures))),
            next_command(run.folder, "--file=picture.png"),
        ]
    )
