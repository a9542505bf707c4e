"""What tests of scripts share: running one as a user does, a tiny comparison, who holds a lock."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
TINY = (
    "--task=reverse --task_option=vocabulary=8 --task_option=train_size=120 "
    "--task_option=validation_size=8 --task_option=test_size=12 --task_option=max_length=6 "
    "--task_option=longer_length=8 --width=16 --heads=2 --layers=1 --feed_forward=16 --steps=2 "
    "--max_length=16 --tokens_per_batch=128 --evaluate_every=1 --evaluate_sentences=2 "
    "--checkpoint_every=1 --cost_lengths=8,16"
).split()
ENVIRONMENT = os.environ | {
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_backend_optimization_level=0",
}


def script(name, *arguments, stdin=None, timeout=300):
    """Runs a script of `experiments` as a user does."""
    return subprocess.run(
        [sys.executable, "-m", f"experiments.{name}", *arguments],
        cwd=ROOT,
        env=ENVIRONMENT,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


run = partial(script, "compare", timeout=900)


def holders(path):
    """Processes that have a file open, this one left out."""
    found = []
    for folder in Path("/proc").glob("[0-9]*/fd"):
        try:
            if any(os.path.realpath(x) == str(path.resolve()) for x in folder.iterdir()):
                found.append(int(folder.parent.name))
        except OSError:
            continue
    return [number for number in found if number != os.getpid()]


def scores_of(folder):
    return json.loads((folder / "report.json").read_text())["tests"]
