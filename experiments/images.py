"""Trains a model to say what pictures show: a Vision Transformer, an RNN, or a small CNN.

    python -m experiments.images
    python -m experiments.images --model=rnn --attention=additive --reads=rows
    python -m experiments.images --flagfile=experiments/presets/fashion_vit.flags
    python -m experiments.images --data=my_pictures --image_size=32 --model=cnn --width=64

The first learns the digits that scikit-learn brings; my_pictures holds <label>/<file>.png. A run's
folder is that of experiments.translation, with pictures.json (classes and sizes), attention.png
(where the model looks at a few test pictures, and which patches decided), heads_1.png and so on.
Killed, it goes on by --resume.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from attention_jax.analysis import image_attribution
from attention_jax.analysis.plots import image_overlays, run_plots
from attention_jax.data.images.batches import ImageBatches
from attention_jax.data.images.datasets import ImageData
from attention_jax.decoding import classify
from attention_jax.evaluation import classification
from attention_jax.training import evaluate, loop, objectives
from experiments import common, image_models, run_folders, trained

FLAGS = flags.FLAGS
common.define_run_flags()
common.define_data_flags()
common.define_model_flags(image_models.MODELS)
common.define_training_flags(common.LOSSES)
common.define_device_flags()
image_models.define_flags()
flags.adopt_module_key_flags(common)
flags.adopt_module_key_flags(image_models)

DRAWN = 10  # test pictures of which the attention is drawn, and
WITH_HEADS = 3  # those of them of which all heads are


def main() -> None:
    """Trains, scores, draws."""
    if FLAGS.list:
        print(common.list_names(image_models.MODELS))
        return
    data = image_models.load()
    known = image_models.known_of(data)
    build: Any = image_models.builder(known.image, len(known.classes))
    graphdef = trained.graphdef_of(build)
    folder = run_folders.open_run(data.name)
    image_models.keep_known(known, folder)
    print(f"{data.name}: {len(data.train.labels)} pictures to learn from, "
          f"{len(data.validation.labels)} for validation, {len(data.test.labels)} for the test; "
          f"{len(data.classes)} classes")  # fmt: skip
    note = image_models.attention_line()
    if note:
        print(note)
    validation = ImageBatches(*data.validation, rows=FLAGS.images_per_batch, shuffle=False)
    losses = evaluate.loss_evaluator(graphdef, objectives.classification)
    result = loop.fit(
        build,
        image_models.training_batches(data),
        lambda params: losses(params, validation),
        folder,
        common.settings(),
        objective=objectives.classification,
        resume=FLAGS.resume,
        on_accepted=partial(run_folders.accepted, folder),
    )
    report(result, data, folder)


def report(result: loop.Result, data: ImageData, folder: Path) -> None:
    """Scores the test and writes outcomes.json, the pictures and, last of all, result.json."""
    facts = trained.end_training(result, folder)
    found = classify.classifier(result.graphdef)(result.params, data.test.images)
    labels = data.test.labels
    summary = {
        "task": data.name,
        **facts,
        "tests": {"test": classification.scores(found, labels)},
        "of_classes": {"test": classification.of_classes(found, labels, data.classes)},
        "skipped": data.skipped,
    }
    right = [[int(hit), 1] for hit in found.argmax(axis=-1) == labels]
    (folder / "outcomes.json").write_text(json.dumps({"test": {"accuracy": right}}) + "\n")
    run_plots.curves(folder / "metrics.jsonl", folder / "curves.png")
    pictures = [folder / "curves.png", *draw(result, data, found, folder)]
    trained.write_result(folder, summary)
    show(summary, pictures, folder)


def draw(result: loop.Result, data: ImageData, found: np.ndarray, folder: Path) -> list[Path]:
    """Draws where the model looks in a few test pictures of each class, and what decided."""
    chosen = image_models.some_of_each(data.test.labels, DRAWN)
    images = data.test.images[chosen]
    inputs = images.astype(np.float32) / np.float32(255)
    titles = [
        title(data.classes[label], data.classes[log.argmax()], float(np.exp(log.max())))
        for label, log in zip(data.test.labels[chosen], found[chosen], strict=True)
    ]
    seen = image_attribution.attention(result.graphdef, result.params, inputs)
    lost = image_attribution.occlusion(result.graphdef, result.params, inputs)
    weights = {} if seen is None else image_attribution.columns(seen)
    paths = [folder / "attention.png"]
    image_overlays.overview(images, titles, weights, lost, paths[0])
    if seen is not None:
        for number in range(min(WITH_HEADS, len(images))):
            paths.append(folder / f"heads_{number + 1}.png")
            image_overlays.heads(
                images[number],
                image_attribution.heads(seen)[number],
                paths[-1],
                names=image_attribution.names(seen),
                title=titles[number],
            )
    return paths


def title(label: str, answer: str, probability: float) -> str:
    """What a picture shows, and what the model says."""
    said = f"{answer} {probability:.0%}"
    return said if answer == label else f"{said} (is {label})"


def show(summary: dict[str, Any], pictures: list[Path], folder: Path) -> None:
    """Prints the scores, where the pictures are and what to type next."""
    width = max(map(len, summary["of_classes"]["test"])) + 2
    print()
    for name, share in summary["of_classes"]["test"].items():
        print(f"{name:<{width}}{share:>8.1%}")
    own = summary["tests"]["test"]
    print(f"{'test':<{width}}{own['accuracy']:>8.2%}   {own['loss']:.4f} nats a picture")
    print(f"\n{summary['parameters']:,} parameters, {summary['seconds']:.0f} s of training")
    print("pictures:", *pictures)
    print(f"next: {common.python()} -m experiments.predict --run={folder} --file=picture.png")


if __name__ == "__main__":
    common.launch(main)
