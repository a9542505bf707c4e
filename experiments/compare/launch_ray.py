"""Runs jobs as Ray tasks, several at a time: on this machine, or on a cluster by its address.

A job of several processes is a task of its own too, which needs nothing: it runs `scripts/launch
--ray`, whose workers have what the job asks for, on one machine or on several.

All machines must see this checkout, its environment and the folder of the runs at the same paths.
"""

import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from attention_jax.training.preemption import PreemptionGuard
from experiments.common import ray_cluster
from experiments.compare import launch_local
from experiments.compare.launch_local import Finished, Job

# How often a job starts again whose worker or machine was lost.
RETRIES = 3
_CHECKOUT = str(Path(__file__).parents[2])
WORDING = ray_cluster.Wording(
    asks="--launcher=ray",
    address="--ray_address",
    cores="`--cores_per_run`",
    gpus="`--gpus_per_run`",
    instead="use --launcher=local",
)


def on_ray(
    jobs: Iterable[Job],
    *,
    address: str | None = None,
    cores: int = 1,
    gpus: float = 0.0,
    processes: int = 1,
) -> Iterator[Finished]:
    """Runs each job as a task; one whose worker is lost goes on from its checkpoint.

    Args:
      address: of a cluster, as `ray.init` takes it; None starts Ray here.
      cores: of each job, which computes in as many threads.
      gpus: of each job; below 1, jobs share one.
      processes: of each job, which share its cores and GPUs.

    Raises:
      ValueError: this machine has fewer cores or GPUs than one job asks for.
      ImportError: Ray is not installed.
      Stopped: SIGTERM or SIGINT arrived.
    """
    ray = ray_cluster.connected(address, cores, gpus, WORDING)
    asked = {"CPU": cores, "GPU": gpus} if processes == 1 else {"CPU": 0, "GPU": 0}
    task = ray.remote(_carry_out).options(
        num_cpus=asked["CPU"],
        num_gpus=asked["GPU"],
        max_retries=RETRIES,
        retry_exceptions=[launch_local.Stopped],
    )
    left, waiting = deque(jobs), dict[Any, Job]()
    with PreemptionGuard() as signals:
        while left or waiting:
            room = len(left) if processes == 1 else _room(ray, cores, gpus) - len(waiting)
            for _ in range(min(room, len(left))):
                job = left.popleft()
                own = job if processes == 1 else _together(ray, job, cores, gpus, processes)
                waiting[task.remote(own, cores, gpus, os.getcwd())] = job
            done, rest = ray.wait(list(waiting), timeout=0.5)
            if signals.received:
                _stop(ray, rest)
                count = len(left) + len(waiting)
                raise launch_local.Stopped(signals.received, f"{count} jobs")
            for one in done:
                yield _ended(ray, one, waiting.pop(one))


def _room(ray: Any, cores: int, gpus: float) -> int:
    """The number of jobs that Ray has cores and GPUs for; one where it is to get more first."""
    had: Mapping[str, float] = ray.cluster_resources()
    fit = [had.get("CPU", 0) // cores, *([had.get("GPU", 0) // gpus] if gpus else [])]
    return max(1, int(min(fit)))


def _together(ray: Any, job: Job, cores: int, gpus: float, processes: int) -> Job:
    """A job whose command runs in several workers of the same Ray."""
    shares = (f"--cores={cores // processes}", f"--gpus={int(gpus) // processes}")
    where = f"--address={ray.get_runtime_context().gcs_address}"
    asked = (f"-n={processes}", *shares, where, f"--retries={RETRIES}")
    return job.under(sys.executable, "-m", "experiments.ray_launch", *asked)


def _carry_out(job: Job, cores: int, gpus: float, folder: str) -> Finished:
    """The task: on its worker, a process of the job, as it would start in a folder here."""
    os.chdir(folder)
    paths = (_CHECKOUT, *filter(None, [os.environ.get("PYTHONPATH")]))
    own = launch_local.threads(cores) | {"PYTHONPATH": os.pathsep.join(paths)}
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
