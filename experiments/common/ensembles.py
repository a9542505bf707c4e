"""Several runs of one vocabulary that predict as one: `--run=runs/a,runs/b`."""

import os
from collections.abc import Sequence

from flax import nnx

from attention_jax.decoding.ensemble import Ensemble
from experiments.common.experiment import Run
from experiments.common.load_run import load_run, run_folder_of
from experiments.common.vocabularies import VOCABULARY

EXPERIMENT = "translation"  # whose runs may be joined


def load_runs(named: str | None, arguments: Sequence[str], *, beside: Sequence[tuple] = ()) -> Run:
    """The run that --run names; of several, separated by commas, one run of them all.

    Its configuration and folder are those of the first.

    Args:
      named: what --run says.
      arguments: flags that change the configurations, such as `["--beam=5"]`.
      beside: groups whose flags may stand among the arguments too.

    Raises:
      ValueError: a folder is none of a trained run that predicts; several are not of translation,
        or differ in their vocabularies.
    """
    folders = [run_folder_of(name, "predict") for name in _names(named)]
    # What each is called replaces the list of all, which the arguments hold.
    runs = [load_run(folder, [*arguments, f"--run={folder}"], beside=beside) for folder in folders]
    first = runs[0]
    if len(runs) == 1:
        return first
    for run in runs:
        if run.experiment.name != EXPERIMENT:
            raise ValueError(
                f"`--run` may name several runs of experiments.{EXPERIMENT} alone; {run.folder} is "
                f"of experiments.{run.experiment.name}. Name one run."
            )
        if _vocabulary(run) != _vocabulary(first):
            raise ValueError(
                f"`--run` must name runs of one vocabulary; those of {first.folder} and "
                f"{run.folder} differ. Train the second with the data and tokenizer of the first."
            )
    graphdef, params = nnx.split(Ensemble([run.model for run in runs]))
    return first._replace(graphdef=graphdef, params=nnx.as_pure(params))


def _names(named: str | None) -> list[str | None]:
    """The folders of a list; a folder whose own name holds a comma is one."""
    if named is None or os.path.isdir(named):  # pathlib raises where a name is too long
        return [named]
    return [name.strip() for name in named.split(",")]


def _vocabulary(run: Run) -> bytes:
    return (run.folder / VOCABULARY).read_bytes()
