"""What tests of scripts share: running one as a user does, a tiny comparison, who holds a lock."""

import json
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from tests.support.paths import ROOT

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


# What scripts import takes longer than most of what they are asked here: it is imported once, and
# each script is forked from there. What runs scripts in processes of their own: test_scripts.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "experiments.images",
        "experiments.language",
        "experiments.memory",
        "experiments.speech",
        "experiments.translation",
        "scipy.signal",
        "sklearn.datasets",
    ]
)


def script(name, *arguments, stdin="", timeout=300):
    """Runs a script of `experiments` as `python -m` does."""
    with tempfile.TemporaryDirectory() as folder:
        streams = [Path(folder) / name for name in ("in", "out", "err")]
        streams[0].write_text(stdin)
        process = _FORKS.Process(target=_as_main, args=(name, arguments, streams))
        process.start()
        process.join(timeout)
        if process.is_alive():
            process.kill()
            raise subprocess.TimeoutExpired(name, timeout)
        out, err = (path.read_text() for path in streams[1:])
    return subprocess.CompletedProcess(arguments, process.exitcode, out, err)


def _as_main(name, arguments, streams):
    for number, path in enumerate(streams):
        mode = os.O_WRONLY | os.O_CREAT if number else os.O_RDONLY
        os.dup2(os.open(path, mode), number)
    sys.stdin = open(0)
    os.environ.update(ENVIRONMENT)
    # JAX has read its own when it was imported.
    import jax

    jax.config.update("jax_platforms", "cpu")
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    sys.argv = [name, *map(str, arguments)]
    runpy.run_module(f"experiments.{name}", run_name="__main__", alter_sys=True)


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


def validated(folder):
    """The measures of a run's validation."""
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    found = [row for row in rows if row["split"] == "validation"]
    return {name for row in found for name in row} - {"step", "split", "seconds"}


def scores_of(folder):
    return json.loads((folder / "report.json").read_text())["tests"]
