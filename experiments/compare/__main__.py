r"""Compares models and attentions on one task, over several seeds, with equal budgets.

    python -m experiments.compare --flagfile=experiments/presets/compare_rnn_vs_transformer.flags
    python -m experiments.compare --task=reverse --models=transformer,gru,lstm \
        --attentions=scaled_dot,additive,none --match=parameters --folder=runs/mine
    python -m experiments.compare --experiment=images --models=transformer,gru:none,cnn
    python -m experiments.compare --attentions="scaled_dot,sliding_window(size=8),mine.py"
    python -m experiments.compare --task=reverse --vary=dropout=0,0.1,0.3
    python -m experiments.compare --task=parallel --preset=multi30k_de_en \
        --models=transformer,init:opus-mt-de-en,as_is:opus-mt-de-en --init_option=learning_rate=1e-5
    python -m experiments.compare --leaderboard=runs

Every run is one of `--experiment`, in a folder of its own. The same call goes on where it was
stopped, trains only what is missing, and draws anew: report.html, report.json, figures.
"""

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.common import flags
from experiments.common.config import DeviceFlags
from experiments.common.experiment import find
from experiments.compare import (
    contenders,
    launch_local,
    leaderboard,
    plan_file,
    report,
    results,
    same_data,
    summary,
    training,
)
from experiments.compare.candidates import Candidate, candidates
from experiments.compare.config import CompareConfig, Comparison, check
from experiments.compare.contenders import Source
from experiments.compare.plan import Program, configured, make_plan
from experiments.compare.plan_file import Plans
from experiments.compare.runs import Run, all_runs

_PLACES = ("attention", "init_from")  # flags of candidates that name a file


def main(arguments: Sequence[str]) -> None:
    """Plans, trains, measures costs, and reports."""
    own = flags.config_from_flags(CompareConfig())
    experiment = find(own.experiment)
    shared, given = flags.parse(experiment.config, arguments, beside=(CompareConfig(),))
    if shared.run.list:
        return print(experiment.listing())
    if own.leaderboard is not None:
        return write_leaderboard(own.leaderboard, given)
    comparison = Comparison(own, experiment, shared)
    check(comparison, given)
    command = shlex.join(["python", "-m", "experiments.compare", *arguments])
    found = compare(comparison, command)
    print(summary.table(found))
    print(f"\nreport: {comparison.folder}/report.html, numbers: {comparison.folder}/report.json")
    failed = [run["name"] for run in found["runs"] if run["status"] != "done"]
    if failed:
        counted, first = f"{len(failed)} of {len(found['runs'])} runs", f"(first: {failed[0]})"
        if not own.train:
            sys.exit(
                f"error: {counted} are not trained {first}. Leave --notrain out to train them."
            )
        sys.exit(f"error: {counted} failed {first}. Rerun the same command to retry.")


def write_leaderboard(text: str, given: frozenset[str]) -> None:
    """Writes the page of all comparisons under a folder.

    Raises:
      ValueError: other flags are given, which would do nothing, or there is no comparison.
    """
    others = sorted(given - {"leaderboard", "platform", "compile_cache"})
    if others:
        raise ValueError(f"`--leaderboard` goes alone; got --{others[0]} too. Leave it out.")
    path, comparisons = leaderboard.write(Path(text))
    print(f"{path}: {comparisons} comparisons")


def compare(comparison: Comparison, command: str = "") -> dict[str, Any]:
    """Carries a comparison out, writes its report, and returns the report's numbers.

    Args:
      comparison: what is compared.
      command: by which it was asked for; the report keeps it.

    Raises:
      ValueError: what is to be compared does not go together, or the folder is another's.
    """
    compared, left_out = candidates(comparison)
    experiment, shared, folder = comparison.experiment, comparison.shared, comparison.folder
    made = plan_file.missing(folder)
    with launch_local.alone(folder / plan_file.LOCK):
        with plan_file.undone(folder, made):
            kept = plan_file.load(comparison)
            if not comparison.own.train:
                _check_drawn(existing(comparison, compared), folder)
            data = experiment.load(shared)
            known = experiment.learn(shared, data, folder)
            experiment.keep(known, folder)
            scorer = experiment.scorer(shared, data, known)
            everyone = contenders.Source(data, known)
            places = {own.name: own.flags for own in compared if own.place is not None}
            sources = contenders.sources(comparison, places, everyone)
            contents = same_data.Contents(
                experiment.hashes(data),
                {name: experiment.hashes(own.data) for name, own in sources.items()},
            )
            same_data.check(comparison, existing(comparison, compared), contents)
            plans = make_plans(comparison, compared, kept, everyone, sources)
        if comparison.own.train:
            training.carry_out(comparison, compared, plans)
        runs = existing(comparison, compared)
        same_data.check(comparison, runs, contents)
        options = results.options(comparison)
        found = results.collect(runs, plans, left_out, scorer, folder, options)
        found = {"command": command, **found}
        report.write(found, folder)
    return found


def _check_drawn(runs: list[Run], folder: Path) -> None:
    """Refuses to draw a comparison of which nothing is trained."""
    if not any(run.is_done() for run in runs):
        raise ValueError(
            f"`--notrain` only draws what is trained; of {folder} no run is. Leave it out to train."
        )


def existing(comparison: Comparison, compared: list[Candidate]) -> list[Run]:
    """The runs of all candidates, as they stand."""
    return [run for candidate in compared for run in all_runs(comparison, candidate)]


def make_plans(
    comparison: Comparison,
    compared: list[Candidate],
    kept: Plans,
    shared: Source,
    sources: Mapping[str, Source],
) -> Plans:
    """The plan of each candidate; those of an earlier call stay, but for where a file is.

    Args:
      comparison: what is compared.
      compared: its candidates.
      kept: plans of an earlier call.
      shared: the data of all that have no own.
      sources: those of contenders, by their names.
    """
    plans = dict(kept)
    for candidate in compared:
        if plan := kept.get(candidate.name):
            places = {x: candidate.flags[x] for x in _PLACES if x in candidate.flags}
            plans[candidate.name] = plan | {"flags": plan["flags"] | places}
    missing = [candidate for candidate in compared if candidate.name not in plans]
    if not missing:
        return plans
    experiment = comparison.experiment
    for number, candidate in enumerate(missing, 1):
        print(f"planning {candidate.name}, {number} of {len(missing)} ...", flush=True)
        # A flag that is varied may be one of batches.
        config = configured(comparison.shared, candidate.flags)
        data, known = own = sources.get(candidate.name, shared)
        is_own = candidate.name in sources and contenders.has_own_tokens(own, shared)
        program = Program(experiment, known, experiment.batches(config, data, known))
        first = plans.get(compared[0].name)
        plan = make_plan(comparison, candidate, first, program)
        plans[candidate.name] = plan | {"own_tokens": is_own}
        plan_file.save(comparison, plans)
    return plans


if __name__ == "__main__":
    flags.launch(main, CompareConfig(), DeviceFlags(), more=True)
