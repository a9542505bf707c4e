"""Trained runs, read from their folders: `run = load_run("runs/mine")`."""

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from flax import nnx

from attention_jax.core.types import Params
from attention_jax.parallel import placement, processes
from attention_jax.training.checkpoints import CheckpointDamaged, Checkpoints
from attention_jax.training.shared_checkpoints import SharedCheckpoints
from experiments.common import flags, low_rank, run_folder, seals
from experiments.common.config import SAMPLING, DecodingFlags
from experiments.common.experiment import (
    Build,
    Experiment,
    PredictFlags,
    Run,
    Use,
    find,
    names,
    structure,
)

NAMED_BY_FILE = "What is to be read is named by --file."
OF_SPEECH = ("language", "translate")  # flags of pretrained speech alone
FINAL = "final"  # folder of the parameters that a run ends with


def load_run(
    folder: str | Path, arguments: Sequence[str] = (), *, beside: Sequence[tuple] = ()
) -> Run:
    """A run with its model.

        run = load_run("runs/mine")
        run.model, run.config.training.steps, run.tokenizer

    Args:
      folder: of the run.
      arguments: flags that change its configuration, such as `["--beam=5"]`.
      beside: groups whose flags may stand among the arguments too.

    Raises:
      ValueError: the folder is none of a run, holds no trained model, or is of a later version.
    """
    folder = Path(folder)
    record = run_folder.read_record(folder)
    experiment = find(record.experiment)
    config = configure(experiment, folder, arguments, beside=beside)
    seals.check_files(folder, record.known)
    known = experiment.recall(config, folder)
    build = experiment.build(config, known)
    params = load_params(folder, build, record.identity, adapters=low_rank.of(config))
    return Run(experiment, config, folder, known, structure(build), params)


def run_folder_of(named: str | None, member: str) -> Path:
    """The folder of a run whose experiment can do something with it.

    Args:
      named: what --run says.
      member: of `Experiment`, which must not be None.

    Raises:
      ValueError: nothing is named, or it is no such run.
    """
    if not named:
        raise ValueError("`--run` must name the folder of a run; got none.")
    own = run_folder.read_record(Path(named)).experiment
    if getattr(find(own), member) is None:
        able = [name for name in names() if getattr(find(name), member) is not None]
        raise ValueError(
            f"`--run` must be of experiments.{', experiments.'.join(able)}; {named} is of "
            f"experiments.{own}."
        )
    return Path(named)


def configure(
    experiment: Experiment, folder: Path, arguments: Sequence[str], *, beside: Sequence[tuple] = ()
) -> Any:
    """The configuration of a run, changed by arguments.

    Flags of sampling mean nothing where arguments do not sample, and are dropped then.

    Raises:
      ValueError: an argument is of search, which the experiment has not.
      flags.Error: an argument is no flag, or its value is not one.
    """
    kept = run_folder.read_config(experiment, folder)
    kept = flags.replace(kept, run=str(folder))
    config, given = flags.parse(kept, arguments, beside=beside)
    known = flags.values(config)
    refuse(experiment, [name for name in DecodingFlags._fields if name not in known], given)
    if "sample" in known and not known["sample"]:
        default = {name: getattr(DecodingFlags(), name) for name in SAMPLING if name not in given}
        config = flags.replace(config, **default)
    return config


def refuse_texts(run: Run, given: PredictFlags, *names: str, remedy: str = NAMED_BY_FILE) -> None:
    """Refuses flags of what is to be read or written that the experiment of a run has not.

    Raises:
      ValueError: one of the names is given.
    """
    asked = [name for name in names if getattr(given, name) != getattr(PredictFlags(), name)]
    refuse(run.experiment, names, asked, remedy=remedy)


def refuse(
    experiment: Experiment | Use,
    names: Collection[str],
    given: Collection[str],
    *,
    remedy: str = NAMED_BY_FILE,
) -> None:
    """Refuses flags that runs of an experiment cannot honor.

    Raises:
      ValueError: one of the names is given.
    """
    for name in names:
        if name in given:
            raise ValueError(
                f"`--{name}` does not go with a run of experiments.{experiment.name}; leave it "
                f"out. {remedy}"
            )


def save_params(folder: Path, params: Params, identity: Mapping[str, str]) -> None:
    """Keeps the parameters that a run ends with; every process of several calls this."""
    own = Checkpoints(folder / FINAL, identity=identity)
    kept = SharedCheckpoints(own) if processes.several() else own
    # Orbax writes arrays of all devices alone where there are several processes.
    kept.save(0, {"params": placement.everywhere(params) if processes.several() else params})


def load_params(
    folder: Path,
    build: Build,
    identity: Mapping[str, str] | None = None,
    *,
    adapters: low_rank.Adapters | None = None,
) -> Params:
    """The parameters that a run ended with; until then, those of its best checkpoint.

    Where `final/` is damaged or not there yet, the best checkpoint serves, and a line on standard
    error says so.

    Args:
      identity: of the run, which its checkpoints must have; None where any will do.
      adapters: that the run trains, which are merged where it has not ended.

    Raises:
      CheckpointForeign: a checkpoint is of another run.
      CheckpointDamaged: all of them are damaged.
      ValueError: the run has saved none yet, or they are of another model.
    """
    final, kept = (Checkpoints(folder / name, identity=identity) for name in (FINAL, "checkpoints"))
    try:
        found, damaged = final.restore_latest(_template(build)), None
    except CheckpointDamaged as error:
        found, damaged = None, error
    if found is not None:
        return found.tree["params"]
    like = _template(build if adapters is None else adapters.build(build))
    found = kept.restore_best(like) or kept.restore_latest(like)
    if found is None and damaged is not None:
        raise damaged
    if found is None:
        raise ValueError(f"`--run` must hold a trained model; {folder} has no checkpoint yet.")
    why = damaged or f"{folder} has not finished."
    print(f"{why} The checkpoint of step {found.step} is taken.", file=sys.stderr)
    params = found.tree["params"]
    return params if adapters is None else adapters.merged(params)


def kept_params(run: Run) -> Iterator[tuple[int, Params]]:
    """The steps at which a run has kept checkpoints, in order, each with its parameters."""
    identity = run_folder.read_record(run.folder).identity
    assert isinstance(run.experiment, Experiment)  # models of other libraries keep none
    build = run.experiment.build(run.config, run.known)
    adapters = low_rank.of(run.config)
    like = _template(build if adapters is None else adapters.build(build))
    kept = Checkpoints(run.folder / "checkpoints", identity=identity)
    for step in kept.steps(scheduled=True):
        params = kept.restore(step, like).tree["params"]
        yield step, params if adapters is None else adapters.merged(params)


def _template(build: Build) -> dict[str, Params]:
    """The content of a checkpoint of a model, as shapes."""
    model = nnx.eval_shape(lambda: build(jax.random.key(0)))
    return {"params": nnx.as_pure(nnx.split(model)[1])}
