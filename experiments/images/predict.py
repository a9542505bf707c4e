"""Classes of images by a trained run."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, UInt8

from attention_jax.decoding import classify
from experiments.common import input_files
from experiments.common.experiment import PredictFlags, Run
from experiments.common.load_run import OF_SPEECH, refuse_texts

ROWS = 4  # images that a model of another library reads at once
MOST = 3  # classes of which --scores tells the probability


def predict(run: Run, given: PredictFlags) -> Iterator[str]:
    """The most probable class of each image that --file names, a line each."""
    names = ("text", "prefix", "words", "token_scores", "coverage_penalty", *OF_SPEECH)
    refuse_texts(run, given, *names)
    names, images = zip(*pictures(run, given.file), strict=True)
    logs = log_probabilities(run, np.stack(images))
    for name, row in zip(names, logs, strict=True):
        best = np.argsort(-row, kind="stable")[: MOST if given.scores else 1]
        answers = [(float(np.exp(row[label])), run.known.classes[label]) for label in best]
        yield from input_files.lines(name, answers, given)


def pictures(run: Run, file: str | None) -> list[tuple[str, input_files.Picture]]:
    """The images that --file names, as the model of a run takes them, each with its file's name."""
    known, own = run.known, run.config.data
    return input_files.images(
        file, known.image, skip_bad=own.skip_bad, ground=own.ground, fit=known.fit
    )


def log_probabilities(run: Run, images: UInt8[np.ndarray, "n y x c"]) -> Float[np.ndarray, "n k"]:
    """The log-probability of each class."""
    # A batch is filled up, and models of other libraries are large.
    rows = {} if run.pretrained is None else {"rows": ROWS}
    return classify.classifier(run.graphdef, **rows)(run.params, images)
