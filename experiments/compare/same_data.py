"""Runs of a comparison learned from the same data, which their records tell by contents."""

from collections.abc import Iterable, Mapping

from experiments.common import run_folder
from experiments.compare.config import Comparison
from experiments.compare.runs import Run


def check(comparison: Comparison, runs: Iterable[Run], now: Mapping[str, str]) -> None:
    """Refuses runs whose data are not those of the others, or of this call.

    Where an experiment draws or divides its data by the seed, those of each seed are compared. Runs
    that were begun before contents were recorded are taken as they are.

    Args:
      comparison: what is compared.
      runs: those that stand.
      now: content hashes of the data of this call.

    Raises:
      ValueError: contents differ.
    """
    first, by_seed = comparison.seeds[0], comparison.experiment.seed_is_of_data
    known: dict[int, tuple[str, Mapping[str, str]]] = {first: ("this call", now)}
    for run in runs:
        if not (run.folder / run_folder.RECORD).exists():
            continue
        own = run_folder.read_record(run.folder).data
        if not own:
            continue
        who, others = known.setdefault(run.seed if by_seed else first, (str(run.folder), own))
        if names := run_folder.differing(own, others):
            raise ValueError(
                f"`--folder` must hold runs of the same data; the contents of {', '.join(names)} "
                f"differ between {who} and {run.folder}. Give the data of that time, or name "
                "another folder."
            )
