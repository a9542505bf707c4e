"""The folder of a run: what repeats it stands there before anything is trained."""

import json
import os
import platform
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
from absl import flags

import attention_jax
from attention_jax import variants
from attention_jax.data.tokenizer import Tokenizer
from experiments import common

FLAGS = flags.FLAGS
_MODULES = [common.__name__]  # whose flags decide the result
# These say where and how a run goes, not what it computes; run.flags leaves them out.
_NOT_KEPT = ("run", "resume", "overwrite", "list", "flagfile", "compile_cache", "attention_file")
# These may change when a run goes on: how long, how often it reports, where things are, and what
# is done with the trained model.
_MAY_CHANGE = (
    "steps", "max_seconds", "patience", "evaluate_every", "checkpoint_every", "profile_steps",
    "tensorboard", "average", "platform", "data_dir", "characters", "test_lengths", "test_rows",
    "beam", "length_penalty", "nbest", "sample", *common.SAMPLING,
)  # fmt: skip


def open_run(task: str | None = None) -> Path:
    """The run's folder. A new one is made and holds what repeats it: flags, environment, attention.

    One that is gone on with stays as it is until `accepted`, since the call may yet be refused.

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
    if FLAGS.resume:
        _check_same_run(folder, _script() + flagfile())
    folder.mkdir(parents=True, exist_ok=True)
    if FLAGS.attention_file:
        _keep_attention(folder)
    if not FLAGS.resume:
        accepted(folder)
    return folder


def accepted(folder: Path) -> None:
    """Writes the flags and the environment of a call that nothing refuses any more.

    The first line of run.flags names the script, which `trained.kind` reads.
    """
    (folder / "run.flags").write_text(_script() + flagfile())
    (folder / "environment.json").write_text(json.dumps(environment(), indent=2) + "\n")


def keep_vocabulary(vocabulary: Tokenizer, folder: Path) -> None:
    """Writes a new run's vocabulary; one that is gone on with must have the same.

    Raises:
      ValueError: the run began with another.
    """
    path = folder / "vocabulary.json"
    if not path.exists():
        return vocabulary.save(path)
    ours, kept = (one.tokens(range(one.size)) for one in (vocabulary, Tokenizer.load(path)))
    if ours != kept:
        raise ValueError(
            f"`--resume` goes on with the data that the run began with; {folder} has learned "
            f"{len(kept)} tokens, and these data have {len(ours)}, which differ. Name the data of "
            "that time, or start another run by --run."
        )


def _script() -> str:
    return f"# python -m experiments.{Path(sys.argv[0]).stem}\n"


def _check_same_run(folder: Path, ours: str) -> None:
    """Refuses to go on with a run that another call began."""
    kept = (folder / "run.flags").read_text().splitlines()
    found = changes(kept, ours.splitlines())
    if all(found.get("attention_file", ())):  # two places, whose files `_keep_attention` compares
        found.pop("attention_file", None)
    changed = [both for name, both in found.items() if name not in _MAY_CHANGE]
    if changed:
        old, new = (line or "no such flag" for line in changed[0])
        raise ValueError(
            f"`--resume` goes on with what the run began with; {folder} has {old}, and this call "
            f"{new}. Give --flagfile={folder / 'run.flags'}, or start another run by --run."
        )


def _keep_attention(folder: Path) -> None:
    """Copies the file of an attention into the folder, which is where it is read from then on."""
    given, kept = Path(FLAGS.attention_file), folder / Path(FLAGS.attention_file).name
    variants.get(FLAGS.attention_file)
    if FLAGS.resume and kept.exists() and kept.read_bytes() != given.read_bytes():
        raise ValueError(
            f"`--attention_file` must be as it was when the run began; {given} differs from "
            f"{kept}. Give that one, or start another run by --run."
        )
    if kept.resolve() != given.resolve():
        shutil.copyfile(given, kept)
    FLAGS.attention_file = str(kept)


def changes(kept: Sequence[str], ours: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Flags whose lines are other now: the line that was kept and ours, "" where there is none.

    A flag that came into being since, and that nobody has set, is no change; nor is one that is
    no more.
    """
    then, now = _by_name(kept), _by_name(ours)
    names = [
        name for name in sorted(then | now)
        if then.get(name) != now.get(name)
        and (name in FLAGS or name == "#")
        and (name in then or not is_new(now[name], kept))
    ]  # fmt: skip
    return {name: (then.get(name, ""), now.get(name, "")) for name in names}


def is_new(line: str, kept: Iterable[str]) -> bool:
    """Whether a flag came into being after these were kept, and nobody has set it since."""
    name = flag_name(line)
    return FLAGS[name].using_default_value and name not in map(flag_name, kept)


def flag_name(line: str) -> str:
    """`steps` of --steps=3, `tied` of --notied, `#` of the line that names the script."""
    if line.startswith("#"):
        return "#"
    name = line.removeprefix("--").partition("=")[0]
    return name if name in FLAGS or not name.startswith("no") else name.removeprefix("no")


def _by_name(lines: Iterable[str]) -> dict[str, str]:
    """The line of each flag; one that was given several times has one with all."""
    found: dict[str, str] = {}
    for line in lines:
        name = flag_name(line)
        found[name] = f"{found[name]} {line}" if name in found else line
    return found


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
