"""Joins the processes of one run, before JAX computes anything."""

import os
from typing import Any

import jax

from attention_jax.parallel import environment, rendezvous

# At the end the others wait for process 0, which scores and draws: seconds.
_PATIENCE = 7 * 24 * 3600


def join(*, asked: bool, timeout_seconds: float) -> None:
    """Connects this process with the others of its run, where the environment names some.

    Nothing happens where somebody has connected them before, as Ray's JaxTrainer does.

    Args:
      asked: refuses to run alone.
      timeout_seconds: how long to wait for the others.

    Raises:
      ValueError: nobody names the processes although `asked`, or one of them does not come.
    """
    if jax.distributed.is_initialized():
        return
    peers = environment.peers(os.environ)
    if peers is None:
        if environment.jax_finds_them(os.environ):
            _connect(timeout_seconds)
        elif asked:
            raise ValueError(
                "`--distributed` needs an environment that names the processes of the run: srun, "
                "mpirun, a TPU pod, or JAX_COORDINATOR_ADDRESS with JAX_NUM_PROCESSES and "
                "JAX_PROCESS_ID; got none of them. Start several here by scripts/launch -n 2 -- …"
            )
    elif peers.count > 1:
        rendezvous.meet(peers, timeout_seconds)
        _connect(timeout_seconds, peers)


def leave() -> None:
    """Waits for the other processes, and parts from them; at the end of a program JAX does so."""
    if jax.distributed.is_initialized():
        jax.distributed.shutdown()


def _connect(timeout_seconds: float, peers: environment.Peers | None = None) -> None:
    # Programs of several processes must run in one order: on a CPU those that need nothing of each
    # other would not.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    own: dict[str, Any] = {}
    if peers is not None:
        own = {
            "coordinator_address": peers.address,
            "num_processes": peers.count,
            "process_id": peers.number,
            "local_device_ids": peers.local_devices,
        }
    jax.distributed.initialize(
        **own, initialization_timeout=int(timeout_seconds), shutdown_timeout_seconds=_PATIENCE
    )
