"""Benchmarks of programs that are compiled for virtual devices, and not run.

    found = call("experiments.benchmark.weak_scaling", 8, "data", 8)

A function is called in a process of its own, which has as many virtual devices of the CPU as it
asks for: JAX must know their number before it starts. XLA
optimizes the machine code of its programs as little as it can, which saves a third to two thirds of
the time of compiling; what is divided, summed and kept is decided before, and stays the same.
"""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from experiments.benchmark import rows
from experiments.benchmark.machine import environment
from experiments.benchmark.rows import Results, Row

QUICK = "--xla_backend_optimization_level=0"


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
    own = {
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {QUICK}".strip(),
        "JAX_TRACEBACK_FILTERING": "off",  # whose word would be the last, not the error's
        "PYTHONPATH": os.pathsep.join(folder for folder in sys.path if folder),
    }
    done = subprocess.run(command, env=os.environ | own, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["nothing"]
        raise RuntimeError(
            f"{module} with {devices} devices and {list(arguments)} failed: {said[0]}"
        )
    return json.loads(done.stdout.splitlines()[-1])


def begun(suite: str, path: str | None, *, chosen: tuple[str, ...]) -> Results:
    """Results with the rows of an earlier file, if it is there; no peak is measured.

    Args:
      suite: the suite.
      path: of the file.
      chosen: flags that say which rows a run makes; the file holds those of all runs.
    """
    own = environment()
    own["command"] = [word for word in own["command"] if not word.startswith(chosen)]
    earlier = rows.read(path).rows if path and Path(path).exists() else ()
    return Results(suite, own, (), earlier)


def with_row(results: Results, row: Row, order: Callable[[Row], Any]) -> Results:
    """Results with a row in its place, instead of an earlier one of the same case."""
    others = [own for own in results.rows if own.case != row.case]
    return results._replace(rows=tuple(sorted([*others, row], key=order)))


def main() -> None:
    """Calls the function that the command line names, and prints its result."""
    module, devices, arguments = sys.argv[1:]
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", int(devices))
    print(json.dumps(importlib.import_module(module).measure(*json.loads(arguments))))


if __name__ == "__main__":
    main()
