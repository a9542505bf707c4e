"""The experiments whose runs `experiments.compare` compares, each as a few functions of flags."""

import importlib
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from attention_jax import metrics, objectives
from attention_jax.batches import Batches, BucketedBatches, encode_examples
from attention_jax.objectives import Objective
from experiments import common, judges
from experiments.judges import Judge

FLAGS = flags.FLAGS
RNNS = {"gru": {"model": "rnn", "cell": "gru"}, "lstm": {"model": "rnn", "cell": "lstm"}}
MODELS = {"transformer": {"model": "transformer"}, **RNNS}


class Contest(NamedTuple):
    """One experiment. `data` is what `load` gives; all else is as flags say at the moment.

    Attributes:
      models: what --models may name, and the flags that each stands for.
      measures: what --score may name.
      load: `(folder of the comparison) -> data`, once.
      batches: `(data) -> batches` of training.
      builder: `(data) -> (key -> model)`.
      objective: what is minimised.
      judge: `(data) -> Judge`.
      has_costs: whether `experiments.costs` measures it.
    """

    models: dict[str, dict[str, Any]]
    measures: tuple[str, ...]
    load: Callable[[Path], Any]
    batches: Callable[[Any], Batches]
    builder: Callable[[Any], Callable[..., Any]]
    objective: Callable[[], Objective]
    judge: Callable[[Any], Judge]
    has_costs: bool = False


def translation() -> Contest:
    """Sentences: `data` is the task and its vocabulary."""

    def load(folder: Path) -> Any:
        task = common.load_task()
        return task, common.learn_vocabulary(task, folder)

    def batches(data: Any) -> Batches:
        task, vocabulary = data
        return BucketedBatches(
            encode_examples(task.train, vocabulary),
            tokens_per_batch=FLAGS.tokens_per_batch,
            max_length=FLAGS.max_length,
        )

    return Contest(
        MODELS,
        metrics.MEASURES,
        load,
        batches,
        lambda data: common.model_builder(data[1].size),
        lambda: objectives.translation,
        lambda data: judges.of_translations(*data, FLAGS.max_length),
        has_costs=True,
    )


def images() -> Contest:
    """Pictures, of which each is right or wrong."""
    from experiments import image_models

    return Contest(
        {**MODELS, "cnn": {"model": "cnn"}},
        ("accuracy",),
        lambda folder: image_models.load(),
        image_models.training_batches,
        lambda data: image_models.builder(image_models.image_of(data), len(data.classes)),
        lambda: objectives.classification,
        lambda data: judges.of_outcomes(data.name),
    )


def language() -> Contest:
    """Characters, of which each is right or wrong."""
    from experiments import texts

    return Contest(
        MODELS,
        ("accuracy",),
        lambda folder: texts.load(),
        texts.training_batches,
        lambda data: texts.builder(data.vocabulary.size),
        lambda: objectives.next_token,
        lambda data: judges.of_outcomes(data.name),
    )


def memory() -> Contest:
    """Sequences, of which each has some answers; at the length of training and beyond."""
    from experiments import problems

    return Contest(
        MODELS,
        ("accuracy",),
        lambda folder: None,
        lambda data: problems.training(),
        lambda data: problems.builder(max(problems.test_lengths())),
        problems.objective,
        lambda data: judges.of_outcomes(FLAGS.problem),
    )


def speech() -> Contest:
    """Recordings, of which each has some words: `data` is the corpus and its vocabulary."""
    from experiments import listening
    from experiments import speech as script

    def load(folder: Path) -> Any:
        del folder
        corpus = listening.load_corpus()
        vocabulary = script.learn_vocabulary(corpus)
        return script.without_unusable(corpus, vocabulary), vocabulary

    return Contest(
        MODELS,
        ("wer", "cer", "accuracy"),
        load,
        lambda data: script.make_batches("train", *data),
        lambda data: listening.builder(data[1].size),
        listening.objective,
        lambda data: judges.of_outcomes(data[0].name),
    )


EXPERIMENTS: dict[str, Callable[[], Contest]] = {
    "translation": translation,
    "images": images,
    "language": language,
    "memory": memory,
    "speech": speech,
}


def named_in(arguments: Sequence[str]) -> str:
    """The experiment that a command names, in a file of flags too, before flags are parsed.

    Its script is imported, so that its flags and their defaults are known.
    """
    name = "translation"
    given = FLAGS.read_flags_from_files(list(arguments), force_gnu=True)
    for item, after in pairwise([*given, ""]):
        option, equals, value = item.partition("=")
        if option in ("--experiment", "-experiment"):
            name = value if equals else after
    if name in EXPERIMENTS:  # absl refuses others, with a list
        importlib.import_module(f"experiments.{name}")
    return name
