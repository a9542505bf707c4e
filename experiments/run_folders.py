"""The folder of a run: what repeats it stands there before anything is trained."""

import json
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import jax
from absl import flags

import attention_jax
from attention_jax import variants
from experiments import common

FLAGS = flags.FLAGS
_MODULES = [common.__name__]  # whose flags decide the result
# These say where and how a run goes, not what it computes; run.flags leaves them out.
_NOT_KEPT = ("run", "resume", "overwrite", "list", "flagfile", "compile_cache", "attention_file")


def open_run(task: str | None = None) -> Path:
    """Makes the run's folder and writes what repeats it: flags, environment, attention file.

    The first line of run.flags names the script, which `trained.kind` reads.

    Args:
      task: what the folder is named after. Default: the preset or task of a translation.
    """
    task = task or FLAGS.preset or FLAGS.task
    name = "-".join((task, FLAGS.model, Path(common.attention_name()).stem))
    folder = Path(FLAGS.run or Path("runs") / name)
    if folder.exists() and any(folder.iterdir()) and not FLAGS.resume:
        if not FLAGS.overwrite:
            raise ValueError(
                f"`--run` must be a new folder; {folder} is in use. Go on with it by --resume, "
                "start anew by --overwrite, or name another."
            )
        if not (folder / "run.flags").exists():
            raise ValueError(f"`--overwrite` deletes only runs; {folder} holds no run.flags.")
        shutil.rmtree(folder)
    if FLAGS.resume and not (folder / "run.flags").exists():
        raise ValueError(f"`--resume` needs a run that was started; {folder} holds no run.flags.")
    folder.mkdir(parents=True, exist_ok=True)
    if FLAGS.attention_file:
        kept = folder / Path(FLAGS.attention_file).name
        variants.get(FLAGS.attention_file)
        if kept.resolve() != Path(FLAGS.attention_file).resolve():
            shutil.copyfile(FLAGS.attention_file, kept)
        FLAGS.attention_file = str(kept)
    script = f"# python -m experiments.{Path(sys.argv[0]).stem}\n"
    (folder / "run.flags").write_text(script + flagfile())
    (folder / "environment.json").write_text(json.dumps(environment(), indent=2) + "\n")
    return folder


def keep_flags_of(module: str) -> None:
    """Lets run.flags hold the flags of a module too, that scripts share."""
    if module not in _MODULES:
        _MODULES.append(module)


def flagfile() -> str:
    """All flags that decide the result, one a line, as `--flagfile=` reads them."""
    kept = [
        flag.serialize()
        for module in _MODULES
        for flag in FLAGS.get_key_flags_for_module(module)
        if flag.name not in _NOT_KEPT and flag.value is not None
    ]
    if FLAGS.attention_file:
        kept.append(f"--attention_file={FLAGS.attention_file}")
    return "\n".join(sorted(line for line in kept if line)) + "\n"


def environment() -> dict[str, Any]:
    """Versions and machine of a run."""
    return {
        "attention_jax": attention_jax.__version__,
        "jax": jax.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "devices": [str(device) for device in jax.devices()],
        "command": sys.argv,
    }
