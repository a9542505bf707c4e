"""Processes of one run, as launchers name them in the environment."""

import re
from collections.abc import Mapping
from typing import NamedTuple

_OWN = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
_LOWEST_PORT, _PORTS = 61_440, 4_096  # above those that systems give away by themselves


class Peers(NamedTuple):
    """The processes of a run.

    Attributes:
      address: host and port of process 0.
      count: of processes.
      number: of this one.
      local_devices: those of the machine that this one has; None for all.
    """

    address: str
    count: int
    number: int
    local_devices: tuple[int, ...] | None = None


def peers(environment: Mapping[str, str]) -> Peers | None:
    """The processes that JAX's own variables or those of SLURM name; None where none are.

    Kubeflow's runtime for JAX sets JAX's own, as `scripts/launch` does.

    Raises:
      ValueError: some of the variables are missing, or no numbers.
    """
    if environment.get(_OWN[0]):
        return _of_jax(environment)
    if int(environment.get("SLURM_STEP_NUM_TASKS") or 1) > 1:
        return _of_slurm(environment)
    return None


def jax_finds_them(environment: Mapping[str, str]) -> bool:
    """True where `jax.distributed.initialize` knows the processes by itself: Open MPI, TPU pods."""
    several_hosts = "," in environment.get("TPU_WORKER_HOSTNAMES", "")
    slices = int(environment.get("MEGASCALE_NUM_SLICES") or 1) > 1
    return int(environment.get("OMPI_COMM_WORLD_SIZE") or 1) > 1 or several_hosts or slices


def _of_jax(environment: Mapping[str, str]) -> Peers:
    address, *numbers = (environment.get(name, "") for name in _OWN)
    for name, text in zip(_OWN[1:], numbers, strict=True):
        if not text.isdecimal():
            raise ValueError(
                f"`{name}` must be a whole number beside {_OWN[0]}={address}; got {text!r}. Set it "
                "for each process, or start them by scripts/launch."
            )
    count, number = map(int, numbers)
    if not re.fullmatch(r".+:\d+", address) or number >= count:
        raise ValueError(
            f"`{_OWN[0]}` must be host:port, and {_OWN[2]} below {_OWN[1]}; got {address!r}, "
            f"{number} and {count}."
        )
    return Peers(address, count, number)


def _of_slurm(environment: Mapping[str, str]) -> Peers:
    count, number = int(environment["SLURM_STEP_NUM_TASKS"]), int(environment["SLURM_PROCID"])
    port = _LOWEST_PORT + int(environment["SLURM_JOB_ID"]) % _PORTS
    host = first_host(environment["SLURM_STEP_NODELIST"])
    each = re.match(r"\d+", environment.get("SLURM_STEP_TASKS_PER_NODE", ""))
    own = (int(environment.get("SLURM_LOCALID") or 0),) if each and int(each[0]) > 1 else None
    return Peers(f"{host}:{port}", count, number, own)


def first_host(nodes: str) -> str:
    """The first of the hosts that SLURM lists.

    >>> first_host("gpu[007-010,12],login"), first_host("a,b"), first_host("rack2-n[3]")
    ('gpu007', 'a', 'rack2-n3')
    """
    found = re.match(r"([^\[,]+)(?:\[(\d+))?", nodes)
    if found is None:
        raise ValueError(f"`SLURM_STEP_NODELIST` must list hosts; got {nodes!r}.")
    return found[1] + (found[2] or "")
