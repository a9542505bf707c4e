"""A function in a process of its own, with as many devices as it asks for.

    found = call("experiments.benchmark.weak_scaling", 8, "data", 8)

The process has virtual devices of the CPU, whose number JAX must know before it starts. XLA
optimizes the machine code of its programs as little as it can, which saves a third to two thirds of
the time of compiling; what is divided, summed and kept is decided before, and stays the same.
"""

import importlib
import json
import os
import subprocess
import sys
from typing import Any

import jax

_QUICK = "--xla_backend_optimization_level=0"


def call(module: str, devices: int, *arguments: Any) -> Any:
    """The result of `module.measure(*arguments)`; arguments and result are JSON.

    Args:
      module: that has the function.
      devices: that the function sees.
      arguments: of the function.

    Raises:
      RuntimeError: the process failed; the error holds the end of what it said.
    """
    command = [sys.executable, "-P", "-m", __name__, module, str(devices), json.dumps(arguments)]
    xla_flags = f"{os.environ.get('XLA_FLAGS', '')} {_QUICK}".strip()
    done = subprocess.run(
        command, env=os.environ | {"XLA_FLAGS": xla_flags}, capture_output=True, text=True
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["nothing"]
        raise RuntimeError(f"{module} with {devices} devices and {list(arguments)} failed: {said[0]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Calls the function that the command line names, and prints its result."""
    module, devices, arguments = sys.argv[1:]
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", int(devices))
    print(json.dumps(importlib.import_module(module).measure(*json.loads(arguments))))


if __name__ == "__main__":
    main()
