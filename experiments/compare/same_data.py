"""Runs of a comparison learned from the same data, which their records tell by contents."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from experiments.common import first_weights, run_folder
from experiments.compare.config import Comparison
from experiments.compare.runs import Run

Hashes = Mapping[str, str]


class Contents(NamedTuple):
    """Content hashes of the data of a call.

    Attributes:
      shared: of all candidates that have no own.
      own: of those whose tokens are their own, by their names.
    """

    shared: Hashes
    own: Mapping[str, Hashes] = {}


def check(comparison: Comparison, runs: Iterable[Run], now: Contents) -> None:
    """Refuses runs whose data are not those of the others, or of this call.

    Where an experiment draws or divides its data by the seed, those of each seed are compared. Runs
    that were begun before contents were recorded are taken as they are. Of contenders the first
    weights of all runs are compared too.

    Args:
      comparison: what is compared.
      runs: those that stand.
      now: content hashes of this call.

    Raises:
      ValueError: contents differ.
    """
    first, by_seed = comparison.seeds[0], comparison.experiment.seed_is_of_data
    known: dict[tuple[str | None, int], tuple[str, Hashes]] = {(None, first): _now(now.shared)}
    known |= {(name, first): _now(own) for name, own in now.own.items()}
    weights: dict[str, tuple[str, Hashes]] = {}
    for run in runs:
        if not (run.folder / run_folder.RECORD).exists():
            continue
        found = dict(run_folder.read_record(run.folder).data)
        if not found:
            continue
        begun = {x: found.pop(x) for x in [first_weights.NAME] if x in found}
        who = run.candidate if run.candidate in now.own else None
        here, seed = str(run.folder), run.seed if by_seed else first
        _check_same(found, here, *known.setdefault((who, seed), (here, found)))
        _check_same(begun, here, *weights.setdefault(run.candidate, (here, begun)))


def _now(hashes: Hashes) -> tuple[str, Hashes]:
    return "this call", hashes


def _check_same(own: Hashes, here: str, who: str, others: Hashes) -> None:
    if changed := run_folder.differing(own, others):
        raise ValueError(
            f"`--folder` must hold runs of the same data; the contents of {', '.join(changed)} "
            f"differ between {who} and {here}. Give the data of that time, or name another folder."
        )
