"""The protocol of an experiment, and where experiments are found.

An experiment is a package of `experiments/` whose `__init__.py` sets `EXPERIMENT`. Its command is
its `__main__.py`; nothing else has to name it.
"""

import importlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
from flax import nnx

from attention_jax import variants
from attention_jax.analysis.pages import explorer
from attention_jax.core.files import content_hash
from attention_jax.core.types import Params
from attention_jax.data.batching import Batches
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.pretrained.loading import Pretrained
from attention_jax.training.loop import Evaluate
from attention_jax.training.objectives import Objective
from experiments.common.config import MODELS
from experiments.common.flags import Flag, fields
from experiments.common.scoring import Scorer
from experiments.common.served import Served

FOLDER = Path(__file__).parents[1]
RNNS: dict[str, dict[str, str]] = {
    "gru": {"model": "rnn", "cell": "gru"},
    "lstm": {"model": "rnn", "cell": "lstm"},
}
Build = Callable[[jax.Array], nnx.Module]


class Run(NamedTuple):
    """A trained run.

    Attributes:
      experiment: whose run it is.
      config: how it was trained, and how it decodes.
      folder: where it stands.
      known: what its model knows of the data beside parameters: a tokenizer, classes, or None.
      graphdef: structure of the model.
      params: parameters of the model.
      pretrained: the model of another library that it is; None of one that was trained here.
    """

    experiment: "Experiment | Use"
    config: Any
    folder: Path
    known: Any
    graphdef: nnx.GraphDef
    params: Params
    pretrained: Pretrained | None = None

    @property
    def model(self) -> Any:
        """The model with its parameters, an `nnx.Module` of the experiment's kind."""
        return nnx.merge(self.graphdef, self.params)

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of a run that reads or writes text.

        Raises:
          ValueError: the run has none.
        """
        if not isinstance(self.known, Tokenizer):
            raise ValueError(f"experiments.{self.experiment.name} has no tokenizer; see `known`.")
        return self.known


class PredictFlags(NamedTuple):
    """Inputs of a trained run.

    Attributes:
      text: a sentence to translate, or a text to go on with.
      file: a file of sentences, one a line; an image or a recording, or a folder of them.
      scores: also print scores: of translations and transcripts the log-probability in nats, before
        it with --beam the same divided by the length penalty; of an image the probabilities of its
        three most probable classes.
      token_scores: also print, last, each token of a translation or transcript with its
        log-probability in nats.
      prefix: text that every translation or transcript begins with.
      words: with --beam: words, separated by commas, that every translation or transcript must
        hold.
      coverage_penalty: with --beam: how much a translation loses by tokens of the source that it
        did not attend to; 0.2 in the paper of GNMT, 0 for nothing.
      language: of --pretrained speech: the language that is spoken, by its short name, such as en.
        Default: that which the model hears.
      translate: of --pretrained speech: write what is said in English, where the model knows how.
      output: file of the answers. Default: they are printed.
    """

    text: str | None = None
    file: str | None = None
    scores: bool = False
    token_scores: bool = False
    prefix: str | None = None
    words: Annotated[tuple[str, ...], Flag(listed=True)] = ()
    coverage_penalty: Annotated[float, Flag(low=0.0)] = 0.0
    language: str | None = None
    translate: bool = False
    output: str | None = None


class PageFlags(NamedTuple):
    """Inputs of a page about trained runs.

    Attributes:
      text: a sentence to read; may be repeated.
      file: a file of sentences, one a line; an image or a recording, or a folder of them.
      examples: images or recordings of the test shown, without --file.
      alternatives: translations, transcripts or classes shown of each. Default: 5; of classes 3.
    """

    text: tuple[str, ...] = ()
    file: str | None = None
    examples: Annotated[int, Flag(low=1)] = 4
    alternatives: Annotated[int | None, Flag(low=1)] = None


Items = list[tuple[str, Any]]  # titles, and what is read


class LivePage(NamedTuple):
    """A call for the page in which a model computes.

    Attributes:
      run: whose model it is.
      inputs: sentences that the page offers.
      others: runs that translate beside it.
      replay: whether the checkpoints that the run has kept are shown too.
    """

    run: Run
    inputs: PageFlags
    others: Sequence[Run] = ()
    replay: bool = False


class Page(NamedTuple):
    """The page of `experiments.visualize` about runs of an experiment.

    Attributes:
      noun: of what is read, such as "sentence".
      about: `(run) -> ` a line about its model; refuses runs that have no page.
      items: `(run, flags) -> ` what flags name, with titles.
      check_alike: `(first, other)` refuses runs that cannot stand side by side.
      read: `(run, items, flags) -> ` what the run makes of each.
      live: the page in which its model computes; None where it has none.
    """

    noun: str
    about: Callable[[Run], str]
    items: Callable[[Run, PageFlags], Items]
    check_alike: Callable[[Run, Run], None]
    read: Callable[[Run, Items, PageFlags], list[explorer.Reading]]
    live: Callable[[LivePage], str] | None = None


class Outcome(NamedTuple):
    """Scores of a run that has been trained.

    Attributes:
      summary: what result.json holds.
      text: what is printed last.
    """

    summary: dict[str, Any]
    text: str


class Experiment(NamedTuple):
    """An experiment, as functions of its configuration.

    `data` is what `load` gives, `known` what `learn` gives: all that the model must know of the
    data, so that a run can be read without them.

    Attributes:
      name: that of its package.
      config: the configuration with its defaults; its fields and docstrings are the flags.
      lists: what `--list` names beside models and attentions.
      load: `(config) -> data`; refuses what cannot be learned.
      contents: `(data) -> ` its parts by name, as `core.files.content_hash` takes them, so that a
        run that goes on is known to have the same; empty where flags alone decide.
      folder_name: `(config, data) -> ` the task in the name of a run's folder.
      named: `(config) -> ` its model in a word, and its attention.
      learn: `(config, data, folder) -> known`; a folder that holds it already is believed, or
        refused where the data say otherwise.
      keep: `(known, folder)` writes it, where it is not there yet.
      recall: `(config, folder) -> known`, as `keep` wrote it.
      notes: `(config, data, known) -> ` lines that are printed before training.
      batches: `(config, data, known) -> ` batches of training.
      build: `(config, known) -> (key -> model)`.
      objective: `(config) -> ` what is minimized.
      validate: `(config, data, known, graphdef) -> (params -> scores)`; refuses what `evaluate`
        could not do.
      evaluate: `(run, data, facts) -> Outcome`; writes samples and figures into the run's folder.
        `facts` are those of training: model, parameters, steps, seconds and so on.
      scorer: `(config, data, known) -> ` how runs are compared.
      measures: scores by which runs may be compared, the usual one first.
      of_tokens: those of them that count tokens, and compare no models that cut text otherwise.
      why_not: `(model, attention) -> ` why a Transformer ("transformer") or an RNN ("rnn") cannot
        have an attention; empty where it can.
      models: models that may be compared, and the flags that each stands for.
      has_positions: its models read sequences, whose positions devices may share.
      has_costs: `experiments.compare` measures what its models cost.
      seed_is_of_data: --seed also draws or divides the data, so that each seed has its own.
      left_out: `(data, batches) -> ` how many items are not learned from, by the reason; kept in
        the run's record.
      predict: `(run, flags) -> ` lines of output; None where there is nothing to predict.
      page: its page; None where it has none.
      serve: `(run, rows) -> ` the run as `experiments.serve` serves it, so many texts at once; None
        where it serves none.
      adopt: `(pretrained model, run of it) -> ` the run with what such a model knows and with flags
        that tell of it; None where it uses none of another library.
    """

    name: str
    config: Any
    lists: Mapping[str, Sequence[str]]
    load: Callable[[Any], Any]
    contents: Callable[[Any], Mapping[str, Any]]
    folder_name: Callable[[Any, Any], str]
    learn: Callable[[Any, Any, Path | None], Any]
    keep: Callable[[Any, Path], None]
    recall: Callable[[Any, Path], Any]
    notes: Callable[[Any, Any, Any], Iterable[str]]
    batches: Callable[[Any, Any, Any], Batches]
    build: Callable[[Any, Any], Build]
    objective: Callable[[Any], Objective]
    validate: Callable[[Any, Any, Any, nnx.GraphDef], Evaluate]
    evaluate: Callable[[Run, Any, dict[str, Any]], Outcome]
    scorer: Callable[[Any, Any, Any], Scorer]
    measures: tuple[str, ...]
    why_not: Callable[[str, str], str]
    named: Callable[[Any], tuple[str, str]] = lambda config: (
        config.model.model,
        config.model.attention_text,
    )
    models: Mapping[str, Mapping[str, Any]] = {"transformer": {"model": "transformer"}} | RNNS
    of_tokens: tuple[str, ...] = ()
    has_positions: bool = True
    has_costs: bool = False
    seed_is_of_data: bool = False
    left_out: Callable[[Any, Any], Mapping[str, int]] = lambda data, batches: {}
    predict: Callable[[Run, PredictFlags], Iterable[str]] | None = None
    page: Page | None = None
    serve: Callable[[Run, int], Served] | None = None
    adopt: Callable[[Pretrained, Run], Run] | None = None

    def hashes(self, data: Any) -> dict[str, str]:
        """The content hash of each part of its data."""
        return {name: content_hash(part) for name, part in self.contents(data).items()}

    def listing(self) -> str:
        """Lines that name tasks, models and attentions."""
        models = fields(self.config)["model"].rules.choices or MODELS
        rows = {**self.lists, "models": models, "attentions": variants.names()}
        return "\n".join(f"{kind}: {', '.join(own)}" for kind, own in rows.items())


class Use(NamedTuple):
    """Use of models of other libraries that no experiment trains.

    A package of `experiments/` whose `__init__.py` sets `USE` has one. Members are as those of
    `Experiment`.
    """

    name: str
    config: Any
    predict: Callable[[Run, PredictFlags], Iterable[str]] | None
    page: Page | None
    serve: Callable[[Run, int], Served] | None
    adopt: Callable[[Pretrained, Run], Run]
    named: Callable[[Any], tuple[str, str]] = lambda config: ("transformer", config.attention)


def use(name: str) -> Experiment | Use:
    """The experiment of a package of `experiments/`, or its use of models."""
    found = importlib.import_module(f"experiments.{name}")
    return found.EXPERIMENT if name in names() else found.USE


def names() -> tuple[str, ...]:
    """The packages of `experiments/` that set `EXPERIMENT`, read without importing them."""
    files = sorted(FOLDER.glob("*/__init__.py"))
    sets = re.compile(r"^EXPERIMENT\b.*=", re.MULTILINE)
    return tuple(f.parent.name for f in files if sets.search(f.read_text(encoding="utf-8")))


def find(name: str) -> Experiment:
    """The experiment of that name.

    Raises:
      ValueError: there is none.
    """
    if name not in names():
        raise ValueError(f"There is no experiments.{name}. Use one of {', '.join(names())}.")
    return importlib.import_module(f"experiments.{name}").EXPERIMENT


def structure(build: Build) -> nnx.GraphDef:
    """The structure of a model, without its parameters."""
    return nnx.graphdef(nnx.eval_shape(lambda: build(jax.random.key(0))))
