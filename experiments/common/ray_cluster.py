"""Ray, started on this machine or joined as a cluster by its address."""

import logging
import os
import socket
import warnings
from typing import Any, NamedTuple

from attention_jax.core import extras
from attention_jax.core.wording import one_line

_PATIENCE = 10.0  # seconds


class Wording(NamedTuple):
    """Flags of a program that uses Ray, as errors call them.

    Attributes:
      asks: asks for Ray.
      address: names a cluster.
      cores: how many are asked for.
      gpus: how many are asked for.
      instead: does without Ray.
    """

    asks: str
    address: str
    cores: str
    gpus: str
    instead: str


def connected(address: str | None, cores: float, gpus: float, wording: Wording) -> Any:
    """Ray, started or joined by the first call.

    Args:
      address: of a cluster, as `ray.init` takes it; None starts Ray here.
      cores: what this machine must have where Ray starts here; clusters may grow.
      gpus: the same.
      wording: the caller's flags.

    Raises:
      ValueError: this machine has less.
      ImportError: Ray is not installed.
      ConnectionError: Ray does not start, or no cluster answers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # The task's own variables hide GPUs where it has none.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    try:
        import ray
    except ImportError:
        raise ImportError(f"`{wording.asks}`: {extras.message('ray', 'ray')}") from None
    if not ray.is_initialized():
        _start(ray, address, wording)
    if address is None:
        had = ray.cluster_resources()
        _check(had.get("CPU", 0), cores, wording.cores, wording.address)
        _check(had.get("GPU", 0), gpus, wording.gpus, wording.address)
    return ray


def _start(ray: Any, address: str | None, wording: Wording) -> None:
    # Results come back in files, so an object store needs little.
    own: dict[str, Any] = (
        {} if address else {"include_dashboard": False, "object_store_memory": 100 * 2**20}
    )
    try:
        with warnings.catch_warnings():
            # Its processes are forked to become other programs at once, which harms no thread.
            warnings.filterwarnings("ignore", message="os.fork", category=RuntimeWarning)
            _reach(address or "")
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except Exception as error:  # Ray has no narrower one
        failed, remedy = (
            (f"no Ray cluster answered at `{wording.address}` {address}", "Start it by `ray start`")
            if address
            else ("Ray did not start", "Try again when the machine is less busy")
        )
        said = one_line(error).rstrip(".")
        raise ConnectionError(f"{failed}: {said}. {remedy}, or {wording.instead}.") from error


def _reach(address: str) -> None:
    """Refuses a host and port where nobody listens, for which Ray itself waits many minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "/" not in address:
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()


def _check(had: float, asked: float, flag: str, address: str) -> None:
    """Refuses what would wait for ever."""
    if asked > had:
        raise ValueError(
            f"{flag} must be at most what this machine has, {had:g}; got {asked:g}. Ask for less, "
            f"or name a cluster by {address}."
        )
