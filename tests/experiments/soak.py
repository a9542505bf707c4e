"""A long run of tiny steps: what it holds, at each of its evaluations.

    python -P -m tests.experiments.soak --steps=10000

trains a translation with an evaluation and a checkpoint every 100 steps, in a process of its own,
and prints as JSON its memory, open files, threads and compilations as they were then.
"""

import argparse
import contextlib
import gc
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax

from experiments.common import experiment, flags
from experiments.common.train import train

EVERY = 100
SIZES = (
    "--task=reverse --task_option=vocabulary=8 --task_option=train_size=64 "
    "--task_option=validation_size=8 --task_option=test_size=8 --task_option=max_length=6 "
    "--task_option=longer_length=8 --width=8 --heads=2 --layers=1 --feed_forward=8 "
    "--max_length=16 --tokens_per_batch=64 --evaluate_sentences=4 --log_every=50 --average=2 "
    f"--evaluate_every={EVERY} --checkpoint_every={EVERY}"
).split()
COMPILED = "/jax/core/compile/backend_compile_duration"
_PAGE = os.sysconf("SC_PAGE_SIZE")


def held(process: int | str = "self") -> dict[str, int]:
    """Memory, open files and threads of a process."""
    folder = Path(f"/proc/{process}")
    return {
        "memory": int((folder / "statm").read_text().split()[1]) * _PAGE,
        "files": len(os.listdir(folder / "fd")),
        "threads": len(os.listdir(folder / "task")),
    }


def soak(folder: Path, steps: int) -> None:
    """Trains, and prints what is held at each evaluation."""
    out = sys.stdout
    own, compiled, rows = experiment.find("translation"), [], []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, seconds, **_: compiled.append(seconds) if name == COMPILED else None
    )

    def validate(*given: Any) -> Any:
        evaluate = own.validate(*given)

        def evaluate_and_look(params: Any) -> dict[str, float]:
            scores = evaluate(params)
            gc.collect()
            rows.append({"step": EVERY * (len(rows) + 1), **held(), "compiled": len(compiled)})
            print(json.dumps(rows[-1]), file=out, flush=True)
            return scores

        return evaluate_and_look

    arguments = [*SIZES, f"--steps={steps}", f"--run={folder}"]
    config = flags.parse(own.config, arguments)[0]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        train(own._replace(validate=validate), config)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10_000, help="Steps in all.")
    asked = parser.parse_args()
    jax.config.update("jax_enable_compilation_cache", False)  # what is read from it is not counted
    with tempfile.TemporaryDirectory() as folder:
        soak(Path(folder) / "run", asked.steps)


if __name__ == "__main__":
    main()
