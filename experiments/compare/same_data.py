"""Runs of a comparison learned from the same data, which their records tell by contents."""

from collections.abc import Iterable, Mapping
from typing import Any

from attention_jax.core.files import content_hash
from experiments.common import run_folder
from experiments.compare.config import Comparison
from experiments.compare.runs import Run


def check(comparison: Comparison, runs: Iterable[Run], data: Any) -> None:
    """Refuses runs whose data are not those of the others, or of this call.

    Where an experiment draws or divides its data by the seed, those of each seed are compared. Runs
    that were begun before contents were recorded are taken as they are.

    Raises:
      ValueError: contents differ.
    """
    experiment, first = comparison.experiment, comparison.seeds[0]
    by_seed = experiment.seed_is_of_data
    now = {name: content_hash(part) for name, part in experiment.contents(data).items()}
    known: dict[int, tuple[str, Mapping[str, str]]] = {first: ("this call", now)}
    for run in runs:
        if not (run.folder / run_folder.RECORD).exists():
            continue
        own = run_folder.read_record(run.folder).data
        if not own:
            continue
        who, others = known.setdefault(run.seed if by_seed else first, (str(run.folder), own))
        names = sorted(n for n in own.keys() | others.keys() if own.get(n) != others.get(n))
        if names:
            raise ValueError(
                f"`--folder` must hold runs of the same data; the contents of {', '.join(names)} "
                f"differ between {who} and {run.folder}. Give the data of that time, or name "
                "another folder."
            )
