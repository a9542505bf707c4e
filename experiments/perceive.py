"""What trained runs say that pictures show, and what they hear in recordings, a line each."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

from attention_jax.decoding import classify
from experiments import common, image_models, inputs, listening, trained

FLAGS = flags.FLAGS
MOST = 3  # classes of which --scores tells the probability


def recognise(folder: Path) -> None:
    """Prints what the pictures that --file names show, by a run of experiments.images."""
    trained.refuse("images", "text", "beam", "nbest", "sample")
    run = image_models.load_run(folder)
    given = inputs.pictures(FLAGS.file, run.known.image, skip_bad=FLAGS.skip_bad)
    names, pictures = zip(*given, strict=True)
    logs = classify.classifier(run.graphdef)(run.params, np.stack(pictures))
    for name, row in zip(names, logs, strict=True):
        best = np.argsort(-row, kind="stable")[: MOST if FLAGS.scores else 1]
        show(name, [(float(np.exp(row[label])), run.known.classes[label]) for label in best])


def transcribe(folder: Path) -> None:
    """Prints what is said in the recordings that --file names, by a run of experiments.speech."""
    trained.refuse("speech", "text")
    run = listening.load_run(folder, common.search)
    recordings = inputs.recordings(
        FLAGS.file,
        run.transcriber.settings,
        resample=FLAGS.resample,
        skip_bad=FLAGS.skip_bad,
    )
    heard = run.transcriber(run.params, recordings)
    for recording, found in zip(recordings, heard, strict=True):
        show(recording.name, [(one.score, one.text) for one in found])


def show(name: str, found: Sequence[tuple[float, str]]) -> None:
    """Prints answers, one a line; after the file's name where --file is a folder."""
    named = [name] if Path(FLAGS.file).is_dir() else []
    for score, text in found:
        print("\t".join([*named, *([f"{score:.4f}"] if FLAGS.scores else []), text]))
