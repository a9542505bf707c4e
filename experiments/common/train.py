"""The one `main` of all experiments: load, train, score, and write the run's folder."""

import contextlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
from flax import nnx

from attention_jax.core.files import write_whole
from attention_jax.core.messages import said
from attention_jax.core.types import Params
from attention_jax.data.batching import Batches, pipeline
from attention_jax.evaluation import budgets
from attention_jax.parallel import plans, processes
from attention_jax.parallel.placement import lengthened, rounded_up, rows_of
from attention_jax.training import loop, prepare, time_shares
from attention_jax.training.config import TrainConfig
from attention_jax.training.objectives import Objective
from attention_jax.training.result import Owner, Result
from attention_jax.training.step import Given
from experiments.common import (
    attention_files,
    first_weights,
    flags,
    initial,
    leftovers,
    low_rank,
    run_folder,
    run_lock,
    together,
)
from experiments.common.experiment import Build, Experiment, Run, structure
from experiments.common.load_run import save_params

try:
    import resource
except ImportError:  # Windows has none
    resource = None


def launch(experiment: Experiment) -> None:
    """Runs an experiment's command."""
    flags.launch(partial(run, experiment), experiment.config)


def run(experiment: Experiment) -> None:
    """Trains as this process's flags say, or lists what there is."""
    config = flags.config_from_flags(experiment.config)
    if config.run.list:
        print(experiment.listing())
    else:
        train(experiment, config)


class _Start(NamedTuple):
    """A run that nothing but training may refuse any more.

    Attributes:
      record: its record, that of the folder where the run goes on.
      first: the parameters that it begins with; None for random ones.
      locks: closed when the run ends.
    """

    experiment: Experiment
    config: Any
    data: Any
    folder: Path
    record: run_folder.Record
    first: Params | None
    locks: contextlib.ExitStack


def train(experiment: Experiment, config: Any) -> Path:
    """Trains and scores a run; returns its folder.

    What cannot be honored is refused before the folder is made or changed.

    Raises:
      ValueError: a value that cannot be honored, or a folder that is in use.
      TrainingDiverged: a number is no longer finite.
    """
    config = attention_files.check(first_weights.resolved(experiment, config))
    if config.run.resume and config.run.run and os.path.exists(Path(config.run.run, "run.flags")):
        config = run_folder.as_begun(config, run_folder.read_record(Path(config.run.run)))
    settings = config.training.settings(config.run.seed, config.mesh)
    if (adapters := low_rank.of(config)) is not None:
        settings = adapters.freezing(settings)
    settings.check()
    _check_steps(config)
    together.check_mesh(
        settings.mesh, model=experiment.named(config)[0], has_positions=experiment.has_positions
    )
    experiment.objective(config)
    data = experiment.load(config)
    first = first_weights.read(experiment, config)
    contents = experiment.hashes(data) | first_weights.hashes(config, first)
    with contextlib.ExitStack() as locks:
        folder, record = _chosen(experiment, config, data, contents, locks)
        start = _Start(experiment, config, data, folder, record, first, locks)
        trained = _trained(start, settings)
        if trained is None:
            return folder
        run, facts = trained
        outcome = experiment.evaluate(run, data, facts)
        # The last file of a run: where it stands, the run is whole.
        write_whole(folder / "result.json", json.dumps(outcome.summary, indent=2) + "\n")
    print(outcome.text)
    return folder


def _check_steps(config: Any) -> None:
    """Refuses to train nothing, but where there are weights to score."""
    if config.training.steps < 1 and initial.place(config) is None:
        other = (
            ", or name weights to score by --init_from"
            if "init_from" in flags.values(config)
            else ""
        )
        raise ValueError(
            "`--steps` must be at least 1 where training begins with random weights; got "
            f"{config.training.steps}. Train some{other}."
        )


def _chosen(
    experiment: Experiment,
    config: Any,
    data: Any,
    contents: Mapping[str, str],
    locks: contextlib.ExitStack,
) -> tuple[Path, run_folder.Record]:
    """The folder of a run, locked where it is there, and its record.

    Of several processes the first chooses and locks it; all have its record.
    """
    records = [run_folder.new_record(experiment, contents)]

    def choose() -> dict[str, Any]:
        folder = run_folder.choose(
            experiment, config, experiment.folder_name(config, data), contents
        )
        if os.path.exists(folder) and (config.run.resume or config.run.overwrite):
            locks.enter_context(run_lock.held(folder))
        if config.run.resume:
            records.append(run_folder.read_record(folder))
            print(*_of_schedule(experiment, config, folder), sep="", end="")
        return {"folder": str(folder), "record": records[-1]._asdict()}

    chosen = processes.on_first(choose, raises=(ValueError,))
    return Path(chosen["folder"]), run_folder.Record(**chosen["record"])


def _trained(start: _Start, settings: TrainConfig) -> tuple[Run, dict[str, Any]] | None:
    """The run after its last step, and what result.json says of every run; None of a dry run."""
    experiment, config, data, folder, record, *_ = start
    known = experiment.learn(config, data, folder if config.run.resume else None)
    build = _build(start, known)
    batches = experiment.batches(config, data, known)
    validate = experiment.validate(config, data, known, structure(build))
    objective, notes = experiment.objective(config), experiment.notes(config, data, known)
    on_mesh = _on_mesh(build, batches, settings, objective)
    print(*chain(notes, [_extent(build, batches, settings)], on_mesh), sep="\n")
    if config.run.dry_run:
        ending = said("--dry_run: nothing is trained; the run would stand in {folder}")
        print(_a_step(build, batches, settings, objective), ending.format(folder=folder), sep="\n")
        return None
    anew = config.run.overwrite and not config.run.resume and processes.is_first()
    with leftovers.set_aside(folder, where=anew) as discard:
        result = loop.fit(
            build,
            batches,
            validate,
            folder,
            settings,
            objective=objective,
            resume=config.run.resume,
            owner=Owner(partial(_accept, start, known, batches, discard), record.identity),
        )
    print(time_shares.in_one_line(result.time_shares))
    result, config = _plain(start, known, result), run_folder.inside(config, folder)
    facts = end_training(experiment.named(config), config, result, folder, record)
    if not processes.is_first():
        return None
    return Run(experiment, config, folder, known, result.graphdef, result.params), facts


def _build(start: _Start, known: Any) -> Build:
    """The model that is trained, as it is or with adapters, and the parameters it begins with."""
    plain, adapters = start.experiment.build(start.config, known), low_rank.of(start.config)
    build, first = plain if adapters is None else adapters.build(plain), start.first
    if first is not None and adapters is not None:
        first = adapters.first(plain, first, start.config.run.seed)
    return build if first is None else Given(build, first)


def _plain(start: _Start, known: Any, result: Result) -> Result:
    """The result with parameters of the plain model, into which adapters are merged."""
    adapters = low_rank.of(start.config)
    if adapters is None:
        return result
    graphdef = structure(start.experiment.build(start.config, known))
    return result._replace(graphdef=graphdef, params=adapters.merged(result.params))


def _of_schedule(experiment: Experiment, config: Any, folder: Path) -> Iterator[str]:
    """A line where a changed number of steps moves the learning rate of a run that goes on."""
    then = run_folder.read_config(experiment, folder).training
    seed, steps = config.run.seed, min(then.steps, config.training.steps)
    old, new = (float(own.settings(seed).rate()(steps)) for own in (then, config.training))
    if not math.isclose(old, new, rel_tol=1e-6):
        yield (
            f"--steps was {then.steps:,} and is {config.training.steps:,}: the learning rate of "
            f"step {steps:,} goes from {old:.3g} to {new:.3g} (--schedule={then.schedule})\n"
        )


def _extent(build: Build, batches: Batches, settings: TrainConfig) -> str:
    """A line that says how large the model is, and how often it sees the data."""
    shapes = nnx.as_pure(nnx.split(nnx.eval_shape(lambda: build(jax.random.key(0))))[1])
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    epochs = settings.steps * settings.accumulate / batches.batches_per_epoch
    line = said("model: {parameters:,} parameters; {steps:,} steps, {epochs:,.1f} epochs")
    return line.format(parameters=parameters, steps=settings.steps, epochs=epochs)


def _a_step(build: Build, batches: Batches, settings: TrainConfig, objective: Objective) -> str:
    """A line that says what a step costs here; for that it is compiled."""
    ready = prepare.prepare(build, settings, objective)
    state, jitted, batch = ready.state, cast(Any, ready.steps.whole), next(pipeline(batches))
    batch = batch if ready.layout is None else ready.layout.place(batch)
    sizes = jitted.lower(state, batch).compile().memory_analysis()
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    work = settings.accumulate * budgets.flops(jitted, state, batch)
    return (
        f"a step: {work / 1e9:,.3g} GFLOP, {held / 1e6:,.1f} MB of parameters and optimizer, "
        f"{sizes.temp_size_in_bytes / 1e6:,.1f} MB beside them"
    )


def _on_mesh(
    build: Build, batches: Batches, settings: TrainConfig, objective: Objective
) -> Iterator[str]:
    """Lines about a training on several devices; none where it is on one."""
    plan = prepare.plan(build, settings, batches, objective)
    if plan is None:
        return
    yield str(plan)
    rows = rows_of(batches[0])
    filled = rounded_up(rows, plan.mesh.rows)
    if rows != filled:
        yield f"  batches are filled up with empty rows: the first from {rows} to {filled}"
    yield from _of_positions(batches[0], plan)


def _of_positions(batch: Any, plan: plans.Plan) -> Iterator[str]:
    """A line where sequences are filled up, so that devices share their positions evenly."""
    longer = lengthened(batch, plan.multiple)
    pairs = zip(jax.tree.leaves(batch), jax.tree.leaves(longer), strict=True)
    changed = dict.fromkeys((a.shape[1], b.shape[1]) for a, b in pairs if a.shape != b.shape)
    if changed:
        said = ", ".join(f"{a} to {b}" for a, b in changed)
        yield f"  sequences are filled up with empty positions: of the first batch from {said}"


def _accept(start: _Start, known: Any, batches: Batches, discard: Callable[[], None]) -> None:
    """Makes the folder a run, which is locked from its first file on."""
    experiment, config, data, folder, record, _, locks = start
    if not config.run.resume:
        locks.enter_context(run_lock.held(folder))
        if (folder / "run.flags").exists():
            raise ValueError(f"`--run` must be a new folder; {folder} was begun a moment ago.")
        record = record._replace(left_out=dict(experiment.left_out(data, batches)))
    run_folder.accept(experiment, config, known, folder, record)
    discard()


def end_training(
    named: tuple[str, str],
    config: Any,
    result: Result,
    folder: Path,
    record: run_folder.Record,
) -> dict[str, Any]:
    """Keeps the parameters, and returns what result.json says of every run."""
    memory = peak_memory_bytes()
    save_params(folder, result.params, record.identity)
    return {
        "model": named[0],
        "attention": named[1],
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(result.params)),
        "steps": result.steps,
        "seconds": round(result.seconds, 1),
        "first_step_seconds": round(result.first_step_seconds, 2),
        "time_shares": {name: round(share, 4) for name, share in result.time_shares.items()},
        "target_tokens": result.tokens,
        "peak_memory_bytes": memory,
        **({"mesh": config.mesh.text} if config.mesh.text else {}),
    }


def peak_memory_bytes() -> int | None:
    """The most memory that this process held: of its first device, or of a CPU's process."""
    found = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    if found is not None or resource is None:
        return found
    # Linux counts kibibytes, macOS bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
