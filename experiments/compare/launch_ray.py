"""Runs jobs as Ray tasks, several at a time: on this machine, or on a cluster by its address.

All machines must see this checkout, its environment and the folder of the runs at the same paths.
"""

import logging
import os
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from attention_jax.core import extras
from attention_jax.core.wording import one_line
from attention_jax.training.preemption import PreemptionGuard
from experiments.compare import launch_local
from experiments.compare.launch_local import Finished, Job

# How often a job starts again whose worker or machine was lost.
RETRIES = 3


def on_ray(
    jobs: Iterable[Job], *, address: str | None = None, cores: int = 1, gpus: float = 0.0
) -> Iterator[Finished]:
    """Runs each job as a task; one whose worker is lost goes on from its checkpoint.

    Args:
      address: of a cluster, as `ray.init` takes it; None starts Ray here.
      cores: of each job, which computes in as many threads.
      gpus: of each job; below 1, jobs share one.

    Raises:
      ValueError: this machine has fewer cores or GPUs than one job asks for.
      ImportError: Ray is not installed.
      Stopped: SIGTERM or SIGINT arrived.
    """
    ray = _connected(address, {"CPU": cores, "GPU": gpus})
    task = ray.remote(_carry_out).options(
        num_cpus=cores, num_gpus=gpus, max_retries=RETRIES, retry_exceptions=[launch_local.Stopped]
    )
    waiting = {task.remote(job, cores, gpus): job for job in jobs}
    with PreemptionGuard() as signals:
        while waiting:
            done, rest = ray.wait(list(waiting), timeout=0.5)
            if signals.received:
                _stop(ray, rest)
                raise launch_local.Stopped(signals.received, f"{len(waiting)} jobs")
            for one in done:
                yield _ended(ray, one, waiting.pop(one))


def _connected(address: str | None, asked: dict[str, float]) -> Any:
    """Ray, started or joined by the first call."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # The task's own variables hide GPUs where it has none.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    try:
        import ray
    except ImportError:
        raise ImportError(f"`--launcher=ray`: {extras.message('ray', 'ray')}") from None
    if not ray.is_initialized():
        _start(ray, address)
    if address is None:
        _check(ray.cluster_resources(), asked)
    return ray


def _start(ray: Any, address: str | None) -> None:
    # Results come back in files, so an object store needs little.
    own: dict[str, Any] = (
        {} if address else {"include_dashboard": False, "object_store_memory": 100 * 2**20}
    )
    try:
        with warnings.catch_warnings():
            # Its processes are forked to become other programs at once, which harms no thread.
            warnings.filterwarnings("ignore", message="os.fork", category=RuntimeWarning)
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except Exception as error:  # Ray has no narrower one
        failed, remedy = (
            (f"no Ray cluster answered at `--ray_address` {address}", "Start it by `ray start`")
            if address
            else ("Ray did not start", "Try again when the machine is less busy")
        )
        said = one_line(error).rstrip(".")
        raise ConnectionError(f"{failed}: {said}. {remedy}, or use --launcher=local.") from error


def _check(had: dict[str, float], asked: dict[str, float]) -> None:
    """Refuses what would wait for ever."""
    for (kind, count), flag in zip(asked.items(), ("cores_per_run", "gpus_per_run"), strict=True):
        if count > had.get(kind, 0):
            raise ValueError(
                f"`--{flag}` must be at most what this machine has, {had.get(kind, 0):g}; got "
                f"{count:g}. Ask for less, or name a cluster by --ray_address."
            )


def _carry_out(job: Job, cores: int, gpus: float) -> Finished:
    """The task: on its worker, a process of the job."""
    own = launch_local.threads(cores)
    if 0 < gpus < 1:
        own["XLA_CLIENT_MEM_FRACTION"] = f"{0.9 * gpus:.3f}"
    (finished,) = launch_local.local([job], environment=own)
    return finished


def _stop(ray: Any, tasks: list[Any]) -> None:
    """Tells the jobs at work to stop, and waits until they have saved what they had."""
    for one in tasks:
        ray.cancel(one)
    if tasks:
        ray.wait(tasks, num_returns=len(tasks))


def _ended(ray: Any, task: Any, job: Job) -> Finished:
    """How a task ended; of a lost worker, what its job said last."""
    try:
        return ray.get(task)
    except ray.exceptions.RayError as error:
        why = f"its worker was lost {RETRIES + 1} times"
        if not isinstance(error, ray.exceptions.WorkerCrashedError):
            why = str(error).strip().splitlines()[-1]
        return Finished(job, f"{why}; {launch_local.last_words(job.log)}", 0.0)
