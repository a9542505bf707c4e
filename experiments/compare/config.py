"""Configuration of a comparison: what is compared, with which budget, and where runs go."""

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from attention_jax import variants
from attention_jax.parallel.mesh import completed, parse
from experiments.common import flags, places
from experiments.common.experiment import Experiment, names
from experiments.common.flags import Flag
from experiments.compare import launch_local

Match = Literal["parameters", "flops", "time", "steps"]
# Flags of one candidate, and of one run.
OF_CANDIDATES = ("model", "attention", "attention_file", "cell", "encoder", "decoder", "init_from")
OF_RUNS = ("run", "resume", "overwrite")
# Flags of contenders with weights alone, for --init_option.
OF_WEIGHTS = ("lora_rank", "lora_alpha", "lora_targets")
# Items of --models with weights that are there: to be trained on, and as they are.
TRAINED, UNTRAINED = "init", "as_is"
# Flags that say how much is learned from in a step: steps change so that all learn from as much.
BATCHES = ("tokens_per_batch", "images_per_batch", "windows", "rows", "frames_per_batch")
BATCHES += ("accumulate",)
# Where things are: they may be elsewhere when a comparison goes on.
PLACES = ("compile_cache", "data_dir")


class CompareConfig(NamedTuple):
    """A comparison.

    Attributes:
      experiment: whose runs are compared. Its flags are those of all runs; --help of
        experiments.images, for instance, lists them.
      folder: folder of the comparison. Default: runs/compare-<task>.
      models: some of transformer, gru, lstm, of images also cnn, of translation also gru_heads
        (with 4), gru_self_attention (above its encoder, with 4 heads), and transformer_ssru or
        another linear recurrence in the decoder; each with each of --attentions.
        One such as gru:none, with an attention, stands as it is. init:PLACE is a pretrained model,
        trained on like the others; as_is:PLACE is one that is scored untrained. PLACE is what
        --init_from of experiments.translation and experiments.language takes: a run's folder, or a
        model of another library. Its size and its tokens are its own, so it cannot come first
        where sizes or operations are matched. Default: transformer,gru, and transformer alone with
        --vary.
      attentions: attentions by name, with options, as "sliding_window(size=64)", or from a file,
        as "mine.py:manhattan(p=2)"; for RNNs also none. Default: that of the model.
      vary: a flag and its values, as dropout=0,0.1,0.3: each is a candidate, with all else held and
        the same data. A flag of batches, such as tokens_per_batch, changes the number of steps so
        that all learn from as much.
      transformer_option: a flag of Transformers alone, as name=value.
      rnn_option: a flag of RNNs alone, as name=value.
      cnn_option: a flag of CNNs alone, as name=value.
      init_option: a flag of init: contenders alone, as learning_rate=1e-5 or lora_rank=8.
      seeds: runs of each, with seeds --seed, --seed + 1, ...
      match: what all have alike. parameters chooses widths; flops chooses steps, by the compiler's
        count; time gives each --max_seconds; steps changes nothing. The first of --models sets the
        measure. Default: parameters, and steps with --vary.
      learning_rates: tried by each with the first seed; the best by validation loss is kept.
        Default: --learning_rate alone.
      score: the score that is compared: exact_match or bleu of translations, wer, cer or accuracy
        of speech, accuracy or bits_per_character of language, else accuracy. Default: the first,
        but bleu of real text, and bits_per_character beside init: and as_is:.
      confidence: confidence level of intervals.
      cost_lengths: tokens of a sentence at which costs of translation are measured; empty for none.
      train: train what is missing; --notrain only draws what there is.
      launcher: where runs go: this machine, or Ray, here or on a cluster. Both train as many at a
        time as there are cores for.
      ray_address: address of a Ray cluster. Default: this machine alone.
      cores_per_run: cores of each run. Local runs go one after another, with all of them, on a GPU
        or TPU and by --match=time.
      gpus_per_run: GPUs of each run on Ray; 0: none, 0.5: two share one. With --mesh, which must
        use all of them.
      processes_per_run: processes of each run, which share its cores and GPUs alike and train on
        one --mesh; on Ray they may be on several machines.
      leaderboard: only write leaderboard.html in this folder: a page of all comparisons under it.
    """

    experiment: Annotated[str, Flag(choices=names())] = "translation"
    folder: str | None = None
    models: str | None = None
    attentions: str = ""
    vary: str | None = None
    transformer_option: tuple[str, ...] = ()
    rnn_option: tuple[str, ...] = ()
    cnn_option: tuple[str, ...] = ()
    init_option: tuple[str, ...] = ()
    seeds: Annotated[int, Flag(low=1, high=1000)] = 3
    match: Match | None = None
    learning_rates: Annotated[tuple[str, ...], Flag(listed=True)] = ()
    score: str | None = None
    confidence: Annotated[float, Flag(low=0.5, high=0.999)] = 0.95
    cost_lengths: Annotated[tuple[str, ...], Flag(listed=True)] = ("16", "32", "64", "128")
    train: bool = True
    launcher: Literal["local", "ray"] = "local"
    ray_address: str | None = None
    cores_per_run: Annotated[int, Flag(low=1)] = 1
    gpus_per_run: Annotated[float, Flag(low=0.0)] = 0.0
    processes_per_run: Annotated[int, Flag(low=1)] = 1
    leaderboard: str | None = None

    @property
    def options(self) -> dict[str, tuple[str, ...]]:
        """Flags of one kind of model alone."""
        return {
            "transformer": self.transformer_option,
            "rnn": self.rnn_option,
            "cnn": self.cnn_option,
            TRAINED: self.init_option,
        }


class Comparison(NamedTuple):
    """A comparison of runs of an experiment.

    Attributes:
      own: its configuration.
      experiment: whose runs are compared.
      shared: the configuration of all runs, which candidates change.
    """

    own: CompareConfig
    experiment: Experiment
    shared: Any

    @property
    def models(self) -> list[str]:
        """The items of `--models`."""
        default = "transformer" if self.own.vary else "transformer,gru"
        return variants.split(default if self.own.models is None else self.own.models)

    @property
    def has_contenders(self) -> bool:
        """True where models with weights that are there are compared."""
        return any(map(is_contender, self.models))

    @property
    def attentions(self) -> list[str]:
        """The items of `--attentions`."""
        return variants.split(self.own.attentions)

    @property
    def match(self) -> Match:
        """The measure that all candidates have alike."""
        return self.own.match or ("steps" if self.own.vary else "parameters")

    @property
    def varied(self) -> tuple[str, list[str]] | None:
        """The flag of `--vary` and its values as they are written; None without.

        Raises:
          ValueError: there are not two values of one flag.
        """
        if self.own.vary is None:
            return None
        name, equals, text = self.own.vary.partition("=")
        values = variants.split(text)
        if not equals or len(values) < 2 or len(set(values)) < len(values):
            raise ValueError(
                "`--vary` must be a flag and two values of it or more, as dropout=0,0.1; got "
                f"{self.own.vary!r}."
            )
        return name, values

    @property
    def values(self) -> dict[str, Any]:
        """Values of the shared configuration by the names of their flags."""
        return flags.values(self.shared)

    @property
    def folder(self) -> Path:
        """The folder of the comparison."""
        values = self.values
        task = values["preset"] or values["task"] if "task" in values else self.experiment.name
        return places.folder("folder", self.own.folder or f"runs/compare-{task}")

    @property
    def score(self) -> str:
        """The score that is compared.

        Raises:
          ValueError: `--score` is none that the runs have.
        """
        measures = self.experiment.measures
        of_text = [x for x in measures if x not in self.experiment.of_tokens]
        default = "bleu" if self.values.get("task") == "parallel" else measures[0]
        if self.has_contenders and default not in of_text:
            default = next(iter(of_text), default)
        found = self.own.score or default
        if found not in measures:
            raise ValueError(f"`--score` must be among {', '.join(measures)}; got {found!r}.")
        return found

    @property
    def seeds(self) -> range:
        """Seeds of the runs."""
        first = self.values["seed"]
        return range(first, first + self.own.seeds)

    @property
    def rates(self) -> list[float]:
        """Learning rates that all try alike; none where each has its own.

        Raises:
          ValueError: one is no number.
        """
        try:
            return [float(text) for text in self.own.learning_rates]
        except ValueError:
            got = ",".join(self.own.learning_rates)
            raise ValueError(f"`--learning_rates` must be numbers; got {got}.") from None


def is_contender(item: str) -> bool:
    """True for an item of `--models` that names weights."""
    kind, colon, _ = item.partition(":")
    return bool(colon) and kind in (TRAINED, UNTRAINED)


def check(comparison: Comparison, given: frozenset[str]) -> None:
    """Refuses flags that contradict each other.

    Args:
      comparison: the comparison.
      given: names of the flags that were given.

    Raises:
      ValueError: some do.
    """
    own = comparison.own
    _check_no_single_run(comparison, given)
    limit = comparison.values["max_seconds"]
    if (comparison.match == "time") != (limit is not None):
        raise ValueError(
            "`--match=time` and `--max_seconds` go together; "
            f"got --match={comparison.match}, --max_seconds={limit}."
        )
    _check_varied(comparison)
    if own.launcher == "local" and own.cores_per_run > launch_local.cores():
        raise ValueError(
            f"`--cores_per_run` must be at most what there are here, {launch_local.cores()}; got "
            f"{own.cores_per_run}. Ask for less, or use a cluster by --launcher=ray."
        )
    _check_mesh(own, comparison.values["mesh"], limited=limit is not None)
    if not comparison.experiment.has_costs:
        _check_no_costs(comparison, given)
    assert comparison.score and comparison.rates is not None  # which refuse what they do not know


def _check_no_single_run(comparison: Comparison, given: frozenset[str]) -> None:
    """Refuses flags that mean one run."""
    if "init_from" in given:
        raise ValueError("`--init_from` is that of one run; here `--models=init:PLACE`.")
    for name in OF_WEIGHTS:
        if name in given:
            raise ValueError(f"`--{name}` is that of one run; here `--init_option={name}=VALUE`.")
    if comparison.values["steps"] < 1:
        raise ValueError(
            "`--steps` must be at least 1 in a comparison; got 0. Train some; a model that is to "
            "be scored as it is stands in --models as as_is:PLACE."
        )
    for name in OF_CANDIDATES:
        if name in given:
            raise ValueError(f"`--{name}` is that of one run; here `--models` and `--attentions`.")
    for name in OF_RUNS:
        if name in given:
            raise ValueError(f"`--{name}` is that of one run; here `--folder`, which goes on.")
    if "distributed" in given:
        raise ValueError("`--distributed` is that of one run; here `--processes_per_run`.")
    if comparison.values["dry_run"]:
        name = comparison.experiment.name
        raise ValueError(f"`--dry_run` is that of one run; give it to experiments.{name}.")


def _check_varied(comparison: Comparison) -> None:
    """Refuses to vary what cannot be, or what is chosen to match another."""
    if comparison.varied is None:
        return
    name, _ = comparison.varied
    shared, match = comparison.shared, comparison.match
    data = flags.fields(shared.data) if hasattr(shared, "data") else {}
    where = {**dict.fromkeys(OF_CANDIDATES, "--models and --attentions"), "seed": "--seeds"}
    if name in where:
        raise ValueError(f"`--vary={name}` has flags of its own; use {where[name]}.")
    if name not in comparison.values or name in (*OF_RUNS, *PLACES):
        raise ValueError(f"`--vary` must name a flag of the runs; got {name!r}.")
    if name in data and name not in BATCHES:
        raise ValueError(
            f"`--vary` holds the data; --{name} is one of them. Compare in two folders instead."
        )
    chosen = {"parameters": ("width", "feed_forward"), "flops": ("steps",), "time": ("steps",)}
    if name in chosen.get(match, ()) or (name in BATCHES and match != "steps"):
        raise ValueError(f"`--vary={name}` and --match={match} contradict. Use --match=steps.")
    if name == "learning_rate" and comparison.own.learning_rates:
        raise ValueError("`--vary=learning_rate` and `--learning_rates` contradict. Give one.")


def _check_mesh(own: CompareConfig, text: str | None, *, limited: bool) -> None:
    """Refuses devices of a run that do not go together."""
    count, gpus = own.processes_per_run, own.gpus_per_run if own.launcher == "ray" else 0
    for name, shared in (("cores_per_run", own.cores_per_run), ("gpus_per_run", gpus)):
        if count > 1 and shared % count:
            raise ValueError(
                f"`--{name}` must be a multiple of --processes_per_run={count}, which share them "
                f"alike; got {shared:g}."
            )
    if count > 1 and not text:
        raise ValueError(
            f"`--processes_per_run={count}` needs a mesh on which they train together; got none. "
            "Add --mesh=data=-1."
        )
    if text and limited:
        raise ValueError(
            f"`--match=time` measures steps on one device, here; got --mesh={text}. Match by steps "
            "or flops."
        )
    shape = parse(text) if text else None
    if shape and gpus:
        completed(shape, max(int(gpus), 1))


def _check_no_costs(comparison: Comparison, given: frozenset[str]) -> None:
    """Refuses flags of costs, where the comparison measures none."""
    own, name = flags.values(comparison.own) | comparison.values, comparison.experiment.name
    measures_own = "cost_repeats" in comparison.values
    remedy = f" experiments.{name} itself measures those of {name}." if measures_own else ""
    for flag in ("cost_lengths", "cost_repeats"):
        if flag in given and own[flag]:
            raise ValueError(
                f"`--{flag}` must be left out but for costs of translations; got "
                f"--experiment={name}.{remedy}"
            )
