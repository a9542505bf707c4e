"""The experiments whose runs `experiments.compare` compares, each as a few functions of flags."""

import importlib
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax
from absl import flags

from attention_jax import variants
from attention_jax.data.batching import Batches, BucketedBatches, encode_examples
from attention_jax.evaluation import text
from attention_jax.models import seq2seq_rnn
from attention_jax.training import objectives
from attention_jax.training.objectives import Objective
from experiments import common
from experiments.compare import scoring
from experiments.compare.scoring import Scorer

FLAGS = flags.FLAGS
RNNS = {"gru": {"model": "rnn", "cell": "gru"}, "lstm": {"model": "rnn", "cell": "lstm"}}
MODELS = {"transformer": {"model": "transformer"}, **RNNS}


class Contest(NamedTuple):
    """One experiment. `data` is what `load` gives; all else is as flags say at the moment.

    Attributes:
      models: what --models may name, and the flags that each stands for.
      why_not: `(model, attention) -> why a Transformer ("transformer") or an RNN ("rnn") cannot
        have an attention by name or file`; empty where it can.
      measures: what --score may name.
      load: `(folder of the comparison) -> data`, once.
      batches: `(data) -> batches` of training.
      builder: `(data) -> (key -> model)`.
      objective: what is minimised.
      scorer: `(data) -> Scorer`.
      has_costs: whether `experiments.compare.costs` measures it.
    """

    models: dict[str, dict[str, Any]]
    why_not: Callable[[str, str], str]
    measures: tuple[str, ...]
    load: Callable[[Path], Any]
    batches: Callable[[Any], Batches]
    builder: Callable[[Any], Callable[..., Any]]
    objective: Callable[[], Objective]
    scorer: Callable[[Any], Scorer]
    has_costs: bool = False


def _why_not_decode(model: str, attention: str) -> str:
    """Of models that write: in a Transformer, scaled dot stands where another cannot."""
    if model == "transformer" or seq2seq_rnn.serves(variants.get(attention)):
        return ""
    return (
        "An RNN needs the score of one query and one key, or what goes from one query to the next; "
        f"{attention} is neither."
    )


def _why_not_pool(model: str, attention: str) -> str:
    """Of models that read pictures: an RNN asks one question of its states."""
    if model == "transformer":
        return ""
    if "cross" in variants.get(attention).roles:
        return _why_not_one_head(attention)
    return (
        "An RNN asks one question of all states of a picture; "
        f"{attention} does not serve between two sequences."
    )


def _why_not_look_back(model: str, attention: str) -> str:
    """Of language models, in which nothing else stands in."""
    if "causal" in variants.get(attention).roles:
        return "" if model == "transformer" else _why_not_one_head(attention)
    return f"A language model sees what came before; {attention} cannot look back only."


def _why_not_one_head(attention: str) -> str:
    """Of RNNs that take any variant, but have one head, which some cannot do with."""
    init = partial(variants.get(attention).init, heads=1, kv_heads=1, head_width=64)
    try:
        jax.eval_shape(init, jax.random.key(0))
    except ValueError as error:
        return f"An RNN attends with one head. {error}"
    return ""


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
        _why_not_decode,
        text.MEASURES,
        load,
        batches,
        lambda data: common.model_builder(data[1].size),
        lambda: objectives.translation,
        lambda data: scoring.of_translations(*data, FLAGS.max_length),
        has_costs=True,
    )


def images() -> Contest:
    """Pictures, of which each is right or wrong."""
    from experiments import image_models

    return Contest(
        {**MODELS, "cnn": {"model": "cnn"}},
        _why_not_pool,
        ("accuracy",),
        lambda folder: image_models.load(),
        image_models.training_batches,
        lambda data: image_models.builder(image_models.image_of(data), len(data.classes)),
        lambda: objectives.classification,
        lambda data: scoring.of_outcomes(data.name),
    )


def language() -> Contest:
    """Characters, of which each is right or wrong."""
    from experiments import texts

    return Contest(
        MODELS,
        _why_not_look_back,
        ("accuracy",),
        lambda folder: texts.load(),
        texts.training_batches,
        lambda data: texts.builder(data.vocabulary.size),
        lambda: objectives.next_token,
        lambda data: scoring.of_outcomes(data.name),
    )


def memory() -> Contest:
    """Sequences, of which each has some answers; at the length of training and beyond."""
    from experiments import problems

    return Contest(
        MODELS,
        _why_not_look_back,
        ("accuracy",),
        lambda folder: None,
        lambda data: problems.training(),
        lambda data: problems.builder(max(problems.test_lengths())),
        problems.objective,
        lambda data: scoring.of_outcomes(FLAGS.problem),
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
        _why_not_decode,
        ("wer", "cer", "accuracy"),
        load,
        lambda data: script.make_batches("train", *data),
        lambda data: listening.builder(data[1].size),
        listening.objective,
        lambda data: scoring.of_outcomes(data[0].name),
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
