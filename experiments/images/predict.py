"""Classes of images by a trained run."""

from collections.abc import Iterator

import numpy as np

from attention_jax.decoding import classify
from experiments.common import input_files
from experiments.common.experiment import PredictFlags, Run
from experiments.common.load_run import refuse_texts

MOST = 3  # classes of which --scores tells the probability


def predict(run: Run, given: PredictFlags) -> Iterator[str]:
    """The most probable class of each image that --file names, a line each."""
    refuse_texts(run, given, "text", "prefix", "words", "token_scores", "coverage_penalty")
    skip_bad = run.config.data.skip_bad
    found = input_files.images(
        given.file, run.known.image, skip_bad=skip_bad, ground=run.config.data.ground
    )
    names, images = zip(*found, strict=True)
    logs = classify.classifier(run.graphdef)(run.params, np.stack(images))
    for name, row in zip(names, logs, strict=True):
        best = np.argsort(-row, kind="stable")[: MOST if given.scores else 1]
        answers = [(float(np.exp(row[label])), run.known.classes[label]) for label in best]
        yield from input_files.lines(name, answers, given)
