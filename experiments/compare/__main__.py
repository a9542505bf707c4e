"""Compares models and attentions on one task, over several seeds, with equal budgets.

    python -m experiments.compare --flagfile=experiments/presets/compare_rnn_vs_transformer.flags
    python -m experiments.compare --task=reverse --models=transformer,gru,lstm \
        --attentions=scaled_dot,additive,none --match=parameters --folder=runs/mine
    python -m experiments.compare --experiment=images --models=transformer,gru:none,cnn

Every run is one of `--experiment`, in a folder of its own. The same call goes on where it was
stopped, trains only what is missing, and draws anew: report.html, report.json, pictures.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
from absl import flags

from experiments import common, contests, run_folders
from experiments.compare import launch_local, launch_ray, plan, report, results, summary
from experiments.compare.launch_local import Finished, Job
from experiments.compare.plan import Candidate, Program
from experiments.compare.results import Run
from experiments.contests import Contest

FLAGS = flags.FLAGS
EXPERIMENT = contests.named_in(sys.argv[1:])
flags.adopt_module_key_flags(common)
flags.DEFINE_enum(
    "experiment",
    "translation",
    contests.EXPERIMENTS,
    "Whose runs are compared; its flags, which "
    "--experiment=... --help lists, are those of all runs.",
)
flags.DEFINE_string("folder", None, "Folder of the comparison. Default: runs/compare-<task>.")
flags.DEFINE_list(
    "models",
    ["transformer", "gru"],
    f"Some of {', '.join(contests.MODELS)}, of images also cnn; "
    "each with each of --attentions. One such as gru:none, with an attention, stands as it is.",
)
flags.DEFINE_list(
    "attentions", [], "Attentions by name or file, for RNNs also none. Default: that of the model."
)
flags.DEFINE_multi_string("transformer_option", [], "A flag of Transformers alone, as name=value.")
flags.DEFINE_multi_string("rnn_option", [], "A flag of RNNs alone, as name=value.")
flags.DEFINE_multi_string("cnn_option", [], "A flag of CNNs alone, as name=value.")
flags.DEFINE_integer("seeds", 3, "Runs of each, with seeds --seed, --seed + 1, ...", lower_bound=1)
flags.DEFINE_enum(
    "match",
    "parameters",
    plan.MATCHES,
    "What all have alike. parameters chooses widths; "
    "flops chooses steps, by the compiler's count; time gives each --max_seconds; steps changes "
    "nothing. The first of --models sets the measure.",
)
flags.DEFINE_list(
    "learning_rates",
    [],
    "Tried by each with the first seed; the best by validation loss is kept. "
    "Default: --learning_rate alone.",
)
flags.DEFINE_string(
    "score",
    None,
    "What is compared: exact_match or bleu of translations, wer, "
    "cer or accuracy of speech, else accuracy. Default: the first, but bleu of "
    "real text.",
)
flags.DEFINE_float("confidence", 0.95, "Of intervals.", lower_bound=0.5, upper_bound=0.999)
if "cost_lengths" not in FLAGS:  # memory measures its own
    flags.DEFINE_list(
        "cost_lengths",
        ["16", "32", "64", "128"],
        "Tokens of a sentence at which costs of translation are measured; empty for none.",
    )
flags.DEFINE_bool("train", True, "Train what is missing; --notrain only draws what there is.")
flags.DEFINE_enum(
    "launcher",
    "local",
    ["local", "ray"],
    "Where runs go: this machine, or Ray, here or on a "
    "cluster. Both train as many at a time as there are cores for.",
)
flags.DEFINE_string("ray_address", None, "Of a Ray cluster. Default: this machine alone.")
flags.DEFINE_integer(
    "cores_per_run",
    1,
    "Cores of each run. Local runs go one after another, "
    "with all of them, on a GPU or TPU and by --match=time.",
    lower_bound=1,
)
flags.DEFINE_float(
    "gpus_per_run", 0.0, "GPUs of each run on Ray; 0: none, 0.5: two share one.", lower_bound=0.0
)

_PER_CANDIDATE = ("model", "attention", "attention_file", "cell")
_PER_RUN = ("run", "resume", "overwrite")
# Where things are; an attention's file is copied into the folder of its run.
_PLACES = ("attention_file", "compile_cache", "data_dir")


def main() -> None:
    """Plans, trains, measures costs, and reports."""
    contest = contests.EXPERIMENTS[FLAGS.experiment]()
    check_flags(contest)
    measured = score(contest)
    folder = Path(FLAGS.folder or f"runs/compare-{default_name()}")
    options: Any = {kind: FLAGS[f"{kind}_option"].value for kind in ("transformer", "rnn", "cnn")}
    candidates, left_out = plan.candidates(FLAGS.models, FLAGS.attentions, options, contest)
    folder.mkdir(parents=True, exist_ok=True)
    with launch_local.alone(folder / "compare.lock"):
        known = plan.load_plans(folder, measure(), is_new=run_folders.is_new)
        data = contest.load(folder)
        scorer = contest.scorer(data)
        plans = make_plans(candidates, known, contest, data, folder)
        if FLAGS.train:
            carry_out(candidates, plans, contest, folder)
        runs = [run for candidate in candidates for run in all_runs(candidate, folder)]
        found = results.collect(
            runs,
            plans,
            left_out,
            scorer,
            folder,
            results.Options(
                match=FLAGS.match,
                score=measured,
                confidence=FLAGS.confidence,
                seeds=FLAGS.seeds,
                rates=[rate_text(rate) for rate in tried()],
            ),
        )
        report.write(found, folder)
    print(summary.table(found))
    print(f"\nreport: {folder}/report.html, numbers: {folder}/report.json")
    failed = [run["name"] for run in found["runs"] if run["status"] != "done"]
    if failed:
        sys.exit(
            f"error: {len(failed)} of {len(found['runs'])} runs are not done, {failed[0]} "
            "first; the same call tries again."
        )


def check_flags(contest: Contest) -> None:
    """Refuses flags that contradict each other."""
    for name in _PER_CANDIDATE:
        if FLAGS[name].present:
            raise ValueError(f"`--{name}` is that of one run; here `--models` and `--attentions`.")
    for name in _PER_RUN:
        if FLAGS[name].present:
            raise ValueError(f"`--{name}` is that of one run; here `--folder`, which goes on.")
    if (FLAGS.match == "time") != (FLAGS.max_seconds is not None):
        raise ValueError(
            "`--match=time` and `--max_seconds` go together; "
            f"got --match={FLAGS.match}, --max_seconds={FLAGS.max_seconds}."
        )
    if FLAGS.launcher == "local" and FLAGS.cores_per_run > launch_local.cores():
        raise ValueError(
            f"`--cores_per_run` must be at most what there are here, {launch_local.cores()}; got "
            f"{FLAGS.cores_per_run}. Ask for less, or use a cluster by --launcher=ray."
        )
    if not contest.has_costs:
        check_no_costs()
    tried()


def check_no_costs() -> None:
    """Refuses flags of costs, which here only translations have."""
    is_memory = FLAGS.experiment == "memory"
    remedy = " experiments.memory itself measures those of memory." if is_memory else ""
    for name in ("cost_lengths", "cost_repeats"):
        if name in FLAGS and FLAGS[name].present and FLAGS[name].value:
            raise ValueError(
                f"`--{name}` must be left out but for costs of translations; got "
                f"--experiment={FLAGS.experiment}.{remedy}"
            )


def rates(candidate: Candidate) -> list[float]:
    """The learning rates that a candidate tries."""
    return tried() or [candidate.flags.get("learning_rate", FLAGS.learning_rate)]


def tried() -> list[float]:
    """The learning rates that all try alike; none where each has its own."""
    try:
        return [float(text) for text in FLAGS.learning_rates]
    except ValueError:
        got = ",".join(FLAGS.learning_rates)
        raise ValueError(f"`--learning_rates` must be numbers; got {got}.") from None


def seeds() -> range:
    """Seeds of the runs."""
    return range(FLAGS.seed, FLAGS.seed + FLAGS.seeds)


def rate_text(rate: float) -> str:
    """A learning rate as folders are named by it."""
    return f"{rate:g}"


def score(contest: Contest) -> str:
    """What is compared.

    Raises:
      ValueError: `--score` is none that the runs have.
    """
    default = "bleu" if "task" in FLAGS and FLAGS.task == "parallel" else contest.measures[0]
    found = FLAGS.score or default
    if found not in contest.measures:
        listed = ", ".join(contest.measures)
        raise ValueError(f"`--score` must be among {listed}; got {found!r}.")
    return found


def default_name() -> str:
    """What the folder is named after, where nobody says."""
    if FLAGS.experiment != "translation":
        return FLAGS.experiment
    return FLAGS.preset or FLAGS.task


def measure() -> dict[str, Any]:
    """All that must be the same in two calls for their runs to be comparable."""
    own = {"learning_rate", "seed", *_PER_CANDIDATE, *_PLACES}
    lines = [x for x in run_folders.flagfile().splitlines() if run_folders.flag_name(x) not in own]
    options = [*FLAGS.transformer_option, *FLAGS.rnn_option, *FLAGS.cnn_option]
    return {"flags": lines, "options": options, "match": FLAGS.match, "first": FLAGS.models[0]}


def make_plans(
    candidates: list[Candidate], known: dict[str, Any], contest: Contest, data: Any, folder: Path
) -> dict[str, Any]:
    """The plan of each candidate; those of an earlier call stay."""
    missing = [candidate for candidate in candidates if candidate.name not in known]
    if missing:
        program = Program(lambda: contest.builder(data), contest.objective, contest.batches(data))
    plans = dict(known)
    for candidate in missing:
        first = plans.get(candidates[0].name)
        plans[candidate.name] = plan.make_plan(candidate, first, program)
        plan.save_plans(folder, measure(), plans)
    return plans


def carry_out(
    candidates: list[Candidate], plans: dict[str, Any], contest: Contest, folder: Path
) -> None:
    """Trains what is missing, the runs that choose learning rates first, and measures costs."""
    sweep = [
        run
        for candidate in candidates
        for run in runs_of(candidate, folder, rates(candidate), [FLAGS.seed])
    ]
    launch(sweep, plans)
    chosen = {
        candidate.name: results.best_rate(all_runs(candidate, folder)) for candidate in candidates
    }
    rest = [
        run
        for seed in seeds()[1:]
        for candidate in candidates
        if (best := chosen[candidate.name]) is not None
        for run in runs_of(candidate, folder, [float(best)], [seed])
    ]
    launch(rest, plans)
    for job in cost_jobs(candidates, chosen, folder) if contest.has_costs else ():
        launch_jobs([job], alone=True)  # so that none disturbs what another measures


def runs_of(
    candidate: Candidate, folder: Path, some_rates: Iterable[float], some_seeds: Iterable[int]
) -> list[Run]:
    """Runs of a candidate, as they stand."""
    return [
        Run(candidate.name, rate_text(rate), seed, folder / "runs" / candidate.name)
        for rate in some_rates
        for seed in some_seeds
    ]


def all_runs(candidate: Candidate, folder: Path) -> list[Run]:
    """The sweep of a candidate, and the other seeds of its best learning rate."""
    sweep = runs_of(candidate, folder, rates(candidate), [FLAGS.seed])
    best = results.best_rate(sweep)
    if best is None:
        return sweep
    return sweep + runs_of(candidate, folder, [float(best)], seeds()[1:])


def launch(runs: list[Run], plans: dict[str, Any]) -> None:
    """Trains those that are not done."""
    jobs = []
    for run in runs:
        lines = run_flags(plans[run.candidate]["flags"], run)
        if run.is_done():
            check_same(run, lines)
            continue
        begun = run.folder / "run.flags"
        if begun.exists() and begun.read_text().strip():
            check_same(run, lines)
        command = [sys.executable, "-m", f"experiments.{EXPERIMENT}", f"--run={run.folder}"]
        jobs.append(Job(run.name, (*command, *lines), run.log, ("--resume",), begun))
    launch_jobs(jobs)


def launch_jobs(jobs: list[Job], alone: bool = False) -> None:
    """Carries jobs out, and says how each ended and about how long the rest will take."""
    if not jobs:
        return
    print(f"{len(jobs)} to do, {jobs[0].name} first: {jobs[0].log}", flush=True)
    start = time.monotonic()
    for number, done in enumerate(launcher(alone)(jobs), 1):
        ended = "done" if done.reason is None else f"failed: {done.reason}"
        left = (time.monotonic() - start) / number * (len(jobs) - number) / 60
        rest = f"; about {left:.0f} min left" if number < len(jobs) else ""
        print(
            f"{number}/{len(jobs)} {done.job.name}: {ended}, {done.seconds:.0f} s{rest}", flush=True
        )


def launcher(
    alone: bool,
) -> Callable[[Iterable[Job]], Iterator[Finished]]:
    """Where runs go, as flags say; one that is `alone` gets all cores of this machine."""
    if FLAGS.launcher == "local":
        # Time is planned with all cores, and others beside a run would take some of its own.
        if alone or FLAGS.match == "time" or jax.default_backend() != "cpu":
            return launch_local.local
        at_once = launch_local.cores() // FLAGS.cores_per_run
        own = launch_local.threads(FLAGS.cores_per_run)
        return partial(launch_local.local, at_once=at_once, environment=own)
    return partial(
        launch_ray.on_ray,
        address=FLAGS.ray_address,
        cores=FLAGS.cores_per_run,
        gpus=FLAGS.gpus_per_run,
    )


def run_flags(changes: dict[str, Any], run: Run) -> list[str]:
    """All flags of a run, in full, so that it depends on no default."""
    with plan.flags_set(changes | {"learning_rate": float(run.rate), "seed": run.seed}):
        lines = run_folders.flagfile().splitlines()
    return [*lines, f"--compile_cache={FLAGS.compile_cache}"]


def check_same(run: Run, lines: list[str]) -> None:
    """Refuses a run that was made with other flags."""
    kept = (run.folder / "run.flags").read_text().splitlines()
    found = run_folders.changes(kept[1:], lines)
    other = [new for name, (_, new) in found.items() if name not in _PLACES]
    if other:
        raise ValueError(
            f"`--folder` must not hold another comparison; {run.folder} was not run with "
            f"{other[0]}. Name another folder."
        )


def cost_jobs(
    candidates: list[Candidate], chosen: dict[str, str | None], folder: Path
) -> Iterator[Job]:
    """Measurements that are missing, each by the first run that is done."""
    for candidate in candidates:
        output = results.costs_file(folder, candidate.name)
        done = [run for run in all_runs(candidate, folder) if run.is_done()]
        if output.exists() or not done or not FLAGS.cost_lengths:
            continue
        command = [sys.executable, "-m", "experiments.compare.costs", f"--run={done[0].folder}"]
        command += [f"--cost_lengths={','.join(FLAGS.cost_lengths)}", f"--output={output}"]
        yield Job(f"costs of {candidate.name}", tuple(command), output.with_suffix(".log"))


if __name__ == "__main__":
    common.launch(main)
