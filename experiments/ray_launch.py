r"""Runs a command in several workers of Ray, which train one model together.

    scripts/launch --ray -n 2 -- python -m experiments.language --preset=tiny_shakespeare \
        --run=runs/mine --mesh=data=-1

Each worker of Ray's JaxTrainer starts the command as a process of its own, with the variables by
which `attention_jax.parallel` finds the others. JaxTrainer's own backend would call
`jax.distributed.initialize` in the worker instead: with `JaxConfig(use_gpu=True)` alone, on a CPU
too, where JAX_PLATFORMS=cpu; else it does nothing. It is not used, for three reasons. It runs the
program in a thread, where Python takes no signals, so that no checkpoint could be saved on one. It
numbers the GPUs of every worker from 0, so that two workers on one machine would share them. And it
does not wait for those that come late, nor say who does not come.

Where a process or its worker is killed, Ray ends all others and starts all again, at most
`--retries` times; the command then goes on by --resume, where its run has begun. A command that
ends with an error is not repeated. On other systems than Linux, processes outlive their worker.

All machines must see this checkout, its environment and the folder of the run at the same paths.
SIGTERM, SIGINT and SIGHUP stop all processes after a checkpoint, SIGUSR1 asks for one.
"""

import argparse
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags as absl_flags

from attention_jax.core import extras
from attention_jax.core.wording import one_line
from attention_jax.training.preemption import PreemptionGuard
from experiments.common import flags, ray_board, ray_cluster, ray_worker
from experiments.common.config import RunFlags
from experiments.common.ray_board import Board, News, Order

WORDING = ray_cluster.Wording(
    asks="scripts/launch --ray",
    address="--address",
    cores="`-n` times `--cores`",
    gpus="`-n` times `--gpus`",
    instead="leave --ray out",
)
# Variables that programs have on all machines as they are here.
_TAKEN_ALONG = ("JAX_", "XLA_", "NCCL_", "ATTENTION_JAX_", "PYTHONPATH", "PATH")
_WAITING_AFTER = 60.0  # seconds


class Workers(NamedTuple):
    """The workers of a run.

    Attributes:
      count: of them.
      cores: of each.
      gpus: of each.
      address: of a cluster; None starts Ray here.
      retries: how often all are started again after one was lost.
    """

    count: int
    cores: int = 1
    gpus: int = 0
    address: str | None = None
    retries: int = 3


def main() -> int:
    command, workers = _asked(sys.argv[1:])
    try:
        return launch(order(command, workers), workers)
    except (ValueError, ImportError, OSError, absl_flags.Error) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 128 + signal.SIGINT


def _asked(arguments: Sequence[str]) -> tuple[tuple[str, ...], Workers]:
    parser = argparse.ArgumentParser(
        prog="scripts/launch --ray",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--ray", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("-n", type=int, required=True, help="number of workers")
    parser.add_argument("--address", help="of a Ray cluster; default: Ray is started here")
    parser.add_argument("--cores", type=int, default=1, help="of each worker; default: 1")
    parser.add_argument("--gpus", type=int, default=0, help="of each worker; default: 0")
    parser.add_argument("--retries", type=int, default=3, help="after losses; default: 3")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- and the command")
    given = parser.parse_args(arguments)
    command = given.command[given.command[:1] == ["--"] :]
    if not command:
        parser.error("a command must follow --.")
    return tuple(command), Workers(given.n, given.cores, given.gpus, given.address, given.retries)


def order(command: tuple[str, ...], workers: Workers) -> Order:
    """The order that workers get.

    Raises:
      ValueError: a number is too small, or the command names no run to go on with.
      flags.Error: the value of a flag of the run is none.
    """
    lowest = {"-n": 1, "--cores": 1, "--gpus": 0, "--retries": 0}
    numbers = (workers.count, workers.cores, workers.gpus, workers.retries)
    for (name, low), number in zip(lowest.items(), numbers, strict=True):
        if number < low:
            raise ValueError(f"`{name}` must be at least {low}; got {number}.")
    own = absl_flags.FlagValues()
    flags.define(RunFlags(), own)
    own.set_gnu_getopt()  # the command's words stand before its flags
    flags.read(own, ["", *command], known_only=True)
    run = own["run"].value
    if workers.retries and not run:
        raise ValueError(
            f"`--retries={workers.retries}` needs a command with --run, so that it can go on where "
            "it was lost; got none. Name the folder of the run, or give --retries=0."
        )
    run = os.path.abspath(run) if run and workers.retries else None
    again = command if own["resume"].value else (*command, "--resume", "--nooverwrite")
    before = None if run is None or own["resume"].value else ray_board.record(run)
    taken = {x: y for x, y in os.environ.items() if x.startswith(_TAKEN_ALONG)}
    variables = taken | {"NPROC": str(workers.cores), "PYTHONUNBUFFERED": "1"}
    return Order(command, again, run, before, str(Path.cwd()), variables)


def launch(order: Order, workers: Workers) -> int:
    """Runs an order, shows what its process 0 writes, and returns the exit code.

    Raises:
      ValueError: this machine has fewer cores or GPUs.
      ImportError: Ray is not installed, or not whole.
      ConnectionError: Ray does not start, no cluster answers, or it is lost.
    """
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    count = workers.count
    cores, gpus = count * workers.cores, count * workers.gpus
    ray = ray_cluster.connected(workers.address, cores, gpus, WORDING)
    for module in (ray_board, ray_worker):  # machines need not find them
        ray.cloudpickle.register_pickle_by_value(module)
    failures: list[BaseException] = []
    try:
        board = _on_this_machine(ray, Board)
        with tempfile.TemporaryDirectory(prefix="attention_jax-") as folder:
            fit = _trainer(ray, order, workers, board, folder).fit
            fitting = threading.Thread(target=_noting, args=(fit, failures), daemon=True)
            fitting.start()
            received = _follow(ray, board, fitting, workers)
            news = ray.get(board.news.remote())
    except ray.exceptions.RayError as error:
        raise ConnectionError(f"Ray was lost: {one_line(error)}") from error
    finally:
        ray.shutdown()
    is_done = len(news.codes) == count and news.failed is None
    return 128 + received if received and not is_done else _verdict(news, failures)


def _on_this_machine(ray: Any, kind: type) -> Any:
    """An actor that is not lost with another machine."""
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=False
    )
    return ray.remote(kind).options(num_cpus=0, scheduling_strategy=here).remote()


def _trainer(ray: Any, order: Order, workers: Workers, board: Any, folder: str) -> Any:
    """Ray's trainer of the workers.

    Args:
      folder: for what Ray Train writes, of which nothing is needed.
    """
    try:
        from ray.train.v2.api.config import FailureConfig, RunConfig, ScalingConfig
        from ray.train.v2.jax import JaxConfig, JaxTrainer
    except ImportError:
        missing = extras.message("ray[train]", "ray")
        raise ImportError(f"`{WORDING.asks}`: {missing}") from None
    return JaxTrainer(
        ray_worker.work,
        train_loop_config={"order": order, "board": board},
        jax_config=JaxConfig(),  # which connects nothing
        scaling_config=ScalingConfig(
            num_workers=workers.count,
            use_gpu=workers.gpus > 0,
            resources_per_worker={"CPU": workers.cores, "GPU": workers.gpus},
        ),
        run_config=RunConfig(
            name="run",
            storage_path=folder,
            failure_config=FailureConfig(max_failures=workers.retries),
        ),
    )


def _noting(fit: Callable[[], object], failures: list[BaseException]) -> None:
    try:
        fit()
    except Exception as error:
        failures.append(error)


def _follow(ray: Any, board: Any, fitting: threading.Thread, workers: Workers) -> int:
    """Shows what process 0 writes and passes signals on; the signal that stopped all, or 0."""
    start, attempt, is_told = time.monotonic(), 0, False
    with PreemptionGuard() as signals:
        while fitting.is_alive():
            _show(ray.get(board.heard.remote()))
            former, attempt = attempt, ray.get(board.news.remote()).attempt
            if attempt > max(former, 1):
                _say(f"a process was lost; start {attempt} of {workers.retries + 1}")
            if signals.asked_to_save:
                signals.asked_to_save = False
                board.pass_on.remote(signal.SIGUSR1)
            if signals.received and not attempt:
                break
            if signals.received and not is_told:
                is_told = True
                board.pass_on.remote(signal.SIGTERM)  # Ray's workers block SIGINT
            if workers.address and not attempt and time.monotonic() > start + _WAITING_AFTER:
                start = float("inf")
                _say("no worker has started yet; the cluster may have no room for all of them")
            time.sleep(ray_worker.LOOK_EVERY)
        _show(ray.get(board.heard.remote()))
        return signals.received


def _show(said: list[tuple[int, bytes]]) -> None:
    for stream, text in said:
        file = sys.stdout if stream == 1 else sys.stderr
        file.write(text.decode(errors="replace"))
        file.flush()


def _verdict(news: News, failures: list[BaseException]) -> int:
    """The exit code of the process that failed first, and a line that names it."""
    failed = news.failed
    code = news.codes[failed] if failed is not None else None
    if failed:  # what process 0 writes is shown as it comes
        said = set(news.last.get(0, "").splitlines())
        lines = news.last[failed].splitlines(keepends=True)
        sys.stderr.writelines(line for line in lines if line.rstrip("\n") not in said)
    if failures and news.is_lost:
        _say(f"process {failed} was lost, and all were started {news.attempt} times")
    elif failures:
        _say(f"error: {one_line(failures[0])}")
    elif code:
        _say(f"process {failed} failed")
    code = code or int(bool(failures))
    return 128 - code if code < 0 else code


def _say(text: str) -> None:
    print(f"{WORDING.asks}: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
