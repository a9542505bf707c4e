"""The file of a comparison's plans: plan.json, which later calls keep to."""

import contextlib
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple

from attention_jax.core.files import write_whole
from experiments.common import flags, run_folder
from experiments.common.experiment import Experiment
from experiments.compare.config import OF_CANDIDATES, PLACES, Comparison

FORMAT_VERSION = 1
LOCK = "compare.lock"
# Flags that differ between runs of a comparison, or say where things are.
_OF_EACH = {"learning_rate", "seed", *OF_CANDIDATES, *PLACES}
Plans = dict[str, dict[str, Any]]  # by candidate


class Measure(NamedTuple):
    """All that must be the same in two calls for their runs to be comparable.

    Attributes:
      flags: lines of the flags that all runs share.
      options: flags of one kind of model alone.
      match: what all have alike.
      first: of `--models`, and of `--vary`: the candidate that sets the measure.
    """

    flags: list[str]
    options: list[str]
    match: str
    first: str


def measure(comparison: Comparison) -> Measure:
    """The measure of a comparison."""
    own = comparison.own
    options = [text for texts in own.options.values() for text in texts]
    shared = flags.lines(comparison.shared)
    own_of_each = _OF_EACH | ({comparison.varied[0]} if comparison.varied else set())
    lines = sorted(line for name, line in shared.items() if name not in own_of_each)
    first = comparison.models[0]
    if comparison.varied is not None:
        name, values = comparison.varied
        first += f" --{name}={values[0]}"
    return Measure("\n".join(lines).splitlines(), options, comparison.match, first)


def load(comparison: Comparison) -> Plans:
    """The plans that the folder holds already; none in a new one, which is marked as taken.

    Raises:
      ValueError: the folder holds another comparison, one of a later version, or something else.
    """
    folder = comparison.folder
    path = folder / "plan.json"
    if not path.exists():
        others = [x.name for x in folder.iterdir() if x.name != LOCK]
        if others:
            raise ValueError(f"`--folder` must be new or of a comparison; {folder} is neither.")
        save(comparison, {})
        return {}
    kept = json.loads(path.read_text(encoding="utf-8"))
    version = kept.get("format_version", 0)
    if version > FORMAT_VERSION:
        raise ValueError(
            f"`--folder` must be of format version {FORMAT_VERSION} or earlier; {folder} is of "
            f"{version}. Update attention_jax, or name another folder."
        )
    _check_same(Measure(**kept["measure"]), comparison)
    return {name: _renamed(plan) for name, plan in kept["plans"].items()}


def missing(folder: Path) -> list[Path]:
    """The folder and those above it that do not exist, the innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


@contextlib.contextmanager
def undone(folder: Path, made: list[Path]) -> Generator[None, None, None]:
    """Leaves nothing of a comparison that is refused before anything is trained.

    One that an earlier call began stays as it is.

    Args:
      folder: of the comparison, whose lock is held.
      made: folders that were not there before; those that are empty then are deleted.
    """
    before = set(folder.iterdir())
    try:
        yield
    except Exception:
        if folder / "plan.json" not in before:
            for path in set(folder.iterdir()) - before | {folder / LOCK}:
                path.unlink()
            for path in made:
                with contextlib.suppress(OSError):
                    path.rmdir()
        raise


def save(comparison: Comparison, plans: Plans) -> None:
    """Writes the plans, for later calls to keep."""
    found = {
        "format_version": FORMAT_VERSION,
        "measure": measure(comparison)._asdict(),
        "plans": plans,
    }
    write_whole(comparison.folder / "plan.json", json.dumps(found, indent=2) + "\n")


def _check_same(then: Measure, comparison: Comparison) -> None:
    """Refuses a measure that is not that of the folder."""
    now, folder = measure(comparison), comparison.folder
    pairs = {name: (getattr(then, name), getattr(now, name)) for name in Measure._fields}
    pairs["flags"] = _changed_flags(comparison.experiment, then.flags, now.flags, folder)
    for name, (old, new) in pairs.items():
        if old != new:
            raise ValueError(
                f"`--folder` must not hold another comparison; {folder} has other {name}: "
                f"{_shown(old, new)}. Name another folder."
            )


def _changed_flags(
    experiment: Experiment, then: list[str], now: list[str], folder: Path
) -> tuple[list[str], list[str]]:
    """Lines of flags that differ, then and now; one that came since, and is not set, does not."""
    source = str(folder / "plan.json")
    configs = [flags.from_lines(experiment.config, lines, source=source) for lines in (then, now)]
    found = run_folder.changes(*configs)
    old, new = ([both[x] for both in found.values() if both[x]] for x in (0, 1))
    return old, new


def _shown(old: Any, new: Any) -> str:
    if isinstance(old, list) and isinstance(new, list):
        old, new = (
            [x for x in a if x not in b] or ["nothing"] for a, b in ((old, new), (new, old))
        )
        return f"{' '.join(old)}, now {' '.join(new)}"
    return f"{old}, now {new}"


def _renamed(plan: dict[str, Any]) -> dict[str, Any]:
    """A plan with the flags of this version: `attention_file` was one beside `attention`."""
    own = dict(plan["flags"])
    if "attention_file" in own:
        own["attention"] = own.pop("attention_file")
    return plan | {"flags": own}
