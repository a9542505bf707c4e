"""Training of a comparison: what is missing, each run in a process of its own, then costs."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import jax

from experiments.common import attention_files, first_weights, flags, run_folder
from experiments.compare import launch_local, launch_ray
from experiments.compare.candidates import Candidate
from experiments.compare.config import PLACES, Comparison
from experiments.compare.launch_local import Finished, Job
from experiments.compare.plan import configured
from experiments.compare.plan_file import Plans
from experiments.compare.progress import Watch
from experiments.compare.runs import (
    Run,
    all_runs,
    best_rate,
    costs_file,
    runs_of,
    seeds_of,
    sweep_of,
)

Launcher = Callable[[Iterable[Job]], Iterator[Finished]]


def carry_out(comparison: Comparison, candidates: list[Candidate], plans: Plans) -> None:
    """Trains what is missing, the runs that choose learning rates first, and measures costs."""
    sweep = [run for own in candidates for run in sweep_of(comparison, own)]
    count = len(sweep) + sum(len(seeds_of(comparison, own)) - 1 for own in candidates)
    steps = {own.name: plans[own.name]["steps"] for own in candidates}
    watch = Watch(comparison.folder, steps, count)
    print(watch.line(sweep), flush=True)
    with watch.during(sweep):
        train(comparison, sweep, plans)
    chosen = [(own, best_rate(sweep_of(comparison, own))) for own in candidates]
    rest = [
        run
        for seed in comparison.seeds[1:]
        for own, best in chosen
        if best is not None and seed in seeds_of(comparison, own)
        for run in runs_of(comparison, own, [float(best)], [seed])
    ]
    with watch.during([*sweep, *rest]):
        train(comparison, rest, plans)
    for job in cost_jobs(comparison, candidates) if comparison.experiment.has_costs else ():
        launch(comparison, [job], alone=True)  # so that none disturbs what another measures


def train(comparison: Comparison, runs: list[Run], plans: Plans) -> None:
    """Trains the runs that are not done.

    Raises:
      ValueError: one was begun with other flags.
    """
    jobs = []
    module = f"experiments.{comparison.experiment.name}"
    for run in runs:
        config = run_config(comparison, run, plans[run.candidate]["flags"])
        begun = run.folder / "run.flags"
        if begun.exists() and begun.read_text().strip():
            check_same(comparison, run, config)
        if run.is_done():
            continue
        command = [sys.executable, "-m", module, f"--run={run.folder}", *run_flags(config)]
        jobs.append(Job(run.name, tuple(command), run.log, ("--resume",), begun))
    launch(comparison, jobs)


def run_config(comparison: Comparison, run: Run, changes: dict[str, Any]) -> Any:
    """The configuration of a run."""
    own = {"learning_rate": float(run.rate), "seed": run.seed}
    return configured(comparison.shared, changes | own)


def run_flags(config: Any) -> list[str]:
    """All flags of a run, in full, so that it depends on no default."""
    lines = "\n".join(sorted(flags.lines(config).values())).splitlines()
    return [*lines, f"--compile_cache={flags.values(config)['compile_cache']}"]


def check_same(comparison: Comparison, run: Run, config: Any) -> None:
    """Refuses a run that was made with other flags, or with another file of its attention.

    Raises:
      ValueError: it was.
    """
    for file in attention_files.of_text(config.model.attention):
        kept_file = run.folder / file.name
        both = file.exists() and kept_file.exists()
        if both and file.read_bytes() != kept_file.read_bytes():
            raise ValueError(
                f"`--attentions` must be as they were when the comparison began; {file} differs "
                f"from {kept_file}. Name another folder."
            )
    kept = run_folder.read_config(comparison.experiment, run.folder)
    config = run_folder.as_begun(config, run_folder.read_record(run.folder))
    begun = flags.replace(config, run=str(run.folder), resume=True)
    config = first_weights.resolved(comparison.experiment, begun)
    found = run_folder.changes(kept, attention_files.inside(config, run.folder))
    other = [new for name, (_, new) in found.items() if name not in PLACES]
    if other:
        raise ValueError(
            f"`--folder` must not hold another comparison; {run.folder} was not run with "
            f"{other[0]}. Name another folder."
        )


def cost_jobs(comparison: Comparison, candidates: list[Candidate]) -> Iterator[Job]:
    """Measurements that are missing, each by the first run that is done."""
    lengths = ",".join(comparison.own.cost_lengths)
    for candidate in candidates:
        output = costs_file(comparison.folder, candidate.name)
        done = [run for run in all_runs(comparison, candidate) if run.is_done()]
        if output.exists() or not done or not lengths:
            continue
        command = [sys.executable, "-m", "experiments.compare.costs", f"--run={done[0].folder}"]
        command += [f"--cost_lengths={lengths}", f"--output={output}"]
        yield Job(f"costs of {candidate.name}", tuple(command), output.with_suffix(".log"))


def launch(comparison: Comparison, jobs: list[Job], *, alone: bool = False) -> None:
    """Carries jobs out, and says how each ended and about how long the rest will take."""
    if not jobs:
        return
    print(f"{len(jobs)} to do, {jobs[0].name} first: {jobs[0].log}", flush=True)
    start = time.monotonic()
    for number, done in enumerate(launcher(comparison, alone)(jobs), 1):
        ended = "done" if done.reason is None else f"failed: {done.reason}"
        left = (time.monotonic() - start) / number * (len(jobs) - number) / 60
        rest = f"; about {left:.0f} min left" if number < len(jobs) else ""
        line = f"{number}/{len(jobs)} {done.job.name}: {ended}, {done.seconds:.0f} s{rest}"
        print(line, flush=True)


def launcher(comparison: Comparison, alone: bool) -> Launcher:
    """The launcher that flags name; a job that is `alone` gets all cores of this machine."""
    own = comparison.own
    processes = 1 if alone else own.processes_per_run
    if own.launcher == "local":
        here = partial(launch_local.local, processes=processes)
        # Time is planned with all cores, and others beside a run would take some of its own.
        if alone or comparison.match == "time" or jax.default_backend() != "cpu":
            return here
        at_once = launch_local.cores() // own.cores_per_run
        environment = launch_local.threads(own.cores_per_run // processes)
        return partial(here, at_once=at_once, environment=environment)
    return partial(
        launch_ray.on_ray,
        address=own.ray_address,
        cores=own.cores_per_run,
        gpus=own.gpus_per_run,
        processes=processes,
    )
