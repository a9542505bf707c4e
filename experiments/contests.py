"""The experiments whose runs `experiments.compare` compares, as functions of its flags."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from attention_jax.data.batching import Batches
from attention_jax.training.objectives import Objective
from experiments.common import experiment
from experiments.common import flags as config_flags
from experiments.common.scoring import Scorer

FLAGS = flags.FLAGS
RNNS = experiment.RNNS
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


def contest(name: str) -> Contest:
    """The experiment of that name; `data` is its data and what is known of them."""
    own = experiment.find(name)

    def config() -> Any:
        return config_flags.config_from_flags(own.config)

    def load(folder: Path) -> Any:
        data = own.load(config())
        known = own.learn(config(), data, folder)
        own.keep(known, folder)
        return data, known

    return Contest(
        dict(own.models),
        own.why_not,
        own.measures,
        load,
        lambda data: own.batches(config(), *data),
        lambda data: own.build(config(), data[1]),
        lambda: own.objective(config()),
        lambda data: own.scorer(config(), *data),
        own.has_costs,
    )


EXPERIMENTS: dict[str, Callable[[], Contest]] = {
    name: partial(contest, name) for name in experiment.names()
}


translation, images = EXPERIMENTS["translation"], EXPERIMENTS["images"]


def named_in(arguments: Sequence[str]) -> str:
    """The experiment that a command names, in a file of flags too, before flags are parsed.

    Its flags are defined.
    """
    name = "translation"
    given = FLAGS.read_flags_from_files(list(arguments), force_gnu=True)
    for item, after in pairwise([*given, ""]):
        option, equals, value = item.partition("=")
        if option in ("--experiment", "-experiment"):
            name = value if equals else after
    if name in EXPERIMENTS:  # absl refuses others, with a list
        config_flags.define(experiment.find(name).config, module="experiments.common")
    return name
